/**
 * One virtual CPU: what the hypervisor keeps of it whoever executes it. What a PV guest adds is in pv/pv-vcpu.ts.
 */
import type { DomId } from '../../util/index.ts'
import type { Domain } from './domain.ts'
import type { GuestAccess } from '../memory/guest-access.ts'
import type { PvVcpu } from '../guests/pv/pv-vcpu.ts'
import { RunstateClock, type VcpuTimers } from '../time/index.ts'
import type { VcpuRunner } from './vcpu-runner.ts'

/** A virtual CPU of a domain. */
export class Vcpu {
  /** The schedulers' names of it. */
  readonly domid: DomId
  readonly vcpu: number
  readonly owner: Domain
  /** Executes it; absent until it is initialised. */
  runner: VcpuRunner | undefined
  /** The part that only a PV guest has. */
  pv: PvVcpu | undefined
  /** The memory that its hypercalls' pointers point into. */
  access: GuestAccess
  /** The guest kernel's memory, whichever mode is in force. */
  kernelAccess: GuestAccess
  /** Byte address of its vcpu_info, or -1 while it has none. */
  infoAddress: number
  /** Frame of a vcpu_info that it has registered elsewhere, or -1. */
  infoFrame = -1
  /** It has been given registers, and may be brought up. */
  initialised = false
  online = false
  blocked = false
  polling = false
  /** Ports that it polls, for whoever asks what it is waiting for. */
  polledPorts: readonly number[] | undefined
  pauseCount = 0
  /** Physical CPUs that it may use once SCHEDOP_pin_override is taken back; undefined while that is not in force. */
  pinnedFrom: readonly number[] | undefined
  /** The scheduler knows it as runnable. */
  queued = false
  /** Physical CPU that it runs on now, or -1. */
  runningOn = -1
  readonly runstate: RunstateClock
  timers!: VcpuTimers
  /** Guest addresses of registered run state and time records; undefined for none. */
  runstateArea: number | undefined
  timeArea: number | undefined
  /** Host time at which it stopped running last, and the physical CPU it ran on. */
  lastRun = 0
  lastCpu = 0
  /** Host time at which its time record was written last. */
  timeWritten = -Infinity

  constructor(
    owner: Domain,
    id: number,
    options: { readonly access: GuestAccess; readonly infoAddress: number; readonly now: number },
  ) {
    this.owner = owner
    this.domid = owner.id
    this.vcpu = id
    this.access = options.access
    this.kernelAccess = options.access
    this.infoAddress = options.infoAddress
    this.runstate = new RunstateClock(options.now)
  }

  /** True when nothing keeps it from running. */
  get isRunnable(): boolean {
    return this.online && !this.blocked && this.pauseCount === 0 && this.owner.isActive
  }
}
