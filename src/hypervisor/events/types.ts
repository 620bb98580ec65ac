/**
 * What event channels ask of the rest of the hypervisor, and the words they share among themselves.
 * Nothing here decides anything.
 */
import type { GuestAbi } from '../../abi/index.ts'
import type { DomId } from '../../util/index.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { WorkMeter } from '../time/work-meter.ts'

/** A domain as far as its event channels are concerned. */
export interface EventDomain {
  readonly id: DomId
  /** vCPUs that the domain may have; they are numbered from 0. */
  readonly vcpuCount: number
  /** Highest port that the domain may use, whichever ABI it speaks. */
  readonly maxPort: number
  /** Byte address of `struct shared_info` in host memory. */
  readonly sharedInfo: number
  /** What the guest speaks now: it sets the layout of the 2-level bitmaps. */
  readonly abi: GuestAbi
  /** Byte address of the vCPU's `struct vcpu_info` in host memory, or -1 while it has none. */
  vcpuInfo(vcpu: number): number
  /** Whether the vCPU would take an interrupt now; undefined where its `vcpu_info` tells that. */
  interrupted?(vcpu: number): boolean | undefined
}

/** Who hears of a domain's vCPUs. */
export interface VcpuListeners {
  /** One of them has something to do: unblock it if it is blocked, interrupt it if it runs. */
  wake(vcpu: number): void
  /** `evtchn_upcall_pending` of one has been set: tell its kind, where that comes as an interrupt, and wake it. */
  raised(vcpu: number): void
}

/** What event channels ask of the hypervisor around them. */
export interface EventHost {
  readonly meter: WorkMeter
  readonly memory: Pick<GuestMemory, 'view' | 'markWritten'>
  /**
   * True when `caller` may act for `target`: it is privileged, or has been given power over it. Not asked about
   * itself.
   */
  mayControl(caller: DomId, target: DomId): boolean
  /** Whether the host's policy lets `caller` share a channel with `other`. */
  mayShare(hook: 'evtchn_unbound' | 'evtchn_interdomain', caller: DomId, other: number): boolean
  /** Takes a writable reference on the frame that the domain calls `gfn`: its machine frame, or -1. */
  getWritablePage(domid: DomId, gfn: number): number
  /** Gives a reference of {@link EventHost.getWritablePage} back. */
  putWritablePage(domid: DomId, mfn: number): void
}

/** States of a channel. */
export const CHANNEL = {
  free: 0,
  reserved: 1,
  unbound: 2,
  interdomain: 3,
  virq: 4,
  ipi: 5,
} as const

/** One of {@link CHANNEL}. */
export type ChannelState = (typeof CHANNEL)[keyof typeof CHANNEL]

/** One event channel: the hypervisor's own record of a port. The guest sees only its bits. */
export interface Channel {
  readonly port: number
  state: ChannelState
  /** vCPU that is told. */
  vcpu: number
  /** Unbound: who may bind. Interdomain: the peer. */
  remoteDomain: number
  /** Interdomain: the peer's port. */
  remotePort: number
  virq: number
  /** FIFO: 0 (first) to 15 (last). */
  priority: number
  /** FIFO: raised before its event word existed. */
  pending: boolean
  /** FIFO: the queue it was last linked on. */
  lastVcpu: number
  lastPriority: number
}

/** How a port's state reaches the guest: the 2-level or the FIFO ABI. */
export interface EventDelivery {
  readonly abi: '2-level' | 'fifo'
  /** Ports of the ABI. */
  readonly portCount: number
  /** Called when a channel has been bound. */
  bound(channel: Channel): void
  setPending(vcpu: number, channel: Channel): void
  clearPending(channel: Channel): void
  unmask(channel: Channel): void
  isPending(channel: Channel): boolean
  isMasked(channel: Channel): boolean
  /** True while a closed port still hangs in a queue of the guest's and must not be used again. */
  isBusy(channel: Channel): boolean
  /** 0, or a negative error number. */
  setPriority(channel: Channel, priority: number): number
}

/** What a delivery needs to tell a vCPU. */
export interface UpcallTarget {
  /** Sets the vCPU's `evtchn_upcall_pending` and wakes it. */
  markPending(vcpu: number): void
  /** The same where the caller knows that its vcpu_info lies at `info`, and has told of that page. */
  pend(vcpu: number, info: number): void
  /** The port became pending: wakes vCPUs that poll for it. */
  wakePollers(port: number): void
}
