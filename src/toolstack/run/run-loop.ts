/**
 * Drives the hypervisor: runs guests for a slice, gives JavaScript a turn, waits when a real-time host is idle, and
 * stops when nothing can happen before something comes from outside. Whoever brings something in calls `kick`.
 */
import { SHUTDOWN } from '../../abi/index.ts'
import type { ControlInterface, HostClock, RunLimits, RunResult, StandingRun } from '../../hypervisor/index.ts'
import { parseDuration, thrownMessage, XenError, type DomId, type Duration } from '../../util/index.ts'
import { IdleWatch } from './idle-watch.ts'
import type { HostInput } from './inputs.ts'
import { abortedError } from './operation.ts'
import type { Wall } from './wall.ts'

/** Instructions between two turns of JavaScript: a few milliseconds. A fixed number, so that runs can be repeated. */
const SLICE = 1_000_000
/** The same while somebody shares the thread: turns are shorter, and as many more. */
const SHARED_SLICE = SLICE / 8
/**
 * Nanoseconds by which an idle host's clock moves between two turns of JavaScript. A guest that only sleeps, however it
 * sets its timers, takes the host's clock through its days no faster than a second a turn.
 */
const IDLE_STEP = 1_000_000_000
/** While somebody waits for the host to settle, time moves in steps of this many nanoseconds. */
const SETTLE_STEP = 1_000_000
/** Nanoseconds of a run of a host that keeps pace with the wall. */
const PACE_STEP = 1_000_000

/** How a condition is awaited. */
export interface UntilOptions {
  readonly signal?: AbortSignal | undefined
  /** Host time after which it rejects with TIMED_OUT: `'5s'`, `{ seconds: 5 }` or nanoseconds. Default: never. */
  readonly timeout?: Duration | undefined
}

/** What the loop itself is told about a wait, beside what a user may say. */
export interface WaitOptions extends UntilOptions {
  /** The domain that is to do it: when it can do nothing any more, the wait is rejected. */
  readonly domid?: DomId | undefined
}

/** What the loop asks of its host. */
export interface LoopHost {
  /** Milliseconds that a host on which nothing can happen waits for something from outside; Infinity: for ever. */
  readonly idlePatience: number
  /** What the host follows, where it follows the wall. */
  readonly wall: Wall | undefined
  /** True while somebody outside who knows no host time may have something to say: then host time passes no faster than the wall's. */
  isPaced?(): boolean
  /** Hears of each run, and of each jump of the clock, where no wall is followed. */
  noteRun?(input: () => HostInput): void
  /** Throws when a domain has crashed: whoever waits for `what` waits in vain. */
  checkDomain(domid: DomId, what: string): void
  /** The error of those who wait on a host that can never go on. */
  idleError(waits: readonly string[]): XenError
}

/** How a host is driven. */
export interface Drive {
  /** Instructions after which it stands. */
  readonly stand: number
  /** Asked behind each run: true ends it before. */
  readonly isOver: () => boolean
  /** Called between two runs. */
  readonly between?: (() => Promise<void> | undefined) | undefined
}

interface Waiter {
  readonly what: string
  readonly domid: DomId | undefined
  readonly met: () => boolean
  /** Host time at which it gives up. */
  readonly deadline: number
  resolve(): void
  reject(error: unknown): void
}

/** A time-out in nanoseconds, Infinity for none. A deadline that is no number would keep all others from coming. */
const patienceOf = (timeout: Duration | undefined, what: string): number =>
  timeout === undefined ? Infinity : parseDuration(timeout, `the time-out of waiting for ${what}`, { most: Infinity })

/** Throws INVALID_ARGUMENT for a time-out that is none, before anything is begun. */
export const checkPatience = ({ timeout }: UntilOptions, what: string): void => void patienceOf(timeout, what)

/** Throws INVALID_STATE when a guest has ended that something is expected of. */
export function checkLives(control: Pick<ControlInterface, 'domainInfo'>, domid: DomId, what: string): void {
  const { shutdownReason, dying } = control.domainInfo(domid)
  // One that is suspended may go on.
  if (!dying && (shutdownReason === undefined || shutdownReason === SHUTDOWN.suspend)) return
  throw new XenError('INVALID_STATE', `${what}: the domain has ended`, { details: { domid } })
}

/** Lets all promises that can go on do so, and other work of the application besides. */
export const turn: () => Promise<void> = typeof setImmediate === 'function'
  ? () => new Promise((resolve) => setImmediate(resolve))
  : () => new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel()
      port1.onmessage = () => {
        port1.close()
        resolve()
      }
      port2.postMessage(0)
    })

