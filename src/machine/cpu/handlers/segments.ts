/**
 * Loading segment registers, with the checks of protected and long mode.
 * Reference: Intel SDM volume 2, MOV; volume 3, sections 3.4.5 and 5.6.
 */
import { ATTRIBUTE, CR4, GPR, SEGMENT, VECTOR, dplOf, isConforming } from '../../../x86/index.ts'
import { isCanonical, signedFromParts } from '../../../util/index.ts'
import type { Core, Views } from '../core/core.ts'
import type { RegisterFile } from '../core/register-file.ts'
import type { SegmentState } from '../../interface/registers.ts'
import { SEGMENT_USE } from '../layout/segment-access.ts'
import { RECORD } from '../layout/record.ts'
import { SLOT, STATUS } from '../layout/state.ts'
import { readDescriptor, returnStack } from '../system/descriptors.ts'
import { inProtectedMode, isReal, realSegment } from '../system/real-mode.ts'
import { markAccessed, nullSegment } from '../system/tables.ts'
import type { Handler } from '../core/handler.ts'
import { PRICE } from './prices.ts'
import { rows, type Handlers } from './rows.ts'

function loadStack(core: Core, selector: number): number {
  const { registers } = core
  core.mode.setSegment(SEGMENT.ss, returnStack(core, selector, { ring: registers.cpl, isLong: registers.long }))
  return STATUS.NEXT
}

/** Loads a segment register other than CS. */
export function loadSegment(core: Core, index: number, selector: number): number {
  const { registers, mode, faults } = core
  if (isReal(registers)) {
    mode.setSegment(index, realSegment(registers, index, selector))
    return STATUS.NEXT
  }
  if (index === SEGMENT.ss) return loadStack(core, selector)
  if ((selector & ~3) === 0) {
    mode.setSegment(index, nullSegment(selector))
    return STATUS.NEXT
  }
  const code = selector & 0xfffc
  const segment = readDescriptor(core, selector)
  if (segment === undefined) return faults.protection(code)
  const { attributes } = segment
  const isCode = (attributes & ATTRIBUTE.CODE) !== 0
  if ((attributes & ATTRIBUTE.SEGMENT) === 0 || (isCode && (attributes & ATTRIBUTE.READABLE) === 0)) {
    return faults.protection(code)
  }
  const conforming = isCode && (attributes & ATTRIBUTE.CONFORMING) !== 0
  if (!conforming && Math.max(selector & 3, core.registers.cpl) > dplOf(segment.attributes)) return faults.protection(code)
  if ((attributes & ATTRIBUTE.PRESENT) === 0) return faults.raise(VECTOR.NP, code)
  mode.setSegment(index, markAccessed(core, segment))
  return STATUS.NEXT
}

/** MOV to a segment register, and the selector halves of LSS and its kin. */
function move(core: Core, record: number): number {
  const { records } = core
  const index = records.field(record, RECORD.segment)
  return afterLoad(core, record, loadSegment(core, index, core.registers.low(records.field(record, RECORD.register)) & 0xffff))
}

/** A load of SS holds back interrupts and debug traps for one instruction; any may change how code runs. */
function afterLoad(
  { records, events, attention, progress }: Views<'records' | 'events' | 'attention' | 'progress'>, record: number,
  status: number,
): number {
  if (status !== STATUS.NEXT) return status
  if (records.field(record, RECORD.segment) === SEGMENT.ss) events.beginInterruptShadow('ss', progress.countWith(record))
  return attention.isDue ? STATUS.CHECK : STATUS.RELOAD
}

/** LSS, LFS and their kin: the offset in t0 goes to the target, of `size` bytes, once the selector is loaded. */
function loadFar(core: Core, record: number): number {
  const { registers, records } = core
  const status = loadSegment(core, records.field(record, RECORD.segment), registers.low(records.field(record, RECORD.register)) & 0xffff)
  if (status !== STATUS.NEXT) return status
  const target = records.field(record, RECORD.target)
  const size = records.field(record, RECORD.size)
  if (size === 2) registers.view.setUint16(registers.base + target, registers.low(SLOT.t0), true)
  else registers.setSlot(target, registers.low(SLOT.t0), size === 8 ? registers.high(SLOT.t0) : 0)
  return core.attention.isDue ? STATUS.CHECK : STATUS.RELOAD
}

const popInto = (bytes: 2 | 4 | 8) => (core: Core, record: number): number => {
  const index = core.records.field(record, RECORD.segment)
  const stack = core.stack.place(0, bytes)
  const status = loadSegment(core, index, core.registers.view.getUint16(core.memory.hostForRead(stack, bytes), true))
  if (status !== STATUS.NEXT) return status
  core.stack.move(bytes)
  return afterLoad(core, record, status)
}

/** RDFSBASE and its kin exist as long as the kernel wants them. Record: SHAPES.segmentBases. */
const withBases = (body: Handler): Handler => (core, record) =>
  (core.registers.controlLow(4) & CR4.FSGSBASE) === 0 ? core.faults.undefinedOpcode() : body(core, record)

function readBase({ registers, records }: Views<'registers' | 'records'>, record: number): number {
  const base = records.field(record, RECORD.segmentSlot)
  const high = records.field(record, RECORD.size) === 8 ? registers.high(base) : 0
  registers.setSlot(records.field(record, RECORD.destination), registers.low(base), high)
  return STATUS.NEXT
}

function writeBase({ registers, records, faults }: Views<'registers' | 'records' | 'faults'>, record: number): number {
  const from = records.field(record, RECORD.register)
  const [low, high] = [registers.low(from), records.field(record, RECORD.size) === 8 ? registers.high(from) : 0]
  if (!isCanonical(signedFromParts(low, high))) return faults.protection()
  registers.setSlot(records.field(record, RECORD.segmentSlot), low, high)
  return STATUS.NEXT
}

