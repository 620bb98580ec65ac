/**
 * Decoded code of a machine: makes blocks of records, finds them again by physical address, drops them when their bytes
 * change. A block that goes on into the next page depends on two frames and is found only together with the second.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../../x86/index.ts'
import { BLOCK_BUCKETS } from '../../memory/layout.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import { DECODED, Decoder, MAX_LENGTH } from '../decode/decoder.ts'
import type { DecodeResult, Instruction } from '../decode/decoder.ts'
import type { InstructionRow } from '../decode/table.ts'
import type { ProcessorLevel } from '../cpuid/features.ts'
import { decodeMaps } from '../decode/maps.ts'
import { BLOCK, BLOCK_CROSSES, BLOCK_DEAD, BLOCK_INSTRUCTIONS, BLOCK_WINDOW, IP, RECORD } from '../layout/record.ts'
import { LIFTERS } from '../lift/table.ts'
import { Lifter } from '../lift/lifter.ts'
import type { HandlerNumbers, Lift } from '../lift/lifter.ts'
import { MODE } from '../layout/state.ts'
import type { MicroTable } from '../uops/micro-table.ts'
import { enterChain, findInChain, leaveChain } from './block-chains.ts'
import { BlockCoverage, coverageStart } from './coverage.ts'
import { DroppedBlocks, ORIGIN_ROOM } from './dropped-blocks.ts'
import { Fronts } from './fronts.ts'
import { KnownForms, formList } from './known-forms.ts'
import { StopOffsets } from './stop-offsets.ts'

/** Who has to be told that decoded code is gone, or that a frame now holds some. */
export interface CodeUser {
  /** Some blocks have died: remembered jumps may lead to them. */
  forgetJumps(): void
  /** Where blocks stood others will, or fronts stand in their places. */
  eraseJumps(): void
  protectFrame(mfn: number): void
}

/** Who makes something of decoded code, and hears when it is gone. */
export interface CodeFollower {
  /** All blocks with code from a frame have died. */
  codeDropped(mfn: number): void
  /** All blocks of all frames have. */
  codeCleared(): void
}

/** Bytes that one block may take at most: each instruction a handful of records, and what it was made of. */
const BLOCK_ROOM = BLOCK.bytes + BLOCK_INSTRUCTIONS * 12 * RECORD.bytes + ORIGIN_ROOM

/** What has been written of a block. */
interface Span {
  /** Bytes of code that it covers, 0 when there is none. */
  bytes: number
  /** Host address of the page that it goes on into, 0 for none. */
  second: number
  /** Where its records end. */
  end: number
}

/** Code sizes by MODE. */
const CODE_SIZES = [64, 32, 16] as const

/** What turns bytes of one code size into records. */
interface Translator {
  readonly decoder: Decoder
  readonly lifter: Lifter
}

/** Whether instructions that are of a known form are written by it, or all are decoded. */
type Knowledge = 'forms' | 'none'

/** Where code is to be decoded. */
export interface CodePlace {
  /** Host address of the first byte. */
  readonly host: number
  readonly mode: number
  /** Linear address of the first byte. */
  readonly rip: number
  /** Host address of the page that follows in linear memory, 0 when it cannot be fetched. Asked only when needed. */
  nextPage(): number
}

/** What lifts the instructions of a row. */
function lifterOf({ name, offered, isHosts }: InstructionRow): Lift {
  const lift = offered || isHosts ? LIFTERS.get(name) : undefined
  return lift ?? ((lifter) => lifter.undefined())
}

