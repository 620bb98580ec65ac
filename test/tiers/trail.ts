/** Where a processor has come by: its registers after each number of instructions, kept in few bytes. */
import type { Registers } from '../../src/machine/interface/registers.ts'

/** Sixteen registers of two words, rip, flags. */
const WORDS = 35
const NAMES = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15']

function wordsOf(registers: Registers, to: Int32Array, at: number): void {
  for (let i = 0; i < 16; i += 1) {
    to[at + i * 2] = registers.low(i)
    to[at + i * 2 + 1] = registers.high(i)
  }
  const rip = registers.rip()
  to[at + 32] = rip
  to[at + 33] = Math.floor(rip / 0x1_0000_0000)
  to[at + 34] = registers.flags()
}

/** A processor's way through a program. */
export class Trail {
  private words = new Int32Array(WORDS * 4096)
  private last = -1
  private readonly now = new Int32Array(WORDS)

  /** Forgets the way before. */
  begin(): void {
    this.last = -1
  }

  /** Notes the registers after so many instructions; what is noted first for a number counts. */
  note(done: number, registers: Registers): void {
    if (done === this.last) return
    this.last = done
    if ((done + 1) * WORDS > this.words.length) {
      const longer = new Int32Array(this.words.length * 2)
      longer.set(this.words)
      this.words = longer
    }
    wordsOf(registers, this.words, done * WORDS)
  }

  /** What differs from the registers noted for that number, in words. */
  differences(done: number, registers: Registers): string[] {
    if (done > this.last) return [`${done} instructions, reference at most ${this.last}`]
    wordsOf(registers, this.now, 0)
    const at = done * WORDS
    const differs = (word: number): boolean => this.now[word] !== this.words[at + word]
    const hex = (words: Int32Array, word: number): string => `${(words[word + 1]! >>> 0).toString(16)}_${(words[word]! >>> 0).toString(16).padStart(8, '0')}`
    const found = [...NAMES, 'rip'].flatMap((name, i) => (
      differs(i * 2) || differs(i * 2 + 1) ? [`${name} ${hex(this.now, i * 2)}, reference ${hex(this.words, at + i * 2)}`] : []
    ))
    return differs(34) ? [...found, `flags ${this.now[34]!.toString(16)}, reference ${this.words[at + 34]!.toString(16)}`] : found
  }
}
