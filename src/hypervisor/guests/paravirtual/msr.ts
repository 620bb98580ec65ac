/**
 * Model-specific registers as a PV guest may read and write them. Most do not exist for it.
 * Reference: xen/arch/x86/pv/emul-priv-op.c, read_msr, write_msr; xen/arch/x86/msr.c, guest_rdmsr.
 */
import { isCanonical, signedFromParts } from '../../../util/index.ts'
import { EFER, MSR, PAGE_OFFSET, PAGE_SHIFT, SEGMENT } from '../../../x86/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { MACHINE_CHECK_BANKS } from '../../identity.ts'
import type { ParavirtualVcpu } from './paravirtual-vcpu.ts'
import { setSegmentBase } from './segment-registers.ts'

/** What reading and writing asks of the hypervisor around it. */
export interface MsrHost {
  /** The guest knows long mode: its registers of segment bases, and the bits of EFER. */
  readonly hasLongMode: boolean
  /** Time-stamp counter. */
  timestamp(vcpu: Vcpu): { readonly low: number; readonly high: number }
  /** Fills a frame of a domain's with hypercall stubs; false when it is not the domain's to write. */
  writeHypercallPage(domid: number, frame: number): boolean
}

const EFER_ALWAYS = EFER.SCE | EFER.NXE
const efer = ({ hasLongMode }: MsrHost): number => (hasLongMode ? EFER_ALWAYS | EFER.LME | EFER.LMA : EFER_ALWAYS)
/** Registers that came with long mode. */
const LONG: ReadonlySet<number> = /* @__PURE__ */ new Set([MSR.FS_BASE, MSR.GS_BASE, MSR.KERNEL_GS_BASE])
/** What Xen programs: WB, WT, UC-, UC, WC, WP, UC, UC. */
const PAT_LOW = 0x0007_0406
const PAT_HIGH = 0x0000_0501
/** The register by which a guest asks for a hypercall page; see CPUID 0x40000002. */
const HYPERCALL_PAGE = 0x4000_0000
const APIC_ENABLED_AT_DEFAULT = 0xfee0_0800
const BOOT_PROCESSOR = 0x100

/** AMD registers that read as a constant: microcode level, system configuration, performance counters, P-states ... */
const CONSTANTS: ReadonlyMap<number, number> = /* @__PURE__ */ new Map([
  [0x8b, 0], [0xc001_0010, 0], [0xc001_0015, 0x0100_0000], [0xc001_001a, 0], [0xc001_001d, 0], [0xc001_001f, 0],
  [0xc001_0061, 0], [0xc001_0062, 0], [0xc001_0063, 0], [0xc001_0064, 0], [0xc001_0114, 0], [0xc001_1029, 2],
])
/** Performance counters of the K7. */
const isCounter = (register: number): boolean => register >= 0xc001_0000 && register <= 0xc001_0007
/**
 * Machine-check registers: every domain has two banks in which nothing ever happened, and no MCG_CTL.
 * Reference: xen/arch/x86/cpu/mcheck/vmce.c, vmce_rdmsr, vmce_wrmsr.
 */
const MACHINE_CHECK = { CAPABILITY: 0x179, STATUS: 0x17a, FIRST_BANK: 0x400, PER_BANK: 4 } as const
const isBankRegister = (register: number): boolean =>
  register >= MACHINE_CHECK.FIRST_BANK
  && register < MACHINE_CHECK.FIRST_BANK + MACHINE_CHECK_BANKS * MACHINE_CHECK.PER_BANK
/** The first register of a bank enables its reports: all of them. */
const isBankControl = (register: number): boolean => isBankRegister(register) && register % MACHINE_CHECK.PER_BANK === 0

/** Registers whose writes are taken and dropped. */
const DROPPED: ReadonlySet<number> = /* @__PURE__ */ new Set([
  0xc001_0015, 0xc001_001f, 0xc001_0061, 0xc001_0062, 0xc001_0063, 0xc001_0064, 0xc001_1029, 0xe7, 0xe8,
])

/** Reads a register into `out` (low, high half); false makes the instruction fault. */
export function readMsr(
  host: MsrHost,
  pv: ParavirtualVcpu,
  subject: { readonly register: number; readonly vcpu: Vcpu },
  out: Uint32Array,
): boolean {
  const { registers } = pv.processor
  const answer = (low: number, high = 0): boolean => {
    out[0] = low
    out[1] = high
    return true
  }
  const { register } = subject
  if (LONG.has(register) && !host.hasLongMode) return false
  switch (register) {
    case MSR.FS_BASE: {
      const fs = registers.segment(SEGMENT.fs)
      return answer(fs.baseLow, fs.baseHigh)
    }
    case MSR.GS_BASE: {
      const gs = registers.segment(SEGMENT.gs)
      return answer(gs.baseLow, gs.baseHigh)
    }
    // Only a kernel asks for it with a use, and in kernel mode the user's base lies behind the active one.
    case MSR.KERNEL_GS_BASE: return answer(registers.kernelGsBaseLow(), registers.kernelGsBaseHigh())
    case MSR.TSC_AUX: return answer(registers.tscAux())
    case MSR.TSC: {
      const { low, high } = host.timestamp(subject.vcpu)
      return answer(low, high)
    }
    case MSR.EFER: return answer(efer(host))
    case MSR.PAT: return answer(PAT_LOW, PAT_HIGH)
    case MSR.APIC_BASE: return answer(APIC_ENABLED_AT_DEFAULT | (subject.vcpu.vcpu === 0 ? BOOT_PROCESSOR : 0))
    case MACHINE_CHECK.CAPABILITY: return answer(MACHINE_CHECK_BANKS)
    case MACHINE_CHECK.STATUS: return answer(0)
    default: {
      if (isBankRegister(register)) return isBankControl(register) ? answer(0xffff_ffff, 0xffff_ffff) : answer(0)
      const constant = isCounter(register) ? 0 : CONSTANTS.get(register)
      return constant === undefined ? false : answer(constant)
    }
  }
}

/** Writes a register; false makes the instruction fault. */
export function writeMsr(
  host: MsrHost,
  pv: ParavirtualVcpu,
  subject: { readonly register: number; readonly domid: number },
  value: { readonly low: number; readonly high: number },
): boolean {
  const { registers } = pv.processor
  const { low, high } = value
  const { register } = subject
  if (LONG.has(register) && !host.hasLongMode) return false
  switch (register) {
    case MSR.FS_BASE:
    case MSR.GS_BASE:
    case MSR.KERNEL_GS_BASE:
      if (!isCanonical(signedFromParts(low, high))) return false
      if (register === MSR.KERNEL_GS_BASE) registers.setKernelGsBase(low, high)
      else setSegmentBase(registers, register === MSR.FS_BASE ? SEGMENT.fs : SEGMENT.gs, value)
      return true
    case MSR.TSC_AUX:
      if (high !== 0) return false
      registers.setTscAux(low)
      return true
    // Linux writes back what it has read.
    case MSR.EFER: return low === efer(host) && high === 0
    case HYPERCALL_PAGE: return (low & PAGE_OFFSET) === 0 && high === 0 && host.writeHypercallPage(subject.domid, low >>> PAGE_SHIFT)
    case MACHINE_CHECK.STATUS: return true
    default: return DROPPED.has(register) || isCounter(register) || isBankRegister(register)
  }
}