/** The cache. */
export class CodeCache {
  private readonly memory: MachineMemory
  private readonly users = new Set<CodeUser>()
  private follower: CodeFollower | undefined
  private readonly table: MicroTable
  private readonly handlers: HandlerNumbers
  private readonly level: ProcessorLevel
  /** Decoder and lifter for each code size; those of shorter code are made when such code is met. */
  private readonly translators: Translator[] = []
  /** Known forms by mode without its FLOAT bits. */
  private readonly forms: KnownForms[] = []
  readonly fronts: Fronts
  /** Offsets in pages at which instructions begin with a record that asks whether to stop there. */
  readonly stops = new StopOffsets()
  /** Blocks by frame. */
  private readonly byFrame = new Map<number, number[]>()
  /** The newest block that crosses, by `host * 256 + mode`. */
  private readonly crossing = new Map<number, number>()
  private readonly dropped: DroppedBlocks
  /** What lifts each row of the decode table, where there is anything: filled in as rows are met. */
  private readonly lifts: Lift[] = []
  private readonly joined = new Uint8Array(32)
  /** The last block that was written. One object, used again, as decoding is frequent. */
  private readonly span: Span = { bytes: 0, second: 0, end: 0 }
  private next: number
  /** Instructions decoded so far. */
  decoded = 0
  /**
   * Lines of 64 bytes that held no code before the last decoding: never executed, or written since.
   */
  freshLines = 0
  /** What blocks and edges are counted by, while they are. */
  private covering: BlockCoverage | undefined

  constructor(memory: MachineMemory, table: MicroTable, made: { readonly handlers: HandlerNumbers; readonly level: ProcessorLevel }) {
    this.memory = memory
    this.table = table
    this.handlers = made.handlers
    this.level = made.level
    this.next = memory.layout.recordCache
    this.fronts = new Fronts(memory, table)
    this.dropped = new DroppedBlocks(memory)
    memory.setCodeWriteListener((mfn) => this.invalidate(mfn))
  }

  /** Bytes that decoded code takes, dropped blocks among it. */
  get bytes(): number {
    return this.next - this.memory.layout.recordCache
  }

  /** Where decoded code has to end. */
  private get end(): number {
    return this.covering === undefined ? this.memory.layout.recordCacheEnd : coverageStart(this.memory)
  }

  get coverage(): BlockCoverage | undefined {
    return this.covering
  }

  /** Begins to count blocks and edges, or ends it: all code is decoded anew. No block may be running. */
  cover(how: 'on' | 'off'): void {
    this.clear()
    this.covering = how === 'on' ? new BlockCoverage(this.memory) : undefined
  }

  /** Adds somebody who has to know of changes. */
  attach(user: CodeUser): void {
    this.users.add(user)
  }

  detach(user: CodeUser): void {
    this.users.delete(user)
  }

  /** Sets who hears of code that is gone. */
  follow(follower: CodeFollower): void {
    this.follower = follower
  }

  /** A crossing block at a place, if its second page is still the same. */
  findCrossing(place: CodePlace): number {
    // Such a block's first instruction begins in this page.
    if (place.host % PAGE_SIZE <= PAGE_SIZE - MAX_LENGTH) return 0
    const key = place.host * 256 + place.mode
    const known = this.crossing.get(key)
    if (known === undefined || this.secondPage(known) !== place.nextPage()) return 0
    // The walk to the next page may have set bits in what was decoded.
    return this.crossing.get(key) === known ? known : 0
  }

  /** Decodes a block and enters it; 0 when its first instruction goes on into a page that cannot be fetched. */
  decode(place: CodePlace): number {
    // Room for one block is always left: see `decodeAgain`.
    if (this.next + 2 * BLOCK_ROOM > this.end) this.clear()
    this.freshLines = 0
    const back = this.dropped.take(place, { atSameAddress: this.covering !== undefined })
    if (back !== undefined) return this.bringBack(back, place)
    const block = this.next
    const span = this.write(block, place, 'forms')
    if (span.bytes === 0) return 0
    this.next = span.second === 0 ? this.dropped.sign(place, span) : span.end
    this.decoded += this.memory.view.getUint32(block + BLOCK.count, true)
    this.enter(block, place, span)
    return block
  }

  /** Enters a block again that was dropped. What it led to may be gone. */
  private bringBack({ block, bytes }: { readonly block: number; readonly bytes: number }, place: CodePlace): number {
    this.fronts.unset(block)
    this.enter(block, place, { bytes, second: 0, end: 0 })
    return block
  }

