/**
 * A guest kernel in TypeScript: what a program runs on. It owns the domain's frames, ports, grants, timers, console and
 * XenStore connection, and reaches the hypervisor only through its hypercall port. Handlers run to completion, one
 * after another; promises are a convenience on top of them.
 */
import { SHUTDOWN, VIRQ } from '../abi/index.ts'
import type { HypercallPort, ShutdownReason } from '../abi/index.ts'
import { type DomId, type EventPort, type Quiescible, type Random, type RandomState, type Rewind, type Savable, sameFields } from '../util/index.ts'
import {
  anything, badState, callable, checkOptions, having, parseDuration, sameState, SeededRandom, thrownStack, thrownText, XenError, type Duration,
} from '../util/index.ts'
import type { Attachments } from './attachments.ts'
import { Balloon } from './balloon.ts'
import type { BootInfo, BootRing } from './boot-info.ts'
import { GuestConsole, type ConsoleServices } from './console.ts'
import { COST, MeteredPort } from './cost.ts'
import { EventChannels } from './event-channels.ts'
import type { LoopExit, LoopOrder } from './event-loop.ts'
import { EventLoop } from './event-loop.ts'
import { Grants } from './grants.ts'
import type { KernelState } from './kernel-state.ts'
import { FrameAllocator } from './pages.ts'
import { PendingEvents } from './pending-events.ts'
import { ShutdownControl, statedIn } from './shutdown-control.ts'
import { readSuspendRecord, writeSuspendRecord } from './suspend-record.ts'
import type { SuspendPages } from './suspend-record.ts'
import { statefulStore, type GuestStore } from './store.ts'
import { connectStoreRing, type StoreServices } from './store-client.ts'
import type { Timer } from './timers.ts'
import { Timers } from './timers.ts'

/**
 * A guest's program. It may register handlers and return, or run as an async function. When it returns the guest lives
 * on and serves its handlers, until it or the toolstack shuts it down.
 *
 * @example
 * const program: GuestProgram = async (kernel) => {
 *   kernel.console?.log(`hello from domain ${kernel.domid}`)
 *   await kernel.sleep(1e9)
 *   kernel.shutdown('poweroff')
 * }
 */
export type GuestProgram = (kernel: GuestKernel) => void | Promise<void>

/** What a kernel is made of. */
export interface KernelOptions {
  readonly boot: BootInfo
  readonly program: GuestProgram
  readonly random: Random
  /** Replaces the connection over the boot information's ring, as in dom0. */
  readonly store?: GuestStore | ((kernel: GuestKernel) => GuestStore)
  /** Who says what goes first of what is ready. */
  readonly order?: LoopOrder | undefined
  /** Hears of exceptions that guest code threw; the domain crashes, the host does not. */
  readonly onCrash?: (error: unknown) => void
  /** Goes on from what {@link GuestKernel.save} gave, with the boot information that `savedBoot` makes of it. */
  readonly saved?: KernelState
}

/** Nanoseconds after which grants that the other side still uses are looked at again. */
const ENDING_GRANTS_RETRY = 100_000_000

/** One guest kernel, from its boot to its end. */
export class GuestKernel implements Quiescible, Savable {
  readonly domid: DomId
  readonly boot: BootInfo
  readonly random: Random
  /** The hypercalls, each of which costs virtual time. */
  readonly hypercalls: HypercallPort
  readonly frames: FrameAllocator
  readonly events: EventChannels
  readonly grants: Grants
  /** The console; undefined in a domain without one. */
  readonly console: GuestConsole | undefined
  /** XenStore; undefined in a domain without it. */
  readonly store: GuestStore | undefined
  readonly balloon: Balloon
  /** Shutdown requests of the toolstack, and what is to happen before they are obeyed. */
  readonly control: ShutdownControl
  /** What the program gave to `control.saveState` before the domain was saved; undefined in a domain that is fresh. */
  readonly restoredState: unknown
  /**
   * Whether the domain goes on as it stood when its host was saved, with all its ports, timers, watches, grants and pages: the
   * program takes them up by {@link GuestKernel.attachments}, before it waits for anything, and does nothing else.
   *
   * @example
   * const program: GuestProgram = (kernel) => {
   *   const beat = (): void => { timer = kernel.after('1s', beat).keep() }
   *   let timer = kernel.isLoaded
   *     ? kernel.attachments.attachTimer((kernel.restoredState as { timer: number }).timer, beat)
   *     : kernel.after('1s', beat).keep()
   *   kernel.control.saveState(() => ({ timer: timer.order }))
   * }
   */
  readonly isLoaded: boolean
  private readonly metered: MeteredPort
  private readonly options: KernelOptions
  private readonly loop: EventLoop
  private readonly timers: Timers
  private readonly pending: PendingEvents
  private readonly wakePort: EventPort
  private readonly timerPort: EventPort
  /** Asynchronous work that has not ended. */
  private spawned = 0
  private ended: ShutdownReason | undefined
  private retryTimer: Timer | undefined
  private suspendPages: SuspendPages | undefined

