/**
 * Changed paths that wait for a reader, each different one once. A reader that is too slow is told less: when too many
 * wait, the watched path itself stands for all of them, which means that anything at or below it may have changed.
 */

/** Different paths that wait for a reader at most. */
export const CHANGE_LIMIT = 1024

/** The queue of one watch. */
export class ChangeQueue {
  private readonly watched: string
  private readonly waiting = new Set<string>()

  /** `watched` is the path as the watch's events spell it. */
  constructor(watched: string) {
    this.watched = watched
  }

  /** Paths that wait. */
  get size(): number {
    return this.waiting.size
  }

  /** Takes a changed path. */
  push(path: string): void {
    if (this.waiting.size >= CHANGE_LIMIT && !this.waiting.has(path)) {
      this.waiting.clear()
      this.waiting.add(this.watched)
      return
    }
    this.waiting.add(path)
  }

  /** The path that has waited longest; undefined when none waits. */
  take(): string | undefined {
    const [first] = this.waiting
    if (first !== undefined) this.waiting.delete(first)
    return first
  }
}
