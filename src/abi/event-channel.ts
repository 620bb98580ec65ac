/**
 * Event channels: operations, two-level and FIFO structures.
 *
 * Reference: xen/include/public/event_channel.h.
 */
import { array, bytes, overlay, u16, u32, u64, u8 } from '../util/index.ts'

/** Operations on event channels. */
export const EVTCHNOP = {
  bind_interdomain: 0, bind_virq: 1, bind_pirq: 2, close: 3, send: 4, status: 5, alloc_unbound: 6, bind_ipi: 7,
  bind_vcpu: 8, unmask: 9, reset: 10, init_control: 11, expand_array: 12, set_priority: 13,
} as const

/** What a port is, in the answer to EVTCHNOP.status. */
export const EVTCHNSTAT = { closed: 0, unbound: 1, interdomain: 2, pirq: 3, virq: 4, ipi: 5 } as const

/** FIFO event channels: priorities, bit numbers of an event word, sizes. */
export const EVTCHN_FIFO = {
  PRIORITY_MAX: 0, PRIORITY_DEFAULT: 7, PRIORITY_MIN: 15, MAX_QUEUES: 16, PENDING: 31, MASKED: 30, LINKED: 29,
  BUSY: 28, LINK_BITS: 17, LINK_MASK: 0x1_ffff, NR_CHANNELS: 0x2_0000,
} as const

/** Ports of a 64-bit guest with two-level event channels. */
export const EVTCHN_2L_NR_CHANNELS = 4096

/** A new port that `remoteDom` may bind to. */
export const EvtchnAllocUnbound = /* @__PURE__ */ overlay(8, { dom: u16(0), remoteDom: u16(2), port: u32(4) })

/** Connects a new local port with a remote one. */
export const EvtchnBindInterdomain = /* @__PURE__ */ overlay(12, {
  remoteDom: u16(0), remotePort: u32(4), localPort: u32(8),
})

/** Binds a virtual interrupt to a new port. */
export const EvtchnBindVirq = /* @__PURE__ */ overlay(12, { virq: u32(0), vcpu: u32(4), port: u32(8) })

/** Binds a physical interrupt to a new port. */
export const EvtchnBindPirq = /* @__PURE__ */ overlay(12, { pirq: u32(0), flags: u32(4), port: u32(8) })

/** A new port for interrupts between a domain's own vCPUs. */
export const EvtchnBindIpi = /* @__PURE__ */ overlay(8, { vcpu: u32(0), port: u32(4) })

/** Closes a port. */
export const EvtchnClose = /* @__PURE__ */ overlay(4, { port: u32(0) })

/** Sends an event. */
export const EvtchnSend = /* @__PURE__ */ overlay(4, { port: u32(0) })

/** Asks what a port is. */
export const EvtchnStatus = /* @__PURE__ */ overlay(24, {
  dom: u16(0), port: u32(4), status: u32(8), vcpu: u32(12), unboundDom: u16(16), interdomainDom: u16(16),
  interdomainPort: u32(20), pirq: u32(16), virq: u32(16),
})

/** Says which vCPU a port notifies. */
export const EvtchnBindVcpu = /* @__PURE__ */ overlay(8, { port: u32(0), vcpu: u32(4) })

/** Unmasks a port, and notifies if it is pending. */
export const EvtchnUnmask = /* @__PURE__ */ overlay(4, { port: u32(0) })

/** Closes all ports of a domain. */
export const EvtchnReset = /* @__PURE__ */ overlay(2, { dom: u16(0) })

/** Registers a vCPU's FIFO control block. */
export const EvtchnInitControl = /* @__PURE__ */ overlay(24, {
  controlGfn: u64(0), offset: u32(8), vcpu: u32(12), linkBits: u8(16),
})

/** Adds a page to the FIFO event array. */
export const EvtchnExpandArray = /* @__PURE__ */ overlay(8, { arrayGfn: u64(0) })

/** Sets a port's FIFO priority. */
export const EvtchnSetPriority = /* @__PURE__ */ overlay(8, { port: u32(0), priority: u32(4) })

/** A vCPU's FIFO control block: which queues are not empty, and each queue's head. */
export const EvtchnFifoControlBlock = /* @__PURE__ */ overlay(72, { ready: u32(0), head: array(8, u32, 16) })

/** Argument of the old event_channel_op_compat: command, then its structure. */
export const EvtchnOp = /* @__PURE__ */ overlay(28, { cmd: u32(0), u: bytes(4, 24) })
