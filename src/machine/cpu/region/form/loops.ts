/** The loops of a region: which nodes lie in them, and how deep. */
import { OUTSIDE } from './structure.ts'
import type { RegionNode } from './structure.ts'

/** A loop, by its first node. */
export interface RegionLoop {
  readonly header: number
  /** Numbers of all its nodes, those of loops inside of it too. */
  readonly body: ReadonlySet<number>
}

/** All loops; a loop inside of another one comes behind that. */
export function loopsOf(nodes: readonly RegionNode[]): RegionLoop[] {
  const before: number[][] = nodes.map(() => [])
  nodes.forEach(({ next, taken, sites }, number) => {
    for (const target of [next, taken, ...sites]) if (target !== OUTSIDE) before[target]!.push(number)
  })
  const loops: RegionLoop[] = []
  nodes.forEach(({ isLoop }, header) => {
    if (!isLoop) return
    const body = new Set([header])
    const queue = before[header]!.filter((number) => number >= header)
    for (let number = queue.pop(); number !== undefined; number = queue.pop()) {
      if (body.has(number)) continue
      body.add(number)
      queue.push(...before[number]!)
    }
    loops.push({ header, body })
  })
  return loops
}
