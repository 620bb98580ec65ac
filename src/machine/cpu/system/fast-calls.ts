/**
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT and SWAPGS of a bare processor: ring changes without tables.
 * Reference: Intel SDM volume 2, the instructions of these names; AMD64 APM volume 2, section 6.1.
 */
import { ATTRIBUTE, DPL_SHIFT, EFER, GPR, MSR, RFLAGS, SEGMENT } from '../../../x86/index.ts'
import { highPart, isCanonical, lowPart, signedFromParts } from '../../../util/index.ts'
import type { SegmentState } from '../../interface/registers.ts'
import type { Core, Views } from '../core/core.ts'
import type { SystemRegisters } from '../core/system-registers.ts'
import { RECORD } from '../layout/record.ts'
import { STATUS, State } from '../layout/state.ts'
import { FEATURE, hasFeature } from './features.ts'
import { isReal } from './real-mode.ts'
import { afterJump } from './tables.ts'

/** Flags that SYSRET takes from R11. */
const RETURNED_FLAGS = 0x3c_7fd7
const FLAT = ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT | ATTRIBUTE.GRANULAR
const READABLE_CODE = ATTRIBUTE.CODE | ATTRIBUTE.READABLE | ATTRIBUTE.ACCESSED
const WRITABLE_DATA = ATTRIBUTE.WRITABLE | ATTRIBUTE.ACCESSED

/** A flat code segment that no table holds. */
const flatCode = (selector: number, ring: number, bits: 32 | 64): SegmentState => ({
  selector: (selector & 0xfffc) | ring, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff,
  attributes: FLAT | READABLE_CODE | (ring << DPL_SHIFT) | (bits === 64 ? ATTRIBUTE.LONG : ATTRIBUTE.BIG),
})

const flatStack = (selector: number, ring: number): SegmentState => ({
  selector: (selector & 0xfffc) | ring, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff,
  attributes: FLAT | WRITABLE_DATA | (ring << DPL_SHIFT) | ATTRIBUTE.BIG,
})

const plain = (system: SystemRegisters, register: number): readonly [number, number] => system.plain(register)!

/** Enters a ring with new flags; SS before CS, because the privilege level hangs on it. */
function enter(
  { registers, mode }: Views<'registers' | 'mode'>,
  to: { code: SegmentState; stack: SegmentState; rip: number; flags: number },
): void {
  const old = State.systemFlags.get(registers.view, registers.base)
  registers.setFlags(to.flags)
  if (((old ^ to.flags) & RFLAGS.AC) !== 0) mode.updatePermissions()
  mode.setSegment(SEGMENT.ss, to.stack)
  mode.setSegment(SEGMENT.cs, to.code)
  registers.setRip(to.rip)
}

/** Single step goes by the trap flag that these instructions leave. */
function traceByNewFlags({ registers, debug }: Views<'registers' | 'debug'>): void {
  debug.traceAs((State.systemFlags.get(registers.view, registers.base) & RFLAGS.TF) !== 0)
}

/** SYSCALL. */
export function systemCall(core: Core, record: number): number {
  const { registers, system } = core
  if ((registers.efer & EFER.SCE) === 0 || !registers.isLongMode) return core.faults.undefinedOpcode()
  const next = core.records.nextOf(record)
  const flags = registers.flags() & ~RFLAGS.RF
  const [low, high] = plain(system, registers.long ? MSR.LSTAR : MSR.CSTAR)
  const selector = plain(system, MSR.STAR)[1] & 0xffff
  registers.setSlot(GPR.rcx * 8, lowPart(next), highPart(next))
  registers.setSlot(GPR.r11 * 8, flags, 0)
  enter(core, {
    code: flatCode(selector, 0, 64), stack: flatStack(selector + 8, 0), rip: signedFromParts(low, high),
    flags: flags & ~plain(system, MSR.SFMASK)[0],
  })
  traceByNewFlags(core)
  return afterJump(core)
}

/** SYSRET: to 64-bit code with an operand size of 64 bits, else to 32-bit code. */
export function systemReturn(core: Core, record: number): number {
  const { registers, faults } = core
  if ((registers.efer & EFER.SCE) === 0 || !registers.isLongMode) return faults.undefinedOpcode()
  if (registers.cpl !== 0) return faults.protection()
  const toLong = core.records.field(record, RECORD.operandBytes) === 8
  const target = toLong ? registers.address(GPR.rcx * 8) : registers.low(GPR.rcx * 8)
  if (!isCanonical(target)) return faults.protection()
  const selector = plain(core.system, MSR.STAR)[1] >>> 16
  enter(core, {
    code: flatCode(selector + (toLong ? 16 : 0), 3, toLong ? 64 : 32), stack: flatStack(selector + 8, 3), rip: target,
    flags: registers.low(GPR.r11 * 8) & RETURNED_FLAGS,
  })
  traceByNewFlags(core)
  return afterJump(core)
}

/** SYSENTER: to ring 0 by the registers SYSENTER_CS, ESP and EIP. */
export function systemEnter(core: Core): number {
  const { registers, faults, system } = core
  if (!hasFeature(core.outside, FEATURE.SEP)) return faults.undefinedOpcode()
  const [selector] = plain(system, MSR.SYSENTER_CS)
  if ((selector & 0xfffc) === 0 || isReal(registers)) return faults.protection()
  const long = registers.isLongMode
  const [ipLow, ipHigh] = plain(system, MSR.SYSENTER_EIP)
  const [spLow, spHigh] = plain(system, MSR.SYSENTER_ESP)
  registers.setSlot(GPR.rsp * 8, spLow, long ? spHigh : 0)
  enter(core, {
    code: flatCode(selector, 0, long ? 64 : 32), stack: flatStack(selector + 8, 0),
    rip: long ? signedFromParts(ipLow, ipHigh) : ipLow, flags: registers.flags() & ~(RFLAGS.VM | RFLAGS.IF | RFLAGS.RF),
  })
  return afterJump(core)
}

/** SYSEXIT: to ring 3; RCX is its stack pointer, RDX its rip. */
export function systemExit(core: Core, record: number): number {
  const { registers, faults } = core
  if (!hasFeature(core.outside, FEATURE.SEP)) return faults.undefinedOpcode()
  const [selector] = plain(core.system, MSR.SYSENTER_CS)
  if ((selector & 0xfffc) === 0 || registers.cpl !== 0 || isReal(registers)) return faults.protection()
  const toLong = core.records.field(record, RECORD.operandBytes) === 8
  const target = toLong ? registers.address(GPR.rdx * 8) : registers.low(GPR.rdx * 8)
  const stack = toLong ? registers.address(GPR.rcx * 8) : registers.low(GPR.rcx * 8)
  if (!isCanonical(target) || !isCanonical(stack)) return faults.protection()
  registers.setNumber(GPR.rsp * 8, stack)
  enter(core, {
    code: flatCode(selector + (toLong ? 32 : 16), 3, toLong ? 64 : 32),
    stack: flatStack(selector + (toLong ? 40 : 24), 3), rip: target, flags: registers.flags(),
  })
  return afterJump(core)
}

/** SWAPGS. */
export function swapGs({ registers, faults }: Views<'registers' | 'faults'>): number {
  if (registers.cpl !== 0) return faults.protection()
  registers.swapGsBase()
  return STATUS.NEXT
}
