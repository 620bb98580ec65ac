/** Replays recorded vectors on our processor. */
import { differences } from './compare.ts'
import { caseOf } from './encode.ts'
import { HostedExecutor } from './hosted.ts'
import { VECTOR_SEED, readVectors } from './vectors.ts'

/** What a replay came to. */
export interface Replay {
  readonly vectors: number
  /** A line for each vector that differs. */
  readonly mismatches: readonly string[]
}

/** Replays all vectors. */
export function replayVectors(): Replay {
  const hosted = new HostedExecutor(VECTOR_SEED)
  const vectors = readVectors()
  const mismatches = vectors.flatMap(({ form, recipe, outcome, leniency }) => {
    const ours = hosted.run(caseOf(recipe))
    const found = ours.uncompared ? [] : differences(ours, outcome, leniency)
    return found.length === 0 ? [] : [`${form}: ${found.join(', ')}`]
  })
  return { vectors: vectors.length, mismatches }
}
