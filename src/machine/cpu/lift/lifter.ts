/**
 * Turns decoded instructions into records: what all families of lifters share. It knows where a register's slot is, how
 * an address becomes fields of a record, and writes the records of one block.
 *
 * hot path: runs for every newly met instruction.
 */
import type { Instruction } from '../decode/decoder.ts'
import { NO_SEGMENT } from '../decode/decoder.ts'
import type { Size } from '../emit/binder.ts'
import type { ConditionSelector } from '../emit/conditions.ts'
import { BLOCK_INSTRUCTIONS, IP, RECORD } from '../layout/record.ts'
import { SEGMENT } from '../../../x86/index.ts'
import { SEGMENT_USE, segmentAccess } from '../layout/segment-access.ts'
import { MODE, SEGMENT_SLOT, SLOT } from '../layout/state.ts'
import { operandAccess } from '../uops/facts.ts'
import { accessOf, reads } from './access.ts'
import type { Access } from './access.ts'
import type { MicroTable } from '../uops/micro-table.ts'
import { sizedNames } from './names.ts'
import { RecordFields } from './record-fields.ts'

/** The same in 64-bit code, where without an override there is none. */
const OVERRIDE_SLOT = [SLOT.zero, ...SEGMENT_SLOT] as const

/** Lifts one instruction, which `lifter.instruction` holds. */
export type Lift = (lifter: Lifter) => void

/** Names of TypeScript handlers by number. */
export interface HandlerNumbers {
  readonly numbers: ReadonlyMap<string, number>
}

const LOAD = /* @__PURE__ */ sizedNames('mov', 'rm')
const STORE = /* @__PURE__ */ sizedNames('mov', 'mr')
const MOVE = /* @__PURE__ */ sizedNames('mov', 'rr')
const MODIFY = /* @__PURE__ */ sizedNames('modify', '')
const FINISH = /* @__PURE__ */ sizedNames('finish')

/** In 64-bit mode nobody asks what an access is like. */
const ANY_ACCESS: Access = /* @__PURE__ */ reads(1)

/** Writes the records of one block. */
export class Lifter {
  instruction!: Instruction
  /** Fields of the next record. */
  readonly fields: RecordFields = new RecordFields()
  /** The block ends behind this instruction. */
  ended = false
  /** Where the next record goes. */
  at = 0
  /** Offset of the instruction in its page. */
  offset = 0
  /** Addresses of conditional branches' records and the number of the instruction that each belongs to, in turn; so many in all. */
  readonly branches: Uint32Array = new Uint32Array(2 * BLOCK_INSTRUCTIONS)
  branchCount = 0
  /** Number of the instruction in its block. */
  count = 0
  /** The mode of the code, and whether the last instruction depends on its FLOAT bits. */
  mode = 0
  looksAtMode = false
  /** Segments are not flat: accesses and fetches are checked. */
  segmented = false
  readonly codeSize: 16 | 32 | 64
  private readonly table: MicroTable
  private readonly handlers: HandlerNumbers
  private readonly view: DataView
  /** Number of the record before, 0 where there is none. */
  last = 0

  constructor(table: MicroTable, handlers: HandlerNumbers, options: { view: DataView; codeSize: 16 | 32 | 64 }) {
    this.table = table
    this.handlers = handlers
    this.view = options.view
    this.codeSize = options.codeSize
  }

  /** Begins a block whose first record lies at `at`. */
  begin(at: number, mode: number): void {
    this.at = at
    this.beginInstruction()
    this.mode = mode
    this.segmented = (mode & MODE.SEGMENTED) !== 0
    this.last = 0
    this.count = 0
    this.branchCount = 0
    this.ended = false
  }

  /** Why x87 or vector instructions may not run: the FLOAT bits of the mode. */
  get floatUnit(): number {
    this.looksAtMode = true
    return this.mode & MODE.FLOAT
  }