  /** Boots the kernel over `port`; the program starts with {@link GuestKernel.start}. */
  constructor(hypercalls: HypercallPort, options: KernelOptions) {
    checkOptions('GuestKernel', options, {
      boot: anything, program: callable, random: having('next'), store: anything, onCrash: callable, saved: anything, order: anything,
    })
    const { boot, saved } = options
    this.options = options
    this.domid = hypercalls.domid
    this.boot = boot
    this.random = saved === undefined ? options.random : randomAt(saved.random)
    this.pending = new PendingEvents(hypercalls.memory, boot.sharedInfo)
    this.loop = new EventLoop({
      takePort: () => this.pending.take(),
      deliver: (pending) => this.events.deliver(pending),
      readyPorts: () => this.pending.ready(),
      takeThis: (port) => this.pending.clearPending(port),
      isDue: () => this.timers.isDue(),
      order: options.order,
      takeDue: () => this.timers.takeDue(),
      wake: () => this.hypercalls.sendEvent(this.wakePort),
      fail: (error) => this.crash(error),
    })
    this.hypercalls = this.metered = new MeteredPort(hypercalls, this.loop.charge)
    const reserved = [boot.store?.frame, boot.console?.frame, boot.startInfo].filter((frame) => frame !== undefined)
    this.frames = new FrameAllocator(hypercalls.memory, boot.frames, reserved)
    this.isLoaded = saved !== undefined
    this.restoredState = saved === undefined ? stateFromMemory(hypercalls, boot) : statedIn(saved.control)
    this.timers = new Timers(() => hypercalls.now(), (deadline) => this.hypercalls.setTimer(deadline))
    this.events = new EventChannels(this.hypercalls, {
      pending: this.pending, resolved: this.loop.turn, allocate: () => this.frames.allocate().frame,
    })
    this.grants = new Grants(this.hypercalls)
    if (saved !== undefined) this.loadParts(saved)
    const { events } = this
    const ignore = (): void => undefined
    this.timerPort = saved === undefined ? events.keep(events.bindVirq(VIRQ.TIMER, ignore)) : events.attach(saved.timerPort, ignore)
    this.wakePort = saved === undefined ? events.keep(events.bindIpi(ignore)) : events.attach(saved.wakePort, ignore)
    this.console = boot.console === undefined ? undefined : this.openConsole(boot.console)
    this.store = this.connectStore()
    this.balloon = new Balloon(this)
    this.control = new ShutdownControl(this)
    if (saved === undefined) this.loop.charge(COST.boot)
    else this.loadServices(saved)
  }

  /** Lets events in and starts the program. */
  start(): void {
    this.pending.enableUpcalls()
    if (this.store !== undefined) {
      this.spawn(() => this.control.start())
      this.spawn(() => this.balloon.start())
    }
    this.spawn(async () => this.options.program(this))
    this.turn()
  }

  /** Starts the program of a loaded kernel, which takes up what it had open. Throws INVALID_STATE when something is left over. */
  takeUp(): void {
    this.spawn(async () => this.options.program(this))
    this.checkAttached()
  }

  /** Host time in nanoseconds. */
  now(): number {
    return this.hypercalls.now()
  }

  /** Calls `handler` once, so long from now: nanoseconds, `'5ms'` or `{ milliseconds: 5 }`. Throws INVALID_ARGUMENT. */
  after(delay: Duration, handler: () => void): Timer {
    return this.timers.after(parseDuration(delay, 'delay'), handler)
  }

