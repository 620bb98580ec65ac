/**
 * Shifts and rotations: SHL SHR SAR ROL ROR RCL RCR, SHLD SHRD. Counts are taken modulo 32 (64 for 64-bit operands); a
 * count of zero leaves the flags alone. OF is worked out as for a count of 1, where the manual defines it.
 * Reference: Intel SDM volume 2, SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD.
 */
import { GPR, RFLAGS } from '../../../x86/index.ts'
import { explicitFlags, pushCarry, replaceCarries } from '../emit/flags.ts'
import type { Binder, Place, Size } from '../emit/binder.ts'
import { ARITHMETIC_FLAGS } from '../layout/flag-word.ts'
import { change, field, from, fromRegister, immediate, into, readsFlags, setsFlags, sometimes } from './facts.ts'
import type { Effect } from './facts.ts'
import type { MicroList } from './micro.ts'

/** The group's operations in the order of ModRM.reg; 6 is an alias of SHL. */
export const SHIFTS = ['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr', 'shl', 'sar'] as const
type ShiftName = (typeof SHIFTS)[number]
/** Shifts that bits are lost by. */
type PlainShift = 'shl' | 'shr' | 'sar'

const SIZES: readonly Size[] = [8, 16, 32, 64]

/** Locals of one shift, all i64 but the flags. */
interface Work {
  readonly size: Size
  readonly value: number
  readonly count: number
  readonly result: number
  readonly carry: number
  readonly overflow: number
}

/** Sets an i32 local to one bit of an i64 local. */
function setBit(b: Binder, target: number, value: number, position: number): void {
  b.code.get(value)
  b.code.i64(position)
  b.code.op('i64.shr_u', 'i32.wrap_i64')
  b.code.i32(1)
  b.code.op('i32.and')
  b.code.set(target)
}

/** Sets `carry` to the bit of `value` at the i64 that `push` pushes. */
function carryFrom(b: Binder, work: Work, shift: 'i64.shr_u' | 'i64.shr_s', push: () => void): void {
  b.code.get(work.value)
  push()
  b.code.op(shift, 'i32.wrap_i64')
  b.code.i32(1)
  b.code.op('i32.and')
  b.code.set(work.carry)
}

const lessOne = (b: Binder, count: number) => (): void => {
  b.code.get(count)
  b.code.i64(1)
  b.code.op('i64.sub')
}

const fromWidth = (b: Binder, width: number, count: number) => (): void => {
  b.code.i64(width)
  b.code.get(count)
  b.code.op('i64.sub')
}

function xorInto(b: Binder, target: number, other: number): void {
  b.code.get(target)
  b.code.get(other)
  b.code.op('i32.xor')
  b.code.set(target)
}

function combine(b: Binder, work: Work, shift: 'i64.shl' | 'i64.shr_u' | 'i64.shr_s'): void {
  b.code.get(work.value)
  b.code.get(work.count)
  b.code.op(shift)
  b.code.set(work.result)
}

/** Sets `result`; SAR extends the value first. */
function shiftResult(b: Binder, name: PlainShift, work: Work): void {
  if (name === 'shl') return combine(b, work, 'i64.shl')
  if (name === 'shr') return combine(b, work, 'i64.shr_u')
  const c = b.code
  if (work.size < 64) {
    c.get(work.value)
    c.op(work.size === 8 ? 'i64.extend8_s' : work.size === 16 ? 'i64.extend16_s' : 'i64.extend32_s')
    c.set(work.value)
  }
  combine(b, work, 'i64.shr_s')
}

function shiftLeft(b: Binder, work: Work): void {
  const { size, result } = work
  if (size === 64) carryFrom(b, work, 'i64.shr_u', fromWidth(b, 64, work.count))
  else setBit(b, work.carry, result, size)
  setBit(b, work.overflow, result, size - 1)
  xorInto(b, work.overflow, work.carry)
}

function shiftRight(b: Binder, work: Work): void {
  carryFrom(b, work, 'i64.shr_u', lessOne(b, work.count))
  setBit(b, work.overflow, work.value, work.size - 1)
}

function shiftArithmetic(b: Binder, work: Work): void {
  carryFrom(b, work, 'i64.shr_s', lessOne(b, work.count))
  b.code.i32(0)
  b.code.set(work.overflow)
}

/** Takes the count modulo `modulus`, as the 8- and 16-bit rotations do. */
function reduceCount(b: Binder, work: Work, modulus: number): void {
  b.code.get(work.count)
  b.code.i64(modulus)
  b.code.op('i64.rem_u')
  b.code.set(work.count)
}

