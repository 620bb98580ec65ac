/**
 * The seam between what an instruction means and where its operands are: a micro-operation's function asks the binder
 * for registers, immediates, memory and control flow, and the binder writes the WebAssembly for it. The dynamic binder
 * reads a record at run time (interpreter); a static one would know the record now (compiled regions).
 */
import type { Code, MemoryName } from '../../../wasm/index.ts'
import type { SmallField } from '../layout/record.ts'
import type { FlagRead, FlagWrite } from './flag-words.ts'

/** Operand size in bits. Values up to 32 bits travel as i32 (zero-extended), 64 bits as i64. */
export type Size = 8 | 16 | 32 | 64
/** Widths of linear addresses: in 32-bit code they wrap at 4 GiB. */
export type AddressWidth = 32 | 64
/** Fields of a record that name a register: as an operand, or in its address. */
export type RegisterField = 'destination' | 'source' | 'addend' | 'register' | 'base' | 'index' | 'segmentBase' | 'chooser'
/** Forms of an address: base and displacement, or base, scaled index, displacement and segment base. */
export type AddressForm = 1 | 2

/** A register operand whose place has been worked out once. */
export interface Place {
  /** Pushes the value. */
  get(): void
  /** Stores what `push` pushes. A 32-bit value clears the upper half, smaller ones keep the rest. */
  set(push: () => void): void
}

/** A vector operand whose place has been worked out once. */
export interface VectorPlace {
  /** Pushes what a load of this kind finds at byte `offset` of the register. */
  load(name: MemoryName, offset?: number): void
  /** Stores what `push` pushes. */
  store(name: MemoryName, push: () => void, offset?: number): void
}

/**
 * What set flags: ADC and SBB have the carry in, INC and DEC leave CF as it was; shifts are those by a constant that is
 * not zero.
 */
export type FlagKind = 'add' | 'adc' | 'inc' | 'sub' | 'sbb' | 'dec' | 'logic' | 'shl' | 'shr' | 'sar' | 'imul'

/** What is known of the flags just set: lets a following condition do without the stored ones. */
export interface FlagSource {
  readonly kind: FlagKind
  readonly size: Size
  /** Locals with operands and result; for sizes of 8 and 16 the result may have bits above. */
  readonly left: number
  readonly right: number
  readonly result: number
  /** Local with CF as 0 or 1, where a binder remembers an INC or DEC. */
  readonly carry?: number
}

/**
 * How an operation on vectors of 128 bits works for an instruction with another first operand than its destination, or with
 * longer registers: on a half of them at a time.
 */
export interface VectorForm {
  readonly half: 0 | 1
  /** Byte from the beginning of the second operand's register at which its half begins, and bytes to skip there. */
  readonly second: number
  readonly skipped: number
  /** Takes what `push` pushes as the half's result, or as a part of it whose rest is the first operand's. */
  store(name: MemoryName, push: () => void, offset: number): void
}

