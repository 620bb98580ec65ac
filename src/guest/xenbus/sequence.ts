/** Runs asynchronous steps one after another, in the order in which they were asked for. */

/** A queue of steps; one that fails is reported and does not keep the next from running. */
export class Sequence {
  private last: Promise<void> = Promise.resolve()
  private readonly failed: (error: unknown) => void | Promise<void>

  constructor(failed: (error: unknown) => void | Promise<void>) {
    this.failed = failed
  }

  /** Adds a step; resolves when it has been done, or has failed. */
  add(step: () => Promise<void> | void): Promise<void> {
    this.last = this.last.then(step).catch((error: unknown) => this.failed(error))
    return this.last
  }
}