/** The loop of one host. */
export class RunLoop {
  private readonly control: ControlInterface
  private readonly clock: HostClock
  private readonly waiters = new Set<Waiter>()
  private readonly onFailure: (error: unknown) => void
  private running = false
  private stopped = false
  private kicked = false
  private settlers: (() => void)[] = []
  /** Ends the present wait of a real-time host. */
  private wake: (() => void) | undefined
  private host: LoopHost | undefined
  /** Who keeps the guests from running. */
  private halts = 0
  /** Who shares the thread with them. */
  private sharers = 0
  /** It was let go on, and looks once more whether it may before guests run. */
  private resting = false
  /** Called when the loop stands, and what makes it go on. */
  private standing: (() => void)[] = []
  private goOn: (() => void) | undefined
  private readonly idle = new IdleWatch(() => this.giveUp())

  /** `onFailure` hears of an error of the library itself, after which the loop stands still. */
  constructor(control: ControlInterface, clock: HostClock, onFailure: (error: unknown) => void) {
    this.control = control
    this.clock = clock
    this.onFailure = onFailure
  }

  /** Lets the loop ask its host, once there is one. */
  belongTo(host: LoopHost): void {
    this.host = host
    this.idle.patience = host.idlePatience
  }

  /** Something may come from outside until the returned function is called: the host waits for it, however idle it is. */
  expectInput(): () => void {
    return this.idle.expectInput()
  }

  /** Something has come from outside: goes on if it stood still. */
  kick(): void {
    this.kicked = true
    this.idle.goOn()
    this.wake?.()
    if (this.running || this.stopped || this.halts > 0) return
    this.running = true
    this.work().catch((error: unknown) => {
      this.stop(error)
      this.onFailure(error)
    })
  }

  /** True once it has been stopped: nothing runs any more. */
  get isStopped(): boolean {
    return this.stopped
  }

  /**
   * Keeps the guests from running until the returned function is called; resolves when none runs. Whoever waits for
   * something waits on.
   */
  async halt(): Promise<() => void> {
    this.halts += 1
    let halted = true
    this.wake?.()
    if (this.running && this.goOn === undefined && !this.resting) await new Promise<void>((resolve) => this.standing.push(resolve))
    return () => {
      if (!halted) return
      halted = false
      this.halts -= 1
      if (this.halts > 0) return
      this.goOn?.()
      this.kick()
    }
  }

  /**
   * Until the returned function is called somebody has much to do on this thread and gives the guests their turns meanwhile, as who copies a running domain: their turns are short, so
   * that neither waits long for the other.
   */
  share(): () => void {
    this.sharers += 1
    let isSharing = true
    return () => {
      if (isSharing) this.sharers -= 1
      isSharing = false
    }
  }

  /** Brings a host that follows the wall up to it, for what comes from outside. */
  present(): void {
    this.host?.wall?.present()
  }

  /** Lets the guests run for so many instructions, and JavaScript have its turn: for whoever has halted the loop. */
  async step(instructions: number): Promise<void> {
    this.run({ ...this.limits(), instructions })
    await this.giveTurn()
  }

  /** Lets the guests run to the very nanosecond of host time, or until nothing can happen any more: for whoever has halted the loop. */
  async runTo(time: number): Promise<void> {
    while (!this.stopped && this.clock.now() < time) {
      const limits = this.limits()
      const { kind } = this.runNoted({ ...limits, until: Math.min(limits.until ?? Infinity, time) })
      await this.giveTurn()
      if (kind === 'idle') return
    }
  }

  /** Lets the guests run exactly as a record says: for whoever has halted the loop. */
  async play(run: RunLimits): Promise<void> {
    const wall = this.host?.wall
    if (wall === undefined) this.runNoted(run)
    else wall.run(run)
    await this.giveTurn()
  }

  /**
   * Lets the guests run as they would by themselves, until a run stands or `isOver`, which is asked between runs: for whoever has halted the
   * loop of a host that follows no wall. `between` is awaited there. Undefined where nothing stands.
   */
  async drive({ stand, isOver, between }: Drive): Promise<StandingRun | undefined> {
    const end = this.control.executedInstructions() + stand
    for (;;) {
      this.kicked = false
      const left = Math.max(0, end - this.control.executedInstructions())
      const result = this.control.isStanding() ? this.control.run({ stand: left }) : this.runNoted(this.limits(), left)
      if (result.kind === 'standing') return result
      await this.giveTurn()
      await between?.()
      if (this.stopped || isOver()) return undefined
      if (this.kicked || result.kind !== 'idle' || this.skipToDeadline()) continue
      await new Promise<void>((resolve) => { this.wake = resolve })
      this.wake = undefined
      if (isOver()) return undefined
    }
  }

