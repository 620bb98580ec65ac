/**
 * Forms of instructions that have been decoded before. What an instruction becomes is told by its bytes up to the displacement, but for
 * its displacement and its immediate, which most lifters pass on as they are (`Instruction.looked`). So the first instruction of a form
 * goes through decoder and lifter, here once more, with marks in the place of these two numbers; all others are the same records with their own numbers.
 * A lifter that looks at a number has a form for each value of it, where it is short.
 *
 *   nodes    for each byte of a form so far, what it leads to: nothing yet, the next node, or the end of a form
 *   pool     forms: a head and records of 16 bytes each, in units of two of them
 *
 * There are as many as code has, so when a list is full all begin anew.
 *
 * hot path: runs for every newly met instruction, and mostly before V8 has compiled it: there is little of it, and no calls.
 * What comes out is what decoder and lifter make, to the bit: checks of decoded code compare it with theirs (inspection/).
 */
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { ProcessorLevel } from '../cpuid/features.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import { LOOKED } from '../decode/decoder.ts'
import type { Decoder, Instruction } from '../decode/decoder.ts'
import { IP, RECORD } from '../layout/record.ts'
import { Lifter } from '../lift/lifter.ts'
import type { HandlerNumbers, Lift } from '../lift/lifter.ts'
import type { MicroTable } from '../uops/micro-table.ts'

/** From here on what a byte leads to is a form: this and the unit that it begins at. */
const FORM = 0x8000
/** What a byte leads to where all that begins so is decoded and lifted one by one. */
const NONE = 0xffff
/** Limits of both lists: guests may think up any number of forms. A boot of Linux takes a third and a half of them. */
const MOST_NODES = 0x2000
const MOST_UNITS = 0x7fff
/** Words of a record, and of a unit. */
const WORDS = 4
const UNIT = 8
/** Records of a form at most. */
const MOST_RECORDS = 4
/** Bytes of a number that is looked at, for which a form is made for each value. */
const MOST_LOOKED = 2
/** Bits of a form's first word; its second one has the numbers of the first and the last record, its fourth one the mode that it is for, -1 for any. */
const HEAD = { length: 0, head: 4, displacement: 8, immediate: 11, unsigned: 14, relative: 15, ended: 16, records: 17, branch: 20 } as const
const HAS_NUMBERS = 0x3f << HEAD.displacement
/** In the third word: for each record whether displacement and immediate are the instruction's displacement, then the same for its immediate. */
const PLACES = { displacement: 0, immediate: 8 } as const
/** Numbers that no record holds otherwise. */
const MARK = { displacement: 0x35c9_8e61, immediate: 0x2d7a_b693 } as const
/** Records that a lifter may write of one instruction. */
const SCRATCH_RECORDS = 64

/** Known forms as data. */
export class FormList {
  nodes = new Uint16Array(64 * 256)
  pool = new Int32Array(512 * UNIT)
  private nodeCount = 1
  private unitCount = 0

  /** Takes units of the pool; the first one. */
  take(units: number): number {
    if (this.unitCount + units > MOST_UNITS) this.forget()
    const first = this.unitCount
    this.unitCount += units
    if (this.unitCount * UNIT > this.pool.length) {
      const pool = new Int32Array(2 * this.pool.length)
      pool.set(this.pool)
      this.pool = pool
    }
    return first
  }

  /** Adds a node that leads nowhere; 0 where there is no room, and all begin anew. */
  addNode(): number {
    if (this.nodeCount === MOST_NODES) {
      this.forget()
      return 0
    }
    const node = this.nodeCount
    this.nodeCount += 1
    if (node * 256 === this.nodes.length) {
      const nodes = new Uint16Array(2 * this.nodes.length)
      nodes.set(this.nodes)
      this.nodes = nodes
    }
    return node
  }

  private forget(): void {
    this.nodes.fill(0)
    this.nodeCount = 1
    this.unitCount = 0
  }
}

const lists = /* @__PURE__ */ new WeakMap<MicroTable, Map<string, FormList>>()

/** The list of one kind of code, which all machines of a process share whose processors are of that level. */
export function formList(table: MicroTable, level: ProcessorLevel, kind: number): FormList {
  let known = lists.get(table)
  if (known === undefined) lists.set(table, known = new Map())
  let list = known.get(`${level} ${kind}`)
  if (list === undefined) known.set(`${level} ${kind}`, list = new FormList())
  return list
}

/** What forms are made with. */
export interface FormMakers {
  readonly memory: MachineMemory
  readonly table: MicroTable
  readonly handlers: HandlerNumbers
  readonly decoder: Decoder
  /** What lifts a row's instructions. */
  readonly liftOf: (instruction: Instruction) => Lift
}

