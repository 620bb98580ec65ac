/**
 * The records of an HVM context beside that of a vCPU's registers: what each holds, how it is judged, and how it takes effect.
 * What a domain without interrupt controllers of its chipset has of them are empty records.
 * Reference: xen/include/public/arch-x86/hvm/save.h; xen/arch/x86/hvm/{vlapic,mtrr,irq,hvm}.c; cpu/mcheck/vmce.c.
 */
import {
  ERRNO, HVM_SAVE_CODE, HvmHwIsaIrqs, HvmHwLapic, HvmHwLapicRegs, HvmHwMtrr, HvmHwPciIrqs, HvmHwPciLink, HvmTscAdjust, HvmVmceVcpu,
} from '../../../abi/index.ts'
import { MSR } from '../../../x86/index.ts'
import { MACHINE_CHECK_BANKS } from '../../identity.ts'
import { FIXED_RANGES, MTRR_CAPABILITY } from './memory-types.ts'
import type { PvhDomain } from './pvh-domain.ts'
import { pvhOf } from './pvh-vcpu.ts'
import { declareTimestampAdjust, timestampAdjust } from './timestamps.ts'

/** A kind of record that each vCPU has, or the domain once. */
export interface RecordKind {
  readonly code: number
  readonly bytes: number
  /** Fills a record of a vCPU's; false where it has none. */
  save(domain: PvhDomain, vcpu: number, view: DataView): boolean
  /** Whether it can take effect: 0, or a negative error number. */
  judge(domain: PvhDomain, vcpu: number, view: DataView): number
  /** Takes effect, once it has been judged. */
  take(domain: PvhDomain, vcpu: number, view: DataView): void
}

const [HARDWARE_DISABLED, SOFTWARE_DISABLED] = [1, 2] as const
const RANGES = 16

const LAPIC: RecordKind = {
  code: HVM_SAVE_CODE.LAPIC, bytes: HvmHwLapic.size,
  save(domain, vcpu, view) {
    const { base, isSoftwareDisabled, divisor, isEnabledByBase } = domain.apics[vcpu]!.hidden
    HvmHwLapic.apicBaseMsr.setNumber(view, 0, base)
    HvmHwLapic.disabled.set(view, 0, (isEnabledByBase ? 0 : HARDWARE_DISABLED) | (isSoftwareDisabled ? SOFTWARE_DISABLED : 0))
    HvmHwLapic.timerDivisor.set(view, 0, divisor)
    return true
  },
  judge: (domain, vcpu, view) => {
    const isWhole = HvmHwLapic.apicBaseMsr.high(view, 0) === 0 && domain.apics[vcpu]!.mayHaveBase(HvmHwLapic.apicBaseMsr.low(view, 0))
    return isWhole ? 0 : -ERRNO.EINVAL
  },
  take(domain, vcpu, view) {
    domain.apics[vcpu]!.setHidden(HvmHwLapic.apicBaseMsr.low(view, 0), (HvmHwLapic.disabled.get(view, 0) & SOFTWARE_DISABLED) !== 0)
  },
}

const LAPIC_REGS: RecordKind = {
  code: HVM_SAVE_CODE.LAPIC_REGS, bytes: HvmHwLapicRegs.size,
  save(domain, vcpu, view) {
    HvmHwLapicRegs.data.set(view, 0, domain.apics[vcpu]!.registers.bytes)
    return true
  },
  judge: () => 0,
  take: (domain, vcpu, view) => domain.apics[vcpu]!.setRegisters(HvmHwLapicRegs.data.get(view, 0)),
}

