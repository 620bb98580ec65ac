/**
 * RDMSR and WRMSR of a bare processor. A register that is not named here does not exist, or is a host's.
 * Reference: Intel SDM volume 4; AMD64 APM volume 2, appendix A.
 */
import { CR0, EFER, GPR, MSR, SEGMENT } from '../../../x86/index.ts'
import { isCanonical, signedFromParts } from '../../../util/index.ts'
import type { Core, Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import { SEGMENT_SLOT, STATUS, State } from '../layout/state.ts'
import { FEATURE, allowedEfer, hasFeature } from './features.ts'

type Pair = readonly [low: number, high: number]

/** Local APIC's registers are not there; the base reads as after reset, on the processor that boots. */
const APIC_BASE_LOW = 0xfee0_0100
const APIC_ENABLE = 0x800
/** Microcode level: none. Machine checks: no banks, no report. */
const CONSTANTS: ReadonlyMap<number, Pair> = /* @__PURE__ */ new Map([[0x8b, [0, 0]], [0x179, [0, 0]], [0x17a, [0, 0]]])
/** Memory types that a byte of PAT may name. */
const MEMORY_TYPES: ReadonlySet<number> = /* @__PURE__ */ new Set([0, 1, 4, 5, 6, 7])
/** Registers that hold an address, which has to be canonical. */
const ADDRESSES: ReadonlySet<number> = /* @__PURE__ */ new Set<number>([
  MSR.LSTAR, MSR.CSTAR, MSR.SYSENTER_ESP, MSR.SYSENTER_EIP, MSR.FS_BASE, MSR.GS_BASE, MSR.KERNEL_GS_BASE,
])

const baseSlot = (register: number): number => SEGMENT_SLOT[register === MSR.FS_BASE ? SEGMENT.fs : SEGMENT.gs]!

/** Adds 64-bit values in halves. */
const add = (a: Pair, b: Pair): Pair => {
  const low = a[0] + b[0]
  return [low >>> 0, (a[1] + b[1] + (low > 0xffff_ffff ? 1 : 0)) >>> 0]
}

/** The time stamp as the source or the count of instructions has it, without what WRMSR has added. */
function sourceOfTime({ progress, outside }: Views<'progress' | 'outside'>, executed: number): Pair {
  const { timestamp } = outside
  if (timestamp !== undefined) {
    const low = timestamp.low(executed)
    return [low >>> 0, timestamp.high() >>> 0]
  }
  const count = progress.totalExecuted + executed
  return [count >>> 0, Math.floor(count / 0x1_0000_0000) >>> 0]
}

/** What a time stamp looked at between two runs has to count; a host's own clock has moved on by itself. */
export const executedOutside = ({ progress, outside }: Views<'progress' | 'outside'>): number =>
  (outside.timestamp === undefined ? progress.lastExecuted : 0)

/** Time-stamp counter, `executed` instructions into the present run. */
export function timestamp(core: Views<'progress' | 'outside' | 'system'>, executed: number): Pair {
  const { low, high } = core.system.timestampOffset
  return add(sourceOfTime(core, executed), [low, high])
}

/** Value of a register; undefined when there is none. */
export function readMsr(
  core: Views<'registers' | 'progress' | 'outside' | 'system'>, register: number, executed: number,
): Pair | undefined {
  const { registers } = core
  const { view, base } = registers
  switch (register) {
    case MSR.EFER: return [registers.efer, 0]
    case MSR.FS_BASE:
    case MSR.GS_BASE:
      return [registers.low(baseSlot(register)), registers.high(baseSlot(register))]
    case MSR.KERNEL_GS_BASE: return [State.kernelGsBase.low(view, base), State.kernelGsBase.high(view, base)]
    case MSR.TSC: return timestamp(core, executed)
    case MSR.APIC_BASE: return [hasFeature(core.outside, FEATURE.APIC) ? APIC_BASE_LOW | APIC_ENABLE : APIC_BASE_LOW, 0]
    default: return core.system.plain(register) ?? CONSTANTS.get(register)
  }
}

/** Registers that a processor within a host has by itself; the others are its host's. */
const isOwn = (core: Views<'system'>, register: number): boolean =>
  OWN.has(register) || (register !== MSR.MISC_ENABLE && core.system.plain(register) !== undefined)
const OWN: ReadonlySet<number> =
  /* @__PURE__ */ new Set<number>([MSR.EFER, MSR.FS_BASE, MSR.GS_BASE, MSR.KERNEL_GS_BASE, MSR.TSC])

/** Whether a register takes a value, as far as that hangs on the value alone. */
export function isMsrValue(register: number, [low, high]: Pair): boolean {
  if (ADDRESSES.has(register)) return isCanonical(signedFromParts(low, high))
  if (register === MSR.TSC_AUX || register === MSR.SFMASK) return high === 0
  if (register !== MSR.PAT) return true
  const types = [low, low >>> 8, low >>> 16, low >>> 24, high, high >>> 8, high >>> 16, high >>> 24]
  return types.every((type) => MEMORY_TYPES.has(type & 0xff))
}

/** Writes a register; false where WRMSR faults. */
export function writeMsr(
  core: Views<'registers' | 'mode' | 'progress' | 'outside' | 'system'>, register: number, value: Pair, executed: number,
): boolean {
  const { registers, system } = core
  const [low, high] = value
  if (!isMsrValue(register, value)) return false
  switch (register) {
    case MSR.EFER: return high === 0 && writeEfer(core, low)
    case MSR.FS_BASE:
    case MSR.GS_BASE:
      registers.setSlot(baseSlot(register), low, high)
      return true
    case MSR.KERNEL_GS_BASE:
      State.kernelGsBase.setParts(registers.view, registers.base, low, high)
      return true
    case MSR.TSC: {
      const source = sourceOfTime(core, executed)
      const negative = add([~source[0] >>> 0, ~source[1] >>> 0], [1, 0])
      const [offsetLow, offsetHigh] = add(value, negative)
      system.timestampOffset = { low: offsetLow, high: offsetHigh }
      return true
    }
    // The base cannot be moved and the controller, which is not there, not be switched.
    case MSR.APIC_BASE: return high === 0 && low === readMsr(core, register, executed)![0]
    default:
  }
  if (system.plain(register) === undefined) return CONSTANTS.has(register)
  system.setPlain(register, low, high)
  return true
}

/** EFER: LMA follows from LME and paging, and LME does not change while paging is on. */
function writeEfer({ registers, mode, outside }: Views<'registers' | 'mode' | 'outside'>, low: number): boolean {
  if ((low & ~allowedEfer(outside)) !== 0) return false
  const paging = (registers.controlLow(0) & CR0.PG) !== 0
  if (paging && ((low ^ registers.efer) & EFER.LME) !== 0) return false
  mode.setEfer((low & ~EFER.LMA) | (registers.efer & EFER.LMA))
  return true
}

const index = (registers: RegisterFile): number => registers.low(GPR.rcx * 8)

/** RDMSR; the ring has been looked at. */
export function rdmsr(
  core: Views<'registers' | 'faults' | 'progress' | 'outside' | 'system' | 'nested'>, record: number,
): number {
  const { registers } = core
  const register = index(registers)
  if (core.nested !== undefined && !isOwn(core, register)) return core.outside.leave('rdmsr', record, { register })
  const value = readMsr(core, register, core.progress.executedBefore(record))
  if (value === undefined) return core.faults.protection()
  registers.setSlot(GPR.rax * 8, value[0], 0)
  registers.setSlot(GPR.rdx * 8, value[1], 0)
  return STATUS.NEXT
}

/** WRMSR; the ring has been looked at. */
export function wrmsr(core: Core, record: number): number {
  const { registers } = core
  const register = index(registers)
  if (core.nested !== undefined && !isOwn(core, register)) return core.outside.leave('wrmsr', record, { register })
  const value: Pair = [registers.low(GPR.rax * 8), registers.low(GPR.rdx * 8)]
  if (!writeMsr(core, register, value, core.progress.executedBefore(record))) return core.faults.protection()
  return register === MSR.EFER ? STATUS.CHECK : STATUS.NEXT
}
