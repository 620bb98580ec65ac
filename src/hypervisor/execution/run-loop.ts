/**
 * The run loop: a discrete-event machine with one or several physical CPUs. The CPU whose local time is earliest goes
 * on: due timers fire, its scheduler is asked when needed, and what it is to run runs for a slice.
 *
 * hot path: one pass for each slice, one inner pass for each exit.
 * Reference: xen/common/sched/core.c, sched_context_switch; xen/arch/x86/domain.c, update_runstate_area.
 */
import { RUNSTATE, VMASST_TYPE } from '../../abi/index.ts'
import { type EventHub, type StateOf, type Stateful, badState, shape } from '../../util/index.ts'
import type { RunLimits, RunResult } from './run-limits.ts'
import type { HostClock } from '../time/host-clock.ts'
import type { HypervisorEvent } from '../hypervisor-events.ts'
import type { PvExits } from '../guests/pv/pv-exits.ts'
import type { Scheduler } from '../scheduler/index.ts'
import { TIME_RECORD_LIFETIME, type TimerQueue, writeRunstateArea } from '../time/index.ts'
import type { VcpuExecution } from './vcpu-execution.ts'
import { restingState } from './vcpu-execution.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { VcpuExit } from '../domains/vcpu-runner.ts'
import type { WorkMeter } from '../time/work-meter.ts'

/** What the loop drives. */
export interface RunLoopParts {
  readonly clock: HostClock
  readonly timers: TimerQueue
  readonly scheduler: Scheduler<Vcpu>
  readonly execution: VcpuExecution
  readonly exits: PvExits
  readonly hub: EventHub<HypervisorEvent>
  readonly meter: WorkMeter
  /** A vCPU by its numbers. */
  vcpuOf(domid: number, vcpu: number): Vcpu | undefined
  /** Writes the vCPU's time record now. */
  updateTime(vcpu: Vcpu): void
  /** An error was thrown on behalf of a vCPU: crashes its domain, or throws. */
  contain(vcpu: Vcpu, error: unknown): void
}

/** What a saved run loop looks like: for each physical CPU its local time, when it asks at the latest, and what it runs. */
export const runLoopShape = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
  time: shape.time, until: /* @__PURE__ */ shape.real(0, Infinity), ask: shape.flag,
  current: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record({ domid: shape.word, vcpu: shape.word })),
}))

/** A run loop between two runs, as plain data. */
export type RunLoopState = StateOf<typeof runLoopShape>

/** One physical CPU of the model. */
interface PhysicalCpu {
  readonly id: number
  /** Its local time. */
  time: number
  /** When it asks its scheduler at the latest. */
  until: number
  current: Vcpu | undefined
  /** Something has changed: ask the scheduler before going on. */
  ask: boolean
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
export class RunLoop implements Stateful<RunLoopState> {
  private readonly parts: RunLoopParts
  private readonly cpus: PhysicalCpu[]
  private readonly isAlone: boolean
  /** Instructions and limits of the present `run`. */
  private budget = 0
  private until = Infinity
  /** Host time to which an idle host moves in the present `run` at most. */
  private idleUntil = Infinity
  private wantsTurn = false

  constructor(parts: RunLoopParts) {
    this.parts = parts
    const count = parts.scheduler.cpuCount
    this.cpus = Array.from({ length: count }, (_, id) => ({
      id, time: parts.clock.now(), until: 0, current: undefined, ask: true,
    }))
    this.isAlone = count === 1
  }

  /** Makes a CPU ask its scheduler before it goes on. An idle one joins in at the present time. */
  reschedule(id: number): void {
    const cpu = this.cpus[id]
    if (cpu === undefined) return
    cpu.ask = true
    if (cpu.current === undefined) cpu.time = this.parts.clock.now()
  }