const MTRR: RecordKind = {
  code: HVM_SAVE_CODE.MTRR, bytes: HvmHwMtrr.size,
  save(domain, vcpu, view) {
    const types = domain.memoryTypes[vcpu]!
    const at = HvmHwMtrr
    const pat = pvhOf(domain.vcpus[vcpu]!)?.processor.system.msr(MSR.PAT) ?? [0x0007_0406, 0x0007_0406]
    at.msrPatCr.setParts(view, 0, pat[0], pat[1])
    at.msrMtrrCap.setNumber(view, 0, MTRR_CAPABILITY)
    at.msrMtrrDefType.setParts(view, 0, ...types.read(0x2ff)!)
    for (let i = 0; i < RANGES; i += 1) putWide(view, at.msrMtrrVar.at(0, i), types.read(0x200 + i)!)
    FIXED_RANGES.forEach((register, i) => putWide(view, at.msrMtrrFixed.at(0, i), types.read(register)!))
    return true
  },
  judge: (_domain, _vcpu, view) => ((HvmHwMtrr.msrMtrrCap.low(view, 0) & 0xff) > RANGES / 2 ? -ERRNO.EINVAL : 0),
  // What a register does not take leaves it as it is, as in Xen.
  take(domain, vcpu, view) {
    const types = domain.memoryTypes[vcpu]!
    const at = HvmHwMtrr
    const pat = [at.msrPatCr.low(view, 0), at.msrPatCr.high(view, 0)] as const
    pvhOf(domain.vcpus[vcpu]!)?.processor.system.setMsr(MSR.PAT, ...pat)
    for (let i = 0; i < RANGES; i += 1) types.write(0x200 + i, getWide(view, at.msrMtrrVar.at(0, i)))
    FIXED_RANGES.forEach((register, i) => types.write(register, getWide(view, at.msrMtrrFixed.at(0, i))))
    types.write(0x2ff, [at.msrMtrrDefType.low(view, 0), at.msrMtrrDefType.high(view, 0)])
  },
}

const VMCE: RecordKind = {
  code: HVM_SAVE_CODE.VMCE_VCPU, bytes: HvmVmceVcpu.size,
  save(_domain, _vcpu, view) {
    HvmVmceVcpu.caps.setNumber(view, 0, MACHINE_CHECK_BANKS)
    return true
  },
  judge: (_domain, _vcpu, view) => (HvmVmceVcpu.caps.high(view, 0) === 0 && HvmVmceVcpu.caps.low(view, 0) <= MACHINE_CHECK_BANKS ? 0 : -ERRNO.EPERM),
  take: () => undefined,
}

const TSC_ADJUST: RecordKind = {
  code: HVM_SAVE_CODE.TSC_ADJUST, bytes: HvmTscAdjust.size,
  save(domain, vcpu, view) {
    const pvh = pvhOf(domain.vcpus[vcpu]!)
    if (pvh !== undefined) HvmTscAdjust.tscAdjust.setParts(view, 0, ...timestampAdjust(pvh))
    return true
  },
  judge: () => 0,
  take(domain, vcpu, view) {
    const pvh = pvhOf(domain.vcpus[vcpu]!)
    if (pvh !== undefined) declareTimestampAdjust(pvh, [HvmTscAdjust.tscAdjust.low(view, 0), HvmTscAdjust.tscAdjust.high(view, 0)])
  },
}

/** A record that says nothing: there is no such controller. */
const empty = (code: number, bytes: number): RecordKind =>
  ({ code, bytes, save: (_domain, vcpu) => vcpu === 0, judge: () => 0, take: () => undefined })

/** In the order in which Xen saves them: for each kind the vCPUs, or the domain. */
export const RECORD_KINDS: readonly RecordKind[] = [
  LAPIC, LAPIC_REGS, /* @__PURE__ */ empty(HVM_SAVE_CODE.PCI_IRQ, HvmHwPciIrqs.size), /* @__PURE__ */ empty(HVM_SAVE_CODE.ISA_IRQ, HvmHwIsaIrqs.size),
  /* @__PURE__ */ empty(HVM_SAVE_CODE.PCI_LINK, HvmHwPciLink.size), MTRR, VMCE, TSC_ADJUST,
]

/** Kinds behind which the extended states of vCPUs come. */
export const BEFORE_EXTENDED_STATE: number = HVM_SAVE_CODE.MTRR

function putWide(view: DataView, at: number, [low, high]: readonly [number, number]): void {
  view.setUint32(at, low, true)
  view.setUint32(at + 4, high, true)
}

const getWide = (view: DataView, at: number): readonly [number, number] => [view.getUint32(at, true), view.getUint32(at + 4, true)]