function rotate(b: Binder, name: 'rol' | 'ror', work: Work): void {
  const c = b.code
  const { size, value, count, result } = work
  if (size === 64) {
    c.get(value)
    c.get(count)
    c.op(name === 'rol' ? 'i64.rotl' : 'i64.rotr')
  } else {
    reduceCount(b, work, size)
    // Two copies side by side: whatever leaves at one end comes in at the other.
    c.get(value)
    c.get(value)
    c.i64(size)
    c.op('i64.shl', 'i64.or')
    if (name === 'ror') c.get(count)
    else fromWidth(b, size, count)()
    c.op('i64.shr_u')
  }
  c.set(result)
  if (name === 'rol') {
    setBit(b, work.carry, result, 0)
    setBit(b, work.overflow, result, size - 1)
    xorInto(b, work.overflow, work.carry)
    return
  }
  setBit(b, work.carry, result, size - 1)
  setBit(b, work.overflow, result, size - 2)
  xorInto(b, work.overflow, work.carry)
}

/** RCL and RCR of up to 32 bits: the carry is one more bit on top. */
function rotateThroughCarry(b: Binder, name: 'rcl' | 'rcr', work: Work): void {
  const c = b.code
  const { size, value, count, result } = work
  if (size < 32) reduceCount(b, work, size + 1)
  c.get(value)
  pushCarry(b)
  c.op('i64.extend_i32_u')
  c.i64(size)
  c.op('i64.shl', 'i64.or')
  c.set(value)
  const other = fromWidth(b, size + 1, count)
  c.get(value)
  c.get(count)
  c.op(name === 'rcl' ? 'i64.shl' : 'i64.shr_u')
  c.get(value)
  other()
  c.op(name === 'rcl' ? 'i64.shr_u' : 'i64.shl')
  c.op('i64.or')
  c.set(result)
  setBit(b, work.carry, result, size)
  throughCarryOverflow(b, name, work)
}

function throughCarryOverflow(b: Binder, name: 'rcl' | 'rcr', work: Work): void {
  const { size, result } = work
  setBit(b, work.overflow, result, size - 1)
  if (name === 'rcl') return xorInto(b, work.overflow, work.carry)
  const next = b.code.local('i32')
  setBit(b, next, result, size - 2)
  xorInto(b, work.overflow, next)
  b.code.release('i32', next)
}

/** RCL and RCR of 64 bits, count 1 to 63. */
function rotateThroughCarry64(b: Binder, name: 'rcl' | 'rcr', work: Work): void {
  const c = b.code
  const { value, count, result } = work
  const [near, far] = name === 'rcl' ? (['i64.shl', 'i64.shr_u'] as const) : (['i64.shr_u', 'i64.shl'] as const)
  c.get(value)
  c.get(count)
  c.op(near)
  c.get(value)
  c.i64(1)
  c.op(far)
  fromWidth(b, 64, count)()
  c.op(far, 'i64.or')
  pushCarry(b)
  c.op('i64.extend_i32_u')
  if (name === 'rcl') lessOne(b, count)()
  else fromWidth(b, 64, count)()
  c.op('i64.shl', 'i64.or')
  c.set(result)
  carryFrom(b, work, 'i64.shr_u', name === 'rcl' ? fromWidth(b, 64, count) : lessOne(b, count))
  throughCarryOverflow(b, name, work)
}

const isPlain = (name: ShiftName): name is PlainShift => name === 'shl' || name === 'shr' || name === 'sar'

function compute(b: Binder, name: ShiftName, work: Work): void {
  if (isPlain(name)) {
    shiftResult(b, name, work)
    if (name === 'shl') return shiftLeft(b, work)
    if (name === 'shr') return shiftRight(b, work)
    return shiftArithmetic(b, work)
  }
  if (name === 'rol' || name === 'ror') return rotate(b, name, work)
  if (work.size === 64) return rotateThroughCarry64(b, name, work)
  rotateThroughCarry(b, name, work)
}

/** Pushes the i64 in a local as a value of `size`. */
function pushSized(b: Binder, size: Size, local: number): void {
  b.code.get(local)
  if (size !== 64) b.code.op('i32.wrap_i64')
}

/** Opens the locals, runs `body`, stores result and flags. */
function withWork(b: Binder, size: Size, body: (work: Work, place: Place) => void): void {
  const c = b.code
  const work: Work = {
    size, value: c.local('i64'), count: c.local('i64'), result: c.local('i64'),
    carry: c.local('i32'), overflow: c.local('i32'),
  }
  const place = b.place('destination', size)
  place.get()
  if (size !== 64) c.op('i64.extend_i32_u')
  c.set(work.value)
  body(work, place)
  c.release('i64', work.value, work.count, work.result)
  c.release('i32', work.carry, work.overflow)
}

function finish(b: Binder, work: Work, place: Place, keep: 'only carry' | 'all flags'): void {
  const c = b.code
  place.set(() => pushSized(b, work.size, work.result))
  if (keep === 'only carry') return replaceCarries(b, work.carry, work.overflow)
  const type = work.size === 64 ? 'i64' : 'i32'
  const result = c.local(type)
  pushSized(b, work.size, work.result)
  c.set(result)
  explicitFlags(b, work.size, { result, carry: work.carry, overflow: work.overflow })
  c.release(type, result)
}

