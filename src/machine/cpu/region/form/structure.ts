/**
 * Orders a region's basic blocks for structured control flow: which of them are loops, which are reached from several
 * places, and after which one each of those is written. WebAssembly has no jumps: a block that is reached from one place
 * stands where that place is, a join behind a `block` around everything that its immediate dominator dominates, a loop's
 * first block in a `loop`. A loop that is entered at several of its blocks has some of them copied; what is still not in
 * order then leaves the region. Copied are, too, short blocks that ask for flags and are reached in several ways, so that
 * each knows what set them.
 * Reference: N. Ramsey, Beyond Relooper (ICFP 2022).
 */
import type { Region, RegionBlock } from './region.ts'
import { returnSites } from './return-sites.ts'

/** No node: control leaves the region. */
export const OUTSIDE = -1

/** A basic block in its place. */
export interface RegionNode {
  readonly block: RegionBlock
  /** Nodes that control goes on with behind it, and at its target; or OUTSIDE. */
  readonly next: number
  readonly taken: number
  /** Of an end that works out where it leads: the nodes at the known addresses. */
  readonly sites: readonly number[]
  /** Later nodes lead back to it. */
  readonly isLoop: boolean
  /** Several earlier ones, or one in two ways, lead to it. */
  readonly isJoin: boolean
  /** Joins that are written behind it, the last one first. */
  readonly joins: readonly number[]
  /** Instructions on the longest way from here to the next loop or out of the region. */
  readonly longest: number
}

/** A region in order. */
export interface RegionShape {
  readonly region: Region
  /** In reverse postorder, the entry first. */
  readonly nodes: readonly RegionNode[]
  /** Edges that leave the region although it has their target. */
  readonly cut: number
}

/** Copies of blocks are made up to this number of instructions beyond the region's own. */
const MOST_COPIED = 60
/** Instructions of the longest block that is copied for what it asks of flags. */
const MOST_ASKING = 8

/** A node of the graph: copies have a node of their own for the same block. */
interface Vertex {
  readonly block: RegionBlock
  next: Vertex | undefined
  taken: Vertex | undefined
  sites: Vertex[]
  /** All of these that there are. */
  successors: Vertex[]
  /** Its place in the order, once it has one. */
  number: number
}

/** A graph in order. */
interface Order {
  readonly vertices: readonly Vertex[]
  /** Immediate dominator of each, by number. */
  readonly dominator: readonly number[]
}

/** Makes the list of a vertex's successors anew. */
function link(vertex: Vertex): Vertex {
  const { next, taken, sites } = vertex
  vertex.successors = next === undefined ? [] : [next]
  if (taken !== undefined) vertex.successors.push(taken)
  for (const site of sites) vertex.successors.push(site)
  return vertex
}

/** Puts the region's blocks in order. */
export function structure(region: Region): RegionShape {
  const entry = graph(region)
  const copied = eachAsksAlone(entry)
  let order = inOrder(entry)
  let [room, cut] = [MOST_COPIED - copied, 0]
  for (let edges = irreducible(order); edges.length > 0; edges = irreducible(order)) {
    for (const { from, to } of edges) {
      room -= to.block.instructions.length
      if (room < 0) cut += 1
      redirect(from, to, room < 0 ? undefined : copyOf(to))
    }
    order = inOrder(entry)
  }
  return { region, nodes: nodesOf(order), cut }
}

/** The control-flow graph; its entry. */
function graph({ blocks }: Region): Vertex {
  const sitesOf = returnSites(blocks)
  const vertices = new Map<number, Vertex>(
    blocks.map((block) => [block.rip, { block, next: undefined, taken: undefined, sites: [], successors: [], number: -1 }]))
  for (const vertex of vertices.values()) {
    const { end, next, target } = vertex.block
    if (end === 'next' || end === 'conditional') vertex.next = vertices.get(next)
    if (target !== undefined) vertex.taken = vertices.get(target)
    if (end === 'return' || end === 'indirect') vertex.sites = (sitesOf.get(vertex.block) ?? []).map((site) => vertices.get(site)!)
    link(vertex)
  }
  return vertices.get(blocks[0]!.rip)!
}

/** A copy of a vertex: whoever leads there has it for itself. */
const copyOf = (vertex: Vertex): Vertex => link({ ...vertex, sites: [...vertex.sites], number: -1 })

/**
 * Gives each way to a block that asks for flags a copy of it, while there is room; what remains is reached in one way, and
 * by itself. Instructions copied. The entry stays: with a copy of it a loop around it would be entered at several blocks.
 */
