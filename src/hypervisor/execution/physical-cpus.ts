/**
 * The physical CPUs of the model: what each runs, its local time, and what happens when it changes to another vCPU.
 *
 * hot path: a change for each slice.
 * Reference: xen/common/sched/core.c, sched_context_switch; xen/arch/x86/domain.c, update_runstate_area.
 */
import { RUNSTATE, VMASST_TYPE } from '../../abi/index.ts'
import { type EventHub, FRACTION, type Interest, type Rewind, type StateOf, type Stateful, badState, shape } from '../../util/index.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { HypervisorEvent, VcpuName } from '../hypervisor-events.ts'
import type { HostClock } from '../time/host-clock.ts'
import { writeRunstateArea, type Runstate } from '../time/index.ts'

/** What saved physical CPUs look like: for each its local time, when it asks at the latest, and what it runs. */
export const physicalCpusShape = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
  time: shape.time, until: /* @__PURE__ */ shape.real(0, Infinity), ask: shape.flag,
  current: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record({ domid: shape.word, vcpu: shape.word })),
}))

/** Physical CPUs between two runs, as plain data. */
export type PhysicalCpusState = StateOf<typeof physicalCpusShape>

/** One physical CPU of the model. */
export interface PhysicalCpu {
  readonly id: number
  /** Its local time. */
  time: number
  /** When it asks its scheduler at the latest. */
  until: number
  current: Vcpu | undefined
  /** Something has changed: ask the scheduler before going on. */
  ask: boolean
}

/** What physical CPUs work on. */
export interface PhysicalCpuParts {
  readonly clock: HostClock
  readonly hub: EventHub<HypervisorEvent>
  readonly count: number
  /** A vCPU by its numbers. */
  vcpuOf(domid: number, vcpu: number): Vcpu | undefined
  /** Writes the vCPU's time record now. */
  updateTime(vcpu: Vcpu): void
}

/** All physical CPUs of a host. */
export class PhysicalCpus implements Stateful<PhysicalCpusState> {
  private readonly parts: PhysicalCpuParts
  private readonly cpus: PhysicalCpu[]
  /** In what a switch tells of, and in run states. */
  private readonly switches: Interest
  private readonly runstates: Interest
  /** There is only one. */
  readonly isAlone: boolean
  /** The one whose turn it is, or was last. */
  executing = 0

  constructor(parts: PhysicalCpuParts) {
    this.parts = parts
    this.switches = parts.hub.interest('schedule', 'cpu-switch')
    this.runstates = parts.hub.interest('runstate')
    this.cpus = Array.from({ length: parts.count }, (_, id) => ({ id, time: FRACTION, until: FRACTION, current: undefined, ask: true }))
    for (const cpu of this.cpus) {
      cpu.time = parts.clock.now()
      cpu.until = 0
    }
    this.isAlone = parts.count === 1
  }

  /** How many there are. */
  get count(): number {
    return this.cpus.length
  }

  /** What runs on one; undefined while it is idle. */
  running(id: number): Vcpu | undefined {
    return this.cpus[id]?.current
  }

  /** Makes a CPU ask its scheduler before it goes on. An idle one joins in at the present time. */
  reschedule(id: number): void {
    const cpu = this.cpus[id]
    if (cpu === undefined) return
    cpu.ask = true
    if (cpu.current === undefined) cpu.time = this.parts.clock.now()
  }

  /** Takes a vCPU off its CPU for good: its domain goes away. */
  forget(vcpu: Vcpu): void {
    for (const cpu of this.cpus) {
      if (cpu.current !== vcpu) continue
      this.switchTo(cpu, undefined)
      cpu.ask = true
    }
  }

  /** Takes what runs off a CPU, which asks its scheduler before it goes on. */
  vacate(id: number): void {
    this.switchTo(this.cpus[id]!, undefined)
    this.reschedule(id)
  }

  /** The CPU whose local time is earliest. */
  earliest(): PhysicalCpu {
    let first = this.cpus[0]!
    for (const cpu of this.cpus) if (cpu.time < first.time) first = cpu
    return first
  }

  /** Earliest local time of the other CPUs that run something; Infinity when none does. */
  othersBusySince(self: PhysicalCpu): number {
    let time = Infinity
    for (const cpu of this.cpus) if (cpu !== self && cpu.current !== undefined && cpu.time < time) time = cpu.time
    return time
  }

  /** Local time of the earliest other CPU that has something to ask its scheduler; Infinity when none has. */
  earliestAsking(self: PhysicalCpu): number {
    let time = Infinity
    for (const cpu of this.cpus) if (cpu !== self && (cpu.ask || cpu.time < self.time)) time = Math.min(time, cpu.time)
    return time
  }

