/**
 * Loading segment registers, with the checks of protected and long mode.
 * Reference: Intel SDM volume 2, MOV; volume 3, sections 3.4.5 and 5.6.
 */
import { CR4, GPR, SEGMENT, VECTOR } from '../../../x86/index.ts'
import { isCanonical, signedFromParts } from '../../../util/index.ts'
import type { Core } from '../core/core.ts'
import type { SegmentState } from '../../interface/processor.ts'
import { SEGMENT_USE } from '../runtime/segments.ts'
import { segmentAllows } from '../core/segmentation.ts'
import { SLOT, STATUS, State } from '../layout/state.ts'
import {
  ACCESS_BYTE, dplOf as dpl, fail, markAccessed, nullSegment, readOwnDescriptor, unpack,
} from '../system/tables.ts'
import type { Handler, Handlers } from '../core/handler.ts'

/** Reads the descriptor that a selector names; undefined when it lies outside its table. */
export function readDescriptor(core: Core, selector: number): SegmentState | undefined {
  if (core.bare) {
    const words = readOwnDescriptor(core, selector)
    return words === undefined ? undefined : unpack(selector, words[0]!, words[1]!)
  }
  const { descriptor, descriptors } = core
  if (descriptors === undefined || !descriptors.read(selector, descriptor)) return undefined
  return unpack(selector, descriptor[0]!, descriptor[1]!)
}

/**
 * The stack segment of a ring, checked; a bad one raises `vector`, an absent one #SS. `ext` marks an external event's.
 */
export function stackSegment(
  core: Core, selector: number, how: { readonly ring: number; readonly vector: number; readonly ext?: number },
): SegmentState {
  const { ring, vector, ext = 0 } = how
  const code = (selector & 0xfffc) | ext
  const segment = (selector & 0xfffc) === 0 ? undefined : readDescriptor(core, selector)
  const writable = ACCESS_BYTE.SEGMENT | ACCESS_BYTE.WRITABLE
  const wanted = ACCESS_BYTE.SEGMENT | ACCESS_BYTE.CODE | ACCESS_BYTE.WRITABLE
  if (segment === undefined || (segment.attributes & wanted) !== writable) fail(core, vector, code)
  if ((selector & 3) !== ring || dpl(segment) !== ring) fail(core, vector, code)
  if ((segment.attributes & ACCESS_BYTE.PRESENT) === 0) fail(core, VECTOR.SS, code)
  return markAccessed(core, segment)
}

/** The stack segment that a return to `ring` finds on the stack: null only for 64-bit code of an inner ring. */
export function returnStack(core: Core, selector: number, to: { ring: number; isLong: boolean }): SegmentState {
  const { ring } = to
  if ((selector & 0xfffc) !== 0) return stackSegment(core, selector, { ring, vector: VECTOR.GP })
  if (!to.isLong || ring === 3 || (selector & 3) !== ring) fail(core, VECTOR.GP)
  return { ...nullSegment(selector), attributes: ring << 5 }
}

function loadStack(core: Core, selector: number): number {
  core.setSegment(SEGMENT.ss, returnStack(core, selector, { ring: core.cpl, isLong: core.long }))
  return STATUS.NEXT
}

/** Loads a segment register other than CS. */
export function loadSegment(core: Core, index: number, selector: number): number {
  if (index === SEGMENT.ss) return loadStack(core, selector)
  if ((selector & ~3) === 0) {
    core.setSegment(index, nullSegment(selector))
    return STATUS.NEXT
  }
  const code = selector & 0xfffc
  const segment = readDescriptor(core, selector)
  if (segment === undefined) return core.protection(code)
  const { attributes } = segment
  const isCode = (attributes & ACCESS_BYTE.CODE) !== 0
  if ((attributes & ACCESS_BYTE.SEGMENT) === 0 || (isCode && (attributes & ACCESS_BYTE.READABLE) === 0)) {
    return core.protection(code)
  }
  const conforming = isCode && (attributes & ACCESS_BYTE.CONFORMING) !== 0
  if (!conforming && Math.max(selector & 3, core.cpl) > dpl(segment)) return core.protection(code)
  if ((attributes & ACCESS_BYTE.PRESENT) === 0) return core.raise(VECTOR.NP, code)
  core.setSegment(index, markAccessed(core, segment))
  return STATUS.NEXT
}

