/** A fixed-size set of small whole numbers, one bit each: frames, ports, dirty pages. */
export class Bitmap {
  /** How many numbers it can hold: 0 to length - 1. */
  readonly length: number
  private readonly words: Uint32Array
  private population = 0

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
    return true
  }

  /** Clears a bit; true when it was set before. */
  delete(index: number): boolean {
    if (!this.has(index)) return false
    this.words[index >>> 5]! &= ~(1 << (index & 31))
    this.population -= 1
    return true
  }

  /** Clears all bits; the length stays. */
  clear(): void {
    this.words.fill(0)
    this.population = 0
  }

  /** The bits as they are now, for {@link Bitmap.restore}. */
  save(): Uint32Array {
    return this.words.slice()
  }

  /** Makes a map of the same length what it was when the bits were saved. */
  restore(words: Uint32Array): void {
    this.words.set(words)
    this.population = words.reduce((sum, word) => sum + bitsOf(word), 0)
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
