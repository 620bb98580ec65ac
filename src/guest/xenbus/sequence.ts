/** Runs asynchronous steps one after another, in the order in which they were asked for. */

/** A queue of steps; one that fails is reported and does not keep the next from running. */
export class Sequence {
  private last: Promise<void> = Promise.resolve()
  private readonly failed: (error: unknown) => void | Promise<void>
  private readonly waiting = new Set<unknown>()
  private unfinished = 0

  constructor(failed: (error: unknown) => void | Promise<void>) {
    this.failed = failed
  }

  /** Steps that were asked for by {@link Sequence.addOnce} and have not begun. */
  get backlog(): number {
    return this.waiting.size
  }

  /** True while a step waits or is at work. */
  get busy(): boolean {
    return this.unfinished > 0
  }

  /** Adds a step; resolves when it has been done, or has failed. */
  add(step: () => Promise<void> | void): Promise<void> {
    this.unfinished += 1
    const done = (): void => { this.unfinished -= 1 }
    this.last = this.last.then(step).catch((error: unknown) => this.failed(error))
    void this.last.then(done, done)
    return this.last
  }

  /**
   * Adds a step that looks at how things are, unless the one of the same key still waits: it will see them. However fast
   * the other side changes things, what waits is one step for each key.
   */
  addOnce(key: unknown, step: () => Promise<void> | void): void {
    if (this.waiting.has(key)) return
    this.waiting.add(key)
    void this.add(() => {
      this.waiting.delete(key)
      return step()
    })
  }
}
