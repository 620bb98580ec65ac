/**
 * Finds the region around a hot address: over the records of decoded blocks, through conditional jumps, jumps and calls to their
 * targets and return sites; first where code has been seen to go, then breadth-first. What has not been decoded has not been executed and is left out. Nothing
 * is decoded here.
 */
import { PAGE_SIZE } from '../../../../x86/index.ts'
import { BLOCK, IP, RECORD } from '../../layout/record.ts'
import { MODE } from '../../layout/state.ts'
import { FARTHEST } from './exit-word.ts'
import type { Carriage, FlagNeed, MicroProfiles } from './micro-profiles.ts'
import type { BlockEnd, CodeSource, Leads, Refusal, Region, RegionBlock, RegionInstruction, RegionPage } from './region.ts'

/** Most pages that one region's code lies in: all of them are looked at again after a flush. */
const MOST_PAGES = 16

/** Where to begin, how many instructions to take at most, and what has been seen of the way that code takes. */
export interface DiscoverOptions {
  readonly entry: number
  readonly limit: number
  /** Addresses of decoded blocks in the order in which they were executed; up to `traced` instructions are taken of what they came by. */
  readonly trace?: readonly number[]
  readonly traced?: number
  readonly leads?: Leads
}

const NO_LEADS: Leads = { of: () => [], isLed: () => false }

interface Found extends RegionInstruction {
  readonly end: number
  readonly ends: BlockEnd
  readonly flags: FlagNeed
  readonly target: number | undefined
}

/** Finds regions in a machine's decoded code. */
export class Discoverer {
  private readonly view: DataView
  private readonly profiles: MicroProfiles

  constructor(view: DataView, profiles: MicroProfiles) {
    this.view = view
    this.profiles = profiles
  }

  /** The region at an address, or why there is none. */
  discover(source: CodeSource, options: DiscoverOptions): Region | Refusal {
    if ((source.mode & (MODE.SIZE | MODE.SEGMENTED)) !== MODE.CODE64) return 'mode'
    const search = new Search(this.view, this.profiles, source)
    const decoded = search.decodedAt(options.entry)
    if (decoded === 0) return 'not-decoded'
    search.run(options)
    if (!search.found.has(options.entry)) return 'first-instruction'
    const blocks = search.blocks()
    const { size } = search.found
    let bytes = 0
    for (const { length } of search.found.values()) bytes += length
    return {
      entry: options.entry, mode: source.mode, entryCount: this.view.getUint32(decoded + BLOCK.count, true),
      blocks, instructions: size, bytes, pages: search.usedPages(),
    }
  }
}

/** Where code is to be taken from: an address, and its records. */
interface Beginning {
  readonly rip: number
  readonly record: number
}

/** One search. */
class Search {
  /** Instructions by address. */
  readonly found = new Map<number, Found>()
  private readonly view: DataView
  private readonly profiles: MicroProfiles
  private readonly source: CodeSource
  /** Addresses of instructions that no region carries out. */
  private readonly refused = new Set<number>()
  /** Host addresses of the pages looked at. */
  private readonly pages = new Map<number, number>()
  /** Addresses at which basic blocks begin, the entry first. */
  private readonly leaders = new Set<number>()
  /** Where code is to be taken from: where it has been seen to go, and elsewhere. */
  private readonly seen: Beginning[] = []
  private readonly other: Beginning[] = []
  /** Addresses of instructions that have been executed lately: at all, and again; and where those led that work that out. */
  private readonly seenOnce = new Set<number>()
  private readonly executed = new Set<number>()
  private readonly led = new Map<number, Set<number>>()
  private entry = 0
  private leads = NO_LEADS

  constructor(view: DataView, profiles: MicroProfiles, source: CodeSource) {
    this.view = view
    this.profiles = profiles
    this.source = source
  }

  /** The decoded block at an address, or 0. */
  decodedAt(rip: number): number {
    const offset = ((rip % PAGE_SIZE) + PAGE_SIZE) % PAGE_SIZE
    const linear = rip - offset
    let host = this.pages.get(linear)
    if (host === undefined) {
      host = this.pages.size < MOST_PAGES ? this.source.hostOf(linear) : 0
      if (host !== 0) this.pages.set(linear, host)
    }
    return host === 0 ? 0 : this.source.blockAt(host + offset)
  }

  run({ entry, limit, trace = [], traced = limit, leads = NO_LEADS }: DiscoverOptions): void {
    this.entry = entry
    this.leads = leads
    for (let at = 1; at < trace.length; at += 1) this.follow(trace[at - 1]!, trace[at]!)
    this.executed.add(entry)
    this.reach(entry)
    this.take(this.seen, trace.length > 0 ? traced : limit)
    // What is seen from there on is at the end of the other list.
    for (let at = 0; at < this.other.length && this.found.size < limit; at += 1) {
      this.walk(this.other[at]!, limit)
      this.take(this.seen, limit)
    }
  }

  private take(list: Beginning[], limit: number): void {
    for (let one = list.shift(); one !== undefined && this.found.size < limit; one = list.shift()) this.walk(one, limit)
  }