  /** The decoded block of a host address and a mode, by whatever front it is entered; 0 when there is none. */
  blockAt(host: number, mode: number): number {
    return this.fronts.behind(findInChain(this.memory, host, mode))
  }

  /** The front of a block, made where it has none; 0 when there is no room for it. */
  frontOf(block: number): number {
    const front = this.fronts.of(block)
    if (front !== 0) return front
    const made = this.fronts.make(block, this.blocksIn(this.memory.view.getUint32(block + BLOCK.physical, true) >>> PAGE_SHIFT))
    // Remembered jumps would lead past it for good.
    if (made !== 0) this.eraseJumps()
    return made
  }

  /** All fronts go; nobody may be executing one. */
  removeFronts(): void {
    this.fronts.removeAll((mfn) => this.blocksIn(mfn))
    this.eraseJumps()
  }

  private eraseJumps(): void {
    for (const user of this.users) user.eraseJumps()
  }

  private blocksIn(mfn: number): readonly number[] {
    return this.byFrame.get(mfn) ?? []
  }

  /** Every decoded block that can be entered, once; fronts are not among them. */
  *blocks(): IterableIterator<number> {
    for (const [mfn, blocks] of this.byFrame) {
      for (const block of blocks) {
        const mode = this.memory.view.getUint32(block + BLOCK.mode, true)
        const isFirst = this.memory.view.getUint32(block + BLOCK.physical, true) >>> PAGE_SHIFT === mfn
        if ((mode & BLOCK_DEAD) === 0 && isFirst) yield block
      }
    }
  }

  /** Host address of the page that a crossing block goes on into; 0 for any other. */
  secondPage(block: number): number {
    const mode = this.memory.view.getUint32(block + BLOCK.mode, true)
    return (mode & BLOCK_CROSSES) === 0 ? 0 : mode - (mode % PAGE_SIZE)
  }

  /**
   * Decodes a block's place once more, every instruction of it, to be compared with the block: the copy lies behind all blocks, where nothing
   * finds it, until the next one is made. `bytes`: what it covers, 0 when it cannot be decoded.
   */
  decodeAgain(block: number): { readonly copy: number; readonly bytes: number; readonly end: number } {
    const { view } = this.memory
    const second = this.secondPage(block)
    const place: CodePlace = {
      host: view.getUint32(block + BLOCK.physical, true), mode: view.getUint32(block + BLOCK.mode, true) & 0xff,
      // The block is known already.
      rip: 0, nextPage: () => second,
    }
    return { copy: this.next, ...this.write(this.next, place, 'none') }
  }

  /** Writes header and records of a block; tells how many bytes it covers, where its second page is, where it ends. */
  private write(block: number, place: CodePlace, knowledge: Knowledge): Readonly<Span> {
    const translator = (this.translators[place.mode & MODE.SIZE] ??= this.translator(place.mode))
    const { lifter } = translator
    const { span } = this
    translator.lifter.begin(block + BLOCK.bytes, place.mode)
    translator.lifter.instruction = translator.decoder.instruction
    span.bytes = this.fill(translator, place, knowledge === 'none' ? undefined : this.formsOf(translator, place.mode))
    span.end = lifter.at
    const { view } = this.memory
    view.setUint32(block + BLOCK.count, lifter.count, true)
    view.setUint32(block + BLOCK.physical, place.host, true)
    for (let i = 0; i < lifter.branchCount; i += 2) {
      view.setUint8(lifter.branches[i]! + RECORD.behind, lifter.count - lifter.branches[i + 1]! - 1)
    }
    return span
  }

  private translator(mode: number): Translator {
    const codeSize = CODE_SIZES[mode & MODE.SIZE]!
    return {
      decoder: new Decoder(decodeMaps(codeSize === 64 ? 'long' : 'short', this.level), codeSize),
      lifter: new Lifter(this.table, this.handlers, { view: this.memory.view, codeSize }),
    }
  }

