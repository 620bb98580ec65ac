/**
 * VEX forms of floating point by soft-float: the programs that SSE has too with three operands and 256 bits, fused
 * multiplication and addition, conversions of half precision. What lies above a result becomes zero, unless something traps.
 *
 * Record: SHAPES.operands; the displacement is 1 for 256 bits.
 * Reference: Intel SDM volume 1, chapter 14; volume 2, the instructions' pages.
 */
import { halfToSingle, integerToDouble, integerToSingle, singleToHalf } from '../../softfloat/index.ts'
import type { FusedOrder } from '../../softfloat/index.ts'
import type { Core } from '../core/core.ts'
import type { Handler } from '../core/handler.ts'
import { RECORD } from '../layout/record.ts'
import { SLOT, STATUS, UPPER_HALF } from '../layout/state.ts'
import { FMA_CONTROL } from '../layout/fma-control.ts'
import { PRICE } from './prices.ts'
import { rows } from './rows.ts'
import type { Handlers } from './rows.ts'
import { conclude, place, prepare } from './sse-float.ts'
import { ARITHMETIC, COMPARISONS, KINDS, PRODUCTS, conversion, flagsOf } from './vector-programs.ts'
import type { Kind, Program, VectorOperands } from './vector-programs.ts'

/** Operands as a record names them, and where the result goes. */
export function operandsOf(core: Core, record: number): VectorOperands & { readonly to: number } {
  const { registers, records } = core
  return {
    view: registers.view,
    to: place(registers, records.field(record, RECORD.destination)),
    a: place(registers, records.field(record, RECORD.addend)),
    b: place(registers, records.field(record, RECORD.source)),
    control: records.field(record, RECORD.control),
    halves: records.displacement(record) === 1 ? 2 : 1,
  }
}

/** Words of a register's half. */
const WORDS = 4

/** Stores `count` words of a result; behind them up to 16 bytes what `rest` holds, or zero, and zero above. */
export function storeResult({ view, to }: { view: DataView; to: number }, words: Int32Array, o: { count: number; rest?: number }): void {
  for (let i = 0; i < 2 * WORDS; i += 1) {
    const at = (i % WORDS) * 4 + (i < WORDS ? 0 : UPPER_HALF)
    if (i < o.count) view.setInt32(to + at, words[i]!, true)
    else if (i >= WORDS || o.rest === undefined) view.setInt32(to + at, 0, true)
    else view.setInt32(to + at, view.getInt32(o.rest + at, true), true)
  }
}

/** dest := what a program makes of first and second; a scalar's rest comes from first. */
const running = ({ run, words, isScalar }: Program): Handler => (core, record) => {
  const operands = operandsOf(core, record)
  const { lanes } = core.floats
  const result = conclude(core, run(prepare(core), operands, lanes))
  if (result !== STATUS.NEXT) return result
  if (isScalar) storeResult(operands, lanes, { count: words, rest: operands.a })
  else storeResult(operands, lanes, { count: words * operands.halves })
  return result
}

const priceOf = ({ isScalar }: Program): number => (isScalar ? PRICE.scalarFloat : PRICE.packedFloat)

const runningAll = (programs: Readonly<Record<string, Program>>, price = priceOf): Handlers => Object.assign(
  {}, ...Object.entries(programs).map(([name, one]) => rows({ [`v${name}`]: running(one) }, { price: price(one) }))) as Handlers

/** VCVTSI2SS and VCVTSI2SD from a general register: the source is its slot. */
const fromInteger = (size: 32 | 64, isDouble: boolean): Handler => (core, record) => {
  const { registers, records } = core
  const slot = records.field(record, RECORD.source)
  const low = registers.low(slot) | 0
  const high = size === 64 ? registers.high(slot) | 0 : low >> 31
  const unit = prepare(core)
  const { lanes } = core.floats
  const result = conclude(core, isDouble ? integerToDouble(unit, low, high) : integerToSingle(unit, low, high))
  if (result !== STATUS.NEXT) return result
  lanes[0] = unit.low
  lanes[1] = unit.high
  const { a, to } = operandsOf(core, record)
  storeResult({ view: registers.view, to }, lanes, { count: isDouble ? 2 : 1, rest: a })
  return result
}

