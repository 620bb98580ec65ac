import { sameState } from './same-state.ts'

/** A fixed-size set of small whole numbers, one bit each: frames, ports, dirty pages. */
export class Bitmap {
  /** How many numbers it can hold: 0 to length - 1. */
  readonly length: number
  private readonly words: Uint32Array
  private population = 0
  /** The bits as they were saved or restored last, while they are those. */
  private saved: Uint32Array | undefined

  constructor(length: number) {
    this.length = length
    this.words = new Uint32Array(Math.ceil(length / 32))
  }

  /** How many bits are set. */
  get count(): number {
    return this.population
  }

  /** Whether the bit is set; false for numbers outside the map. */
  has(index: number): boolean {
    return ((this.words[index >>> 5] ?? 0) >>> (index & 31) & 1) === 1
  }

  /** Sets a bit; true when it was clear before. */
  add(index: number): boolean {
    if (index < 0 || index >= this.length || this.has(index)) return false
    this.words[index >>> 5]! |= 1 << (index & 31)
    this.population += 1
    this.saved = undefined
    return true
  }

  /** Sets all bits from `from` on that are below `end`. */
  addRange(from: number, end: number): void {
    const [first, last] = [Math.max(from, 0), Math.min(end, this.length)]
    this.saved = undefined
    for (let index = first; index < last;) {
      if ((index & 31) === 0 && last - index >= 32) {
        const word = index >>> 5
        this.population += 32 - bitsOf(this.words[word]!)
        this.words[word] = 0xffff_ffff
        index += 32
      } else {
        this.add(index)
        index += 1
      }
    }
  }

  /** Clears a bit; true when it was set before. */
  delete(index: number): boolean {
    if (!this.has(index)) return false
    this.words[index >>> 5]! &= ~(1 << (index & 31))
    this.population -= 1
    this.saved = undefined
    return true
  }

  /** Clears all bits; the length stays. */
  clear(): void {
    this.words.fill(0)
    this.population = 0
    this.saved = undefined
  }

  /** The bits as they are now, for {@link Bitmap.restore}: the same row, which nobody changes, as long as they are the same. */
  save(): Uint32Array {
    this.saved ??= this.words.slice()
    return this.saved
  }

  /** True where the bits are those of a saved row; told at once of the one that was saved or restored last. */
  isAsSaved(words: Uint32Array): boolean {
    if (words === this.saved) return true
    if (!sameState(this.words, words)) return false
    this.saved = words
    return true
  }

  /** Makes a map of the same length what it was when the bits were saved. */
  restore(words: Uint32Array): void {
    if (words === this.saved) return
    this.words.set(words)
    let population = 0
    for (let i = 0; i < words.length; i += 1) population += bitsOf(words[i]!)
    this.population = population
    this.saved = words
  }

  /** First clear bit at or after `from`, or -1. */
  firstClear(from = 0): number {
    for (let word = from >>> 5; word < this.words.length; word += 1) {
      const mask = word === from >>> 5 ? (1 << (from & 31)) - 1 : 0
      const free = ~(this.words[word]! | mask)
      if (free === 0) continue
      const index = word * 32 + (31 - Math.clz32(free & -free))
      return index < this.length ? index : -1
    }
    return -1
  }

  /** First set bit from `from` on, and below `end`; `end` where all are clear. */
  endOfClear(from: number, end: number): number {
    for (let index = from; index < end; index += 1) {
      while ((index & 31) === 0 && index + 32 <= end && this.words[index >>> 5] === 0) index += 32
      if (index < end && this.has(index)) return index
    }
    return end
  }

  /** The set bits below `end`, ascending. */
  listBelow(end: number): number[] {
    const found: number[] = []
    for (let word = 0; word < this.words.length && word * 32 < end; word += 1) {
      for (let rest = this.words[word]!; rest !== 0; rest &= rest - 1) {
        const index = word * 32 + (31 - Math.clz32(rest & -rest))
        if (index < end) found.push(index)
      }
    }
    return found
  }

  /** The set bits in ascending order. */
  *[Symbol.iterator](): IterableIterator<number> {
    for (let word = 0; word < this.words.length; word += 1) {
      let rest = this.words[word]!
      while (rest !== 0) {
        yield word * 32 + (31 - Math.clz32(rest & -rest))
        rest &= rest - 1
      }
    }
  }
}

/** How many bits of a word are set. */
function bitsOf(word: number): number {
  let rest = word - ((word >>> 1) & 0x5555_5555)
  rest = (rest & 0x3333_3333) + ((rest >>> 2) & 0x3333_3333)
  return Math.imul((rest + (rest >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}
