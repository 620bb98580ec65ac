/** All lifters by name of instruction. */
import { CONTROL_LIFTERS } from './control.ts'
import { INTEGER_LIFTERS } from './integer.ts'
import type { Lift } from './lifter.ts'
import { VECTOR_LIFTERS } from './vector.ts'

/** What is not here raises #UD. */
export const LIFTERS: Readonly<Record<string, Lift | undefined>> = {
  ...INTEGER_LIFTERS, ...CONTROL_LIFTERS, ...VECTOR_LIFTERS,
}