/** LAR, LSL, VERR and VERW look at a descriptor without faulting. */
function visible(core: Core, selector: number): SegmentState | undefined {
  if ((selector & ~3) === 0) return undefined
  const segment = readDescriptor(core, selector)
  if (segment === undefined) return undefined
  const conforming = isConforming(segment.attributes)
  return conforming || Math.max(selector & 3, core.registers.cpl) <= dplOf(segment.attributes) ? segment : undefined
}

function setZero(registers: RegisterFile, zero: boolean): void {
  const flags = registers.flags() & ~0x40
  registers.setFlags(zero ? flags | 0x40 : flags)
}

const describe = (value: (segment: SegmentState) => number | undefined) => (core: Core, record: number): number => {
  const { registers, records } = core
  const segment = visible(core, registers.low(records.field(record, RECORD.register)) & 0xffff)
  const result = segment === undefined ? undefined : value(segment)
  setZero(registers, result !== undefined)
  if (result === undefined) return STATUS.NEXT
  const slot = registers.base + records.field(record, RECORD.target)
  if (records.field(record, RECORD.operandBytes) === 2) registers.view.setUint16(slot, result & 0xffff, true)
  else registers.setSlot(slot - registers.base, result, 0)
  return STATUS.NEXT
}

/** System segments whose rights LAR and limits LSL tell: LDT, TSS; gates only to LAR. */
const knownTo = (attributes: number, types: readonly number[]): boolean =>
  (attributes & ATTRIBUTE.SEGMENT) !== 0 || types.includes(attributes & 15)

const verify = (allowed: (attributes: number) => boolean) => (core: Core, record: number): number => {
  const { registers } = core
  const segment = visible(core, registers.low(core.records.field(record, RECORD.register)) & 0xffff)
  const attributes = segment?.attributes ?? 0
  setZero(registers, (attributes & ATTRIBUTE.SEGMENT) !== 0 && allowed(attributes))
  return STATUS.NEXT
}

/** ARPL: the destination is the selector, the source the one whose RPL it is to have at least. True when it changed. */
function raiseRpl({ registers, records }: Views<'registers' | 'records'>, record: number): boolean {
  const [target, source] = [records.field(record, RECORD.destination), records.field(record, RECORD.source)]
  const [rpl, wanted] = [registers.low(target) & 3, registers.low(source) & 3]
  setZero(registers, rpl < wanted)
  if (rpl < wanted) registers.view.setUint8(registers.base + target, (registers.low(target) & 0xfc) | wanted)
  return rpl < wanted
}

/** The same in memory, whose address is in t3 and whose segment is c; it is written only when it changes. */
function raiseRplInMemory(core: Views<'registers' | 'records' | 'memory' | 'segments'>, record: number): number {
  const { registers, records, memory } = core
  const address = registers.low(SLOT.t3)
  registers.setSlot(records.field(record, RECORD.register), memory.read16(address), 0)
  const flags = registers.flags()
  if (!raiseRpl(core, record)) return STATUS.NEXT
  registers.setFlags(flags)
  const segment = records.field(record, RECORD.segment)
  if (!core.segments.allows(segment, { linear: address, use: SEGMENT_USE.WRITE, bytes: 2 })) return STATUS.FAULT
  const host = memory.hostForWrite(address, 2)
  registers.view.setUint16(host, registers.low(records.field(record, RECORD.register)), true)
  setZero(registers, true)
  return memory.finishWrite(host)
}

const onlyProtected = (handlers: Readonly<Record<string, Handler>>): Readonly<Record<string, Handler>> =>
  Object.fromEntries(Object.entries(handlers).map(([name, handler]) => [name, inProtectedMode(handler)]))

/** Instructions that look at a descriptor and only tell what they see. */
const LOOKS: Readonly<Record<string, Handler>> = onlyProtected({
  // Bits 19..16 are undefined by Intel; AMD's processors show the limit's there.
  lar: describe(({ attributes, limit }) => {
    const top = (attributes & 0x8000) !== 0 ? limit >>> 28 : (limit >>> 16) & 15
    return knownTo(attributes, [1, 2, 3, 4, 5, 9, 11, 12]) ? ((attributes << 8) & 0xf0_ff00) | (top << 16) : undefined
  }),
  lsl: describe(({ attributes, limit }) => (knownTo(attributes, [1, 2, 3, 9, 11]) ? limit : undefined)),
  verr: verify((attributes) => (attributes & ATTRIBUTE.CODE) === 0 || (attributes & ATTRIBUTE.READABLE) !== 0),
  verw: verify((attributes) => (attributes & ATTRIBUTE.CODE) === 0 && (attributes & ATTRIBUTE.WRITABLE) !== 0),
})

/** Handlers by name. */
export const SEGMENT_HANDLERS: Handlers = {
  ...rows({ 'read-base': withBases(readBase), 'write-base': withBases(writeBase), 'arpl-memory': inProtectedMode(raiseRplInMemory) }),
  ...rows({
    'pop-segment.16': popInto(2), 'pop-segment.32': popInto(4), 'pop-segment.64': popInto(8),
  }, { price: PRICE.shortWork, usesStack: true }),
  ...rows({ 'load-segment': move, 'load-far': loadFar, ...LOOKS }, { price: PRICE.shortWork }),
  ...rows({
    arpl: inProtectedMode((core, record) => {
      raiseRpl(core, record)
      return STATUS.NEXT
    }),
  }),
}

/** Slot that holds a loaded operand. */
export const OPERAND = SLOT.t0
/** Slot of the stack pointer. */
export const STACK = GPR.rsp * 8
