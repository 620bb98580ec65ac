/**
 * A text that grows by pieces of any size. JavaScript keeps `a + b` as a pair for as long as nobody looks at it, which for a
 * guest that writes single characters is thirty times the text; so small pieces wait in a list and are joined many at once.
 */

/** Pieces that wait to be joined at most. */
export const WAITING_PIECES = 1024

/** The text. */
export class FlatText {
  private joined = ''
  private readonly waiting: string[] = []
  private waitingLength = 0

  /** Characters in all. */
  get length(): number {
    return this.joined.length + this.waitingLength
  }

  /** Pieces that wait to be joined. */
  get pieces(): number {
    return this.waiting.length
  }

  /** Adds a piece. */
  add(piece: string): void {
    if (piece === '') return
    this.waiting.push(piece)
    this.waitingLength += piece.length
    if (this.waiting.length >= WAITING_PIECES) this.join()
  }

  /** Forgets so many characters from the beginning. */
  cut(count: number): void {
    this.join()
    this.joined = this.joined.slice(count)
  }

  /** All of it. */
  toString(): string {
    this.join()
    return this.joined
  }

  private join(): void {
    if (this.waiting.length === 0) return
    this.joined += this.waiting.join('')
    this.waiting.length = 0
    this.waitingLength = 0
  }
}
