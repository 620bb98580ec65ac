/**
 * MUL, IMUL, and the sign extensions of the accumulator. DIV and IDIV of 64-bit operands go to a handler, the smaller
 * ones are here; a quotient that does not fit is a divide error and changes nothing.
 * Reference: Intel SDM volume 2, MUL, IMUL, DIV, IDIV, CBW, CWD.
 */
import { GPR, VECTOR } from '../../../x86/index.ts'
import { explicitFlags } from '../emit/flags.ts'
import { signExtend64, typeOf } from '../emit/binder.ts'
import { highProduct, pushProductOverflow } from '../emit/products.ts'
import type { Binder, Size } from '../emit/binder.ts'
import {
  all, change, changeRegister, from, fromRegister, immediate, into, intoRegister, perhapsByHandler, raises, setsFlags, sometimes,
} from './facts.ts'
import type { Effect } from './facts.ts'
import type { MicroList } from './micro.ts'

const SIZES: readonly Size[] = [8, 16, 32, 64]

/** Pushes the value of `place` as an i64. */
function pushWide(b: Binder, size: Size, sign: 'zero' | 'sign', push: () => void): void {
  push()
  if (size === 64) return
  if (sign === 'sign') signExtend64(b.code, size)
  else b.code.op('i64.extend_i32_u')
}

/** One-operand MUL and IMUL: accumulator times a register, into the double-width accumulator. */
function multiply(b: Binder, size: Size, sign: 'zero' | 'sign'): void {
  const c = b.code
  const [left, right, low, high] = [c.local('i64'), c.local('i64'), c.local('i64'), c.local('i64')]
  const overflow = c.local('i32')
  pushWide(b, size, sign, () => b.get('register', size))
  c.set(right)
  pushWide(b, size, sign, () => b.fixed(GPR.rax, size).get())
  c.set(left)
  c.get(left)
  c.get(right)
  c.op('i64.mul')
  c.set(low)
  if (size === 64) highProduct(c, { left, right, high }, sign)
  else {
    c.get(low)
    c.i64(size)
    c.op('i64.shr_u')
    c.set(high)
  }
  storeProduct(b, size, { low, high })
  pushProductOverflow(c, size, { low, high }, sign)
  c.set(overflow)
  const result = c.local(typeOf(size))
  c.get(low)
  if (size !== 64) c.op('i32.wrap_i64')
  c.set(result)
  explicitFlags(b, size, { result, carry: overflow, overflow })
  c.release(typeOf(size), result)
  c.release('i64', left, right, low, high)
  c.release('i32', overflow)
}

function storeProduct(b: Binder, size: Size, parts: { low: number; high: number }): void {
  const c = b.code
  const narrow = (local: number) => (): void => {
    c.get(local)
    if (size !== 64) c.op('i32.wrap_i64')
  }
  if (size === 8) {
    b.fixed(GPR.rax, 16).set(narrow(parts.low))
    return
  }
  b.fixed(GPR.rax, size).set(narrow(parts.low))
  b.fixed(GPR.rdx, size).set(narrow(parts.high))
}

/** Factors, sign-extended, and what they give: i64 locals. */
interface Product {
  readonly left: number
  readonly right: number
  readonly product: number
}

/** IMUL with two or three operands: the destination := left times right. */
function multiplyInto(b: Binder, size: 16 | 32 | 64, operands: { left: () => void; right: () => void }): void {
  const c = b.code
  const [left, right, product] = [c.local('i64'), c.local('i64'), c.local('i64')]
  pushWide(b, size, 'sign', operands.left)
  c.set(left)
  pushWide(b, size, 'sign', operands.right)
  c.set(right)
  c.get(left)
  c.get(right)
  c.op('i64.mul')
  c.set(product)
  if (b.remembersFlags) rememberProduct(b, size, { left, right, product })
  else storeIntoProduct(b, size, { left, right, product })
  c.release('i64', left, right, product)
}