/** What micro-operations are written against. */
export interface Binder {
  readonly code: Code
  /** Set while an operation works for another one, see `VectorForm`. */
  vectors: VectorForm | undefined
  /** Pushes a register operand. */
  get(field: RegisterField, size: Size): void
  /** A register operand that is read and written. */
  place(field: RegisterField, size: Size): Place
  /** A register known by number (rax, rcx, rsp ...). */
  fixed(register: number, size: Size): Place
  /** A slot known by its byte offset: a temporary, or the second byte of a register. */
  slot(offset: number, size: Size): Place
  /** Pushes the immediate, sign-extended to `size`. */
  immediate(size: Size): void
  /** Pushes the 64-bit immediate that takes displacement and immediate together. */
  wideImmediate(): void
  /** Pushes one of the record's small fields as an i32. */
  small(field: SmallField): void
  /** A vector operand: the field numbers 16-byte units of the processor's state. */
  vector(field: RegisterField): VectorPlace
  /** Pushes what a load of this kind finds at byte `offset` of a vector operand. */
  vectorGet(field: RegisterField, name: MemoryName, offset?: number): void
  /** Pushes the linear address of the memory operand, without checks. */
  address(form: AddressForm): void
  /** Pushes the value at the memory operand. */
  load(form: AddressForm, size: Size): void
  /** Stores what `push` pushes at the memory operand. */
  store(form: AddressForm, size: Size, push: () => void): void
  /** Reads, lets `body` work out the new value in a local, writes. Nothing is changed when the write would fault. */
  update(form: AddressForm, size: Size, body: (old: number) => number): void
  /** Pushes the value at the linear address in a local. */
  loadAt(address: number, size: Size): void
  /** Stores at the linear address in a local. */
  storeAt(address: number, size: Size, push: () => void): void
  /** Pushes the host address at which `bytes` bytes from the linear address in a local may be read. */
  hostForRead(address: number, bytes: number): void
  /** The same for writing; the write has to be finished with `written`. */
  hostForWrite(address: number, bytes: number): void
  /** Finishes a write through the host address in a local. */
  written(host: number): void
  /** Keeps the host address in a local for the write that a later record of the same instruction makes there. */
  holdHost(host: number): void
  /** Pushes that host address. */
  heldHost(): void
  /** Pushes a part of the flag words. */
  flagGet(part: FlagRead): void
  /** Stores what `push` pushes in the flag words. */
  flagSet(part: FlagWrite, push: () => void): void
  /** Whether flags are remembered: where nobody does, shifts and products need not tell their operands. */
  readonly remembersFlags: boolean
  /**
   * Offers what sets all flags but, for INC and DEC, CF. True when the binder remembers it (its locals are about to be
   * released), so that nothing is to be stored.
   */
  keepFlags(source: FlagSource): boolean
  /** What is remembered of the flags, in place of their words; undefined when the words tell them. */
  knownFlags(): FlagSource | undefined
  /** From here on the words tell the flags: to be said before only one arm of an `if` reads or sets flags. */
  settleFlags(): void
  /** All words are stored anew next: what is remembered of the flags before may be forgotten. */
  renewFlags(): void
  /** Base of the processor's state, as a local: for what is neither a register, a temporary nor flags. */
  readonly base: number
  /** The record, as a local, for functions of the runtime. */
  readonly record: number
  /** Width of linear addresses. */
  readonly width: AddressWidth
  /**
   * True where segments are not flat: stack and code addresses are offsets, to be checked and to have their segment's
   * base added.
   */
  readonly segmented: boolean
  /**
   * Raises what an access at the offset in a local (i32) deserves: access and segment as one number, see
   * layout/segment-access.ts, or as the record's immediate. Nothing may be changed yet.
   */
  checkSegment(offset: number, access: number | 'immediate'): void
  /** Pushes the address of the next instruction, or of this one: where segments are not flat, its offset in CS. */
  nextIp(): void
  thisIp(): void
  /** Ends the block: goes on at the address that `push` pushes. */
  jump(push: () => void): void
  /** Goes on at the record's branch target: at the block's end, or out of its middle. */
  branch(from: 'end' | 'middle'): void
  /** Raises #GP when the record's branch leads out of the code segment. Nothing may be changed yet. */
  checkBranch(): void
  /** Counts the block that begins here, where coverage wants it; nothing that a guest sees changes. */
  countBlock(): void
  /** Calls the TypeScript handler that the record names. */
  handler(): void
  /**
   * Leaves the whole operation to that handler: what the code here relies on does not hold. Nothing may be changed
   * yet.
   */
  giveUp(): void
  /** Raises an exception, with code 0 if it has one. Nothing may be changed yet. */
  raise(vector: number): void
  /** Raises #GP when the linear address in a local is not a multiple of `bytes`. */
  requireAligned(address: number, bytes: number): void
  /** Calls a function of the runtime by name with (base, record); its status ends the operation. */
  runtime(name: string): void
}

/** What stores the words of flags. */
export type FlagBinder = Pick<Binder, 'code' | 'flagGet' | 'flagSet' | 'renewFlags'>

/** Name of the WebAssembly type that carries a size. */
export const typeOf = (size: Size): 'i32' | 'i64' => (size === 64 ? 'i64' : 'i32')

/** Pushes a constant of a size's type. */
export function constant(code: Code, size: Size, value: number): void {
  if (size === 64) code.i64(value)
  else code.i32(value)
}

/** Cuts the i32 on the stack to the size (8 or 16 bits). */
export function truncate(code: Code, size: Size): void {
  if (size >= 32) return
  code.i32(size === 8 ? 0xff : 0xffff)
  code.op('i32.and')
}

/** Sign-extends the value on the stack to an i64. */
export function signExtend64(code: Code, size: Size): void {
  if (size === 64) return
  if (size === 8) code.op('i32.extend8_s')
  if (size === 16) code.op('i32.extend16_s')
  code.op('i64.extend_i32_s')
}

/** Sign-extends the i32 on the stack from 8 or 16 bits to 32. */
export function signExtend32(code: Code, size: Size): void {
  if (size === 8) code.op('i32.extend8_s')
  if (size === 16) code.op('i32.extend16_s')
}