  /** Before each instruction. The same bytes give the same records, also in fields that a record has no use for: blocks are compared by checks. */
  beginInstruction(): void {
    const { fields } = this
    this.looksAtMode = false
    fields.first = fields.second = fields.third = fields.fourth = fields.displacement = fields.immediate = 0
  }

  /** True when there is a micro-operation of that name with an address. */
  usesMemory(name: string): boolean {
    return this.table.memory.has(name)
  }

  /** True when there is a micro-operation of that name. */
  has(name: string): boolean {
    return this.table.numbers.has(name)
  }

  /** Writes a record with the fields set so far; where segments are not flat, of the twin made for that. */
  emit(name: string): void {
    const number = this.numberOf(name)
    this.write(this.segmented ? this.inSegments(number) : number)
  }

  /** Writes a record of the twin that works on offsets. */
  emitTwin(name: string): void {
    this.write(this.inSegments(this.numberOf(name)))
  }

  private inSegments(number: number): number {
    return this.table.twins.get(number) ?? number
  }

  private numberOf(name: string): number {
    const number = this.table.numbers.get(name)
    if (number === undefined) throw new Error(`no micro-operation ${name}`)
    return number
  }

  private write(number: number): void {
    const { view, at, instruction, fields } = this
    this.pair(number)
    this.last = number
    view.setUint32(at, number | (fields.first << 16) | (fields.second << 24), true)
    const ip = this.offset | (instruction.length << IP.LENGTH)
    view.setUint32(at + 4, fields.third | (fields.fourth << 8) | (ip << 16), true)
    view.setInt32(at + RECORD.displacement, fields.displacement, true)
    view.setInt32(at + RECORD.immediate, fields.immediate, true)
    this.at = at + RECORD.bytes
  }

  /** Has the record before begin a pair, where one of this number behind it makes one. */
  pair(number: number): void {
    const pair = this.table.pairOf(this.last, number)
    if (pair !== 0) this.view.setUint16(this.at - RECORD.bytes + RECORD.number, pair, true)
  }

  /** The record at an address belongs to a conditional branch. */
  noteBranch(at: number): void {
    this.branches[this.branchCount] = at
    this.branches[this.branchCount + 1] = this.count
    this.branchCount += 2
  }

  /** Counts the block that begins here: by a counter of its own, and in the map of edges at its number; host addresses. */
  cover(counter: number, edge: number): void {
    const { fields } = this
    fields.displacement = edge | 0
    fields.immediate = counter | 0
    this.write(this.numberOf('cover'))
    fields.displacement = fields.immediate = 0
  }

  /** Checks that the whole instruction lies in the code segment. */
  fetch(): void {
    if (!this.segmented) return
    this.fields.immediate = segmentAccess(SEGMENT.cs, SEGMENT_USE.FETCH, this.instruction.length)
    this.emit('segment-fetch')
  }

  /** Writes a relative branch; outside of 64-bit mode one of 16 bits cuts the target, which only offsets allow. */
  emitRelative(name: string): void {
    const short = this.codeSize !== 64 && this.instruction.operandSize === 16
    this.fields.isShort = short ? 1 : 0
    if (short) this.emitTwin(name)
    else this.emit(name)
  }

  /** Writes a conditional branch to where the immediate says. */
  branch(name: string, selector?: ConditionSelector): void {
    this.fields.behind = 0
    this.fields.mask = selector?.mask ?? 0
    this.fields.negate = selector?.negate ?? 0
    this.fields.displacement = this.instruction.passedImmediate
    this.fields.immediate = 0
    this.noteBranch(this.at)
    this.emitRelative(name)
  }

  /** Writes the record that ends a block of that frame; it goes on at the next instruction. */
  end(frame: number): void {
    const { fields } = this
    fields.first = 0
    fields.frame = frame & 0xff
    fields.third = (frame >>> 8) & 0xff
    fields.fourth = (frame >>> 16) & 0xff
    fields.displacement = 0
    fields.immediate = 0
    this.last = 0
    this.emit('end')
  }

