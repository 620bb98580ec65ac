/**
 * Chains of hashes: the state of a host behind every so many instructions. Two runs that are the same have the same chains, on any
 * machine; where one went astray, the first link that differs names when, and the parts. The page is told by two moments that are taken
 * there (`moment.differences`).
 */
import { checkArgument, checkOptions, hashState, list, whole } from '../../util/index.ts'

/** How a chain is recorded. */
export interface ChainOptions {
  /** Instructions between two links. Default 1,000,000. */
  readonly every?: number | undefined
  /** Links after which it ends. Default: none, it ends when nobody asks for more. */
  readonly links?: number | undefined
}

/** A host at one instant. */
export interface ChainLink {
  /** Which one of its chain, from 0: that behind the first instructions. */
  readonly number: number
  /** Host time in nanoseconds. */
  readonly time: number
  /** 16 digits for all of it, and for the links before. */
  readonly hash: string
  /** A hash of each part, as `host.stateHash()` gives them. */
  readonly parts: Readonly<Record<string, string>>
}

/** Where two chains part. */
export interface ChainDifference {
  /** The first link that differs; the shorter chain's length where one has no more. */
  readonly link: number
  /** Host time of the last instant at which they were the same; 0 where there was none. */
  readonly since: number
  /** Paths of the parts that differ there, ascending. */
  readonly parts: readonly string[]
}

/** A host that can be driven and looked at. */
export interface ChainedHost {
  readonly now: number
  step(instructions: number): Promise<void>
  hashes(): Promise<Readonly<Record<string, string>>>
}

/** Drives a host, and tells what it is behind each step. Throws INVALID_ARGUMENT; rejects with what `stateHash` rejects with. */
export function recordChain(host: ChainedHost, options: ChainOptions = {}): AsyncGenerator<ChainLink, void> {
  checkOptions('chain', options, { every: whole(1, 2 ** 40), links: whole(0, Number.MAX_SAFE_INTEGER) })
  return linksOf(host, options)
}

async function* linksOf(host: ChainedHost, { every = 1_000_000, links = Infinity }: ChainOptions): AsyncGenerator<ChainLink, void> {
  let hash = ''
  for (let number = 0; number < links; number += 1) {
    await host.step(every)
    const parts = await host.hashes()
    const time = host.now
    hash = hashState({ before: hash, time, parts })
    yield { number, time, hash, parts }
  }
}

/** Where two chains part; undefined where they are the same. */
export function chainDifference(first: readonly ChainLink[], second: readonly ChainLink[]): ChainDifference | undefined {
  for (const [name, chain] of [['first', first], ['second', second]] as const) checkArgument(`the ${name} chain`, chain, list)
  const count = Math.max(first.length, second.length)
  for (let link = 0; link < count; link += 1) {
    const [one, other] = [first[link], second[link]]
    if (one !== undefined && other !== undefined && one.hash === other.hash) continue
    const names = new Set([...Object.keys(one?.parts ?? {}), ...Object.keys(other?.parts ?? {})])
    return { link, since: first[link - 1]?.time ?? 0, parts: [...names].filter((name) => one?.parts[name] !== other?.parts[name]).sort() }
  }
  return undefined
}
