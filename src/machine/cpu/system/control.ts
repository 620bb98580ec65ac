/**
 * Control and debug registers, descriptor-table registers and the machine's few other privileged instructions, as ring
 * 0 of a bare processor executes them.
 * Reference: Intel SDM volume 2, MOV to and from control and debug registers, LGDT, LLDT, LMSW, LTR, SGDT; volume 3,
 * sections 2.5, 9.8.5 and 17.2.
 */
import { ATTRIBUTE, CR0, CR4, DR6, DR7, EFER, PAGE_SIZE, SEGMENT, SYSTEM_TYPE, VECTOR } from '../../../x86/index.ts'
import { isCanonical, signedFromParts } from '../../../util/index.ts'
import type { TableState } from '../../interface/registers.ts'
import type { Core, Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import type { Handler } from '../core/handler.ts'
import { RECORD } from '../layout/record.ts'
import { SLOT, STATUS, State } from '../layout/state.ts'
import { CR0_BITS, allowedCr4 } from './features.ts'
import { nullSegment, readOwnDescriptor, unpack, updateAccess } from './tables.ts'

/** Wraps what only ring 0 may do. */
export const ringZero = (handler: Handler): Handler => (core, record) =>
  core.registers.cpl === 0 ? handler(core, record) : core.faults.protection()

/** MOV to or from CR0, CR2, CR3, CR4, CR8. */
export function moveControl(core: Core, record: number): number {
  const { registers, records } = core
  const register = records.field(record, RECORD.special)
  if (registers.cpl !== 0) return core.faults.protection()
  const general = { register, general: records.field(record, RECORD.general) }
  const slot = general.general * 8
  if (records.field(record, RECORD.isWrite) === 0) {
    const high = State.control.element.high(registers.view, State.control.at(registers.base, register))
    if (register === 8 && core.nested !== undefined) return core.outside.leave('read-cr', record, general)
    registers.setSlot(slot, registers.controlLow(register), registers.long ? high : 0)
    return STATUS.NEXT
  }
  // The priority of tasks is the interrupt controller's.
  if (register === 8 && core.nested !== undefined) return core.outside.leave('write-cr', record, general)
  return writeControl(core, register, { low: registers.low(slot), high: registers.long ? registers.high(slot) : 0 })
}

interface Halves {
  readonly low: number
  readonly high: number
}

function writeControl(core: Core, register: number, value: Halves): number {
  const { mode, faults } = core
  switch (register) {
    case 0:
      return value.high !== 0 ? faults.protection() : writeCr0(core, value.low)
    case 2:
      mode.setControl(2, value.low, value.high)
      return STATUS.NEXT
    case 3:
      return writeCr3(core, value)
    case 4:
      return writeCr4(core, value)
    default:
      if (value.high !== 0 || value.low > 15) return faults.protection()
      mode.setControl(8, value.low, 0)
      return core.attention.isDue ? STATUS.CHECK : STATUS.NEXT
  }
}

/** CR0; setting PG with EFER.LME begins long mode, clearing it ends it. */
export function writeCr0({ registers, mode, faults }: Views<'registers' | 'mode' | 'faults'>, wanted: number): number {
  const low = ((wanted & CR0_BITS) | CR0.ET) >>> 0
  const old = registers.controlLow(0)
  const paging = (low & CR0.PG) !== 0
  if (paging && (low & CR0.PE) === 0) return faults.protection()
  if ((low & CR0.NW) !== 0 && (low & CR0.CD) === 0) return faults.protection()
  const cr4 = registers.controlLow(4)
  if (paging && (old & CR0.PG) === 0 && (registers.efer & EFER.LME) !== 0) {
    const isLongCode = (registers.segment(SEGMENT.cs).attributes & ATTRIBUTE.LONG) !== 0
    if ((cr4 & CR4.PAE) === 0 || isLongCode) return faults.protection()
  }
  if (!paging && (old & CR0.PG) !== 0 && (registers.long || (cr4 & CR4.PCIDE) !== 0)) return faults.protection()
  mode.setControl(0, low, 0)
  return STATUS.CHECK
}

/** Bit 63 of CR3 with process-context identifiers: keep translations, which a processor need not. */
const KEEP_TRANSLATIONS = 0x8000_0000

function writeCr3({ registers, mode, faults }: Views<'registers' | 'mode' | 'faults'>, value: Halves): number {
  const keeps = (registers.controlLow(4) & CR4.PCIDE) !== 0 ? KEEP_TRANSLATIONS : 0
  const high = (value.high & ~keeps) >>> 0
  // No page table can lie above the four gigabytes that a machine has at most.
  if (high !== 0) return faults.protection()
  mode.setControl(3, value.low, 0)
  return STATUS.RELOAD
}

function writeCr4(core: Views<'registers' | 'mode' | 'faults' | 'debug' | 'outside'>, value: Halves): number {
  const { registers, faults } = core
  const { low, high } = value
  if (high !== 0 || (low & ~allowedCr4(core.outside)) !== 0) return faults.protection()
  const old = registers.controlLow(4)
  if ((low & CR4.PAE) === 0 && registers.isLongMode) return faults.protection()
  if ((low & CR4.PCIDE) !== 0 && (old & CR4.PCIDE) === 0) {
    if (!registers.isLongMode || (registers.controlLow(3) & (PAGE_SIZE - 1)) !== 0) return faults.protection()
  }
  core.mode.setControl(4, low, 0)
  core.debug.update()
  return STATUS.CHECK
}

/** LMSW: the low four bits of CR0; PE can only be set. */
export function loadStatusWord(core: Views<'registers' | 'records' | 'mode' | 'faults'>, record: number): number {
  const { registers } = core
  const value = registers.low(core.records.field(record, RECORD.register)) & 15
  const old = registers.controlLow(0)
  return writeCr0(core, ((old & ~14) | value | (old & CR0.PE)) >>> 0)
}

export function clearTaskSwitched({ registers, mode }: Views<'registers' | 'mode'>): number {
  mode.setControl(0, (registers.controlLow(0) & ~CR0.TS) >>> 0, 0)
  return STATUS.RELOAD
}

/** MOV to or from a debug register. DR4 and DR5 are other names of DR6 and DR7 unless CR4.DE is set. */
export function moveDebug(core: Views<'registers' | 'records' | 'faults' | 'debug'>, record: number): number {
  const { registers, records, faults } = core
  const named = records.field(record, RECORD.special)
  const isAlias = named === 4 || named === 5
  if (isAlias && (registers.controlLow(4) & CR4.DE) !== 0) return faults.undefinedOpcode()
  if (registers.cpl !== 0) return faults.protection()
  const { debug } = core
  if ((debug.low(7) & DR7.GD) !== 0) {
    debug.raised(DR6.BD)
    return faults.raise(VECTOR.DB)
  }
  const register = isAlias ? named + 2 : named
  const slot = records.field(record, RECORD.general) * 8
  if (records.field(record, RECORD.isWrite) === 0) {
    const high = State.debug.element.high(registers.view, State.debug.at(registers.base, register))
    registers.setSlot(slot, debug.low(register), registers.long ? high : 0)
    return STATUS.NEXT
  }
  const [low, high] = [registers.low(slot), registers.long ? registers.high(slot) : 0]
  if (register < 4) debug.set(register, low, high)
  else if (high !== 0) return faults.protection()
  else if (register === 6) debug.set(6, ((low & 0xe00f) | DR6.ONES) >>> 0, 0)
  else debug.set(7, ((low & 0xffff_2fff) | DR7.ONES) >>> 0, 0)
  return STATUS.CHECK
}

/** LGDT and LIDT: the operand's address is in t3. */
export const loadTable = (name: 'gdt' | 'idt'): Handler => (core, record) => {
  const { registers } = core
  const address = registers.address(SLOT.t3)
  const bytes = core.memory.readBytes(address, registers.long ? 10 : 6)
  const view = new DataView(bytes.buffer)
  const base = view.getUint32(2, true)
  const isShort = !registers.long && core.records.field(record, RECORD.operandBytes) === 2
  const table: TableState = {
    limit: view.getUint16(0, true), baseLow: isShort ? base & 0xff_ffff : base,
    baseHigh: registers.long ? view.getUint32(6, true) : 0,
  }
  if (!isCanonical(signedFromParts(table.baseLow, table.baseHigh))) return core.faults.protection()
  core.system[name] = table
  return STATUS.NEXT
}

/** SGDT and SIDT. With CR4.UMIP only ring 0 may. */
export const storeTable = (name: 'gdt' | 'idt'): Handler => ({ registers, memory, faults, system }) => {
  if (isHidden(registers)) return faults.protection()
  const { limit, baseLow, baseHigh } = system[name]
  const bytes = new Uint8Array(10)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, limit, true)
  view.setUint32(2, baseLow, true)
  view.setUint32(6, baseHigh, true)
  return memory.writeBytes(registers.address(SLOT.t3), bytes.subarray(0, registers.long ? 10 : 6))
}