/** What a code selector leads to for a transfer to privilege level `target`, or the fault. */
export function checkCode(core: Core, selector: number, target: number): SegmentState | number {
  const code = selector & 0xfffc
  if (code === 0) return core.protection()
  const segment = readDescriptor(core, selector)
  if (segment === undefined) return core.protection(code)
  const { attributes } = segment
  const wanted = ACCESS_BYTE.SEGMENT | ACCESS_BYTE.CODE
  if ((attributes & wanted) !== wanted) return core.protection(code)
  const conforming = (attributes & ACCESS_BYTE.CONFORMING) !== 0
  if (conforming ? dpl(segment) > target : dpl(segment) !== target) return core.protection(code)
  // L and D together are reserved in long mode.
  if ((attributes & 0x6000) === 0x6000) return core.protection(code)
  if ((attributes & ACCESS_BYTE.PRESENT) === 0) return core.raise(VECTOR.NP, code)
  const accessed = markAccessed(core, segment)
  return selector === (code | target) ? accessed : { ...accessed, selector: code | target }
}

/** MOV to a segment register, and the selector halves of LSS and its kin. */
function move(core: Core, record: number): number {
  const index = core.field(record, 'c')
  return afterLoad(core, record, loadSegment(core, index, core.low(core.field(record, 'a')) & 0xffff))
}

/** A load of SS holds back interrupts and debug traps for one instruction; any may change how code runs. */
function afterLoad(core: Core, record: number, status: number): number {
  if (status !== STATUS.NEXT) return status
  if (core.field(record, 'c') === SEGMENT.ss) core.castShadow('ss', record)
  return core.isCareful ? STATUS.CHECK : STATUS.RELOAD
}

/** LSS, LFS and their kin: the offset in t0 goes to the register `b` of `d` bytes once the selector is loaded. */
function loadFar(core: Core, record: number): number {
  const status = loadSegment(core, core.field(record, 'c'), core.low(core.field(record, 'a')) & 0xffff)
  if (status !== STATUS.NEXT) return status
  const target = core.field(record, 'b')
  const size = core.field(record, 'd')
  if (size === 2) core.view.setUint16(core.base + target, core.low(SLOT.t0), true)
  else core.setSlot(target, core.low(SLOT.t0), size === 8 ? core.high(SLOT.t0) : 0)
  return core.isCareful ? STATUS.CHECK : STATUS.RELOAD
}

const popInto = (bytes: 2 | 4 | 8) => (core: Core, record: number): number => {
  const index = core.field(record, 'c')
  const stack = core.stackPlace(0, bytes)
  const status = loadSegment(core, index, core.view.getUint16(core.hostForRead(stack, bytes), true))
  if (status !== STATUS.NEXT) return status
  core.moveStack(bytes)
  return afterLoad(core, record, status)
}

function read(core: Core, record: number): number {
  const selector = State.selectors.element.get(core.view, State.selectors.at(core.base, core.field(record, 'c')))
  core.setSlot(core.field(record, 'a'), selector, 0)
  return STATUS.NEXT
}

/** RDFSBASE and its kin exist as long as the kernel wants them: `a` general register, `b` base, `d` bytes. */
const withBases = (body: Handler): Handler => (core, record) =>
  (core.controlLow(4) & CR4.FSGSBASE) === 0 ? core.undefinedOpcode() : body(core, record)

function readBase(core: Core, record: number): number {
  const base = core.field(record, 'b')
  core.setSlot(core.field(record, 'a'), core.low(base), core.field(record, 'd') === 8 ? core.high(base) : 0)
  return STATUS.NEXT
}

function writeBase(core: Core, record: number): number {
  const from = core.field(record, 'a')
  const [low, high] = [core.low(from), core.field(record, 'd') === 8 ? core.high(from) : 0]
  if (!isCanonical(signedFromParts(low, high))) return core.protection()
  core.setSlot(core.field(record, 'b'), low, high)
  return STATUS.NEXT
}

/** LAR, LSL, VERR and VERW look at a descriptor without faulting. */
function visible(core: Core, selector: number): SegmentState | undefined {
  if ((selector & ~3) === 0) return undefined
  const segment = readDescriptor(core, selector)
  if (segment === undefined) return undefined
  const conforming = (segment.attributes & 0x1c) === 0x1c
  return conforming || Math.max(selector & 3, core.cpl) <= dpl(segment) ? segment : undefined
}