  /** Begins a run as a record says, or goes on with one that stands: for whoever has halted the loop, and gives JavaScript its turn. */
  playTo(stand: number, run?: RunLimits): RunResult {
    return this.control.run({ ...run, stand })
  }

  /** JavaScript has its turn behind a run that {@link RunLoop.playTo} has ended. */
  endPlay(): Promise<void> {
    return this.giveTurn()
  }

  private run(limits: RunLimits): RunResult {
    const wall = this.host?.wall
    if (wall === undefined) return this.runNoted(limits)
    wall.present()
    return wall.run(limits)
  }

  private runNoted(limits: RunLimits, stand?: number): RunResult {
    this.host?.noteRun?.(() => ({ source: 'run', ...limits }))
    return this.control.run(stand === undefined ? limits : { ...limits, stand })
  }

  /** JavaScript has its turn, and whoever has waited goes on before the guests do. */
  private async giveTurn(): Promise<void> {
    await turn()
    if (this.ask()) await turn()
  }

  private async stand(): Promise<void> {
    const going = new Promise<void>((resolve) => { this.goOn = resolve })
    for (const resolve of this.standing.splice(0)) resolve()
    await going
    this.goOn = undefined
    this.resting = true
    // Whoever has let it go on does what is to be done first, as behind a kick.
    await turn()
    // Whoever has halted the guests acts upon what it found before they run: what it does first happens at this very moment.
    await turn()
    this.resting = false
  }

  /** Stands still for good; everything that is awaited rejects. */
  stop(cause?: unknown): void {
    this.stopped = true
    this.idle.goOn()
    this.wake?.()
    this.goOn?.()
    const ended = XenError.is(cause, 'CLOSED') ? `is closed (${cause.message})` : `has failed (${thrownMessage(cause)})`
    this.dismiss(cause === undefined ? 'was shut down' : ended, cause)
  }

  /** Everything that is awaited rejects with CLOSED, as the host `why`; the loop goes on, unless it was stopped. */
  dismiss(why: string, cause?: unknown): void {
    for (const waiter of this.waiters)
      waiter.reject(new XenError('CLOSED', `the host ${why} while waiting for ${waiter.what}`, { cause }))
    this.waiters.clear()
    this.settle()
  }

  /** Resolves when nothing can run at the present host time and all promises have had their turn. */
  settled(): Promise<void> {
    if (this.stopped) return Promise.resolve()
    return new Promise((resolve) => {
      this.settlers.push(resolve)
      this.kick()
    })
  }

  /**
   * Resolves when `met` holds; it is asked after every slice. Rejects with TIMED_OUT at the very nanosecond of host time
   * at which the time-out is over, whatever guests' timers there are, and with INVALID_ARGUMENT for what is no duration.
   */
  until(what: string, met: () => boolean, options: WaitOptions = {}): Promise<void> {
    const { signal, timeout, domid } = options
    return new Promise((resolve, reject) => {
      const patience = patienceOf(timeout, what)
      if (this.stopped) return reject(new XenError('CLOSED', `the host is shut down: no waiting for ${what}`))
      const end = (): void => {
        this.waiters.delete(waiter)
        signal?.removeEventListener('abort', abort)
      }
      const abort = (): void => waiter.reject(abortedError(`waiting for ${what}`, signal))
      const waiter: Waiter = {
        what, met, domid,
        deadline: this.clock.now() + patience,
        resolve: () => {
          end()
          resolve()
        },
        reject: (error) => {
          end()
          reject(error)
        },
      }
      this.waiters.add(waiter)
      if (signal?.aborted === true) return abort()
      signal?.addEventListener('abort', abort)
      this.kick()
    })
  }