/** Stores a product and its flags. */
function storeIntoProduct(b: Binder, size: 16 | 32 | 64, { left, right, product }: Product): void {
  const c = b.code
  const high = size === 64 ? c.local('i64') : product
  const overflow = c.local('i32')
  if (size === 64) highProduct(c, { left, right, high }, 'sign')
  pushProductOverflow(c, size, { low: product, high }, 'sign')
  c.set(overflow)
  const result = c.local(typeOf(size))
  c.get(product)
  if (size !== 64) c.op('i32.wrap_i64')
  c.set(result)
  b.place('destination', size).set(() => c.get(result))
  explicitFlags(b, size, { result, carry: overflow, overflow })
  c.release(typeOf(size), result)
  if (size === 64) c.release('i64', high)
  c.release('i32', overflow)
}

/** Stores a product whose factors the binder remembers in place of the flags. */
function rememberProduct(b: Binder, size: 16 | 32 | 64, { left, right, product }: Product): void {
  const c = b.code
  const type = typeOf(size)
  const narrow = (from: number): number => {
    const local = c.local(type)
    c.get(from)
    if (size !== 64) c.op('i32.wrap_i64')
    c.set(local)
    return local
  }
  const source = { left: narrow(left), right: narrow(right), result: narrow(product) }
  b.place('destination', size).set(() => c.get(source.result))
  b.keepFlags({ kind: 'imul', size, ...source })
  c.release(type, source.left, source.right, source.result)
}

/** Raises a divide error when the i32 on the stack is not zero. */
function divideErrorIf(b: Binder): void {
  b.code.if()
  b.raise(VECTOR.DE)
  b.code.end()
}

/** DIV and IDIV with a dividend of up to 64 bits. */
function divide(b: Binder, size: 8 | 16 | 32, sign: 'zero' | 'sign'): void {
  const c = b.code
  const [dividend, divisor, quotient] = [c.local('i64'), c.local('i64'), c.local('i64')]
  const suffix = sign === 'sign' ? 's' : 'u'
  pushDividend(b, size, sign)
  c.set(dividend)
  pushWide(b, size, sign, () => b.get('register', size))
  c.tee(divisor)
  c.op('i64.eqz')
  divideErrorIf(b)
  if (sign === 'sign') {
    // The one quotient that WebAssembly itself would trap on.
    c.get(dividend)
    c.i64(0, 0x8000_0000)
    c.op('i64.eq')
    c.get(divisor)
    c.i64(-1)
    c.op('i64.eq', 'i32.and')
    divideErrorIf(b)
  }
  c.get(dividend)
  c.get(divisor)
  c.op(`i64.div_${suffix}`)
  c.set(quotient)
  c.get(quotient)
  pushWide(b, size, sign, () => {
    c.get(quotient)
    c.op('i32.wrap_i64')
    if (sign === 'zero' && size < 32) {
      c.i32((1 << size) - 1)
      c.op('i32.and')
    }
  })
  c.op('i64.ne')
  divideErrorIf(b)
  const remainder = (): void => {
    c.get(dividend)
    c.get(divisor)
    c.op(`i64.rem_${suffix}`, 'i32.wrap_i64')
  }
  // In the 8-bit form the remainder goes to AH.
  if (size === 8) b.fixed(GPR.rax, 16).set(() => {
    remainder()
    c.i32(8)
    c.op('i32.shl')
    c.get(quotient)
    c.op('i32.wrap_i64')
    c.i32(0xff)
    c.op('i32.and', 'i32.or')
  })
  else {
    b.fixed(GPR.rdx, size).set(remainder)
    b.fixed(GPR.rax, size).set(() => {
      c.get(quotient)
      c.op('i32.wrap_i64')
    })
  }
  c.release('i64', dividend, divisor, quotient)
}

function pushDividend(b: Binder, size: 8 | 16 | 32, sign: 'zero' | 'sign'): void {
  const c = b.code
  if (size === 8) return pushWide(b, 16, sign, () => b.fixed(GPR.rax, 16).get())
  b.fixed(GPR.rdx, size).get()
  c.op('i64.extend_i32_u')
  c.i64(size)
  c.op('i64.shl')
  b.fixed(GPR.rax, size).get()
  c.op('i64.extend_i32_u', 'i64.or')
  if (size === 16 && sign === 'sign') c.op('i64.extend32_s')
}