/** Known forms of one kind of code whose segments are flat. */
export class KnownForms {
  private readonly bytes: Uint8Array
  private readonly words: Uint32Array
  private readonly makers: FormMakers
  /** For a pair's number: that of its first half. */
  private readonly firsts: ReadonlyMap<number, number>
  private readonly list: FormList
  /** Whether what ended the last writing is of no known form. */
  isUnknown = false
  /** The numbers of the instruction at hand. */
  private displacement = 0
  private immediate = 0
  /** What forms are taken from: written into memory of its own. */
  private readonly lifter: Lifter
  private readonly written = new Int32Array((SCRATCH_RECORDS * RECORD.bytes) / 4)

  constructor(makers: FormMakers, list: FormList, codeSize: 16 | 32 | 64) {
    const { memory, table, handlers } = makers
    this.makers = makers
    this.list = list
    this.bytes = memory.bytes
    this.words = memory.words
    this.firsts = new Map(table.index.firsts)
    this.lifter = new Lifter(table, handlers, { view: new DataView(this.written.buffer), codeSize })
  }

  /**
   * Writes the records of the instructions from a host address on, as long as they are of known forms and the block has not ended, and tells the
   * address behind them. The next one has to be decoded, and where `isUnknown`, learned. Up to `limit` none begins from where one may reach the end of its page.
   */
  write(lifter: Lifter, start: number, limit: number): number {
    const { bytes, words, list: { nodes, pool } } = this
    let host = start
    let length = 0
    this.isUnknown = false
    while (host < limit && !lifter.ended) {
      let entry = 0
      let at = host
      do entry = nodes[(entry << 8) | bytes[at++]!]!
      while (entry !== 0 && entry < FORM)
      let unit = (entry - FORM) * UNIT
      if (entry === 0 || entry === NONE || (pool[unit + 3]! >= 0 && pool[unit + 3] !== lifter.mode)) {
        this.isUnknown = entry !== NONE
        break
      }
      const head = pool[unit]!
      const places = pool[unit + 2]!
      if ((head & HAS_NUMBERS) !== 0 && !this.read(host, head)) break
      const { displacement, immediate } = this
      length = head & 15
      this.join(lifter, head, pool[unit + 1]!)
      const ip = ((host & (PAGE_SIZE - 1)) | (length << IP.LENGTH)) << 16
      let word = lifter.at >> 2
      const end = word + ((head >> HEAD.records) & 7) * WORDS
      for (let bit = 1; word < end; word += WORDS, bit <<= 2) {
        unit += WORDS
        words[word] = pool[unit]!
        words[word + 1] = pool[unit + 1]! | ip
        words[word + 2] = (places & bit) !== 0 ? displacement : (places & (bit << PLACES.immediate)) !== 0 ? immediate : pool[unit + 2]!
        words[word + 3] = (places & (bit << 1)) !== 0 ? displacement : (places & (bit << 1 << PLACES.immediate)) !== 0 ? immediate : pool[unit + 3]!
      }
      lifter.at = end << 2
      host += length
    }
    if (host > start) lifter.instruction.length = length
    lifter.offset = (host - length) & (PAGE_SIZE - 1)
    return host
  }

  /** Reads the numbers of the instruction at a host address; false where its displacement is none that a record holds. */
  private read(host: number, head: number): boolean {
    const { bytes } = this
    let at = host + ((head >> HEAD.head) & 15)
    const size = (head >> HEAD.displacement) & 7
    let value = size === 0 ? 0 : size === 1 ? (bytes[at]! << 24) >> 24 : wordAt(bytes, at)
    if ((head & (1 << HEAD.relative)) !== 0) value += (host & (PAGE_SIZE - 1)) + (head & 15)
    this.displacement = value
    at += size
    const following = (head >> HEAD.immediate) & 7
    if (following === 4) this.immediate = wordAt(bytes, at)
    else if (following === 1) this.immediate = (head & (1 << HEAD.unsigned)) !== 0 ? bytes[at]! : (bytes[at]! << 24) >> 24
    return value === (value | 0)
  }

  /** Has the lifter go on behind the records of an instruction that are written next. */
  private join(lifter: Lifter, head: number, numbers: number): void {
    lifter.pair(numbers & 0xffff)
    const branch = (head >> HEAD.branch) & 7
    if (branch !== 0) lifter.noteBranch(lifter.at + (branch - 1) * RECORD.bytes)
    lifter.count += 1
    lifter.last = numbers >>> 16
    if ((head & (1 << HEAD.ended)) !== 0) lifter.ended = true
  }

