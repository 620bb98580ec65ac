/** Bytes as a list of numbers, which is made anew only when they are others: a saved processor has some hundreds of them. */

/** The list that was made last. */
export class ByteList {
  private bytes = new Uint8Array(0)
  private list: readonly number[] = []

  /** The list of these bytes, which nobody changes. */
  of(bytes: Uint8Array): readonly number[] {
    if (!this.isLast(bytes)) {
      this.bytes = bytes.slice()
      this.list = Array.from(bytes)
    }
    return this.list
  }

  private isLast(bytes: Uint8Array): boolean {
    if (bytes.length !== this.bytes.length) return false
    for (let i = 0; i < bytes.length; i += 1) if (bytes[i] !== this.bytes[i]) return false
    return true
  }
}
