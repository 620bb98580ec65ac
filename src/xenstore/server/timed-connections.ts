/**
 * Connections that are held back until time has passed: those whose domain has overdrawn its account of writes, and those whose
 * message waits. They are looked at when the first of them is due, so that a thousand that wait cost the others nothing.
 */
import type { WriteCredit, WriteRate } from '../store/write-rate.ts'

/** What is asked of a connection. */
export interface TimedConnection {
  /** When a message is looked at that waits, in milliseconds; Infinity while none does. */
  readonly parkedUntil: number
  readonly session: { readonly record: { readonly credit: WriteCredit | undefined } | undefined }
}

/** The connections of one server that wait for time. */
export class TimedConnections<T extends TimedConnection> {
  private readonly waiting = new Set<T>()
  private readonly rate: WriteRate
  /** When the first is due, for the number of domains that share the credit. */
  private known = { due: Infinity, domains: 0 }

  constructor(rate: WriteRate) {
    this.rate = rate
  }

  /** Whether a message of one of them waits. */
  get someParked(): boolean {
    for (const { parkedUntil } of this.waiting) if (parkedUntil < Infinity) return true
    return false
  }

  has(connection: T): boolean {
    return this.waiting.has(connection)
  }

  add(connection: T): void {
    this.waiting.add(connection)
    this.known.due = Math.min(this.known.due, this.dueOf(connection))
  }

  /** Forgets one; whether it was there. */
  delete(connection: T): boolean {
    return this.waiting.delete(connection)
  }

  clear(): void {
    this.waiting.clear()
    this.known.due = Infinity
  }

  /** Milliseconds of host time at which the first is due, or a little before; Infinity when there is none. */
  due(): number {
    if (this.waiting.size === 0) return Infinity
    // With more domains, or fewer, each waits another time.
    if (this.known.domains !== this.rate.sharers) this.find()
    return this.known.due
  }

  /** Takes those out that are due. */
  takeDue(now: number): readonly T[] {
    if (this.due() > now) return []
    const taken = [...this.waiting].filter((connection) => this.dueOf(connection) <= now)
    for (const connection of taken) this.waiting.delete(connection)
    this.find()
    return taken
  }

  private find(): void {
    let due = Infinity
    for (const connection of this.waiting) due = Math.min(due, this.dueOf(connection))
    this.known = { due, domains: this.rate.sharers }
  }

  /** The account is looked at first, also where a message waits. */
  private dueOf({ parkedUntil, session }: TimedConnection): number {
    const credit = session.record?.credit
    if (credit !== undefined && credit.credit < 0) return credit.timestamp + this.rate.wait(credit)
    return parkedUntil === Infinity ? -Infinity : parkedUntil
  }
}
