/**
 * Where the returns of a region may lead: where they have been seen to lead; and a function is what its entry reaches without
 * entering the calls on the way, and its returns lead behind the calls of it. Jumps and calls by registers lead where they have
 * been seen to. A guess only: the code compares with the address that it really finds.
 */
import type { RegionBlock } from './region.ts'

/** Most addresses that one is compared with. */
const MOST_SITES = 8

/** The addresses that each block whose end works them out may lead to, where the region has them. */
export function returnSites(blocks: readonly RegionBlock[]): Map<RegionBlock, number[]> {
  const byRip = new Map(blocks.map((block) => [block.rip, block]))
  const calls = new Map<number, number[]>()
  for (const { end, target, next } of blocks) {
    if (end !== 'call' || target === undefined || !byRip.has(target) || !byRip.has(next)) continue
    const known = calls.get(target)
    if (known === undefined) calls.set(target, [next])
    else known.push(next)
  }
  const found = new Map<RegionBlock, number[]>()
  for (const block of blocks) {
    if (block.leads !== undefined && block.leads.length > 0) found.set(block, block.leads.filter((lead) => byRip.has(lead)))
  }
  for (const [entry, sites] of calls) {
    for (const block of returnsOf(byRip, entry)) {
      const known = found.get(block) ?? []
      found.set(block, [...new Set([...known, ...sites])].slice(0, MOST_SITES))
    }
  }
  return found
}

/** The returning blocks of the function at an address. */
function returnsOf(blocks: ReadonlyMap<number, RegionBlock>, entry: number): RegionBlock[] {
  const seen = new Set<number>()
  const queue = [entry]
  const returns: RegionBlock[] = []
  for (let rip = queue.pop(); rip !== undefined; rip = queue.pop()) {
    const block = blocks.get(rip)
    if (block === undefined || seen.has(rip)) continue
    seen.add(rip)
    const { end, next, target } = block
    if (end === 'return') returns.push(block)
    if (end === 'next' || end === 'conditional' || end === 'call') queue.push(next)
    if (target !== undefined && end !== 'call') queue.push(target)
  }
  return returns
}
