/** The names that domains of a host have, counted: a name is asked about more often than it changes hands. */

/** Names and how many have each. */
export class NamesInUse {
  private readonly counts = new Map<string, number>()

  has(name: string): boolean {
    return this.counts.has(name)
  }

  /** One more has it. */
  add(name: string): void {
    this.counts.set(name, (this.counts.get(name) ?? 0) + 1)
  }

  /** One that had it has it no more. */
  remove(name: string): void {
    const left = (this.counts.get(name) ?? 0) - 1
    if (left > 0) this.counts.set(name, left)
    else this.counts.delete(name)
  }
}
