/**
 * Segments outside of 64-bit mode: whether an access through one stays in its limit and suits its type, in generated
 * code. Code whose segments are flat is decoded without asking; see MODE.SEGMENTED.
 * Reference: Intel SDM volume 3, sections 5.3 to 5.5.
 */
import { ATTRIBUTE, CR0, SEGMENT, VECTOR } from '../../../x86/index.ts'
import type { Code, ModuleWriter } from '../../../wasm/index.ts'
import { SEGMENT_USE } from '../layout/segment-access.ts'
import type { SegmentUse } from '../layout/segment-access.ts'
import { State } from '../layout/state.ts'

interface Check {
  readonly code: Code
  readonly base: number
  readonly offset: number
  readonly access: number
  readonly attributes: number
  readonly limit: number
  readonly last: number
}

/**
 * Adds `check(base, offset, access)`: 1, or 0 after leaving #GP(0), for the stack segment #SS(0), in the
 * state.
 */
export function defineSegments(module: ModuleWriter): number {
  const { index, code } = module.function(['i32', 'i32', 'i32'], ['i32'])
  const k: Check = {
    code, base: 0, offset: 1, access: 2,
    attributes: code.local('i32'), limit: code.local('i32'), last: code.local('i64'),
  }
  take(k)
  pushType(k)
  pushInside(k)
  code.op('i32.and')
  code.if()
  code.i32(1)
  code.op('return')
  code.end()
  refuse(k)
  return index
}

function pushSegment(k: Check): void {
  k.code.get(k.access)
  k.code.i32(7)
  k.code.op('i32.and')
}

function take(k: Check): void {
  const c = k.code
  for (const [field, target] of [[State.attributes, k.attributes], [State.limits, k.limit]] as const) {
    c.get(k.base)
    pushSegment(k)
    c.i32(2)
    c.op('i32.shl', 'i32.add')
    c.memory('i32.load', field.offset)
    c.set(target)
  }
  c.get(k.offset)
  c.op('i64.extend_i32_u')
  c.get(k.access)
  c.i32(5)
  c.op('i32.shr_u', 'i64.extend_i32_u', 'i64.add')
  c.i64(1)
  c.op('i64.sub')
  c.set(k.last)
}

function pushUse(k: Check, use: SegmentUse): void {
  k.code.get(k.access)
  k.code.i32(3)
  k.code.op('i32.shr_u')
  k.code.i32(3)
  k.code.op('i32.and')
  k.code.i32(use)
  k.code.op('i32.eq')
}

function pushAttribute(k: Check, bit: number): void {
  k.code.get(k.attributes)
  k.code.i32(bit)
  k.code.op('i32.and')
  k.code.i32(0)
  k.code.op('i32.ne')
}

/**
 * Pushes 1 when the segment's type allows the access; a segment loaded with a null selector has no type at all. In real mode
 * nobody asks.
 */
function pushType(k: Check): void {
  const c = k.code
  pushAttribute(k, ATTRIBUTE.SEGMENT)
  pushUse(k, SEGMENT_USE.FETCH)
  // Writing: data that are writable. Reading: data, or code that is readable. Both bits are the same one.
  pushAttribute(k, ATTRIBUTE.WRITABLE)
  pushAttribute(k, ATTRIBUTE.CODE)
  pushUse(k, SEGMENT_USE.WRITE)
  c.op('i32.and', 'i32.eqz', 'i32.and')
  pushAttribute(k, ATTRIBUTE.CODE)
  pushUse(k, SEGMENT_USE.WRITE)
  c.op('i32.or', 'i32.eqz', 'i32.or', 'i32.or', 'i32.and')
  c.get(k.base)
  c.memory('i32.load', State.control.at(0, 0))
  c.i32(CR0.PE)
  c.op('i32.and', 'i32.eqz', 'i32.or')
}

/** Pushes 1 when the access stays in the limit. */
function pushInside(k: Check): void {
  const c = k.code
  c.get(k.attributes)
  c.i32(ATTRIBUTE.CODE | ATTRIBUTE.EXPAND_DOWN)
  c.op('i32.and')
  c.i32(ATTRIBUTE.EXPAND_DOWN)
  c.op('i32.eq')
  c.if('i32')
  c.get(k.offset)
  c.get(k.limit)
  c.op('i32.gt_u')
  c.get(k.last)
  c.i64(-1, 0)
  c.i64(0xffff)
  pushAttribute(k, ATTRIBUTE.BIG)
  c.op('select', 'i64.le_u', 'i32.and')
  c.else()
  c.get(k.last)
  c.get(k.limit)
  c.op('i64.extend_i32_u', 'i64.le_u')
  c.end()
}

function refuse(k: Check): void {
  const c = k.code
  c.get(k.base)
  c.i32(VECTOR.SS)
  c.i32(VECTOR.GP)
  pushSegment(k)
  c.i32(SEGMENT.ss)
  c.op('i32.eq', 'select')
  c.memory('i32.store', State.faultVector.offset)
  c.get(k.base)
  c.i32(0)
  c.memory('i32.store', State.faultCode.offset)
  c.i32(0)
}