  /** Calls a TypeScript handler. */
  handler(name: string, micro = 'handler'): void {
    const number = this.handlers.numbers.get(name)
    if (number === undefined) throw new Error(`no handler ${name}`)
    this.fields.immediate = number
    this.emit(micro)
  }

  /** Asks whether to stop before the instruction. */
  stop(): void {
    this.handler('stop')
    this.fields.immediate = 0
  }

  /**
   * Calls a handler whose instruction goes on with other records. It ends its block behind them, so that a run which its
   * price has used up ends there.
   */
  partHandler(name: string): void {
    this.handler(name)
    this.ended = true
  }

  /** Calls a handler that ends the block. */
  finalHandler(name: string, micro = 'handler'): void {
    this.handler(name, micro)
    this.ended = true
  }

  /** Raises #UD in place of the instruction. */
  undefined(): void {
    this.finalHandler('ud')
  }

  /** Size of an operand by its code: the last letter. */
  size(code: string): Size {
    const { operandSize } = this.instruction
    switch (code.charCodeAt(code.length - 1)) {
      case 98: // b
      case 108: // al
        return 8
      case 119: // w
        return 16
      case 100: // d
        return 32
      case 113: // q
        return 64
      case 121: // y
        return operandSize === 64 ? 64 : 32
      case 122: // z
        return operandSize === 16 ? 16 : 32
      default:
        return operandSize
    }
  }

  /** Slot of a general register as an operand of `size`. */
  slot(register: number, size: Size): number {
    if (size !== 8 || register < 4 || this.instruction.rex !== 0) return register * 8
    return register < 8 ? (register - 4) * 8 + 1 : register * 8
  }

  /** Slot of the ModRM register operand. */
  regSlot(size: Size): number {
    return this.slot(this.instruction.reg, size)
  }

  rmSlot(size: Size): number {
    return this.slot(this.instruction.rm, size)
  }

  /** Slot of the register in the opcode's low bits. */
  opcodeSlot(size: Size): number {
    return this.slot((this.instruction.opcode & 7) | ((this.instruction.rex & 1) << 3), size)
  }

  /** Slot of the segment base that an address uses, or of zero where there is none. */
  segmentSlot(fallback: number): number {
    const { segment } = this.instruction
    if (this.codeSize === 64) return OVERRIDE_SLOT[segment - NO_SEGMENT]!
    // A segment is flat, or the access goes through a check that adds its base.
    return this.isChecked(this.segmentOf(fallback)) ? SEGMENT_SLOT[this.segmentOf(fallback)]! : SLOT.zero
  }

  /** Number of the segment that an address uses. */
  segmentOf(fallback: number): number {
    const { segment } = this.instruction
    return segment === NO_SEGMENT ? fallback : segment
  }

  /** True when an access through the segment needs a look: outside of 64-bit mode, unless it is surely flat. */
  isChecked(segment: number): boolean {
    if (this.codeSize === 64) return false
    return this.segmented || segment === SEGMENT.cs || segment >= SEGMENT.fs
  }

  /**
   * Sets the address fields for the memory operand, for an access or, without one, for its offset alone; may write
   * records first. Returns the address's form.
   */
  memory(access?: Access): 1 | 2 {
    const i = this.instruction
    const fallback = i.base === 4 || i.base === 5 ? SEGMENT.ss : SEGMENT.ds
    const segment = access === undefined ? SLOT.zero : this.segmentSlot(fallback)
    this.fields.base = i.base < 0 ? SLOT.zero : i.base * 8
    this.fields.index = i.index < 0 ? SLOT.zero : i.index * 8
    this.fields.scale = i.scale | SLOT.zero
    this.fields.displacement = i.passedDisplacement
    if (i.ripRelative) this.relative()
    if (i.addressSize < this.codeSize || i.addressSize === 16) this.truncate(i.addressSize)
    if (access !== undefined && this.isChecked(this.segmentOf(fallback))) {
      if (this.fields.base !== SLOT.t2) this.truncate(32)
      return this.through(this.segmentOf(fallback), access)
    }
    this.fields.scale = (this.fields.scale & 3) | segment
    return this.fields.index === SLOT.zero && segment === SLOT.zero ? 1 : 2
  }