  /** Timers of programs that are set; those of services that go on in a loaded kernel are not among them. */
  get openTimers(): number {
    return this.timers.loose
  }

  /** Watches over its connection to XenStore that are of services, which take them up again in a loaded kernel. */
  get keptWatches(): number {
    return statefulStore(this.store)?.keptWatches() ?? 0
  }

  /** Resolves so long from now, written as for `after`. Rejects with INVALID_ARGUMENT. */
  sleep(delay: Duration): Promise<void> {
    return new Promise((resolve) => {
      this.after(delay, () => {
        this.turn()
        resolve()
      })
    })
  }

  /** Resolves with the next event on a port that has no handler. */
  event(port: EventPort): Promise<void> {
    return this.events.next(port)
  }

  /** Runs `task` in the guest, soon. The way in for code that is not the guest's own. */
  post(task: () => void): void {
    this.loop.post(task)
  }

  /** Runs an async function beside the program; if it rejects, the domain crashes. */
  spawn(work: () => Promise<void>): void {
    this.spawned += 1
    // A rejection of the guest's own work is the guest's crash, whenever it comes.
    new Promise<void>((resolve) => resolve(work())).catch((error: unknown) => this.crash(error)).finally(() => { this.spawned -= 1 })
  }

  /** Asks for a turn of JavaScript; needed by handlers that resolve promises of their own. */
  turn(): void {
    this.loop.turn()
  }

  /** Keeps virtual time from passing while this guest is idle, until the returned function is called. */
  hold(): () => void {
    return this.loop.hold()
  }

  /** Charges instructions to the guest, for work that is meant to take time. */
  spend(instructions: number): void {
    if (!(instructions >= 0)) throw new XenError('INVALID_ARGUMENT', `${instructions} instructions cannot be spent`)
    this.loop.charge(instructions)
  }

  /** Takes a grant back as soon as the other side lets go of the frame, and calls `ended` then. */
  endGrant(ref: Parameters<Grants['endWhenUnused']>[0], ended?: () => void): void {
    this.grants.endWhenUnused(ref, ended)
    this.retryEndingGrants()
  }

  /** Ends the domain, or suspends it. Nothing of the guest runs afterwards, unless a suspend is cancelled. */
  shutdown(reason: ShutdownReason): void {
    if (this.ended !== undefined) return
    this.ended = reason
    this.loop.stop()
    if (reason === 'suspend') this.leaveRecord()
    this.hypercalls.shutdown(SHUTDOWN[reason])
  }

  /** How the domain ended; undefined while it runs. */
  get shutdownReason(): ShutdownReason | undefined {
    return this.ended
  }

  /** Ends the domain as crashed and tells the host why. */
  crash(error: unknown): void {
    if (this.ended !== undefined) return
    const text = thrownStack(error) ?? thrownText(error)
    this.hypercalls.consoleWrite(new TextEncoder().encode(`domain ${this.domid} crashed: ${text}\n`))
    // Whoever hears of the end is to know the cause already.
    this.options.onCrash?.(error)
    this.shutdown('crash')
  }

  /** Runs handlers until nothing is left or the budget is spent. To be called by the runner. */
  run(budget: number): LoopExit {
    if (this.ended === 'suspend') this.resumeCancelled()
    return this.loop.run(budget)
  }

  /** The domain goes on without this kernel, as another: none of its hypercalls reaches it any more, they throw `why`. */
  retire(why: XenError): void {
    this.ended ??= 'poweroff'
    this.loop.stop()
    this.metered.retire(why)
  }

  /** Instructions that the last `run` cost. */
  get executed(): number {
    return this.loop.executed
  }

  // State

  /** What keeps the kernel from being saved as it stands now; undefined when nothing does. */
  underWay(): string | undefined {
    const { loop, timers, grants } = this
    if (this.ended !== undefined) return 'its end'
    return this.console?.underWay() ?? (this.spawned > 0 ? 'asynchronous work' : undefined)
      ?? loop.underWay() ?? statefulStore(this.store)?.underWay() ?? timers.underWay() ?? grants.underWay()
  }