  /** No CPU's local time lies before `time` any more. */
  advanceTo(time: number): void {
    for (const cpu of this.cpus) cpu.time = Math.max(cpu.time, time)
  }

  save(): PhysicalCpusState {
    return this.cpus.map(({ time, until, ask, current }) => (
      { time, until, ask, current: current === undefined ? undefined : { domid: current.domid, vcpu: current.vcpu } }
    ))
  }

  isAsSaved(state: PhysicalCpusState): boolean {
    return state.length === this.cpus.length && this.cpus.every(({ time, until, ask, current }, i) => {
      const saved = state[i]!
      return time === saved.time && until === saved.until && ask === saved.ask
        && current?.domid === saved.current?.domid && current?.vcpu === saved.current?.vcpu
    })
  }

  /** The vCPUs have been loaded. */
  load(state: PhysicalCpusState): void {
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

  /** The vCPUs have been brought back; none of them runs where it ran. */
  rewind(state: PhysicalCpusState): Rewind {
    return () => {
      for (const { current } of this.cpus) if (current !== undefined) current.runningOn = -1
      this.load(state)
    }
  }

  /** Changes to another vCPU, or to none. */
  switchTo(cpu: PhysicalCpu, next: Vcpu | undefined): void {
    const before = cpu.current
    if (before === next) return
    if (before !== undefined) this.switchOut(before)
    cpu.current = next
    if (next !== undefined) this.arrive(cpu, next)
    if (this.switches.isThere) this.tellSwitch(cpu.id, before, next)
  }

  private arrive(cpu: PhysicalCpu, next: Vcpu): void {
    const { clock } = this.parts
    // A vCPU that comes from a CPU whose time is ahead does not go back in time.
    if (!this.isAlone && next.lastRun > cpu.time) {
      cpu.time = next.lastRun
      clock.set(cpu.time)
    }
    this.switchIn(cpu, next)
  }

  private tellSwitch(cpu: number, before: Vcpu | undefined, next: Vcpu | undefined): void {
    const { hub } = this.parts
    if (next !== undefined && hub.wants('schedule')) hub.emit({ type: 'schedule', domid: next.domid, vcpu: next.vcpu, action: 'switch' })
    if (hub.wants('cpu-switch')) hub.emit({ type: 'cpu-switch', cpu, from: before && nameOf(before), to: next && nameOf(next) })
  }

  private switchOut(vcpu: Vcpu): void {
    vcpu.runningOn = -1
    vcpu.timers.switchOut()
    if (this.changeRunstate(vcpu, restingState(vcpu))) this.writeRunstate(vcpu)
  }

  private switchIn(cpu: PhysicalCpu, vcpu: Vcpu): void {
    const now = this.parts.clock.now()
    vcpu.runningOn = cpu.id
    vcpu.lastCpu = cpu.id
    this.changeRunstate(vcpu, RUNSTATE.running)
    vcpu.timers.switchIn(now)
    this.parts.updateTime(vcpu)
    this.writeRunstate(vcpu)
  }

  /** Has a vCPU enter a run state now, and tells of it; staying in it is no change. True when it has changed. */
  changeRunstate({ runstate, domid, vcpu }: Vcpu, to: Runstate): boolean {
    const from = runstate.state
    if (!runstate.change(to, this.parts.clock.now())) return false
    if (this.runstates.isThere) this.parts.hub.emit({ type: 'runstate', domid, vcpu, from, to })
    return true
  }

  /** Renews the guest's copy of its run state, where it has registered one. */
  private writeRunstate(vcpu: Vcpu): void {
    const area = vcpu.runstateArea
    if (area === undefined) return
    const announce = vcpu.owner.hasAssist(VMASST_TYPE.runstate_update_flag)
    const { abi } = vcpu.owner
    writeRunstateArea(vcpu.runstate.save(), { abi, announce, write: (offset, bytes) => vcpu.kernelAccess.write(area + offset, bytes) })
  }
}

const nameOf = ({ domid, vcpu }: Vcpu): VcpuName => ({ domid, vcpu })

/** Run state of a vCPU that is on no CPU. */
export function restingState(vcpu: Vcpu): 0 | 1 | 2 | 3 {
  if (vcpu.isRunnable) return RUNSTATE.runnable
  const isBlocked = vcpu.online && vcpu.blocked && vcpu.pauseCount === 0 && vcpu.owner.isActive
  return isBlocked ? RUNSTATE.blocked : RUNSTATE.offline
}