  /**
   * Takes up the form of the instruction at a host address, which is of no known one: it has just been decoded and lifted, into records
   * from `from` on.
   */
  learn(lifter: Lifter, host: number, from: number): void {
    const { decoder } = this.makers
    const { instruction } = decoder
    const { length, looked } = instruction
    const displacement = decoder.displacementEnd - decoder.headEnd
    const immediate = host + length - decoder.displacementEnd
    const isLooked = (displacement > 0 && (looked & LOOKED.DISPLACEMENT) !== 0) || (immediate > 0 && (looked & LOOKED.IMMEDIATE) !== 0)
    const records = (lifter.at - from) / RECORD.bytes
    if (records < 1 || records > MOST_RECORDS || (isLooked && displacement + immediate > MOST_LOOKED)) return this.enter(host, decoder.headEnd, NONE)
    if (isLooked) return this.add(lifter, host, { from, head: length, displacement: 0, immediate: 0 })
    if (!isShort(displacement) || !isShort(immediate)) return this.enter(host, decoder.headEnd, NONE)
    this.add(lifter, host, { from, head: decoder.headEnd - host, displacement, immediate })
  }

  /** Writes a form into the pool, and where its bytes lead to. */
  private add(lifter: Lifter, host: number, form: NewForm): void {
    const { from, head, displacement, immediate } = form
    const records = (lifter.at - from) / RECORD.bytes
    const places = displacement + immediate === 0 ? { bits: 0, isRelative: false } : this.placesOf(form, lifter)
    if (places === undefined) return this.enter(host, host + head, NONE)
    const { words, list } = this
    const number = words[from >> 2]! & 0xffff
    const branch = lifter.branchCount > 0 ? (lifter.branches[lifter.branchCount - 2]! - from) / RECORD.bytes : -1
    const taken = list.take(Math.ceil((1 + records) * WORDS / UNIT))
    const { pool } = list
    const at = taken * UNIT
    pool[at] = lifter.instruction.length | (head << HEAD.head) | (displacement << HEAD.displacement) | (immediate << HEAD.immediate) |
      (this.makers.decoder.isUnsigned ? 1 << HEAD.unsigned : 0) | (places.isRelative ? 1 << HEAD.relative : 0) |
      (lifter.ended ? 1 << HEAD.ended : 0) | (records << HEAD.records) | (branch < 0 ? 0 : (branch + 1) << HEAD.branch)
    pool[at + 1] = (this.firsts.get(number) ?? number) | (lifter.last << 16)
    pool[at + 2] = places.bits
    pool[at + 3] = lifter.looksAtMode ? lifter.mode : -1
    for (let word = 0; word < records * WORDS; word += 1) pool[at + WORDS + word] = words[(from >> 2) + word]! & (word % WORDS === 1 ? 0xffff : -1)
    this.enter(host, host + head, FORM + taken)
  }

  /** Where the instruction's numbers are in its records; undefined if something else depends on them. */
  private placesOf({ from, displacement, immediate }: NewForm, { at, mode }: Lifter): { readonly bits: number; readonly isRelative: boolean } | undefined {
    const { instruction } = this.makers.decoder
    const { length } = instruction
    const bytes = at - from
    if (displacement > 0) instruction.passedDisplacement = MARK.displacement
    if (immediate > 0) instruction.passedImmediate = MARK.immediate
    this.lifter.begin(0, mode)
    this.lifter.instruction = instruction
    this.makers.liftOf(instruction)(this.lifter)
    if (this.lifter.at !== bytes) return undefined
    let [bits, plain, relative] = [0, 0, 0]
    for (let word = 0; word < bytes >> 2; word += 1) {
      const value = this.written[word]!
      const bit = 1 << ((word >> 2) * 2 + (word & 1))
      const isNumber = word % WORDS >= 2
      if (isNumber && value === MARK.immediate) bits |= bit << PLACES.immediate
      else if (isNumber && value === MARK.displacement) [bits, plain] = [bits | bit, 1]
      else if (isNumber && value === MARK.displacement + length) [bits, relative] = [bits | bit, 1]
      else if (word % WORDS !== 1 && value !== (this.words[(from >> 2) + word]! | 0)) return undefined
      else if (word % WORDS === 1 && (value & 0xffff) !== (this.words[(from >> 2) + word]! & 0xffff)) return undefined
    }
    return plain + relative === 2 ? undefined : { bits, isRelative: relative === 1 }
  }

  /** Has bytes from one host address to another lead to a form. */
  private enter(host: number, end: number, form: number): void {
    const { bytes, list } = this
    let node = 0
    for (let at = host; at < end - 1; at += 1) {
      const place = (node << 8) | bytes[at]!
      node = list.nodes[place]!
      // A form of another mode may end here, which the same bytes and more are in this one.
      if (node !== 0 && node < FORM) continue
      node = list.addNode()
      if (node === 0) return
      list.nodes[place] = node
    }
    list.nodes[(node << 8) | bytes[end - 1]!] = form
  }
}

/** A form that is not in the pool yet: its records, and how many bytes what stands in front of its numbers takes, and these. */
interface NewForm {
  readonly from: number
  readonly head: number
  readonly displacement: number
  readonly immediate: number
}

const wordAt = (bytes: Uint8Array, at: number): number => bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
const isShort = (bytes: number): boolean => bytes === 0 || bytes === 1 || bytes === 4
