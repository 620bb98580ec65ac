/** The names that domains of a host have, counted: a name is asked about more often than it changes hands. */
import { XenError } from '../../util/index.ts'

/** Names and how many have each. */
export class NamesInUse {
  private readonly counts = new Map<string, number>()

  has(name: string): boolean {
    return this.counts.has(name)
  }

  /** Throws DOMAIN_EXISTS when a domain has this name. */
  claim(name: string): void {
    if (!this.has(name) && name !== 'Domain-0') return
    throw new XenError('DOMAIN_EXISTS', `a domain named ${name} exists already`, { details: { name } })
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
