/**
 * Bytes of a program in two places, with labels: what a random program is written with. Sizes never depend on where labels
 * come to lie, so that every address is known as soon as it is reached and only operands are filled in later.
 * Reference: Intel SDM volume 2, chapter 2 (encodings).
 */
import type { CodeMode } from '../oracle/segments.ts'
import { bytesOf } from '../oracle/short-address.ts'
import type { Patch } from '../oracle/wire.ts'

/** A place in the program, named before it is reached. */
export interface Label {
  address: number | undefined
}

/** One of the two places. */
interface Part {
  readonly origin: number
  readonly bytes: number[]
}

interface Fixup {
  readonly part: Part
  /** Of the operand in the part. */
  readonly at: number
  readonly bytes: 1 | 4
  readonly label: Label
  /** What the operand counts from: 0, or the address behind it. */
  readonly from: number
}

/** Which of the two places code goes to: that which cannot be written, or that which can. */
export type PartName = 'fixed' | 'writable'

/** Writes a program. */
export class ProgramWriter {
  readonly mode: CodeMode
  private readonly parts: Readonly<Record<PartName, Part>>
  private part: Part
  private readonly fixups: Fixup[] = []

  constructor(mode: CodeMode, origins: Readonly<Record<PartName, number>>) {
    this.mode = mode
    this.parts = { fixed: { origin: origins.fixed, bytes: [] }, writable: { origin: origins.writable, bytes: [] } }
    this.part = this.parts.fixed
  }

  get isLong(): boolean {
    return this.mode.code === 64
  }

  /** Address of the next byte. */
  get here(): number {
    return this.part.origin + this.part.bytes.length
  }

  /** Bytes written so far. */
  get length(): number {
    return this.parts.fixed.bytes.length + this.parts.writable.bytes.length
  }

  get isWritable(): boolean {
    return this.part === this.parts.writable
  }

  /** Goes on in one of the places. */
  goTo(name: PartName): void {
    this.part = this.parts[name]
  }

  label(): Label {
    return { address: undefined }
  }

  /** The label is here. */
  place(label: Label): this {
    label.address = this.here
    return this
  }

  raw(...bytes: readonly number[]): this {
    this.part.bytes.push(...bytes)
    return this
  }

  /** An operand of 32 bits that is a label's address. */
  absolute(label: Label): this {
    this.fixups.push({ part: this.part, at: this.part.bytes.length, bytes: 4, label, from: 0 })
    return this.raw(0, 0, 0, 0)
  }

  /** An operand that is the distance to a label. */
  relative(label: Label, bytes: 1 | 4 = 4): this {
    this.fixups.push({ part: this.part, at: this.part.bytes.length, bytes, label, from: this.here + bytes })
    return this.raw(...bytesOf(0, bytes))
  }

  /** ModRM and what follows for an operand at an absolute address; `reg` is the other operand. */
  at(address: number, reg = 0): this {
    return this.raw(...this.isLong ? [reg << 3 | 4, 0x25] : [reg << 3 | 5], ...bytesOf(address, 4))
  }

  /** The same for an operand at a label. */
  atLabel(label: Label, reg = 0): this {
    return this.raw(...this.isLong ? [reg << 3 | 4, 0x25] : [reg << 3 | 5]).absolute(label)
  }

  /** mov register, value */
  set(register: number, low: number, high = 0): this {
    if (high !== 0 && this.isLong) return this.raw(0x48 | register >> 3, 0xb8 | register & 7, ...bytesOf(low, 4), ...bytesOf(high, 4))
    return this.raw(...register > 7 ? [0x41] : [], 0xb8 | register & 7, ...bytesOf(low, 4))
  }

  /** mov register, address of a label */
  setLabel(register: number, label: Label): this {
    return this.raw(0xb8 | register).absolute(label)
  }

  /** Fills in the operands and gives the program as pieces of at most `most` bytes. */
  finish(most: number): Patch[] {
    for (const { part, at, bytes, label, from } of this.fixups) {
      if (label.address === undefined) throw new Error('a label has no place')
      const value = label.address - from
      if (bytes === 1 && (value < -128 || value > 127)) throw new Error('a short jump goes too far')
      bytesOf(value, bytes).forEach((byte, index) => { part.bytes[at + index] = byte })
    }
    return Object.values(this.parts).flatMap(({ origin, bytes }) => Array.from({ length: Math.ceil(bytes.length / most) }, (_, i) => ({
      address: origin + i * most, bytes: Uint8Array.from(bytes.slice(i * most, (i + 1) * most)),
    })))
  }
}
