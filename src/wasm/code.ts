/**
 * Writes the body of one WebAssembly function: instructions by their specification names, locals, structured control.
 * Blocks are named by the depth at which they were opened, so that a branch needs no counting. It knows no x86.
 * Reference: WebAssembly core specification 2.0, section 5.4.
 */
import { ByteSink } from './byte-writer.ts'
import { MEMORY, PLAIN } from './opcodes.ts'
import { LANE, VECTOR } from './vector-opcodes.ts'

/** Value types by name. */
export const VALUE_TYPE = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const
/** Name of a value type. */
export type ValueType = keyof typeof VALUE_TYPE
/** An instruction without immediates. */
export type PlainName = keyof typeof PLAIN | keyof typeof VECTOR
/** A load or store. */
export type MemoryName = keyof typeof MEMORY
/** A vector instruction with a lane number. */
export type LaneName = keyof typeof LANE

/** A block that is open; branches name it. */
export type Label = number

const ops: Readonly<Record<string, number>> = /* @__PURE__ */ Object.assign({}, PLAIN, VECTOR)

/** One function's locals and instructions. */
export class Code {
  private readonly sink: ByteSink
  private readonly localTypes: ValueType[] = []
  private readonly free: { readonly [K in ValueType]: number[] } = { i32: [], i64: [], f32: [], f64: [], v128: [] }
  private readonly parameters: number
  private depth = 0
  /** Where a branch instruction begins that is rarely taken. */
  private readonly rare: number[] = []

  constructor(parameters: number, expected?: number) {
    this.parameters = parameters
    this.sink = new ByteSink(expected)
  }

  /** Bytes of instructions so far. */
  get length(): number {
    return this.sink.length
  }

  private opcode(value: number): void {
    if (value > 0xffff) {
      this.sink.byte(value >>> 16)
      this.sink.unsigned(value & 0xffff)
    } else this.sink.byte(value)
  }

  /** Appends instructions without immediates. */
  op(...names: PlainName[]): void {
    // By number: an iterator costs more than the instruction before V8 has optimized this.
    for (let at = 0; at < names.length; at += 1) this.opcode(ops[names[at]!]!)
  }

  /** An instruction with an unsigned operand, which fits into a byte most times. */
  private withOperand(opcode: number, operand: number): void {
    if (operand < 0x80) return this.sink.twoBytes(opcode, operand)
    this.sink.byte(opcode)
    this.sink.unsigned(operand)
  }

  /** A load or store at the address on the stack plus `offset`; alignment is left unsaid, as it is only a hint. */
  memory(name: MemoryName, offset = 0): void {
    this.opcode(MEMORY[name])
    this.withOperand(0, offset)
  }

  /** An instruction on one lane. */
  lane(name: LaneName, index: number): void {
    this.opcode(LANE[name])
    this.sink.byte(index)
  }

  /** Picks 16 bytes out of two vectors. */
  shuffle(lanes: ArrayLike<number>): void {
    this.opcode(0xfd_000d)
    this.sink.bytes(lanes)
  }

  /** Pushes a 32-bit constant, given signed or unsigned. */
  i32(value: number): void {
    if (value >= -0x40 && value < 0x40) return this.sink.twoBytes(0x41, value & 0x7f)
    this.sink.byte(0x41)
    this.sink.signed(value)
  }

  /** A 64-bit constant; without a high half the low one is sign-extended. */
  i64(low: number, high = low >> 31): void {
    if (low >= -0x40 && low < 0x40 && high === low >> 31) return this.sink.twoBytes(0x42, low & 0x7f)
    this.sink.byte(0x42)
    this.sink.signed64(low, high)
  }

  /** Pushes a double constant. */
  f64(value: number): void {
    this.sink.byte(0x44)
    this.sink.float64(value)
  }

  /** A vector constant of 16 bytes. */
  v128(bytes: ArrayLike<number>): void {
    this.opcode(0xfd_000c)
    this.sink.bytes(bytes)
  }

  /** Makes a local, or takes one that was released. */
  local(type: ValueType): number {
    const reused = this.free[type].pop()
    if (reused !== undefined) return reused
    this.localTypes.push(type)
    return this.parameters + this.localTypes.length - 1
  }

  /** Gives a local back for others to use. */
  release(type: ValueType, ...locals: number[]): void {
    this.free[type].push(...locals)
  }