function setZero(core: Core, zero: boolean): void {
  const flags = core.flags() & ~0x40
  core.setFlags(zero ? flags | 0x40 : flags)
}

const describe = (value: (segment: SegmentState) => number | undefined) => (core: Core, record: number): number => {
  const segment = visible(core, core.low(core.field(record, 'a')) & 0xffff)
  const result = segment === undefined ? undefined : value(segment)
  setZero(core, result !== undefined)
  if (result === undefined) return STATUS.NEXT
  const slot = core.base + core.field(record, 'b')
  if (core.field(record, 'c') === 2) core.view.setUint16(slot, result & 0xffff, true)
  else core.setSlot(slot - core.base, result, 0)
  return STATUS.NEXT
}

/** System segments whose rights LAR and limits LSL tell: LDT, TSS; gates only to LAR. */
const knownTo = (attributes: number, types: readonly number[]): boolean =>
  (attributes & ACCESS_BYTE.SEGMENT) !== 0 || types.includes(attributes & 15)

const verify = (allowed: (attributes: number) => boolean) => (core: Core, record: number): number => {
  const segment = visible(core, core.low(core.field(record, 'a')) & 0xffff)
  const attributes = segment?.attributes ?? 0
  setZero(core, (attributes & ACCESS_BYTE.SEGMENT) !== 0 && allowed(attributes))
  return STATUS.NEXT
}

/** ARPL: a is the selector, b the one whose RPL it is to have at least. True when it changed. */
function raiseRpl(core: Core, record: number): boolean {
  const [target, source] = [core.field(record, 'a'), core.field(record, 'b')]
  const [rpl, wanted] = [core.low(target) & 3, core.low(source) & 3]
  setZero(core, rpl < wanted)
  if (rpl < wanted) core.view.setUint8(core.base + target, (core.low(target) & 0xfc) | wanted)
  return rpl < wanted
}

/** The same in memory, whose address is in t3 and whose segment is c; it is written only when it changes. */
function raiseRplInMemory(core: Core, record: number): number {
  const address = core.low(SLOT.t3)
  core.setSlot(core.field(record, 'a'), core.read16(address), 0)
  const flags = core.flags()
  if (!raiseRpl(core, record)) return STATUS.NEXT
  core.setFlags(flags)
  const segment = core.field(record, 'c')
  if (!segmentAllows(core, segment, { linear: address, use: SEGMENT_USE.WRITE, bytes: 2 })) return STATUS.FAULT
  const host = core.hostForWrite(address, 2)
  core.view.setUint16(host, core.low(core.field(record, 'a')), true)
  setZero(core, true)
  return core.finishWrite(host)
}

/** Handlers by name. */
export const SEGMENT_HANDLERS: Handlers = {
  'read-base': withBases(readBase), 'write-base': withBases(writeBase),
  'load-segment': move, 'load-far': loadFar, 'read-segment': read,
  'pop-segment.16': popInto(2), 'pop-segment.32': popInto(4), 'pop-segment.64': popInto(8),
  // Bits 19..16 are undefined by Intel; AMD's processors show the limit's there.
  lar: describe(({ attributes, limit }) => {
    const top = (attributes & 0x8000) !== 0 ? limit >>> 28 : (limit >>> 16) & 15
    return knownTo(attributes, [1, 2, 3, 4, 5, 9, 11, 12]) ? ((attributes << 8) & 0xf0_ff00) | (top << 16) : undefined
  }),
  lsl: describe(({ attributes, limit }) => (knownTo(attributes, [1, 2, 3, 9, 11]) ? limit : undefined)),
  verr: verify((attributes) => (attributes & ACCESS_BYTE.CODE) === 0 || (attributes & ACCESS_BYTE.READABLE) !== 0),
  verw: verify((attributes) => (attributes & ACCESS_BYTE.CODE) === 0 && (attributes & ACCESS_BYTE.WRITABLE) !== 0),
  arpl: (core, record) => {
    raiseRpl(core, record)
    return STATUS.NEXT
  },
  'arpl-memory': raiseRplInMemory,
}

/** Slot that holds a loaded operand. */
export const OPERAND = SLOT.t0
/** Slot of the stack pointer. */
export const STACK = GPR.rsp * 8