  /**
   * Sends an access at the offset that the address fields name, in a temporary and as wide as addresses are, through a
   * segment. Returns the address's form.
   */
  through(segment: number, access: Access): 1 | 2 {
    this.fields.index = SLOT.zero
    this.fields.displacement = 0
    if (!this.isChecked(segment)) {
      this.fields.scale = SLOT.zero
      return 1
    }
    const { destination, base, immediate } = this.fields
    this.fields.destination = base
    this.fields.base = SEGMENT_SLOT[segment]!
    this.fields.immediate = segmentAccess(segment, access.use, access.bytes)
    this.emit(access.aligned !== true ? 'segment-check' : access.bytes === 32 ? 'segment-check-aligned32' : 'segment-check-aligned')
    this.fields.destination = destination
    this.fields.base = base
    this.fields.scale = SLOT.zero
    this.fields.immediate = immediate
    return 1
  }

  /** Leaves the linear address of the memory operand in a slot, for a handler. */
  addressInto(slot: number, access: Access): void {
    const form = this.memory(access)
    this.fields.destination = slot
    this.emit(`lea.64.${form}`)
  }

  private relative(): void {
    const next = this.offset + this.instruction.length
    this.fields.base = SLOT.page
    const sum = this.fields.displacement + next
    if (sum === (sum | 0)) {
      this.fields.displacement = sum
      return
    }
    this.intoTemporary('lea.64.1')
    this.fields.displacement = next
  }

  /** Works out the address of a shorter address size, without the segment. */
  private truncate(size: 16 | 32 | 64): void {
    this.intoTemporary(size === 16 ? 'offset.16.2' : `lea.${size}.2`)
  }

  /** Works out what the address fields say so far and lets them name the result. */
  private intoTemporary(micro: string): void {
    const { destination } = this.fields
    this.fields.destination = SLOT.t2
    this.emit(micro)
    this.fields.destination = destination
    this.fields.base = SLOT.t2
    this.fields.index = SLOT.zero
    this.fields.scale = SLOT.zero
    this.fields.displacement = 0
  }

  /** Writes a memory micro-operation in the shorter form where it has one. */
  emitMemory(name: string): void {
    const numbers = this.table.memory.get(name)
    if (numbers === undefined) throw new Error(`no micro-operation ${name} uses memory`)
    const form = this.memory(this.codeSize === 64 ? ANY_ACCESS : accessOf(operandAccess(this.table.all[numbers[1]]!.facts)!))
    const number = numbers[form - 1]!
    this.write(this.segmented ? this.inSegments(number) : number)
  }

  /** Slot of the E operand's value as a source: a register, or t0 loaded from memory. */
  source(size: Size): number {
    if (!this.instruction.isMemory) return this.rmSlot(size)
    this.fields.destination = SLOT.t0
    this.emitMemory(LOAD.of(size))
    return SLOT.t0
  }

  /** Slot of the E operand that the records up to {@link close} change: a register, or t0 loaded from memory. */
  open(size: Size): number {
    if (!this.instruction.isMemory) return this.rmSlot(size)
    this.emitMemory(MODIFY.of(size))
    return SLOT.t0
  }

  /** Writes back what was opened. */
  close(size: Size): void {
    if (this.instruction.isMemory) this.emit(FINISH.of(size))
  }

  /** Writes the slot's value to the E operand. */
  store(size: Size, slot: number): void {
    this.fields.register = slot
    if (this.instruction.isMemory) {
      this.emitMemory(STORE.of(size))
      return
    }
    this.fields.destination = this.rmSlot(size)
    this.fields.source = slot
    this.emit(MOVE.of(size))
  }
}
