/** The position of a processor's own random numbers as part of its saved state. */
import { SeededRandom, XenError, randomShape } from '../../../util/index.ts'
import type { Outside } from '../core/outside.ts'

/** The part of a saved state that the source's position is; none for a source from outside. */
export const savedRandom = ({ random: source }: Outside): { random?: readonly number[] } =>
  source instanceof SeededRandom ? { random: source.save() } : {}

/** Whether the source's position is a saved one; a source from outside has none. */
export const isRandomAt = ({ random: source }: Outside, saved: readonly number[] | undefined): boolean =>
  (source instanceof SeededRandom ? saved !== undefined && source.isAsSaved(saved) : saved === undefined)

/** Looks at a saved position; the function takes it, unless the source is one from outside, which stays what it is. */
export function randomTaker({ random: source }: Outside, saved: readonly number[] | undefined): () => void {
  if (saved === undefined) return () => {}
  const wrong = randomShape(saved)
  if (wrong !== undefined) throw new XenError('INVALID_STATE', `a processor's source of random numbers${wrong}`)
  return () => {
    if (source instanceof SeededRandom) source.load(saved)
  }
}
