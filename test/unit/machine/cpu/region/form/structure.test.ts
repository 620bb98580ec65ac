/** Regions in order, of graphs that are drawn by hand: `a: b c` is a conditional jump to c, otherwise to b. */
import { describe, expect, test } from 'vitest'
import type { Region, RegionBlock } from '../../../../../../src/machine/cpu/region/form/region.ts'
import { OUTSIDE, structure } from '../../../../../../src/machine/cpu/region/form/structure.ts'
import type { RegionNode } from '../../../../../../src/machine/cpu/region/form/structure.ts'

const address = (name: string): number => name.charCodeAt(0) * 16

/** `a3: b c` has three instructions; `call` and `ret` stand for what they are; `a?:` begins by asking for flags. */
function region(drawing: string): Region {
  const blocks = drawing.trim().split('\n').map((line): RegionBlock => {
    const [, name, count, asks, to] = /^\s*(\w)(\d*)(\??):\s*(.*)$/.exec(line)!
    const instructions = Array.from({ length: Number(count) || 1 }, (_, i) => ({ rip: address(name!) + i, length: 1, first: 0, end: 0 }))
    const words = to!.split(' ').filter((word) => word !== '')
    const at = (word: string | undefined): number => (word === undefined ? 0 : address(word))
    const [rip, needsFlags] = [address(name!), asks === '?']
    if (words[0] === 'ret') return { rip, instructions, end: 'return', target: undefined, next: 0, needsFlags }
    if (words[0] === 'call') return { rip, instructions, end: 'call', target: at(words[1]), next: at(words[2]), needsFlags }
    if (words.length === 2) return { rip, instructions, end: 'conditional', target: at(words[1]), next: at(words[0]), needsFlags }
    return { rip, instructions, end: 'next', target: undefined, next: at(words[0]), needsFlags }
  })
  const { rip } = blocks[0]!
  return { entry: rip, mode: 0, entryCount: 1, blocks, instructions: 0, bytes: 0, pages: [] }
}

const nameOf = ({ block }: RegionNode): string => String.fromCharCode(block.rip / 16)
const names = (nodes: readonly RegionNode[], test: (node: RegionNode) => boolean): string => nodes.filter(test).map(nameOf).sort().join('')

describe('a region in order', () => {
  test('joins stand behind their immediate dominator, loops are told by edges back', () => {
    const { nodes, cut } = structure(region('a: b c\nb: d\nc: d\nd: a e\ne: z'))
    expect(names(nodes, ({ isLoop }) => isLoop)).toBe('a')
    expect(names(nodes, ({ isJoin }) => isJoin)).toBe('d')
    expect(nodes[0]!.joins.map((join) => nameOf(nodes[join]!))).toEqual(['d'])
    expect(nodes.find((node) => nameOf(node) === 'e')!.next).toBe(OUTSIDE)
    expect(cut).toBe(0)
  })

  test('the longest way ends before the next loop', () => {
    const { nodes } = structure(region('a2: b c\nb5: d\nc1: d\nd3: d e\ne4: a z'))
    const longest = Object.fromEntries(nodes.map((node) => [nameOf(node), node.longest]))
    expect(longest).toEqual({ a: 7, b: 5, c: 1, d: 7, e: 4 })
  })

  test('a jump that goes to the same place either way makes a join', () => {
    const { nodes } = structure(region('a: b b\nb: z'))
    expect(names(nodes, ({ isJoin }) => isJoin)).toBe('b')
  })

  test('what nothing leads to is left out', () => {
    expect(structure(region('a: b\nb: z\nc: b')).nodes.map(nameOf).join('')).toBe('ab')
  })
})

describe('a loop with several entries', () => {
  test('has some of its blocks copied', () => {
    const { nodes, cut } = structure(region('a: b c\nb: c\nc: b z'))
    expect(cut).toBe(0)
    expect(names(nodes, () => true).length).toBe(4)
    for (const [number, node] of nodes.entries()) {
      for (const target of [node.next, node.taken]) if (target !== OUTSIDE && target <= number) expect(nodes[target]!.isLoop).toBe(true)
    }
  })

  test('leaves the region where too much would have to be copied', () => {
    const { nodes, cut } = structure(region('a: b c\nb70: c\nc80: b z'))
    expect(cut).toBe(1)
    expect(nodes.length).toBe(3)
  })
})

describe('returns', () => {
  test('lead behind the calls of their own function, through calls on the way', () => {
    const { nodes } = structure(region('a: call f b\nb: call g c\nc: z\nf: call g h\nh: ret\ng: ret'))
    const sites = (name: string): string[] => nodes.find((node) => nameOf(node) === name)!.sites.map((site) => nameOf(nodes[site]!)).sort()
    expect(sites('h')).toEqual(['b'])
    expect(sites('g')).toEqual(['c', 'h'])
  })
})

describe('a block that asks for flags', () => {
  test('is copied for each way to it', () => {
    const { nodes } = structure(region('a: b c\nb: d\nc: d\nd2?: e z\ne: z'))
    expect(names(nodes, () => true)).toBe('abcdde')
    expect(names(nodes, ({ isJoin }) => isJoin)).toBe('e')
  })

  test('does not begin the loop that it ends', () => {
    const { nodes } = structure(region('s: b\nb?: z a\na3: b'))
    expect(nodes.map(nameOf).join('')).toBe('sbab')
    expect(names(nodes, ({ isLoop }) => isLoop)).toBe('a')
  })

  test('stays as it is where it is long, comes to itself, or is the entry', () => {
    expect(structure(region('b?: z a\na3: b')).nodes.length).toBe(2)
    expect(structure(region('a: b c\nb: d\nc: d\nd9?: z')).nodes.length).toBe(4)
    expect(names(structure(region('b?: z b')).nodes, ({ isLoop }) => isLoop)).toBe('b')
  })
})
