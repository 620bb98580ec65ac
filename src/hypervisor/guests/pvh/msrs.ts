/**
 * Model-specific registers that a PVH guest's processor leaves to the hypervisor, a row each. What has no row faults.
 * Reference: xen/arch/x86/hvm/hvm.c, hvm_msr_read_intercept, hvm_msr_write_intercept; xen/arch/x86/msr.c, guest_rdmsr,
 * guest_wrmsr; xen/arch/x86/cpu/mcheck/vmce.c; xen/arch/x86/hvm/svm/svm.c, svm_msr_read_intercept; hvm/mtrr.c.
 */
import type { LocalApic } from '../../local-apic/local-apic.ts'
import { MSR, PAGE_OFFSET, PAGE_SHIFT } from '../../../x86/index.ts'
import { MACHINE_CHECK_BANKS } from '../../identity.ts'
import type { MemoryTypes } from './memory-types.ts'

/** A value in halves. */
export type MsrValue = readonly [low: number, high: number]

/** What the rows of one vCPU work on. */
export interface MsrSubject {
  readonly apic: LocalApic
  readonly memoryTypes: MemoryTypes
  /** Has the stubs of hypercalls written to a frame of the guest's; false where there is none to write. */
  writeHypercallPage(gfn: number): boolean
  /** What was added to the time-stamp counter, in its own units; setting it moves the counter. */
  timestampAdjust: MsrValue
}

/** One register: undefined and false stand for #GP. */
interface MsrRow {
  readonly first: number
  /** One register unless more follow. */
  readonly last?: number
  read(subject: MsrSubject, register: number): MsrValue | undefined
  write(subject: MsrSubject, register: number, value: MsrValue): boolean
}

const ZERO: MsrValue = [0, 0]
const ALL: MsrValue = [0xffff_ffff, 0xffff_ffff]
const isZero = ([low, high]: MsrValue): boolean => low === 0 && high === 0
const refused = (): boolean => false
const dropped = (): boolean => true

const constant = (first: number, value: MsrValue, write: MsrRow['write'] = refused): MsrRow => ({ first, read: () => value, write })

/** Machine-check banks; there is no MCG_CTL. */
const FIRST_BANK = 0x400

const MACHINE_CHECK: readonly MsrRow[] = [
  constant(0x179, [MACHINE_CHECK_BANKS, 0], dropped), constant(0x17a, ZERO, dropped),
  {
    first: FIRST_BANK, last: FIRST_BANK + MACHINE_CHECK_BANKS * 4 - 1,
    // The first register of a bank enables its reports: all of them. The others take zero only.
    read: (_, register) => (register % 4 === 0 ? ALL : ZERO),
    write: (_, register, value) => register % 4 === 0 || isZero(value),
  },
]

/** Address of the hypercall page with the page's number, which is 0. */
const HYPERCALL_PAGE: MsrRow = {
  first: 0x4000_0000, read: () => ZERO,
  write: ({ writeHypercallPage }, _, [low, high]) => high === 0 && (low & PAGE_OFFSET) === 0 && writeHypercallPage(low >>> PAGE_SHIFT),
}

const LOCAL_APIC: readonly MsrRow[] = [
  { first: MSR.APIC_BASE, read: ({ apic }, register) => apic.readMsr(register), write: ({ apic }, register, [low, high]) => apic.writeMsr(register, low, high) },
  { first: 0x800, last: 0x8ff, read: ({ apic }, register) => apic.readMsr(register), write: ({ apic }, register, [low, high]) => apic.writeMsr(register, low, high) },
  // No deadline is offered.
  constant(0x6e0, ZERO, dropped),
]

const memoryTypes = (first: number, last = first): MsrRow => ({
  first, last, read: ({ memoryTypes: types }, register) => types.read(register), write: ({ memoryTypes: types }, register, value) => types.write(register, value),
})

/** MTRRcap, ranges, fixed ranges, default type. */
const MEMORY_TYPES: readonly MsrRow[] = [
  memoryTypes(0xfe), memoryTypes(0x200, 0x20f), memoryTypes(0x250), memoryTypes(0x258, 0x259), memoryTypes(0x268, 0x26f), memoryTypes(0x2ff),
]

/** Registers of AMD's: system configuration, performance counters, northbridge, P-states, and one by which LFENCE serialises. */
const AMD: readonly MsrRow[] = [
  { first: 0xc001_0000, last: 0xc001_0007, read: () => ZERO, write: dropped },
  constant(0xc001_0010, ZERO, dropped), constant(0xc001_0015, [0x0100_0000, 0], dropped), constant(0xc001_001f, ZERO, dropped),
  { first: 0xc001_0061, last: 0xc001_0064, read: () => ZERO, write: dropped },
  constant(0xc001_0114, ZERO, dropped), constant(0xc001_0140, ZERO, dropped), constant(0xc001_0141, ZERO, dropped),
  constant(0xc001_1029, [2, 0], dropped),
]

const OTHERS: readonly MsrRow[] = [
  { first: 0x3b, read: ({ timestampAdjust }) => timestampAdjust, write: (subject, _, value) => {
    subject.timestampAdjust = value
    return true
  } },
  // Level of the microcode: none, and it takes no other. Speculation and CPUID are left as they are. Branches are not traced.
  constant(0x8b, ZERO), constant(0xce, ZERO), constant(0x140, ZERO, (_subject, _register, value) => isZero(value)),
  constant(0x1d9, ZERO, (_subject, _register, [, high]) => high === 0),
]

/** All rows. */
export const PVH_MSRS: readonly MsrRow[] = [...LOCAL_APIC, ...OTHERS, ...MACHINE_CHECK, ...MEMORY_TYPES, HYPERCALL_PAGE, ...AMD]

const rowOf = (register: number): MsrRow | undefined =>
  PVH_MSRS.find(({ first, last = first }) => register >= first && register <= last)

/** RDMSR: undefined where it faults. */
export const readPvhMsr = (subject: MsrSubject, register: number): MsrValue | undefined => rowOf(register)?.read(subject, register)

/** WRMSR: false where it faults. */
export const writePvhMsr = (subject: MsrSubject, register: number, value: MsrValue): boolean =>
  rowOf(register)?.write(subject, register, value) ?? false
