/** Which virtual interrupts there are, and which of them each vCPU binds for itself. Reference: public/xen.h; xen/common/event_channel.c. */

/** Number of VIRQs (public/xen.h, NR_VIRQS). */
export const VIRQ_COUNT = 24
/** VIRQs that each vCPU binds for itself: TIMER, DEBUG, XENOPROF, XENPMU. All others are global. */
const PER_VCPU_VIRQS: ReadonlySet<number> = /* @__PURE__ */ new Set([0, 1, 7, 13])

/** True for a VIRQ that a domain binds once, not once for each vCPU. */
export const isGlobalVirq = (virq: number): boolean => !PER_VCPU_VIRQS.has(virq)