  /** Runs until a limit, or until there is nothing to do. */
  run(limits: RunLimits = {}): RunResult {
    const { clock, timers, scheduler } = this.parts
    this.budget = limits.instructions ?? DEFAULT_INSTRUCTIONS
    this.until = limits.until ?? Infinity
    this.idleUntil = limits.idle === undefined ? Infinity : this.parts.clock.now() + limits.idle
    this.wantsTurn = false
    for (;;) {
      const cpu = this.earliest()
      if (!this.isAlone) clock.set(cpu.time)
      const now = clock.now()
      if (now >= this.until || this.budget <= 0) return LIMIT
      // Timers of a domain whose vCPUs all sleep must not keep the host in here.
      this.budget -= timers.run(now) * EXIT_COST
      if (cpu.ask || now >= cpu.until) {
        cpu.ask = false
        const decision = scheduler.schedule(cpu.id, now)
        cpu.until = decision.until
        this.switchTo(cpu, decision.vcpu)
        this.reschedule(decision.alsoAsk)
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

  save(): RunLoopState {
    return this.cpus.map(({ time, until, ask, current }) => (
      { time, until, ask, current: current === undefined ? undefined : { domid: current.domid, vcpu: current.vcpu } }
    ))
  }

  /** The vCPUs have been loaded. */
  load(state: RunLoopState): void {
    if (state.length !== this.cpus.length) throw badState(`it has ${state.length} physical CPUs`)
    const running = state.map(({ current }) => (current === undefined ? undefined : this.parts.vcpuOf(current.domid, current.vcpu)))
    const busy = running.filter((vcpu) => vcpu !== undefined)
    const isSound = new Set(busy).size === busy.length && busy.length === state.filter(({ current }) => current !== undefined).length
    if (!isSound) throw badState('a CPU runs what does not exist or runs elsewhere')
    this.cpus.forEach((cpu, i) => {
      const { time, until, ask } = state[i]!
      Object.assign(cpu, { time, until, ask, current: running[i] })
      if (running[i] !== undefined) running[i].runningOn = i
    })
  }

  /** Takes a vCPU off its CPU for good: its domain goes away. */
  forget(vcpu: Vcpu): void {
    for (const cpu of this.cpus) {
      if (cpu.current !== vcpu) continue
      this.switchTo(cpu, undefined)
      cpu.ask = true
    }
  }

  private earliest(): PhysicalCpu {
    let first = this.cpus[0]!
    for (const cpu of this.cpus) if (cpu.time < first.time) first = cpu
    return first
  }

  /** Earliest local time of the other CPUs that run something; Infinity when none does. */
  private othersBusySince(self: PhysicalCpu): number {
    let time = Infinity
    for (const cpu of this.cpus) if (cpu !== self && cpu.current !== undefined && cpu.time < time) time = cpu.time
    return time
  }

  /** Local time of the earliest other CPU that has something to ask its scheduler; Infinity when none has. */
  private earliestAsking(self: PhysicalCpu): number {
    let time = Infinity
    for (const cpu of this.cpus) if (cpu !== self && (cpu.ask || cpu.time < self.time)) time = Math.min(time, cpu.time)
    return time
  }

  /** An idle CPU's time passes; a result when the whole host has nothing to do. */
  private idle(cpu: PhysicalCpu): RunResult | undefined {
    const { clock, timers } = this.parts
    const busy = this.othersBusySince(cpu)
    const next = Math.min(timers.next, cpu.until)
    if (busy !== Infinity) {
      cpu.time = Math.max(cpu.time + 1, Math.min(next, busy + QUANTUM))
      return undefined
    }
    const asking = this.earliestAsking(cpu)
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
    for (const other of this.cpus) other.time = Math.max(other.time, clock.now())
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
    const horizon = Math.min(cpu.until, this.until, this.isAlone ? Infinity : this.othersBusySince(cpu) + QUANTUM)
    if (clock.now() - vcpu.timeWritten >= TIME_RECORD_LIFETIME) this.parts.updateTime(vcpu)
    while (this.budget > 0 && !cpu.ask) {
      const deadline = Math.min(horizon, timers.next)
      if (clock.now() >= deadline || !this.deliver(vcpu)) break
      const { runner } = vcpu
      if (runner === undefined) break
      const exit = runner.run(Math.min(this.budget, clock.instructionsUntil(deadline)))
      this.charge(runner.executed)
      this.handle(vcpu, exit)
      if (this.wantsTurn) break
    }
  }

  private charge(instructions: number): void {
    this.parts.clock.charge(instructions)
    this.budget -= instructions
  }

  private handle(vcpu: Vcpu, exit: VcpuExit): void {
    switch (exit.kind) {
      case 'budget':
        // A runner that has done nothing must not stop the clock.
        if (vcpu.runner?.executed === 0) this.charge(1)
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
        this.parts.exits.handle(vcpu, exit)
        this.charge(this.parts.meter.end())
    }
  }

  /** Enters the guest's callbacks where something waits for it; false when the domain has crashed of it. */
  private deliver(vcpu: Vcpu): boolean {
    const { pv, runner } = vcpu
    const { execution } = this.parts
    if (pv !== undefined && pv.nmiPending && !pv.nmiMasked) {
      pv.nmiPending = false
      if (pv.trapLow[2] !== 0 || pv.trapHigh[2] !== 0) {
        if (runner?.enter({ kind: 'nmi' }) !== true) return this.crash(vcpu, 'no stack for an NMI')
        pv.nmiMasked = true
      }
    }
    if (!execution.hasUpcall(vcpu)) return true
    const { hub } = this.parts
    if (hub.wants('upcall')) hub.emit({ type: 'upcall', domid: vcpu.domid, vcpu: vcpu.vcpu })
    return runner?.enter({ kind: 'event' }) === true || this.crash(vcpu, 'no event callback or no stack for it')
  }

  private crash(vcpu: Vcpu, reason: string): boolean {
    this.parts.execution.crash(vcpu, reason)
    return false
  }

  private switchTo(cpu: PhysicalCpu, next: Vcpu | undefined): void {
    const before = cpu.current
    if (before === next) return
    const { clock, hub } = this.parts
    if (before !== undefined) this.switchOut(before)
    cpu.current = next
    if (next === undefined) return
    // A vCPU that comes from a CPU whose time is ahead does not go back in time.
    if (!this.isAlone && next.lastRun > cpu.time) {
      cpu.time = next.lastRun
      clock.set(cpu.time)
    }
    this.switchIn(cpu, next)
    if (hub.wants('schedule')) hub.emit({ type: 'schedule', domid: next.domid, vcpu: next.vcpu, action: 'switch' })
  }

  private switchOut(vcpu: Vcpu): void {
    vcpu.runningOn = -1
    vcpu.timers.switchOut()
    if (vcpu.runstate.change(restingState(vcpu), this.parts.clock.now())) this.writeRunstate(vcpu)
  }

  private switchIn(cpu: PhysicalCpu, vcpu: Vcpu): void {
    const now = this.parts.clock.now()
    vcpu.runningOn = cpu.id
    vcpu.lastCpu = cpu.id
    vcpu.runstate.change(RUNSTATE.running, now)
    vcpu.timers.switchIn(now)
    this.parts.updateTime(vcpu)
    this.writeRunstate(vcpu)
  }

  /** Renews the guest's copy of its run state, where it has registered one. */
  private writeRunstate(vcpu: Vcpu): void {
    const area = vcpu.runstateArea
    if (area === undefined) return
    const announce = vcpu.owner.hasAssist(VMASST_TYPE.runstate_update_flag)
    writeRunstateArea(vcpu.runstate.save(), (offset, bytes) => vcpu.kernelAccess.write(area + offset, bytes), announce)
  }
}
