/**
 * The state of a translated guest's vCPUs as saved domains hold it: records, each behind a descriptor, up to one of type END.
 *
 * Reference: xen/include/public/hvm/save.h, arch-x86/hvm/save.h.
 */
import { array, bytes, overlay, u16, u32, u64 } from '../../util/index.ts'

/** Types of records. */
export const HVM_SAVE_CODE = {
  END: 0, HEADER: 1, CPU: 2, PIC: 3, IOAPIC: 4, LAPIC: 5, LAPIC_REGS: 6, PCI_IRQ: 7, ISA_IRQ: 8, PCI_LINK: 9, PIT: 10,
  RTC: 11, HPET: 12, PMTIMER: 13, MTRR: 14, VIRIDIAN_DOMAIN: 15, CPU_XSAVE: 16, VIRIDIAN_VCPU: 17, VMCE_VCPU: 18,
  TSC_ADJUST: 19, CPU_MSR: 20,
} as const

/** First word of the HEADER record. */
export const HVM_FILE_MAGIC = 0x5438_1286
/** Version of the HEADER record. */
export const HVM_FILE_VERSION = 1
/** The registers of x87 and SSE in a CPU record hold something. */
export const X86_FPU_INITIALISED = 1

/** Stands in front of each record. */
export const HvmSaveDescriptor = /* @__PURE__ */ overlay(8, { typecode: u16(0), instance: u16(2), length: u32(4) })

/** HEADER. */
export const HvmSaveHeader = /* @__PURE__ */ overlay(24, {
  magic: u32(0), version: u32(4), changeset: u64(8), cpuid: u32(16), gtscKhz: u32(20),
})

/** CPU: all registers of a vCPU. */
export const HvmHwCpu = /* @__PURE__ */ overlay(1032, {
  fpuRegs: bytes(0, 512), rax: u64(512), rbx: u64(520), rcx: u64(528), rdx: u64(536), rbp: u64(544), rsi: u64(552),
  rdi: u64(560), rsp: u64(568), r8: u64(576), r9: u64(584), r10: u64(592), r11: u64(600), r12: u64(608),
  r13: u64(616), r14: u64(624), r15: u64(632), rip: u64(640), rflags: u64(648), cr0: u64(656), cr2: u64(664),
  cr3: u64(672), cr4: u64(680), dr0: u64(688), dr1: u64(696), dr2: u64(704), dr3: u64(712), dr6: u64(720),
  dr7: u64(728), csSel: u32(736), dsSel: u32(740), esSel: u32(744), fsSel: u32(748), gsSel: u32(752),
  ssSel: u32(756), trSel: u32(760), ldtrSel: u32(764), csLimit: u32(768), dsLimit: u32(772), esLimit: u32(776),
  fsLimit: u32(780), gsLimit: u32(784), ssLimit: u32(788), trLimit: u32(792), ldtrLimit: u32(796),
  idtrLimit: u32(800), gdtrLimit: u32(804), csBase: u64(808), dsBase: u64(816), esBase: u64(824), fsBase: u64(832),
  gsBase: u64(840), ssBase: u64(848), trBase: u64(856), ldtrBase: u64(864), idtrBase: u64(872), gdtrBase: u64(880),
  csArbytes: u32(888), dsArbytes: u32(892), esArbytes: u32(896), fsArbytes: u32(900), gsArbytes: u32(904),
  ssArbytes: u32(908), trArbytes: u32(912), ldtrArbytes: u32(916), sysenterCs: u64(920), sysenterEsp: u64(928),
  sysenterEip: u64(936), shadowGs: u64(944), msrLstar: u64(960), msrStar: u64(968), msrCstar: u64(976),
  msrSyscallMask: u64(984), msrEfer: u64(992), msrTscAux: u64(1000), tsc: u64(1008), pendingEvent: u32(1016),
  errorCode: u32(1020), flags: u32(1024),
})

/** LAPIC. */
export const HvmHwLapic = /* @__PURE__ */ overlay(24, {
  apicBaseMsr: u64(0), disabled: u32(8), timerDivisor: u32(12), tdtMsr: u64(16),
})

/** LAPIC_REGS: the registers as they lie in the page. */
export const HvmHwLapicRegs = /* @__PURE__ */ overlay(1024, { data: bytes(0, 1024) })

/** PCI_IRQ. */
export const HvmHwPciIrqs = /* @__PURE__ */ overlay(16, { pad: array(0, u64, 2) })

/** ISA_IRQ. */
export const HvmHwIsaIrqs = /* @__PURE__ */ overlay(8, { pad: array(0, u64, 1) })

/** PCI_LINK. */
export const HvmHwPciLink = /* @__PURE__ */ overlay(8, { route: bytes(0, 4) })

/** MTRR, with the page-attribute table. */
export const HvmHwMtrr = /* @__PURE__ */ overlay(240, {
  msrPatCr: u64(0), msrMtrrVar: array(8, u64, 16), msrMtrrFixed: array(136, u64, 11), msrMtrrCap: u64(224),
  msrMtrrDefType: u64(232),
})

/** CPU_XSAVE, with the part of the save area that every one has. */
export const HvmHwCpuXsave = /* @__PURE__ */ overlay(600, {
  xfeatureMask: u64(0), xcr0: u64(8), xcr0Accum: u64(16), fpuSse: bytes(24, 512), xstateBv: u64(536), xcompBv: u64(544),
})

/** VMCE_VCPU. */
export const HvmVmceVcpu = /* @__PURE__ */ overlay(32, {
  caps: u64(0), mciCtl2Bank0: u64(8), mciCtl2Bank1: u64(16), mcgExtCtl: u64(24),
})

/** TSC_ADJUST. */
export const HvmTscAdjust = /* @__PURE__ */ overlay(8, { tscAdjust: u64(0) })

/** One register of a CPU_MSR record, which begins with their number and 4 bytes more. */
export const HvmOneMsr = /* @__PURE__ */ overlay(16, { index: u32(0), val: u64(8) })
