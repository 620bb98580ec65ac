/**
 * Accesses of loops that stay in one page for long: their address is made of registers that the loop leaves alone or moves
 * in small steps, of constants, and of numbers that cannot become large. For the most frequent ones a region keeps the page
 * of the last access in locals; elsewhere that would only make code longer.
 */
import { GPR, PAGE_SIZE } from '../../../x86/index.ts'
import { RECORD } from '../layout/record.ts'
import { SLOT } from '../layout/state.ts'
import { isWrite } from '../uops/facts.ts'
import type { MicroFacts } from '../uops/facts.ts'
import type { Micro } from '../uops/micro.ts'
import type { MicroTable } from '../uops/table.ts'
import { loopsOf } from './loops.ts'
import type { RegionLoop } from './loops.ts'
import { RecordReader } from './record-reader.ts'
import { recordUse } from './register-use.ts'
import type { RegionNode } from './structure.ts'

/** Most pages that a region keeps: each takes two locals, of which V8 has few registers for. */
const MOST_PAGES = 4
/** Bytes that a register moves by at most to stay in a page for long, and largest number that is small beside a page. */
const SMALL = 256
const STACK = GPR.rsp * 8
/** Bits of a scale field that name a segment base. */
const SEGMENT = 0xf8
const GENERAL_BYTES = 128

/** A page that is kept. */
export interface SteadyPage {
  /** For what it is looked up: a page that is written is read through the same translation. */
  readonly access: 'read' | 'write'
}

/** Pages by access: the record's host address and whether it writes. */
export type SteadyPages = ReadonlyMap<number, SteadyPage>

/** Names an access of a record. */
export const accessKey = (record: number, access: 'read' | 'write'): number => record * 2 + (access === 'write' ? 1 : 0)

/** Accesses with an address of the same parts. */
interface Candidate {
  readonly accesses: number[]
  weight: number
  writes: boolean
}

/** What the search goes through. */
interface Search {
  readonly reader: RecordReader
  readonly table: MicroTable
  readonly nodes: readonly RegionNode[]
  readonly candidates: Map<string, Candidate>
}

/** The pages that a region keeps. */
export function steadyPages(nodes: readonly RegionNode[], view: DataView, table: MicroTable): SteadyPages {
  const loops = loopsOf(nodes)
  const pages = new Map<number, SteadyPage>()
  if (loops.length === 0) return pages
  const search: Search = { reader: new RecordReader(view), table, nodes, candidates: new Map() }
  const wild = loops.map((loop) => wildIn(search, loop))
  nodes.forEach((_, number) => {
    let [inner, depth] = [-1, 0]
    loops.forEach(({ body }, loop) => {
      if (!body.has(number)) return
      inner = loop
      depth += 1
    })
    if (depth > 0) collect(search, number, { wild: wild[inner]!, depth })
  })
  const best = [...search.candidates.values()].sort((one, other) => other.weight - one.weight).slice(0, MOST_PAGES)
  for (const { accesses, writes } of best) {
    const page: SteadyPage = { access: writes ? 'write' : 'read' }
    for (const access of accesses) pages.set(access, page)
  }
  return pages
}

/** Calls with each record of a node. */
function forEachRecord({ reader, table, nodes }: Search, number: number, body: (micro: Micro) => void): void {
  for (const instruction of nodes[number]!.block.instructions) {
    for (let at = instruction.first; at < instruction.end; at += RECORD.bytes) {
      reader.record = { instruction, at }
      const micro = table.all[reader.number]!
      body(micro.pair?.first ?? micro)
    }
  }
}

/** Registers that a loop gives values that nothing is known of, as bits. */
function wildIn(search: Search, { body }: RegionLoop): number {
  let wild = 0
  for (const number of body) forEachRecord(search, number, (micro) => (wild |= wildBy(search.reader, micro)))
  return wild
}

/** Those that a record gives such values: it neither moves them in small steps nor sets them to constants. */
function wildBy(reader: RecordReader, { parts, facts, form }: Micro): number {
  const { written } = recordUse(reader, facts)
  const [operation, , operands] = parts
  switch (operation) {
    case 'push':
    case 'pop':
    case 'call':
    case 'ret':
      return written & ~(1 << GPR.rsp)
    case 'inc':
    case 'dec':
      return 0
    case 'add':
    case 'sub':
      return operands === 'ri' && Math.abs(reader.immediate) <= SMALL ? 0 : written
    case 'mov':
      return operands === 'ri' || operands === 'rw' ? 0 : written
    case 'lea': {
      const isAlone = form === 1 || reader.small('index') === SLOT.zero
      const isStep = isAlone && reader.small('base') === reader.small('destination') && Math.abs(reader.displacement) <= SMALL
      return isStep ? 0 : written
    }
    default:
      return written
  }
}

/** Registers that a record sets to a small number, as bits. */
function boundedBy(reader: RecordReader, { parts }: Micro): number {
  const [operation, size, operands] = parts
  const isSmall = operation === 'movzx' ? operands === 8
    : operation === 'and' && size !== 8 && size !== 16 && operands === 'ri' && reader.immediate >= 0 && reader.immediate < 4 * SMALL
  const slot = isSmall ? reader.small('destination') : GENERAL_BYTES
  return slot < GENERAL_BYTES ? 1 << (slot >> 3) : 0
}

/** Adds a node's steady accesses to the candidates. */
function collect(search: Search, number: number, { wild, depth }: { wild: number; depth: number }): void {
  const { reader, candidates } = search
  let bounded = 0
  forEachRecord(search, number, (micro) => {
    const { facts } = micro
    for (const access of facts.memory) {
      const key = addressKey(reader, facts, { isStack: access.through === 'stack', wild, bounded })
      if (key === undefined || access.use === 'finish' || access.through === 'string') continue
      const found = candidates.get(key) ?? { accesses: [], weight: 0, writes: false }
      candidates.set(key, found)
      found.accesses.push(accessKey(reader.record.at, isWrite(access) ? 'write' : 'read'))
      found.weight += 8 ** depth
      found.writes ||= isWrite(access)
    }
    bounded = (bounded & ~recordUse(reader, facts).written) | boundedBy(reader, micro)
  })
}

/** What an access's address is made of; undefined where it wanders. */
function addressKey(
  reader: RecordReader, facts: MicroFacts, known: { isStack: boolean; wild: number; bounded: number },
): string | undefined {
  const { wild, bounded } = known
  if (known.isStack) return (wild & (1 << GPR.rsp)) === 0 && (facts.read & (1 << GPR.rbp)) === 0 ? `${STACK}` : undefined
  if (facts.address === 0) return undefined
  const isSteady = (slot: number, limit: number): boolean => slot >= GENERAL_BYTES || (limit & (1 << (slot >> 3))) === 0
  const base = reader.small('base')
  const isFixed = base === SLOT.page || base === SLOT.zero
  if (base === SLOT.t2 || (!isFixed && !isSteady(base, wild))) return undefined
  // Constants far from each other lie in different pages.
  const constant = (base === SLOT.page ? reader.page : 0) + reader.displacement
  const start = isFixed ? `page ${Math.floor(constant / PAGE_SIZE)}` : `${base}`
  if (facts.address === 1) return start
  const index = reader.small('index')
  if (index !== SLOT.zero && !isSteady(index, wild & ~bounded)) return undefined
  return index === SLOT.zero && (reader.small('scale') & SEGMENT) === SLOT.zero ? start : `${start}+${index}*${reader.small('scale')}`
}