  /** Notes what was executed from one decoded block to the next. */
  private follow(from: number, to: number): void {
    let record = this.decodedAt(from)
    if (record === 0) return
    record += BLOCK.bytes
    let rip = from
    while (this.view.getUint16(record + RECORD.number, true) !== 0) {
      const one = this.instruction(record, rip)
      if (one === undefined) return
      (this.seenOnce.has(rip) ? this.executed : this.seenOnce).add(rip)
      if (one.ends === 'return' || one.ends === 'indirect') {
        const known = this.led.get(rip)
        if (known === undefined) this.led.set(rip, new Set([to]))
        else known.add(to)
      }
      if (one.ends !== 'next' && (one.ends !== 'conditional' || one.target === to)) return
      rip += one.length
      record = one.end
    }
  }

  /** Has a basic block begin at an address, if there is decoded code; its records, where they are known to stand in the midst of some. */
  private reach(rip: number, record?: number): boolean {
    if (this.leaders.has(rip)) return true
    if (Math.abs(rip - this.entry) > FARTHEST) return false
    if (!this.found.has(rip)) {
      const decoded = this.decodedAt(rip)
      const first = decoded === 0 ? record : decoded + BLOCK.bytes
      if (first === undefined || this.view.getUint16(first + RECORD.number, true) === 0) return false
      const list = this.executed.has(rip) || this.leads.isLed(rip) ? this.seen : this.other
      list.push({ rip, record: first })
    }
    this.leaders.add(rip)
    return true
  }

  /** Takes the instructions of a decoded block from one on. */
  private walk(start: Beginning, limit: number): void {
    let { rip, record } = start
    while (this.found.size < limit && !this.found.has(rip)) {
      if (this.view.getUint16(record + RECORD.number, true) === 0) break
      const one = this.instruction(record, rip)
      if (one === undefined) {
        this.refused.add(rip)
        return
      }
      this.found.set(rip, one)
      rip += one.length
      record = one.end
      if (!this.goesOn(one)) return
    }
    this.reach(rip, record)
  }

  /** Reads an instruction's records; undefined when one of them is nothing for a region. */
  private instruction(first: number, rip: number): Found | undefined {
    const { view } = this
    const ip = view.getUint16(first + RECORD.ip, true)
    const length = ip >>> IP.LENGTH
    let ends: Carriage = 'next'
    let flags: FlagNeed = 'none'
    let record = first
    for (;;) {
      const number = view.getUint16(record + RECORD.number, true)
      if (number === 0 || view.getUint16(record + RECORD.ip, true) !== ip) break
      const profile = this.profiles.of(number)
      ends = profile.carriage
      if (ends === 'refused') return undefined
      if (flags === 'none') flags = profile.flags
      record += RECORD.bytes
    }
    const hasTarget = ends === 'conditional' || ends === 'branch' || ends === 'call'
    const target = hasTarget
      ? rip + length + view.getInt32(record - RECORD.bytes + RECORD.displacement, true) : undefined
    return { rip, length, first, end: record, ends, target, flags }
  }

  /** Follows an instruction's targets; true when the walk goes on behind it. */
  private goesOn({ rip, length, end, ends, target }: Found): boolean {
    if (ends === 'next') return true
    const isKnown = target !== undefined && this.reach(target)
    if (ends === 'conditional') {
      if (this.seenOnce.size > 0 && !this.executed.has(rip + length)) {
        this.reach(rip + length, end)
        return false
      }
      this.leaders.add(rip + length)
      return true
    }
    if (ends === 'return' || ends === 'indirect') for (const lead of this.leadsOf(rip)) this.reach(lead)
    // Nobody returns from a call that leaves the region.
    if (ends === 'call' && isKnown) this.reach(rip + length)
    return false
  }

  /** Where an end that works it out leads: what was executed lately comes first. */
  private leadsOf(rip: number): readonly number[] {
    return [...new Set([...this.led.get(rip) ?? [], ...this.leads.of(rip)])]
  }

  /** The instruction that a basic block begins with: of a decoded block of its own, which is counted there while blocks are (code/coverage.ts). */
  private asFirst(rip: number): Found {
    const own = this.decodedAt(rip)
    return (own === 0 ? undefined : this.instruction(own + BLOCK.bytes, rip)) ?? this.found.get(rip)!
  }

  /** The basic blocks, from leader to leader. */
  blocks(): RegionBlock[] {
    const blocks: RegionBlock[] = []
    for (const leader of this.leaders) {
      if (!this.found.has(leader)) continue
      let last = this.asFirst(leader)
      const instructions: Found[] = [last]
      for (;;) {
        const next: number = last.rip + last.length
        const following: Found | undefined = this.found.get(next)
        if (last.ends !== 'next' || following === undefined || this.leaders.has(next)) break
        instructions.push(following)
        last = following
      }
      const needsFlags = instructions.find(({ flags }) => flags !== 'none')?.flags === 'needs'
      const { rip, length, ends: end, target } = last
      const next = rip + length
      blocks.push({ rip: leader, instructions, end, target, next, needsFlags, stops: this.refused.has(next), leads: this.leadsOf(rip) })
    }
    return blocks
  }

  /** The pages that instructions lie in. */
  usedPages(): RegionPage[] {
    const used = new Set<number>()
    for (const rip of this.found.keys()) used.add(Math.floor(rip / PAGE_SIZE) * PAGE_SIZE)
    return [...used].map((linear) => ({ linear, host: this.pages.get(linear)! }))
  }
}