  /** What of the kernel can never be saved: ports and watches of code that would not take them up, and the like. */
  unsavable(): string | undefined {
    const { events, grants, control } = this
    const store = statefulStore(this.store)
    if (store === undefined) return 'a connection of its own making'
    if (!(this.random instanceof SeededRandom)) return 'a source of chance of its own'
    // The number of a grant is known to those alone who made it: the program says it, or it is lost.
    const grant = grants.granted > 0 && !control.isStated ? 'a grant in force' : undefined
    return store.unsavable() ?? events.unsavable() ?? grant ?? control.unsavable()
  }

  /**
   * The kernel as plain data, without its memory. Throws INVALID_STATE while something is under way or can never be saved, and
   * NOT_SUPPORTED when the program cannot say its state.
   */
  save(): KernelState {
    const why = this.unsavable() ?? this.underWay()
    const store = statefulStore(this.store)
    if (why !== undefined || store === undefined || !(this.random instanceof SeededRandom)) {
      throw new XenError('INVALID_STATE', `domain ${this.domid} cannot be saved as it stands: ${why ?? 'it has no XenStore'}`)
    }
    return {
      ...this.savedBoot(), wakePort: this.wakePort, timerPort: this.timerPort, retry: this.retryTimer?.order,
      control: this.control.save(), console: this.console?.save(),
      random: this.random.save(), loop: this.loop.save(), pending: this.pending.save(), timers: this.timers.save(),
      ports: this.events.save(), frames: this.frames.save(), grants: this.grants.save(), balloon: this.balloon.save(),
      store: store.save(),
    }
  }

  /** Whether it is what it has saved, with nothing under way. */
  isAsSaved(state: KernelState): boolean {
    const store = statefulStore(this.store)
    const console = this.console === undefined ? state.console === undefined : state.console !== undefined && this.console.isAsSaved(state.console)
    return store !== undefined && console && this.random instanceof SeededRandom && this.random.isAsSaved(state.random)
      && state.wakePort === this.wakePort && state.timerPort === this.timerPort && state.retry === this.retryTimer?.order
      && this.loop.isAsSaved(state.loop) && this.pending.isAsSaved(state.pending) && this.timers.isAsSaved(state.timers)
      && this.control.isAsSaved(state.control) && this.events.isAsSaved(state.ports) && this.frames.isAsSaved(state.frames)
      && this.grants.isAsSaved(state.grants) && this.balloon.isAsSaved(state.balloon) && store.isAsSaved(state.store)
      && sameFields(state, this.savedBoot()) && this.unsavable() === undefined && this.underWay() === undefined
  }

  /** What brings it back in place to what it has saved, where its memory, ports, watches and timers are the same ones; see Stateful. */
  rewind(state: KernelState, now: KernelState): Rewind | undefined {
    const others = ({ loop: _, pending: __, random: ___, frames, timers, ...rest }: KernelState): unknown =>
      ({ ...rest, frames: frames.frames, timers: timers.timers })
    if (!sameState(others(state), others(now))) return undefined
    return () => {
      this.loop.load(state.loop)
      this.pending.load(state.pending)
      this.timers.bringBack(state.timers)
      this.frames.load(state.frames)
      if (this.random instanceof SeededRandom) this.random.load(state.random)
    }
  }

  /** How the owners of a loaded kernel's ports, timers, watches and mappings take them up again. */
  get attachments(): Attachments {
    return {
      attachPort: (port, handler) => this.events.attach(port, handler),
      attachTimer: (order, handler) => this.timers.attach(order, handler),
      attachWatch: (path, handler) => {
        const store = statefulStore(this.store)
        if (store === undefined) throw badState('the kernel has no connection to XenStore that was loaded')
        return store.attach(path, handler)
      },
      attachPage: (page) => this.grants.attach(page),
    }
  }

  /** Throws INVALID_STATE when something of a loaded kernel has not been attached: an event on it would be lost. */
  checkAttached(): void {
    const left = [
      ...this.events.unattached().map((port) => `port ${port}`), ...this.timers.unattached().map((order) => `timer ${order}`),
      ...(statefulStore(this.store)?.unattached() ?? []).map((path) => `the watch on ${path}`),
      ...(this.console?.unattached === true ? ['the input of its console'] : []),
      ...(this.control.unattached ? ['a hook for the shutdown'] : []),
    ]
    if (left.length > 0) throw badState(`nobody owns ${left.join(', ')}`)
  }

