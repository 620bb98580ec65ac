/**
 * The run loop: a discrete-event machine with one or several physical CPUs. The CPU whose local time is earliest goes
 * on: due timers fire, its scheduler is asked when needed, and what it is to run runs for a slice.
 *
 * hot path: one pass for each slice, one inner pass for each exit.
 * Reference: xen/common/sched/core.c, schedule.
 */
import { FRACTION } from '../../util/index.ts'
import type { RunLimits, RunResult, StandingRun } from './run-limits.ts'
import type { HostClock } from '../time/host-clock.ts'
import type { VcpuScheduling } from '../scheduler/index.ts'
import { TIME_RECORD_LIFETIME, type TimerQueue } from '../time/index.ts'
import type { PhysicalCpu, PhysicalCpus } from './physical-cpus.ts'
import type { VcpuExecution } from './vcpu-execution.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { GuestVcpu } from '../domains/guest-vcpu.ts'
import type { VcpuExit } from '../domains/vcpu-runner.ts'
import type { WorkMeter } from '../time/work-meter.ts'

/** What the loop drives. */
export interface RunLoopParts {
  readonly clock: HostClock
  readonly timers: TimerQueue
  readonly scheduler: VcpuScheduling<Vcpu>
  readonly cpus: PhysicalCpus
  readonly execution: VcpuExecution
  readonly meter: WorkMeter
  /** Writes the vCPU's time record now. */
  updateTime(vcpu: Vcpu): void
  /** An error was thrown on behalf of a vCPU: crashes its domain, or throws. */
  contain(vcpu: Vcpu, error: unknown): void
}

/** Instructions of one run unless told otherwise. */
const DEFAULT_INSTRUCTIONS = 1_000_000
/** How far a CPU may run ahead of the others, in nanoseconds. */
const QUANTUM = 50_000
/** Virtual cost of an exit, in instructions: about what entering and leaving Xen takes. */
const EXIT_COST = 100

/**
 * Time beyond which an idle host does not jump: nanoseconds stay exact below 2^53. What is due later never comes.
 */
const LAST_TIME = 2 ** 52
/**
 * How far ahead a timer may be that an idle host jumps to: 13 days, where Xen takes a guest's deadline for a wrapped
 * counter (do_set_timer_op). Every kind of timer lies in the one queue, so that this holds for all. A timer further ahead
 * moves nobody's clock; it fires when time gets there for another reason.
 */
const FARTHEST_JUMP = 2 ** 50

const LIMIT: RunResult = /* @__PURE__ */ Object.freeze({ kind: 'limit' })
const IDLE: RunResult = /* @__PURE__ */ Object.freeze({ kind: 'idle' })
const TURN: RunResult = /* @__PURE__ */ Object.freeze({ kind: 'turn' })

/** Where a run stands. */
interface Standing {
  readonly cpu: PhysicalCpu
  readonly vcpu: Vcpu
  /** What is left of the guest's own run. */
  readonly rest: number
  readonly result: StandingRun
}

/** Runs the vCPUs of a host. */
export class RunLoop {
  private readonly parts: RunLoopParts
  private readonly isAlone: boolean
  /** Instructions and limits of the present `run`. */
  private budget = 0
  private until = Infinity
  /** Host time to which an idle host moves in the present `run` at most. */
  private idleUntil = Infinity
  private wantsTurn = false
  private running = false
  /** Instructions that guests have executed, and after how many more the present run stands. */
  private done = FRACTION
  private left = Infinity
  private stands = false
  private standing: Standing | undefined

  constructor(parts: RunLoopParts) {
    this.parts = parts
    this.isAlone = parts.cpus.isAlone
    this.done = 0
  }

  /** True within a run: while a listener is told of something, say. */
  get isRunning(): boolean {
    return this.running
  }

  /** True while a run stands in its midst. */
  get isStanding(): boolean {
    return this.standing !== undefined
  }

  /** Instructions that guests have executed since it was made. */
  get executed(): number {
    return this.done
  }

  /** The run that stands does not go on: the host is brought to another state. */
  abandon(): void {
    this.standing = undefined
  }

  /** Runs until a limit, or until there is nothing to do. */
  run(limits: RunLimits = {}): RunResult {
    const wasRunning = this.running
    this.running = true
    try {
      return this.runWithin(limits)
    } finally {
      this.running = wasRunning
    }
  }

  private runWithin(limits: RunLimits): RunResult {
    this.stands = limits.stand !== undefined
    this.left = limits.stand ?? Infinity
    if (this.standing === undefined) this.begin(limits)
    for (;;) {
      const result = this.standing === undefined ? this.pass() : this.goOn(this.standing)
      if (result !== undefined) return result
    }
  }

  private begin(limits: RunLimits): void {
    if (limits.at !== undefined) this.moveTo(limits.at)
    this.budget = limits.instructions ?? DEFAULT_INSTRUCTIONS
    this.until = limits.until ?? Infinity
    this.idleUntil = limits.idle === undefined ? Infinity : this.parts.clock.now() + limits.idle
    this.wantsTurn = false
  }

  /** The CPU that is furthest behind goes on; a result when the run is over. */
  private pass(): RunResult | undefined {
    const { clock, timers, scheduler, cpus } = this.parts
    const cpu = cpus.earliest()
    cpus.executing = cpu.id
    if (!this.isAlone) clock.set(cpu.time)
    const now = clock.now()
    if (now >= this.until || this.budget <= 0) return LIMIT
    // Timers of a domain whose vCPUs all sleep must not keep the host in here.
    this.budget -= timers.run(now) * EXIT_COST
    if (cpu.ask || now >= cpu.until) {
      cpu.ask = false
      const decision = scheduler.schedule(cpu.id, now)
      cpu.until = decision.until
      cpus.switchTo(cpu, decision.vcpu)
      cpus.reschedule(decision.alsoAsk)
    }
    if (cpu.current === undefined) return this.idle(cpu)
    return this.slice(cpu, cpu.current)
  }

