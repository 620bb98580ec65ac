/**
 * Machine checks: what dom0 asks about faults of the hardware.
 *
 * Reference: xen/include/public/arch-x86/xen-mca.h.
 */
import { array, bytes, i32, pointer, structure, u16, u32, u64 } from './structure.ts'

/** Operations of mca, which is hypercall arch_0 on x86. */
export const MCA = {
  fetch: 1, notifydomain: 2, physcpuinfo: 3, msrinject: 4, mceinject: 5, inject_v2: 6,
} as const

/** What every call of mca names. */
export const XEN_MCA_INTERFACE_VERSION = 0x01ec_c003

/** Flags of a fetch: which reports, or that one has been seen; and its answer. */
export const XEN_MC_FLAGS = { NONURGENT: 1, URGENT: 2, ACK: 4, NODATA: 2 } as const

/** Asks for the oldest report. */
export const XenMcFetch = /* @__PURE__ */ structure({ flags: u32, pad0: u32, fetchId: u64, data: pointer })

/** Asks for the physical CPUs. */
export const XenMcPhyscpuinfo = /* @__PURE__ */ structure({ ncpus: u32, pad0: u32, info: pointer })

/** Operation, version, and the operation's own structure behind them, of which the largest holds registers to be changed. */
export const XenMc = /* @__PURE__ */ structure({ cmd: u32, interfaceVersion: u32, pad: bytes(144) })

/** A register of the CPU's, and what it holds. */
export const McinfoMsr = /* @__PURE__ */ structure({ reg: u64, value: u64 })

/** A physical CPU as machine checks know it. */
export const McinfoLogicalCpu = /* @__PURE__ */ structure({
  mcCpunr: u32, mcChipid: u32, mcCoreid: u16, mcThreadid: u16, mcApicid: u32, mcClusterid: u32, mcNcores: u32, mcNcoresActive: u32,
  mcNthreads: u32, mcCpuidLevel: i32, mcFamily: u32, mcVendor: u32, mcModel: u32, mcStep: u32, mcVendorid: bytes(16), mcBrandid: bytes(64),
  mcCpuCaps: array(u32, 7), mcCacheSize: u32, mcCacheAlignment: u32, mcNmsrvals: i32, mcMsrvalues: array(McinfoMsr, 8),
})
