/**
 * Accesses of loops that stay in one page for long: their address is made of registers that the loop leaves alone or moves
 * in small steps, of constants, and of numbers that cannot become large. For the most frequent ones a region keeps the page
 * of the last access in locals; elsewhere that would only make code longer.
 */
import { GPR, PAGE_SIZE } from '../../../../x86/index.ts'
import { SLOT } from '../../layout/state.ts'
import { isWrite } from '../../uops/facts.ts'
import type { MicroFacts } from '../../uops/facts.ts'
import { accessKey } from './values.ts'
import type { BlockValues } from './values.ts'
import type { BlockUse, MemoryRecord } from './block-uses.ts'
import { loopsOf } from '../form/loops.ts'
import { STACK_POINTER } from '../form/micro-profiles.ts'
import type { RecordReader } from '../form/record-reader.ts'
import type { RegionNode } from '../form/structure.ts'

/** Most pages that a region keeps: each takes two locals, of which V8 has few registers for. */
const MOST_PAGES = 4
/** Key of what the stack pointer leads to. */
const STACK = `${GPR.rsp * 8}`
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

/** Accesses with an address of the same parts. */
interface Candidate {
  readonly accesses: number[]
  weight: number
  writes: boolean
}

/** A node with what its block uses. */
export interface UsedNode {
  readonly node: RegionNode
  readonly use: BlockUse
}

/** The pages that a region keeps. */
export function steadyPages(reader: RecordReader, nodes: readonly UsedNode[]): SteadyPages {
  const pages = new Map<number, SteadyPage>()
  const loops = loopsOf(nodes.map(({ node }) => node))
  if (loops.length === 0) return pages
  const candidates = new Map<string, Candidate>()
  const wild = loops.map(({ body }) => {
    let set = 0
    for (const number of body) set |= nodes[number]!.use.wild
    return set
  })
  nodes.forEach(({ use }, number) => {
    if (use.memory.length === 0) return
    let [inner, depth] = [-1, 0]
    loops.forEach(({ body }, loop) => {
      if (!body.has(number)) return
      inner = loop
      depth += 1
    })
    if (depth > 0) for (const record of use.memory) collect(reader, candidates, record, { values: use.values, wild: wild[inner]!, weight: 8 ** depth })
  })
  const best = [...candidates.values()].sort((one, other) => other.weight - one.weight).slice(0, MOST_PAGES)
  for (const { accesses, writes } of best) {
    const page: SteadyPage = { access: writes ? 'write' : 'read' }
    for (const access of accesses) pages.set(access, page)
  }
  return pages
}

interface CollectOptions {
  /** What is known of the record's block. */
  readonly values: BlockValues
  /** Registers that become anything in the loop, as bits. */
  readonly wild: number
  readonly weight: number
}

/** Adds a record's steady accesses to the candidates. */
function collect(
  reader: RecordReader, candidates: Map<string, Candidate>, record: MemoryRecord, options: CollectOptions,
): void {
  const { facts } = record.profile
  reader.go(record.instruction, record.at)
  for (const access of facts.memory) {
    if (access.use === 'finish' || access.through === 'string') continue
    const key = access.through === 'stack' ? stackKey(facts, options.wild) : addressKey(reader, record, options.wild)
    if (key === undefined) continue
    const own = accessKey(record.at, isWrite(access) ? 'write' : 'read')
    const group = options.values.accesses.get(own)?.group
    // The others of a group go by what the first one finds.
    if (group !== undefined && group.leader !== own) continue
    let found = candidates.get(key)
    if (found === undefined) candidates.set(key, (found = { accesses: [], weight: 0, writes: false }))
    found.accesses.push(own)
    found.weight += options.weight
    found.writes ||= group?.writes ?? isWrite(access)
  }
}

/** LEAVE and ENTER go by the frame pointer, too. */
const stackKey = ({ read }: MicroFacts, wild: number): string | undefined =>
  ((wild & STACK_POINTER) === 0 && (read & (1 << GPR.rbp)) === 0 ? STACK : undefined)

/** What an access's address is made of; undefined where it wanders. */
function addressKey(reader: RecordReader, { profile: { facts }, bounded }: MemoryRecord, wild: number): string | undefined {
  if (facts.address === 0) return undefined
  const isWild = (slot: number, registers: number): boolean => slot < GENERAL_BYTES && (registers & (1 << (slot >> 3))) !== 0
  const base = reader.small('base')
  if (base === SLOT.t2 || isWild(base, wild)) return undefined
  let key = `${base}`
  if (base >= GENERAL_BYTES) {
    // Constants far from each other lie in different pages.
    const constant = (base === SLOT.page ? reader.page : 0) + reader.displacement
    key = `page ${Math.floor(constant / PAGE_SIZE)}`
  }
  if (facts.address === 1) return key
  const index = reader.small('index')
  const scale = reader.small('scale')
  if (isWild(index, wild & ~bounded)) return undefined
  return index === SLOT.zero && (scale & SEGMENT) === SLOT.zero ? key : `${key}+${index}*${scale}`
}
