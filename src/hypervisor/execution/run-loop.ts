/**
 * The run loop: a discrete-event machine with one or several physical CPUs. The CPU whose local time is earliest goes
 * on: due timers fire, its scheduler is asked when needed, and what it is to run runs for a slice.
 *
 * hot path: one pass for each slice, one inner pass for each exit.
 * Reference: xen/common/sched/core.c, schedule.
 */
import type { RunLimits, RunResult } from './run-limits.ts'
import type { HostClock } from '../time/host-clock.ts'
import type { Scheduler } from '../scheduler/index.ts'
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
  readonly scheduler: Scheduler<Vcpu>
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

  constructor(parts: RunLoopParts) {
    this.parts = parts
    this.isAlone = parts.cpus.isAlone
  }

  /** True within a run: while a listener is told of something, say. */
  get isRunning(): boolean {
    return this.running
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
    const { clock, timers, scheduler, cpus } = this.parts
    if (limits.at !== undefined) this.moveTo(limits.at)
    this.budget = limits.instructions ?? DEFAULT_INSTRUCTIONS
    this.until = limits.until ?? Infinity
    this.idleUntil = limits.idle === undefined ? Infinity : this.parts.clock.now() + limits.idle
    this.wantsTurn = false
    for (;;) {
      const cpu = cpus.earliest()
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
      if (cpu.current === undefined) {
        const result = this.idle(cpu)
        if (result !== undefined) return result
        continue
      }
      this.slice(cpu, cpu.current)
      if (this.wantsTurn) return TURN
    }
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
  private slice(cpu: PhysicalCpu, vcpu: Vcpu): void {
    const { clock, execution } = this.parts
    try {
      this.advance(cpu, vcpu)
    } catch (error) {
      this.parts.meter.end()
      this.parts.contain(vcpu, error)
    }
    if (!vcpu.isRunnable && !cpu.ask) execution.update(vcpu)
    vcpu.lastRun = clock.now()
    cpu.time = this.isAlone ? clock.now() : Math.max(clock.now(), cpu.time + 1)
  }

  private advance(cpu: PhysicalCpu, vcpu: Vcpu): void {
    const { clock, timers } = this.parts
    const horizon = Math.min(cpu.until, this.until, this.isAlone ? Infinity : this.parts.cpus.othersBusySince(cpu) + QUANTUM)
    if (clock.now() - vcpu.timeWritten >= TIME_RECORD_LIFETIME) this.parts.updateTime(vcpu)
    while (this.budget > 0 && !cpu.ask) {
      const deadline = Math.min(horizon, timers.next)
      const { guest } = vcpu
      if (guest === undefined || clock.now() >= deadline || !guest.deliver()) break
      const exit = guest.run(Math.min(this.budget, clock.instructionsUntil(deadline)))
      this.charge(guest.executed)
      this.handle(vcpu, guest, exit)
      if (this.wantsTurn) break
    }
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