  /** Forms that may be used in a mode: none while records ask something before an instruction. */
  private formsOf({ decoder }: Translator, mode: number): KnownForms | undefined {
    if ((mode & MODE.SEGMENTED) !== 0 || this.covering !== undefined || this.stops.isAny) return undefined
    return (this.forms[mode & ~MODE.FLOAT] ??= this.makeForms(decoder, mode))
  }

  private makeForms(decoder: Decoder, mode: number): KnownForms {
    const { memory, table, handlers, level } = this
    const liftOf = (instruction: Instruction): Lift => this.liftOf(instruction)
    return new KnownForms({ memory, table, handlers, decoder, liftOf }, formList(table, level, mode & ~MODE.FLOAT), CODE_SIZES[mode & MODE.SIZE]!)
  }

  /** Lifts instructions until the block ends; tells how many bytes it covers, and leaves where the second page is. */
  private fill({ decoder, lifter }: Translator, place: CodePlace, forms: KnownForms | undefined): number {
    const { bytes } = this.memory
    const pageEnd = (place.host - (place.host % PAGE_SIZE)) + PAGE_SIZE
    const end = (place.host - (place.host % BLOCK_WINDOW)) + BLOCK_WINDOW
    // From here on instructions may reach into the next page.
    const whole = pageEnd - MAX_LENGTH + 1
    let host = place.host
    this.span.second = 0
    while (!lifter.ended && host < end) {
      if (forms !== undefined && host < whole) {
        host = forms.write(lifter, host, Math.min(end, whole))
        if (lifter.ended || host >= end) break
      }
      const isUnknown = forms?.isUnknown === true && host < whole
      const from = lifter.at
      const { length } = decoder.instruction
      let result: DecodeResult = decoder.decode(bytes, host, pageEnd)
      if (result === DECODED.MORE_BYTES) {
        if (lifter.count > 0) {
          // The block's end is told by its last instruction, which has been overwritten by the one that crosses.
          decoder.instruction.length = length
          break
        }
        this.span.second = place.nextPage()
        if (this.span.second === 0) return 0
        result = this.decodeJoined(decoder, host, this.span.second)
        lifter.ended = true
      }
      lifter.offset = host % PAGE_SIZE
      // A bad instruction still needs a length of 1 to 15 to be told from its neighbours.
      if (result !== DECODED.OK) lifter.instruction.length = Math.min(Math.max(lifter.instruction.length, 1), 15)
      this.covering?.begin(lifter, host, place)
      this.lift(lifter, result)
      if (isUnknown && result === DECODED.OK) forms?.learn(lifter, host, from)
      lifter.count += 1
      host += decoder.instruction.length
    }
    lifter.end(place.host >>> PAGE_SHIFT)
    this.covering?.end(lifter, host)
    return host - place.host
  }

  /** Decodes an instruction that lies in two pages. */
  private decodeJoined(decoder: Decoder, host: number, second: number): DecodeResult {
    const { bytes } = this.memory
    const first = PAGE_SIZE - (host % PAGE_SIZE)
    this.joined.set(bytes.subarray(host, host + first))
    this.joined.set(bytes.subarray(second, second + 16), first)
    return decoder.decode(this.joined, 0, first + 16)
  }

  private lift(lifter: Lifter, result: DecodeResult): void {
    lifter.beginInstruction()
    if (this.stops.has(lifter.offset)) lifter.stop()
    if (lifter.segmented) lifter.fetch()
    if (result !== DECODED.OK) {
      if (result === DECODED.TOO_LONG) lifter.finalHandler('gp')
      else lifter.undefined()
      return
    }
    this.liftOf(lifter.instruction)(lifter)
  }

  private liftOf({ row }: Instruction): Lift {
    return (this.lifts[row.number] ??= lifterOf(row))
  }