/** A shift whose operands the binder remembers in place of the flags. */
function remember(b: Binder, name: PlainShift, work: Work, place: Place): void {
  const c = b.code
  const { size } = work
  const type = size === 64 ? 'i64' : 'i32'
  const [left, right, result] = [c.local(type), c.local(type), c.local(type)]
  const take = (from: number, local: number): void => {
    pushSized(b, size, from)
    c.set(local)
  }
  take(work.value, left)
  take(work.count, right)
  shiftResult(b, name, work)
  take(work.result, result)
  place.set(() => pushSized(b, size, work.result))
  b.keepFlags({ kind: name, size, left, right, result })
  c.release(type, left, right, result)
}

/** Sets the masked count from the i32 that `push` pushes and runs `body` unless it is zero. */
function counted(b: Binder, work: Work, place: Place, options: { push: () => void; body: () => void }): void {
  const c = b.code
  // A count of zero leaves the flags as they are.
  b.settleFlags()
  options.push()
  c.i32(work.size === 64 ? 63 : 31)
  c.op('i32.and', 'i64.extend_i32_u')
  c.tee(work.count)
  c.op('i64.eqz')
  c.if()
  if (work.size === 32) place.set(() => pushSized(b, 32, work.value))
  c.else()
  options.body()
  c.end()
}

const ROTATIONS: ReadonlySet<ShiftName> = /* @__PURE__ */ new Set<ShiftName>(['rol', 'ror', 'rcl', 'rcr'])

/** Flags: rotations only change CF and OF, and those through the carry read it. */
function flagsOf(name: ShiftName): Effect[] {
  const set = setsFlags(ROTATIONS.has(name) ? RFLAGS.CF | RFLAGS.OF : ARITHMETIC_FLAGS)
  return name === 'rcl' || name === 'rcr' ? [readsFlags(RFLAGS.CF), set] : [set]
}

/** What a count of zero leaves out: all but clearing the upper half of a 32-bit register. */
const unlessZero = (size: Size, flags: readonly Effect[]): Effect[] =>
  size === 32
    ? [change('destination', size), sometimes(...flags)]
    : [from('destination', size), sometimes(into('destination', size), ...flags)]

function defineShifts(list: MicroList): void {
  for (const name of new Set(SHIFTS)) {
    for (const size of SIZES) {
      const keep = ROTATIONS.has(name) ? 'only carry' : 'all flags'
      // The lifter sees to it that an immediate count is masked and not zero.
      list.add([name, size, 'ri'], [change('destination', size), field('count'), ...flagsOf(name)], (b) =>
        withWork(b, size, (work, place) => {
          b.small('count')
          b.code.op('i64.extend_i32_u')
          b.code.set(work.count)
          if (b.remembersFlags && isPlain(name)) return remember(b, name, work, place)
          compute(b, name, work)
          finish(b, work, place, keep)
        }))
      list.add([name, size, 'rc'], [...unlessZero(size, flagsOf(name)), fromRegister(GPR.rcx)], (b) =>
        withWork(b, size, (work, place) =>
          counted(b, work, place, {
            push: () => b.fixed(GPR.rcx, 8).get(),
            body: () => {
              compute(b, name, work)
              finish(b, work, place, keep)
            },
          })))
    }
  }
}

/** SHLD and SHRD: bits come in from the source. With 16 bits and counts above 16 the result is undefined. */
function double(b: Binder, name: 'shld' | 'shrd', work: Work): void {
  const c = b.code
  const { size, value, count, result } = work
  const [near, far] = name === 'shld' ? (['i64.shl', 'i64.shr_u'] as const) : (['i64.shr_u', 'i64.shl'] as const)
  c.get(value)
  c.get(count)
  c.op(near)
  b.get('source', size)
  if (size !== 64) c.op('i64.extend_i32_u')
  fromWidth(b, size, count)()
  c.op(far, 'i64.or')
  c.set(result)
  carryFrom(b, work, 'i64.shr_u', name === 'shld' ? fromWidth(b, size, count) : lessOne(b, count))
  setBit(b, work.overflow, result, size - 1)
  const sign = c.local('i32')
  setBit(b, sign, value, size - 1)
  xorInto(b, work.overflow, sign)
  c.release('i32', sign)
}

function defineDoubles(list: MicroList): void {
  for (const name of ['shld', 'shrd'] as const) {
    for (const size of [16, 32, 64] as const) {
      const define = (operands: string, count: Effect, push: (b: Binder) => void): void => {
        const facts = [...unlessZero(size, [from('source', size), setsFlags()]), count]
        list.add([name, size, operands], facts, (b) =>
          withWork(b, size, (work, place) =>
            counted(b, work, place, {
              push: () => push(b),
              body: () => {
                double(b, name, work)
                finish(b, work, place, 'all flags')
              },
            })))
      }
      define('rri', immediate, (b) => b.immediate(8))
      define('rrc', fromRegister(GPR.rcx), (b) => b.fixed(GPR.rcx, 8).get())
    }
  }
}

/** Adds the family. */
export function defineShiftFamily(list: MicroList): void {
  defineShifts(list)
  defineDoubles(list)
}
