/** The chance of a saved host from another seed: host, toolstack, kernels in TypeScript and processors, each its own stream. */
import { SeededRandom, type SavedTree } from '../../util/index.ts'

/** Positions of sources of chance stand in fields of this name, and nothing else does outside of what programs state. */
const FIELD = 'random'
/** What a program has stated is its own. */
const STATED = 'control'

const isPosition = (value: unknown): boolean =>
  Array.isArray(value) && value.length === 4 && value.every((word) => typeof word === 'number')

/** The same state with other positions; what has none is shared with it. */
export function reseeded(tree: SavedTree, seed: number): SavedTree {
  const seeds = new SeededRandom(seed)
  const position = (): readonly number[] => new SeededRandom(seeds.next()).save()
  const walk = (value: unknown, name: string): unknown => {
    if (name === FIELD && isPosition(value)) return position()
    if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || name === STATED) return value
    if (Array.isArray(value)) return value.map((each) => walk(each, ''))
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, walk(each, key)]))
  }
  const { parts, version } = tree
  // Parts that are nothing but a position.
  const own = (part: unknown): unknown => ({ ...(part as object), state: position() })
  const hypervisor = parts['hypervisor'] as SavedTree
  const below = { ...hypervisor, parts: { ...hypervisor.parts, random: own(hypervisor.parts['random']) } }
  const rest = Object.fromEntries(Object.entries({ ...parts, hypervisor: below }).map(([name, part]) => [name, walk(part, name)]))
  // The walk keeps the form of a tree.
  return { version, parts: { ...rest, seeds: own(parts['seeds']) } } as SavedTree
}
