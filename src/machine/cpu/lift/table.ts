/** All lifters by name of instruction. */
import { AVX_LIFTERS } from './avx.ts'
import { BIT_LIFTERS } from './bmi.ts'
import { CONTROL_LIFTERS } from './control.ts'
import { INTEGER_LIFTERS } from './integer.ts'
import type { Lift } from './lifter.ts'
import { VECTOR_LIFTERS } from './vector.ts'

/** What is not here raises #UD. A map: an object of hundreds of properties is slow to look into. */
export const LIFTERS: ReadonlyMap<string, Lift> = /* @__PURE__ */ new Map(/* @__PURE__ */ Object.entries({
  ...INTEGER_LIFTERS, ...CONTROL_LIFTERS, ...VECTOR_LIFTERS, ...AVX_LIFTERS, ...BIT_LIFTERS,
}))
