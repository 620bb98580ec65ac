/** A set of page numbers that is filled in any order and taken out in ascending order, each once. */

/** Marks of pages. */
export class PageMarks {
  private readonly bytes: Uint8Array
  private readonly words: Uint32Array
  private count = 0

  /** For the numbers from 0 to `length` - 1. */
  constructor(length: number) {
    this.words = new Uint32Array(Math.ceil(length / 4))
    this.bytes = new Uint8Array(this.words.buffer)
  }

  /** Marks a page. */
  add(page: number): void {
    if (this.bytes[page] !== 0) return
    this.bytes[page] = 1
    this.count += 1
  }

  /** The marked pages, ascending; none is marked any more. */
  take(): Uint32Array {
    const { bytes, words } = this
    const found = new Uint32Array(this.count)
    let next = 0
    for (let word = 0; next < found.length; word += 1) {
      if (words[word] === 0) continue
      for (let page = word * 4; page < word * 4 + 4; page += 1) if (bytes[page] !== 0) found[next++] = page
      words[word] = 0
    }
    this.count = 0
    return found
  }
}