function eachAsksAlone(entry: Vertex): number {
  let copied = 0
  const hasRoom = ({ block: { needsFlags, instructions } }: Vertex): boolean =>
    needsFlags && instructions.length <= MOST_ASKING && copied + instructions.length <= MOST_COPIED
  const { vertices } = inOrder(entry)
  const reached = new Set<Vertex>()
  for (const from of vertices) {
    for (const to of from.successors) {
      if (to === from || to === entry || !hasRoom(to)) continue
      if (reached.has(to)) {
        redirect(from, to, copyOf(to))
        copied += to.block.instructions.length
      } else reached.add(to)
    }
  }
  return copied
}

/** Leads the edges of one vertex to another elsewhere, or out of the region. */
function redirect(from: Vertex, to: Vertex, instead: Vertex | undefined): void {
  if (from.next === to) from.next = instead
  if (from.taken === to) from.taken = instead
  from.sites = from.sites.flatMap((site) => (site !== to ? [site] : instead === undefined ? [] : [instead]))
  link(from)
}

/** Reverse postorder and dominators. */
function inOrder(entry: Vertex): Order {
  const vertices: Vertex[] = []
  const seen = new Set<Vertex>([entry])
  // The way from the entry to the vertex at hand, and how many successors of each have been looked at, the last one first.
  const path = [entry]
  const done = [0]
  while (path.length > 0) {
    const vertex = path[path.length - 1]!
    const { successors } = vertex
    const one = successors[successors.length - 1 - done[path.length - 1]!++]
    if (one === undefined) {
      vertices.push(vertex)
      path.pop()
      done.pop()
    } else if (!seen.has(one)) {
      seen.add(one)
      path.push(one)
      done.push(0)
    }
  }
  vertices.reverse()
  for (let number = 0; number < vertices.length; number += 1) vertices[number]!.number = number
  return { vertices, dominator: dominators(vertices) }
}

/**
 * Immediate dominators.
 * Reference: Cooper, Harvey, Kennedy, A Simple, Fast Dominance Algorithm.
 */
function dominators(vertices: readonly Vertex[]): number[] {
  const predecessors: number[][] = vertices.map(() => [])
  vertices.forEach((vertex, number) => {
    for (const one of vertex.successors) predecessors[one.number]!.push(number)
  })
  const dominator: number[] = vertices.map(() => -1)
  dominator[0] = 0
  const common = (first: number, second: number): number => {
    let [a, b] = [first, second]
    while (a !== b) {
      if (a > b) a = dominator[a]!
      else b = dominator[b]!
    }
    return a
  }
  for (let changed = true; changed;) {
    changed = false
    for (let number = 1; number < vertices.length; number += 1) {
      let found = -1
      for (const one of predecessors[number]!) {
        if (dominator[one] === -1) continue
        found = found === -1 ? one : common(found, one)
      }
      if (dominator[number] === found) continue
      dominator[number] = found
      changed = true
    }
  }
  return dominator
}

/** True when every way to `other` leads through `one`. */
function dominates(dominator: readonly number[], one: number, other: number): boolean {
  let at = other
  while (at > one) at = dominator[at]!
  return at === one
}

/** Edges back to vertices that are not the only way into their loop: one of each loop at a time, as copies change the others. */
function irreducible({ vertices, dominator }: Order): { from: Vertex; to: Vertex }[] {
  const found: { from: Vertex; to: Vertex }[] = []
  const targets = new Set<Vertex>()
  for (const from of vertices) {
    for (const to of from.successors) {
      if (to.number > from.number || targets.has(to) || dominates(dominator, to.number, from.number)) continue
      targets.add(to)
      found.push({ from, to })
    }
  }
  return found
}

function nodesOf({ vertices, dominator }: Order): RegionNode[] {
  const isLoop = vertices.map(() => false)
  const ways = vertices.map(() => 0)
  vertices.forEach((vertex, number) => {
    for (const one of vertex.successors) {
      const target = one.number
      if (target <= number) isLoop[target] = true
      else ways[target]! += 1
    }
  })
  const joins: number[][] = vertices.map(() => [])
  for (let number = vertices.length - 1; number > 0; number -= 1) {
    if (ways[number]! > 1) joins[dominator[number]!]!.push(number)
  }
  const longest = longestWays(vertices, isLoop)
  const numberOf = (vertex: Vertex | undefined): number => vertex?.number ?? OUTSIDE
  return vertices.map((vertex, number) => ({
    block: vertex.block, next: numberOf(vertex.next), taken: numberOf(vertex.taken), sites: vertex.sites.map(numberOf),
    isLoop: isLoop[number]!, isJoin: ways[number]! > 1, joins: joins[number]!, longest: longest[number]!,
  }))
}

function longestWays(vertices: readonly Vertex[], isLoop: readonly boolean[]): number[] {
  const longest = vertices.map(({ block }) => block.instructions.length)
  for (let number = vertices.length - 1; number >= 0; number -= 1) {
    let most = 0
    for (const one of vertices[number]!.successors) {
      const target = one.number
      if (target > number && !isLoop[target]!) most = Math.max(most, longest[target]!)
    }
    longest[number]! += most
  }
  return longest
}
