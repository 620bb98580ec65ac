/**
 * The sixteen conditions of Jcc, SETcc and CMOVcc: from the stored flags, or straight from the operands of a comparison
 * that stands just before.
 * Reference: Intel SDM volume 1, appendix B.
 */
import { CONDITIONS } from '../../../x86/index.ts'
import type { Condition } from '../../../x86/index.ts'
import type { PlainName } from '../../../wasm/index.ts'
import { constant, signExtend32, truncate, typeOf } from './binder.ts'
import type { Binder, FlagKind, FlagSource, Size } from './binder.ts'
import { pushCarry, pushOverflow, pushParity, pushSign, pushZero } from './flags.ts'

/** Condition without negation, for each pair of numbers. */
const BASE: readonly ((b: Binder) => void)[] = [
  pushOverflow,
  pushCarry,
  pushZero,
  (b) => either(b, pushCarry, pushZero),
  pushSign,
  pushParity,
  pushLess,
  (b) => either(b, pushLess, pushZero),
]

function either(b: Binder, first: (b: Binder) => void, second: (b: Binder) => void): void {
  first(b)
  second(b)
  b.code.op('i32.or')
}

function pushLess(b: Binder): void {
  pushSign(b)
  pushOverflow(b)
  b.code.op('i32.xor')
}

/** Pushes the condition (0 or not 0) from the flags as they are. */
export function pushCondition(b: Binder, condition: Condition): void {
  const known = b.knownFlags()
  if (known !== undefined && isDirect(known.kind, condition)) return pushDirect(b, condition, known)
  const number = CONDITIONS.indexOf(condition)
  BASE[number >> 1]!(b)
  if ((number & 1) === 1) b.code.op('i32.eqz')
}

type Comparison = 'eq' | 'ne' | 'lt_u' | 'ge_u' | 'le_u' | 'gt_u' | 'lt_s' | 'ge_s' | 'le_s' | 'gt_s'
const AFTER_COMPARE: Partial<Record<Condition, Comparison>> = {
  e: 'eq', ne: 'ne', b: 'lt_u', ae: 'ge_u', be: 'le_u', a: 'gt_u', l: 'lt_s', ge: 'ge_s', le: 'le_s', g: 'gt_s',
}
/** Comparison of the result with zero. */
const AFTER_LOGIC: Partial<Record<Condition, Comparison>> = {
  e: 'eq', ne: 'ne', s: 'lt_s', ns: 'ge_s', l: 'lt_s', ge: 'ge_s', le: 'le_s', g: 'gt_s',
}
const AFTER_STEP: Partial<Record<Condition, Comparison>> = { e: 'eq', ne: 'ne', s: 'lt_s', ns: 'ge_s' }

/** True when {@link pushConditionAfter} need not look at single flags. */
export function isDirect(kind: FlagKind, condition: Condition): boolean {
  if (kind === 'sub' && AFTER_COMPARE[condition] !== undefined) return true
  return (kind === 'logic' ? AFTER_LOGIC : AFTER_STEP)[condition] !== undefined
}

/** Pushes the condition, from the operands that set the flags where they suffice. */
export function pushConditionAfter(b: Binder, condition: Condition, source: FlagSource | undefined): void {
  if (source === undefined || !isDirect(source.kind, condition)) return pushCondition(b, condition)
  pushDirect(b, condition, source)
}

/** Pushes a condition that is direct. */
function pushDirect(b: Binder, condition: Condition, source: FlagSource): void {
  const compared = source.kind === 'sub' ? AFTER_COMPARE[condition] : undefined
  if (compared !== undefined) return compare(b, source.size, compared, [source.left, source.right])
  const against = (source.kind === 'logic' ? AFTER_LOGIC : AFTER_STEP)[condition]!
  compare(b, source.size, against, [source.result])
}

const SIGNED: ReadonlySet<Comparison> = /* @__PURE__ */ new Set<Comparison>(['lt_s', 'ge_s', 'le_s', 'gt_s'])

/** Compares two locals (operands are zero-extended), or a result with zero, as numbers of `size` bits. */
function compare(b: Binder, size: Size, comparison: Comparison, locals: readonly number[]): void {
  for (const local of locals) {
    b.code.get(local)
    if (SIGNED.has(comparison)) signExtend32(b.code, size)
    else if (locals.length === 1) truncate(b.code, size)
  }
  if (locals.length === 1) constant(b.code, size, 0)
  b.code.op(`${typeOf(size)}.${comparison}` satisfies PlainName)
}

/** How a jump's record says its condition: see {@link SELECTOR}. */
export interface ConditionSelector {
  readonly mask: number
  readonly negate: number
}

/**
 * How a jump's record says its condition, so that one piece of code serves all: which of equal (1), below (2) and less
 * (4) it holds for, and whether it is turned over. After TEST, less is the sign and below never holds.
 */
export const SELECTOR: Readonly<Partial<Record<Condition, ConditionSelector>>> = {
  e: { mask: 1, negate: 0 }, ne: { mask: 1, negate: 1 }, b: { mask: 2, negate: 0 }, ae: { mask: 2, negate: 1 },
  be: { mask: 3, negate: 0 }, a: { mask: 3, negate: 1 }, l: { mask: 4, negate: 0 }, ge: { mask: 4, negate: 1 },
  le: { mask: 5, negate: 0 }, g: { mask: 5, negate: 1 }, s: { mask: 4, negate: 0 }, ns: { mask: 4, negate: 1 },
}

/** Conditions that {@link pushSelected} can tell, by what set the flags. */
export const SELECTABLE: Readonly<Record<'sub' | 'logic', readonly Condition[]>> = {
  sub: ['e', 'ne', 'b', 'ae', 'be', 'a', 'l', 'ge', 'le', 'g'],
  logic: ['e', 'ne', 'l', 'ge', 'le', 'g', 's', 'ns'],
}

/** Pushes the condition that the record's fields `mask` and `negate` select. */
export function pushSelected(b: Binder, source: FlagSource): void {
  const c = b.code
  const { size } = source
  const locals = source.kind === 'sub' ? [source.left, source.right] : [source.result]
  compare(b, size, 'eq', locals)
  if (source.kind === 'sub') {
    compare(b, size, 'lt_u', locals)
    c.i32(1)
    c.op('i32.shl', 'i32.or')
  }
  compare(b, size, 'lt_s', locals)
  c.i32(2)
  c.op('i32.shl', 'i32.or')
  b.small('mask')
  c.op('i32.and')
  c.i32(0)
  c.op('i32.ne')
  b.small('negate')
  c.op('i32.xor')
}
