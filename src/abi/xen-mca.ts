/**
 * Machine checks: what dom0 asks about faults of the hardware.
 * Numbers only: this library has none of it.
 *
 * Reference: xen/include/public/arch-x86/xen-mca.h.
 */

/** Operations of mca, which is hypercall arch_0 on x86. */
export const MCA = {
  fetch: 1, notifydomain: 2, physcpuinfo: 3, msrinject: 4, mceinject: 5, inject_v2: 6,
} as const