  /** Pushes a local; parameters are numbered first, from 0. */
  get(local: number): void {
    this.withOperand(0x20, local)
  }

  /** Pops into a local. */
  set(local: number): void {
    this.withOperand(0x21, local)
  }

  /** Copies the top of the stack into a local and leaves it there. */
  tee(local: number): void {
    this.withOperand(0x22, local)
  }

  /** Pushes a global, by its index in the module, imports first. */
  globalGet(index: number): void {
    this.withOperand(0x23, index)
  }

  /** Pops into a mutable global. */
  globalSet(index: number): void {
    this.withOperand(0x24, index)
  }

  private open(opcode: number, result?: ValueType): Label {
    this.sink.twoBytes(opcode, result === undefined ? 0x40 : VALUE_TYPE[result])
    this.depth += 1
    return this.depth
  }

  /** Opens a block; branches to it go behind its end. */
  block(result?: ValueType): Label {
    return this.open(0x02, result)
  }

  /** Opens a loop; branches to it go to its start. */
  loop(result?: ValueType): Label {
    return this.open(0x03, result)
  }

  /** Opens the part that runs when the i32 on the stack is not zero. */
  if(result?: ValueType): Label {
    return this.open(0x04, result)
  }

  /** Says of the `if` or `brIf` that comes next that it is rarely taken. */
  unlikely(): void {
    this.rare.push(this.sink.length)
  }

  /** Begins what runs when the condition of the innermost `if` was zero. */
  else(): void {
    this.op('else')
  }

  /** Closes the innermost block, loop or if. */
  end(): void {
    this.op('end')
    this.depth -= 1
  }

  /** Branches always; what follows in the block is unreachable. */
  br(label: Label): void {
    this.withOperand(0x0c, this.depth - label)
  }

  /** Branches when the i32 on the stack is not zero. */
  brIf(label: Label): void {
    this.withOperand(0x0d, this.depth - label)
  }

  /** Branches to `labels[i]` for the i on the stack, to `other` beyond them. */
  brTable(labels: readonly Label[], other: Label): void {
    this.sink.byte(0x0e)
    this.sink.unsigned(labels.length)
    for (const label of labels) this.sink.unsigned(this.depth - label)
    this.sink.unsigned(this.depth - other)
  }

  /** Calls a function by its index in the module, imports first. */
  call(func: number): void {
    this.withOperand(0x10, func)
  }

  /** Calls the function that `table` holds at the i32 on the stack; traps when it is not of function type `type`. */
  callIndirect(type: number, table = 0): void {
    this.sink.byte(0x11)
    this.sink.unsigned(type)
    this.sink.unsigned(table)
  }

  /** Tail call. */
  returnCall(func: number): void {
    this.withOperand(0x12, func)
  }

  /** memory.copy: destination, source and length are on the stack. */
  memoryCopy(): void {
    this.sink.bytes([0xfc, 10, 0, 0])
  }

  /** memory.fill: destination, value and length are on the stack. */
  memoryFill(): void {
    this.sink.bytes([0xfc, 11, 0])
  }

  /** The declarations of locals. */
  private declarations(): ByteSink {
    const locals = new ByteSink(64)
    const runs: [number, ValueType][] = []
    for (const type of this.localTypes) {
      const last = runs[runs.length - 1]
      if (last !== undefined && last[1] === type) last[0] += 1
      else runs.push([1, type])
    }
    locals.unsigned(runs.length)
    for (const [count, type] of runs) {
      locals.unsigned(count)
      locals.byte(VALUE_TYPE[type])
    }
    return locals
  }

  /** Bytes from the start of the declarations of locals at which the branches stand that are rarely taken. */
  rareBranches(): readonly number[] {
    if (this.rare.length === 0) return this.rare
    const { length } = this.declarations()
    return this.rare.map((at) => length + at)
  }

  /** Appends the function's encoding: its size, locals, instructions, end. */
  writeTo(out: ByteSink): void {
    if (this.depth !== 0) throw new Error(`${this.depth} blocks are still open`)
    const locals = this.declarations()
    out.unsigned(locals.length + this.sink.length + 1)
    out.bytes(locals.view())
    out.bytes(this.sink.view())
    out.byte(PLAIN.end)
  }
}