/** True where CR4.UMIP hides system registers from the running ring. */
export const isHidden = (registers: RegisterFile): boolean =>
  (registers.controlLow(4) & CR4.UMIP) !== 0 && registers.cpl !== 0

/** LLDT and LTR: the selector is in the register; the ring has been looked at. */
export const loadSystemSegment = (name: 'ldtr' | 'tr'): Handler => (core, record) => {
  const { registers, faults, system } = core
  const selector = registers.low(core.records.field(record, RECORD.register)) & 0xffff
  const code = selector & 0xfffc
  if (code === 0) {
    if (name === 'tr') return faults.protection()
    system.ldtr = nullSegment(selector)
    return STATUS.NEXT
  }
  const words = (selector & 4) !== 0 ? undefined : readOwnDescriptor(core, selector, registers.isLongMode ? 4 : 2)
  if (words === undefined) return faults.protection(code)
  const segment = unpack(selector, words[0]!, words[1]!)
  const type = segment.attributes & 31
  const isKnown = name === 'ldtr' ? type === SYSTEM_TYPE.LDT
    : type === SYSTEM_TYPE.TSS || (!registers.isLongMode && type === SYSTEM_TYPE.TSS_16)
  if (!isKnown || (words.length > 2 && (words[3]! & 0x1f00) !== 0)) return faults.protection(code)
  if ((segment.attributes & ATTRIBUTE.PRESENT) === 0) return faults.raise(VECTOR.NP, code)
  const baseHigh = words.length > 2 ? words[2]! : 0
  if (!isCanonical(signedFromParts(segment.baseLow, baseHigh))) return faults.protection(code)
  if (name === 'tr') {
    updateAccess(core, selector, SYSTEM_TYPE.BUSY)
    system.tr = { ...segment, baseHigh, attributes: segment.attributes | SYSTEM_TYPE.BUSY }
  } else system.ldtr = { ...segment, baseHigh }
  return STATUS.NEXT
}

/** INVLPG: the address is in t3. */
export function invalidatePage({ registers, translations }: Views<'registers' | 'translations'>): number {
  const address = registers.address(SLOT.t3)
  if (isCanonical(address)) translations.flushPage(address)
  return STATUS.RELOAD
}
