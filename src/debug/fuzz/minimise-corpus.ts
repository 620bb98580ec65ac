/** Of many inputs those that are needed: they reach every edge, by class, that all of them reach. Reference: AFL, afl-cmin. */
import { byteArray, checkArgument, listOf } from '../../util/index.ts'

/** What an input reaches: classes of counters by edge. */
export interface ReachedClasses {
  readonly input: Uint8Array
  readonly classes: Uint8Array
}

/** Inputs that may be chosen, the shortest first; of equal length those that came first. */
const byLength = (inputs: readonly ReachedClasses[]): readonly ReachedClasses[] => [...inputs].sort((one, other) => one.input.length - other.input.length)

/** For each edge and class, how many inputs reach it. */
function counted(inputs: readonly ReachedClasses[]): Map<number, ReachedClasses[]> {
  const found = new Map<number, ReachedClasses[]>()
  for (const one of inputs) {
    for (let edge = 0; edge < one.classes.length; edge += 1) {
      for (let left = one.classes[edge]!; left !== 0; left &= left - 1) {
        const key = edge * 8 + (31 - Math.clz32(left & -left))
        const known = found.get(key)
        if (known === undefined) found.set(key, [one])
        else known.push(one)
      }
    }
  }
  return found
}

/** The choice: what only few inputs reach comes first, by the shortest of those. In the order of the inputs. */
export function choose(inputs: readonly ReachedClasses[]): readonly Uint8Array[] {
  const reaching = counted(byLength(inputs))
  const chosen = new Set<ReachedClasses>()
  for (const [, able] of [...reaching].sort(([, one], [, other]) => one.length - other.length)) {
    if (!able.some((one) => chosen.has(one))) chosen.add(able[0]!)
  }
  return inputs.filter((one) => chosen.has(one)).map(({ input }) => input)
}

/** Throws INVALID_ARGUMENT for what is no list of inputs. */
export const checkCorpus = (call: string, corpus: unknown): void => checkArgument(`the corpus of ${call}`, corpus, listOf(byteArray))
