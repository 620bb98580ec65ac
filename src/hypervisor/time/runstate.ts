/**
 * How long a vCPU has been running, runnable, blocked and offline, and the copy of it that a guest may have registered.
 *
 * With VMASST_TYPE_runstate_update_flag the top bit of state_entry_time is set while the copy is being written, so
 * that a reader on another vCPU does not mix two states.
 *
 * Reference: public/vcpu.h (struct vcpu_runstate_info); xen/common/sched/core.c (vcpu_runstate_change),
 * xen/arch/x86/domain.c (update_runstate_area).
 */
import { type GuestAbi, RUNSTATE, VcpuRunstateInfo } from '../../abi/index.ts'
import { type Stateful, shape } from '../../util/index.ts'

/** One of RUNSTATE. */
export type Runstate = (typeof RUNSTATE)[keyof typeof RUNSTATE]

const STATES = 4
/** XEN_RUNSTATE_UPDATE is bit 63 of state_entry_time: this bit of its last byte. */
const UPDATE_BIT = 0x80

/** Writes into the vCPU's address space; false when the guest has nothing writable there. */
export type GuestWriter = (offset: number, bytes: Uint8Array) => boolean

/** Run state as plain data; also what VCPUOP_get_runstate_info tells. */
export interface RunstateSnapshot {
  readonly state: Runstate
  /** Host time at which the state was entered. */
  readonly entered: number
  /** Nanoseconds in each state. */
  readonly times: readonly number[]
}

/** What a saved {@link RunstateSnapshot} looks like. */
export const runstateShape = /* @__PURE__ */ shape.record<RunstateSnapshot>({
  state: /* @__PURE__ */ shape.oneOf(...Object.values(RUNSTATE)), entered: shape.time,
  times: /* @__PURE__ */ shape.list(shape.time, STATES, STATES),
})

/** The run state of one vCPU. */
export class RunstateClock implements Stateful<RunstateSnapshot> {
  private current: Runstate
  private entered: number
  private readonly times = new Float64Array(STATES)

  /** A vCPU begins in `state` (offline, unless told otherwise). */
  constructor(now: number, state: Runstate = RUNSTATE.offline) {
    this.entered = now
    this.current = state
  }

  /** The state now. */
  get state(): Runstate {
    return this.current
  }

  /**
   * Enters a state; staying in it is no change. True when it has changed, so that the guest's copy is to be renewed.
   */
  change(state: Runstate, now: number): boolean {
    if (state === this.current) return false
    if (now > this.entered) {
      this.times[this.current]! += now - this.entered
      this.entered = now
    }
    this.current = state
    return true
  }

  /** Times up to `now`. */
  at(now: number): RunstateSnapshot {
    const times = Array.from(this.times)
    if (now > this.entered) times[this.current]! += now - this.entered
    return { state: this.current, entered: this.entered, times }
  }

  /** Nanoseconds that the vCPU has run. */
  cpuTime(now: number): number {
    const running = this.times[RUNSTATE.running]!
    return this.current === RUNSTATE.running && now > this.entered ? running + now - this.entered : running
  }

  /** As it stood when the state was entered: what is written into the guest's copy on a switch, and what is saved. */
  save(): RunstateSnapshot {
    return { state: this.current, entered: this.entered, times: Array.from(this.times) }
  }

  isAsSaved({ state, entered, times }: RunstateSnapshot): boolean {
    return this.current === state && this.entered === entered && times.every((time, i) => time === this.times[i])
  }

  load({ state, entered, times }: RunstateSnapshot): void {
    this.current = state
    this.entered = entered
    this.times.set(times)
  }
}

/** `struct vcpu_runstate_info` as bytes, as guests of an ABI read it. */
export function runstateBytes(snapshot: RunstateSnapshot, abi: GuestAbi): Uint8Array {
  const layout = abi.of(VcpuRunstateInfo)
  const bytes = new Uint8Array(layout.size)
  const view = new DataView(bytes.buffer)
  layout.state.set(view, 0, snapshot.state)
  layout.stateEntryTime.setNumber(view, 0, snapshot.entered)
  const { time } = layout
  snapshot.times.forEach((value, index) => time.element.setNumber(view, time.at(0, index), value))
  return bytes
}

/** A guest's copy of a run state. */
export interface RunstateArea {
  readonly abi: GuestAbi
  /** The guest wants it marked while it is being written. */
  readonly announce: boolean
  readonly write: GuestWriter
}

/** Renews a guest's copy. False when it could not be written. */
export function writeRunstateArea(snapshot: RunstateSnapshot, { abi, announce, write }: RunstateArea): boolean {
  const bytes = runstateBytes(snapshot, abi)
  if (!announce) return write(0, bytes)
  const lastByte = abi.of(VcpuRunstateInfo).stateEntryTime.offset + 7
  const last = bytes[lastByte]!
  const marked = Uint8Array.of(last | UPDATE_BIT)
  if (!write(lastByte, marked)) return false
  bytes[lastByte] = marked[0]!
  const written = write(0, bytes)
  return write(lastByte, Uint8Array.of(last)) && written
}