function defineAccumulator(list: MicroList): void {
  for (const [from, to] of [[8, 16], [16, 32], [32, 64]] as const) {
    list.add(['widen', to], [changeRegister(GPR.rax, to)], (b) => {
      const place = b.fixed(GPR.rax, to)
      const source = b.fixed(GPR.rax, from)
      place.set(() => {
        source.get()
        b.code.op(from === 8 ? 'i32.extend8_s' : from === 16 ? 'i32.extend16_s' : 'i64.extend_i32_s')
      })
    })
  }
  for (const size of [16, 32, 64] as const) {
    list.add(['sign', size], [fromRegister(GPR.rax), intoRegister(GPR.rdx, size)], (b) =>
      b.fixed(GPR.rdx, size).set(() => {
        b.fixed(GPR.rax, size).get()
        if (size === 16) b.code.op('i32.extend16_s')
        if (size === 64) b.code.i64(63)
        else b.code.i32(31)
        b.code.op(`${typeOf(size)}.shr_s`)
      }))
  }
}

/**
 * DIV and IDIV of 128 by 64 bits: here where the upper half is only the lower one's extension, by the record's handler
 * otherwise.
 */
function divideWide(b: Binder, sign: 'zero' | 'sign'): void {
  const c = b.code
  const [low, divisor] = [c.local('i64'), c.local('i64')]
  const suffix = sign === 'sign' ? 's' : 'u'
  b.fixed(GPR.rax, 64).get()
  c.set(low)
  b.get('register', 64)
  c.tee(divisor)
  c.op('i64.eqz')
  divideErrorIf(b)
  b.fixed(GPR.rdx, 64).get()
  c.get(low)
  c.i64(63)
  c.op('i64.shr_s')
  if (sign === 'zero') {
    c.i64(0)
    c.op('i64.and')
  }
  c.op('i64.ne')
  c.if()
  b.handler()
  c.else()
  if (sign === 'sign') {
    c.get(low)
    c.i64(0, 0x8000_0000)
    c.op('i64.eq')
    c.get(divisor)
    c.i64(-1)
    c.op('i64.eq', 'i32.and')
    divideErrorIf(b)
  }
  for (const [register, name] of [[GPR.rdx, 'rem'], [GPR.rax, 'div']] as const) {
    b.fixed(register, 64).set(() => {
      c.get(low)
      c.get(divisor)
      c.op(`i64.${name}_${suffix}`)
    })
  }
  c.end()
  c.release('i64', low, divisor)
}

function defineWideDivisions(list: MicroList): void {
  const facts = [
    from('register', 64), sometimes(changeRegister(GPR.rax, 64), changeRegister(GPR.rdx, 64)), raises, perhapsByHandler,
  ]
  list.add(['div', 64, 'r'], facts, (b) => divideWide(b, 'zero'))
  list.add(['idiv', 64, 'r'], facts, (b) => divideWide(b, 'sign'))
}

/** The accumulator as a factor, and the double-width accumulator as the product. */
const product = (size: Size): Effect =>
  (size === 8 ? changeRegister(GPR.rax, 16) : all(changeRegister(GPR.rax, size), intoRegister(GPR.rdx, size)))

/** The double-width accumulator as dividend, then quotient and remainder. */
const quotient = (size: Size): Effect =>
  (size === 8 ? changeRegister(GPR.rax, 16) : all(changeRegister(GPR.rax, size), changeRegister(GPR.rdx, size)))

/** Adds the family. */
export function defineMultiplyFamily(list: MicroList): void {
  for (const size of SIZES) {
    list.add(['mul', size, 'r'], [from('register', size), product(size), setsFlags()], (b) => multiply(b, size, 'zero'))
    list.add(['imul', size, 'r'], [from('register', size), product(size), setsFlags()], (b) => multiply(b, size, 'sign'))
    if (size === 8) continue
    list.add(['imul', size, 'rr'], [change('destination', size), from('source', size), setsFlags()], (b) =>
      multiplyInto(b, size, { left: () => b.get('destination', size), right: () => b.get('source', size) }))
    list.add(['imul', size, 'rri'], [into('destination', size), from('source', size), immediate, setsFlags()], (b) =>
      multiplyInto(b, size, { left: () => b.get('source', size), right: () => b.immediate(size) }))
  }
  defineWideDivisions(list)
  for (const size of [8, 16, 32] as const) {
    list.add(['div', size, 'r'], [from('register', size), quotient(size), raises], (b) => divide(b, size, 'zero'))
    list.add(['idiv', size, 'r'], [from('register', size), quotient(size), raises], (b) => divide(b, size, 'sign'))
  }
  defineAccumulator(list)
}