/** NaNs count in the order factor, factor, addend. */
const NAN_ORDER: FusedOrder = [0, 1, 2]
const FMA_KINDS: readonly Kind[] = ['ps', 'pd', 'ss', 'sd']

/** Fused multiplication and addition in all its forms, by control: see layout/fma-control.ts. */
const fused: Handler = (core, record) => {
  const { view, to, a, b, control, halves } = operandsOf(core, record)
  const [bytes, lanes] = KINDS[FMA_KINDS[(control >> FMA_CONTROL.kind) & 3]!]
  const [x, y, z] = [[to, b, a], [a, to, b], [a, b, to]][control & FMA_CONTROL.order]! as [number, number, number]
  const isScalar = lanes === 1
  const count = isScalar ? 1 : lanes * halves
  const unit = prepare(core)
  const { fused: units, lanes: out } = core.floats
  const { given } = units
  const words = bytes / 4
  const product = (control >> FMA_CONTROL.negatesProduct) & 1
  const addends = (control >> FMA_CONTROL.addend) & 3
  let flags = 0
  for (let i = 0; i < count; i += 1) {
    const at = (i * bytes & 15) + (i * bytes >> 4) * UPPER_HALF
    const addend = addends < 2 ? addends : (i & 1) ^ (addends & 1) ^ 1
    const form = { product, addend, order: NAN_ORDER }
    for (let word = 0; word < words; word += 1) {
      given[word] = view.getInt32(x + at + word * 4, true)
      given[words + word] = view.getInt32(y + at + word * 4, true)
      given[2 * words + word] = view.getInt32(z + at + word * 4, true)
    }
    if (words === 1) {
      flags |= units.fused32(unit, form)
      out[i] = unit.low
    } else {
      flags |= units.fused64(unit, form)
      out[i * 2] = unit.low
      out[i * 2 + 1] = unit.high
    }
  }
  const result = conclude(core, flagsOf(unit, flags))
  if (result !== STATUS.NEXT) return result
  if (isScalar) storeResult({ view, to }, out, { count: bytes / 4, rest: to })
  else storeResult({ view, to }, out, { count: count * bytes / 4 })
  return result
}

const toSingle = /* @__PURE__ */ conversion({ count: 4, from: 2, to: 4, words: 4, convert: halfToSingle })
const toHalf = /* @__PURE__ */ conversion({ count: 4, from: 4, to: 2, words: 2, convert: (unit, low, _, control) => singleToHalf(unit, low, control) })

/** VCVTPS2PH to memory at the address in t3. */
const storeHalves: Handler = (core, record) => {
  const operands = operandsOf(core, record)
  const { memory, registers, floats } = core
  const host = memory.hostForWrite(registers.address(SLOT.t3), 8 * operands.halves)
  const result = conclude(core, toHalf.run(prepare(core), operands, floats.lanes))
  if (result !== STATUS.NEXT) return result
  for (let i = 0; i < 2 * operands.halves; i += 1) registers.view.setInt32(host + i * 4, floats.lanes[i]!, true)
  return memory.finishWrite(host)
}

/** Handlers by name. */
export const AVX_FLOAT_HANDLERS: Handlers = {
  ...runningAll(ARITHMETIC), ...runningAll(COMPARISONS.avx), ...runningAll(PRODUCTS, () => PRICE.longVector),
  ...runningAll({ cvtph2ps: toSingle, cvtps2ph: toHalf }),
  ...rows({
    'vcvtsi2ss.32': fromInteger(32, false), 'vcvtsi2ss.64': fromInteger(64, false),
    'vcvtsi2sd.32': fromInteger(32, true), 'vcvtsi2sd.64': fromInteger(64, true),
  }, { price: PRICE.scalarFloat }),
  ...rows({ 'cvtps2ph-store': storeHalves }, { price: PRICE.packedFloat }),
  ...rows({ fma: fused }, { price: PRICE.fused }),
}
