/** A disassembled instruction as plain data: what it is called, what it works on, the line of a listing. */

/** Size of an operand in bits; 0 when the instruction alone decides. */
export type OperandSize = 0 | 8 | 16 | 32 | 64 | 80 | 128 | 256

/** A memory operand: segment:[base + index * scale + displacement]. */
export interface MemoryOperand {
  readonly kind: 'memory'
  readonly size: OperandSize
  /** Given by a prefix, or implied by a string instruction. */
  readonly segment: string | undefined
  readonly base: string | undefined
  readonly index: string | undefined
  readonly scale: 1 | 2 | 4 | 8
  readonly displacement: number
  /** True when the encoding has displacement bytes, even of zero. */
  readonly hasDisplacement: boolean
  /** The address itself, signed, where no register but rip decides it. */
  readonly address: number | undefined
}

/** One operand. */
export type Operand =
  | { readonly kind: 'register'; readonly register: string; readonly size: OperandSize }
  | { readonly kind: 'immediate'; readonly value: bigint; readonly size: OperandSize }
  /** Where a branch leads, signed. */
  | { readonly kind: 'target'; readonly address: number }
  | { readonly kind: 'far'; readonly selector: number; readonly offset: number }
  | MemoryOperand

/** One disassembled instruction. */
export interface Disassembled {
  readonly address: number
  /** Bytes; at least 1. */
  readonly length: number
  /**
   * `offered`: the processor executes it; `refused`: it raises #UD, as CPUID does not offer it or it may not have its
   * LOCK prefix; `bad`: no instruction; `cut`: bytes are missing.
   */
  readonly kind: 'offered' | 'refused' | 'bad' | 'cut'
  /**
   * What a processor that executes it has and ours has not: `AVX`, `SHA`, ...; undefined for instructions that it has, and
   * for those that nobody knows.
   */
  readonly lacking: string | undefined
  /** Prefixes that are listed as words of their own. */
  readonly prefixes: readonly string[]
  readonly mnemonic: string
  /** In the manual's order: the destination first. */
  readonly operands: readonly Operand[]
  /** The line as `objdump -d` prints it, without symbols. */
  readonly text: string
}