  private savedBoot(): Pick<KernelState, 'sharedInfo' | 'commandLine' | 'startInfo' | 'storeRing' | 'consoleRing'> {
    const { sharedInfo, commandLine, startInfo, store, console } = this.boot
    const ring = (given: BootRing | undefined) => given && { frame: given.frame, port: given.port }
    return { sharedInfo, commandLine, startInfo, storeRing: ring(store), consoleRing: ring(console) }
  }

  /** Takes over what the constructor's own calls depend on. */
  private loadParts(saved: KernelState): void {
    this.loop.load(saved.loop)
    this.pending.load(saved.pending)
    this.timers.load(saved.timers)
    this.events.load(saved.ports)
    this.frames.load(saved.frames)
    this.grants.load(saved.grants)
  }

  private loadServices(saved: KernelState): void {
    const store = statefulStore(this.store)
    if (store === undefined) throw badState('the kernel has no connection to XenStore that can be loaded')
    store.load(saved.store)
    this.balloon.load(saved.balloon, this.attachments)
    this.control.load(saved.control, this.attachments)
    if ((saved.console === undefined) !== (this.console === undefined)) throw badState('it has a console where there is none')
    if (saved.console !== undefined) this.console?.load(saved.console)
    if (saved.retry !== undefined) this.retryTimer = this.timers.attach(saved.retry, this.onRetry)
  }

  // Ends

  /** The domain runs on after SHUTDOWN_suspend: the suspend was cancelled, everything is as it was. */
  private resumeCancelled(): void {
    this.ended = undefined
    this.suspendPages?.release()
    this.suspendPages = undefined
    this.loop.resume()
    this.timers.rearm()
    this.control.resumed()
  }

  /** Leaves state and frame list for the toolstack. A guest that cannot is not saved; it says why and goes on. */
  private leaveRecord(): void {
    const { sharedInfo, startInfo } = this.boot
    if (startInfo === undefined) return
    try {
      const facts = { memory: this.hypercalls.memory, frames: this.frames, sharedInfo, startInfo }
      this.suspendPages = writeSuspendRecord(facts, this.control.state())
    } catch (error) {
      this.hypercalls.consoleWrite(new TextEncoder().encode(`domain ${this.domid} cannot be saved: ${thrownText(error)}\n`))
    }
  }

  private connectStore(): GuestStore | undefined {
    const { store } = this.options
    if (store !== undefined) return typeof store === 'function' ? store(this) : store
    const ring = this.boot.store
    if (ring === undefined) return undefined
    return connectStoreRing(this.frames.page(ring.frame), ring, this.ringServices())
  }

  private openConsole(ring: NonNullable<BootInfo['console']>): GuestConsole {
    return new GuestConsole(this.frames.page(ring.frame), ring.port, this.ringServices())
  }

  /** What the rings of the boot information need; in a loaded kernel their ports are open, and are taken up. */
  private ringServices(): StoreServices & ConsoleServices {
    const { events } = this
    return {
      listen: (port, handler) => (this.isLoaded ? events.attach(port, handler) : events.keep(events.listen(port, handler))),
      notify: (port) => events.notify(port),
      turn: this.loop.turn,
    }
  }

  private retryEndingGrants(): void {
    if (this.grants.retryEnding() === 0 || this.retryTimer !== undefined) return
    this.retryTimer = this.after(ENDING_GRANTS_RETRY, this.onRetry).keep()
  }

  private readonly onRetry = (): void => {
    this.retryTimer = undefined
    this.retryEndingGrants()
  }
}

/** What the program of a domain that was restored from a stream has left in its memory. */
const stateFromMemory = ({ memory }: HypercallPort, { restored, startInfo, frames }: BootInfo): unknown =>
  (restored === true && startInfo !== undefined ? readSuspendRecord(memory, startInfo, frames) : undefined)

/** A source of chance that goes on from a saved position. */
function randomAt(position: RandomState): SeededRandom {
  const random = new SeededRandom(0)
  random.load(position)
  return random
}