  /** Goes on where the run stands, unless what was done to the host meanwhile keeps the vCPU from running. */
  private goOn({ cpu, vcpu, rest }: Standing): RunResult | undefined {
    this.standing = undefined
    if (cpu.current !== vcpu || !vcpu.isRunnable || cpu.ask) return undefined
    return this.slice(cpu, vcpu, rest)
  }

  /** Time has passed outside, on all CPUs alike. */
  private moveTo(time: number): void {
    const { clock, cpus } = this.parts
    if (time > clock.now()) clock.set(time)
    cpus.advanceTo(time)
  }

  /** An idle CPU's time passes; a result when the whole host has nothing to do. */
  private idle(cpu: PhysicalCpu): RunResult | undefined {
    const { clock, timers } = this.parts
    const busy = this.parts.cpus.othersBusySince(cpu)
    const next = Math.min(timers.next, cpu.until)
    if (busy !== Infinity) {
      cpu.time = Math.max(cpu.time + 1, Math.min(next, busy + QUANTUM))
      return undefined
    }
    const asking = this.parts.cpus.earliestAsking(cpu)
    if (asking !== Infinity) {
      cpu.time = Math.max(cpu.time + 1, Math.min(asking, next))
      return undefined
    }
    const target = Math.min(next, this.until)
    const isTooFar = this.until === Infinity && target - clock.now() > FARTHEST_JUMP
    if (target > LAST_TIME || isTooFar) return IDLE
    // Whoever waits for a time is taken there at once; sleeping guests take the clock on step by step.
    const step = next > this.until ? target : Math.min(target, this.idleUntil)
    if (!clock.skipTo(step)) return { kind: 'wait', deadline: target }
    this.parts.cpus.advanceTo(clock.now())
    return step < target ? LIMIT : undefined
  }

  /** Runs the CPU's vCPU until its slice is over or it has something else to do. */
  private slice(cpu: PhysicalCpu, vcpu: Vcpu, rest = -1): RunResult | undefined {
    const { clock, execution } = this.parts
    try {
      this.advance(cpu, vcpu, rest)
      if (this.standing !== undefined) return (this.standing as Standing).result
    } catch (error) {
      this.parts.meter.end()
      this.parts.contain(vcpu, error)
    }
    if (!vcpu.isRunnable && !cpu.ask) execution.update(vcpu)
    vcpu.lastRun = clock.now()
    cpu.time = this.isAlone ? clock.now() : Math.max(clock.now(), cpu.time + 1)
    return this.wantsTurn ? TURN : undefined
  }

  /** `rest`: what is left of a guest's run that stood; below 0 where none did. */
  private advance(cpu: PhysicalCpu, vcpu: Vcpu, rest: number): void {
    const { clock, timers } = this.parts
    const horizon = Math.min(cpu.until, this.until, this.isAlone ? Infinity : this.parts.cpus.othersBusySince(cpu) + QUANTUM)
    if (rest < 0 && clock.now() - vcpu.timeWritten >= TIME_RECORD_LIFETIME) this.parts.updateTime(vcpu)
    let some = rest
    while (this.budget > 0 && !cpu.ask) {
      const { guest } = vcpu
      if (guest === undefined) break
      if (some <= 0) {
        const deadline = Math.min(horizon, timers.next)
        if (clock.now() >= deadline || !guest.deliver()) break
        some = Math.min(this.budget, clock.instructionsUntil(deadline))
      }
      // Guests in TypeScript have no instructions between which to stand.
      const canStand = this.stands && guest.context !== undefined
      if (canStand && this.left <= 0) return this.stand(cpu, vcpu, { rest: some, isStopped: false })
      const exit = guest.run(canStand ? Math.min(some, this.left) : some)
      const { executed } = guest
      this.charge(executed)
      this.done += executed
      this.left -= executed
      some -= executed
      if (canStand && this.standsAt(exit, some)) return this.stand(cpu, vcpu, { rest: some, isStopped: exit.kind === 'stopped' })
      some = 0
      this.handle(vcpu, guest, exit)
      if (this.wantsTurn) break
    }
  }

  /** Whether a guest's run, of which so much is left, ended only because the run stands there. */
  private standsAt({ kind }: VcpuExit, rest: number): boolean {
    return kind === 'stopped' || (kind === 'budget' && this.left <= 0 && rest > 0)
  }

  private stand(cpu: PhysicalCpu, vcpu: Vcpu, { rest, isStopped }: { readonly rest: number; readonly isStopped: boolean }): void {
    this.standing = { cpu, vcpu, rest: Math.max(0, rest), result: { kind: 'standing', domid: vcpu.domid, vcpu: vcpu.vcpu, isStopped } }
  }

  private charge(instructions: number): void {
    this.parts.clock.charge(instructions)
    this.budget -= instructions
  }

  private handle(vcpu: Vcpu, guest: GuestVcpu, exit: VcpuExit): void {
    switch (exit.kind) {
      case 'budget':
        // A runner that has done nothing must not stop the clock.
        if (guest.executed === 0) this.charge(1)
        return
      case 'block':
        this.parts.execution.rest(vcpu)
        if (!vcpu.blocked) this.charge(1)
        return
      case 'turn':
        this.wantsTurn = true
        return
      case 'stopped':
        this.parts.execution.stopForTrace(vcpu)
        return
      default:
        this.charge(EXIT_COST)
        this.parts.meter.begin()
        guest.handle(exit)
        this.charge(this.parts.meter.end())
    }
  }
}
