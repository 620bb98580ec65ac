/**
 * Floating point as x86 does it, in software: the x87 unit's 80-bit arithmetic and SSE's scalar arithmetic, with every
 * rounding mode and exception flag. No register files, no instructions: the processor owns those.
 */
export {
  FLOAT_FLAG, ROUNDING, X87_STATUS,
} from './constants.ts'
export { Float80 } from './unpacked.ts'
export { FusedOperands } from './fused.ts'
export type { FusedForm, FusedOrder } from './fused.ts'
export { halfToSingle, singleToHalf } from './half.ts'
export { SSE_OPERATION, SseArithmetic } from './sse.ts'
export {
  ROUNDING_OF_MXCSR, doubleToInteger, doubleToSingle, integerToDouble, integerToSingle, reciprocalRootSingle,
  reciprocalSingle, roundDouble, roundSingle, singleToDouble, singleToInteger,
} from './sse-convert.ts'
export type { DoubleToInteger } from './sse-convert.ts'
export { X87Arithmetic } from './x87.ts'
export {
  loadConstant, loadDecimal, loadDouble, loadInteger, loadSingle, storeDecimal, storeDouble, storeInteger, storeSingle,
} from './x87-convert.ts'
export { REMAINDER, extract, remainder, scale } from './x87-scale.ts'
export { X87Transcendental } from './x87-transcendental.ts'
export type { IntegerStore, StoredWords } from './x87-convert.ts'
export { productError, sumError } from './native.ts'