  private enter(block: number, place: CodePlace, span: Readonly<Span>): void {
    const { view } = this.memory
    const crosses = span.second !== 0
    view.setUint32(block + BLOCK.mode, place.mode | (crosses ? BLOCK_CROSSES | span.second : 0), true)
    const inPage = PAGE_SIZE - (place.host % PAGE_SIZE)
    this.note(block, place.host, Math.min(span.bytes, inPage))
    if (crosses) {
      this.crossing.set(place.host * 256 + place.mode, block)
      this.note(block, span.second, Math.max(span.bytes - inPage, 1))
    }
    enterChain(this.memory, block)
  }

  /** Notes that a frame holds the block's code in so many bytes from a host address on. */
  private note(block: number, host: number, bytes: number): void {
    const mfn = host >>> PAGE_SHIFT
    const blocks = this.byFrame.get(mfn)
    if (blocks === undefined) {
      this.byFrame.set(mfn, [block])
      for (const user of this.users) user.protectFrame(mfn)
    } else blocks.push(block)
    const { words } = this.memory
    const lines = (this.memory.layout.codeLines >> 2) + mfn * 2
    const first = host % PAGE_SIZE
    for (let line = first >> 6; line <= (first + bytes - 1) >> 6; line += 1) {
      const before = words[lines + (line >> 5)]!
      const after = (before | (1 << (line & 31))) >>> 0
      if (before === after) continue
      this.freshLines += 1
      words[lines + (line >> 5)] = after
      this.memory.noteLines(mfn)
    }
  }

  /** Drops all blocks with code from a frame, whose bytes have changed. */
  invalidate(mfn: number): void {
    const { words } = this.memory
    const lines = (this.memory.layout.codeLines >> 2) + mfn * 2
    words[lines] = 0
    words[lines + 1] = 0
    this.memory.noteLines(mfn)
    this.drop(mfn)
  }

  /** Has the instructions at some offsets in pages ask whether to stop, or ask no more: code that is decoded already is decoded again, which nobody pays for. */
  redecode(offsets: ReadonlySet<number>): void {
    if (offsets.size === 0) return
    for (const [mfn, blocks] of [...this.byFrame]) if (blocks.some((block) => this.hasInstructionAt(block, offsets))) this.drop(mfn)
    this.dropped.clear()
  }

  private hasInstructionAt(block: number, offsets: ReadonlySet<number>): boolean {
    const { view } = this.memory
    for (let record = block + BLOCK.bytes; view.getUint16(record + RECORD.number, true) !== 0; record += RECORD.bytes) {
      if (offsets.has(view.getUint16(record + RECORD.ip, true) & IP.OFFSET)) return true
    }
    return false
  }

  private drop(mfn: number): void {
    const blocks = this.byFrame.get(mfn)
    const { view } = this.memory
    if (blocks === undefined) return
    this.byFrame.delete(mfn)
    for (const block of blocks) {
      const mode = view.getUint32(block + BLOCK.mode, true)
      if ((mode & BLOCK_DEAD) !== 0) continue
      view.setUint32(block + BLOCK.mode, mode | BLOCK_DEAD, true)
      leaveChain(this.memory, block)
      if ((mode & BLOCK_CROSSES) !== 0) this.forgetCrossing(block, mode)
      else this.dropped.keep(block)
    }
    this.fronts.drop(blocks)
    this.follower?.codeDropped(mfn)
    for (const user of this.users) user.forgetJumps()
  }

  private forgetCrossing(block: number, mode: number): void {
    const key = this.memory.view.getUint32(block + BLOCK.physical, true) * 256 + (mode & 0xff)
    if (this.crossing.get(key) === block) this.crossing.delete(key)
  }

  /**
   * Drops everything. No block may be running. The lines that code was taken from stay noted: what decoding them costs was
   * paid, and whether the cache was full must not be told by time.
   */
  clear(): void {
    const { bytes, layout } = this.memory
    this.byFrame.clear()
    this.crossing.clear()
    this.dropped.clear()
    bytes.fill(0, layout.blockTable, layout.blockTable + BLOCK_BUCKETS * 4)
    this.next = layout.recordCache
    this.fronts.forgetAll()
    this.follower?.codeCleared()
    this.eraseJumps()
  }
}