  private async work(): Promise<void> {
    this.resting = true
    await turn()
    this.resting = false
    while (!this.stopped) {
      if (this.halts > 0) {
        await this.stand()
        continue
      }
      if (this.settlers.length > 0) {
        await this.trySettle()
        if (this.stopped || this.halts > 0) continue
      }
      if (this.host?.wall?.mustWait === true) {
        await this.sleep(this.clock.now())
        continue
      }
      this.kicked = false
      const pace = this.host?.isPaced?.() === true ? { from: this.clock.now(), wall: performance.now() } : undefined
      const result = this.run(this.limits(pace !== undefined))
      await this.giveTurn()
      if (this.stopped) break
      if (pace !== undefined && !this.kicked) await this.keepPace(pace)
      if (this.kicked || result.kind === 'limit' || result.kind === 'turn') continue
      if (result.kind === 'wait') await this.sleep(result.deadline)
      else if (!this.skipToDeadline()) break
    }
    this.running = false
    for (const resolve of this.standing.splice(0)) resolve()
    if (!this.stopped && this.waiters.size > 0) this.idle.standStill()
  }

  /** A run ends where somebody's patience does: guests that only tick would pass hours in one run. */
  private limits(isPaced = false): RunLimits {
    const step = this.settlers.length > 0 ? this.clock.now() + SETTLE_STEP : isPaced ? this.clock.now() + PACE_STEP : Infinity
    const until = Math.min(step, this.nearestDeadline())
    const limits = { instructions: this.sharers > 0 ? SHARED_SLICE : SLICE, idle: IDLE_STEP }
    return until === Infinity ? limits : { ...limits, until }
  }

  /** Lets the wall's time catch up with a run's, unless something comes from outside. */
  private async keepPace({ from, wall }: { readonly from: number; readonly wall: number }): Promise<void> {
    const ahead = (this.clock.now() - from) / 1e6 - (performance.now() - wall)
    if (ahead > 0) await this.doze(ahead)
  }

  private nearestDeadline(): number {
    let nearest = Infinity
    for (const { deadline } of this.waiters) if (deadline < nearest) nearest = deadline
    return nearest
  }

  /** Tells those who wait for it when nothing can run, now and after a turn of JavaScript. */
  private async trySettle(): Promise<void> {
    if (!this.control.isQuiet()) return
    await turn()
    if (this.ask()) await turn()
    if (!this.control.isQuiet()) return
    this.settle()
    await turn()
  }

  private settle(): void {
    const settlers = this.settlers
    this.settlers = []
    for (const resolve of settlers) resolve()
  }

  /** Asks all conditions, and gives up those whose time is over. True when somebody has waited long enough. */
  private ask(): boolean {
    const now = this.clock.now()
    const before = this.waiters.size
    for (const waiter of [...this.waiters]) {
      if (this.isMet(waiter)) waiter.resolve()
      else if (now >= waiter.deadline) waiter.reject(new XenError('TIMED_OUT', `${waiter.what} did not happen in time`))
    }
    return this.waiters.size < before
  }

  private isMet(waiter: Waiter): boolean {
    try {
      if (waiter.met()) return true
      if (waiter.domid !== undefined) this.host?.checkDomain(waiter.domid, waiter.what)
    } catch (error) {
      waiter.reject(this.betterReason(waiter) ?? error)
    }
    return false
  }

  /** What a crash says about a condition that cannot even be asked any more: its domain is gone. */
  private betterReason({ domid, what }: Waiter): unknown {
    try {
      if (domid !== undefined) this.host?.checkDomain(domid, what)
    } catch (error) {
      return error
    }
    return undefined
  }

  /** Nothing can happen any more: everybody is told. */
  private giveUp(): void {
    if (this.running || this.stopped || this.waiters.size === 0 || this.host === undefined) return
    const error = this.host.idleError([...this.waiters].map(({ what }) => what))
    for (const waiter of [...this.waiters]) waiter.reject(error)
  }

  /** Nothing happens by itself any more: time moves on to whoever waits for it. False when nobody does. */
  private skipToDeadline(): boolean {
    const deadline = this.nearestDeadline()
    if (!Number.isFinite(deadline)) return false
    this.skipTo(deadline)
    return true
  }

  /** Nothing happens before a time: the clock jumps there. */
  skipTo(time: number): void {
    this.host?.noteRun?.(() => ({ source: 'clock', time }))
    this.clock.skipTo(time)
  }

  private async sleep(deadline: number): Promise<void> {
    const nearest = Math.min(deadline, this.nearestDeadline())
    await this.doze(Math.max(0, (nearest - (this.host?.wall?.time ?? this.clock.now())) / 1e6))
    // A process that was stopped meanwhile may have more to do that is due, such as a fence that pauses guests: all timers have fired behind two turns.
    await turn()
    await turn()
  }

  /** Waits, until it is woken. */
  private doze(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        this.wake = undefined
        resolve()
      }
      const timer = setTimeout(done, Math.min(milliseconds, 0x7fff_ffff))
      this.wake = done
    })
  }
}
