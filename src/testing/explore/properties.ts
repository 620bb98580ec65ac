/**
 * Properties of what is tested: what always holds, what is to be seen sometimes, what is reached, what never is. A run counts each;
 * many runs together tell which were never seen. They come from tests in TypeScript and, as lines, from inside of guests.
 *
 * Reference: the vocabulary is that of the Antithesis SDK, https://antithesis.com/docs/properties_assertions/assertions/.
 */

/** What a property says. */
export type PropertyKind = 'always' | 'always-or-unreachable' | 'sometimes' | 'reachable' | 'unreachable' | 'eventually'

/** What was found of one property. */
export interface PropertyRecord {
  readonly kind: PropertyKind
  readonly message: string
  /** How often it was looked at. */
  readonly hits: number
  /** How often it held. */
  readonly held: number
  /** Runs in which it was violated. */
  readonly violations: number
}

/** A property that did not hold. */
export interface Violation {
  readonly kind: PropertyKind
  readonly message: string
  /** What whoever asked said beside it. */
  readonly details: unknown
  /** Where in a program it stands, if that is known. */
  readonly place: string | undefined
}

/** A property that is looked at. */
export interface PropertyHit {
  readonly kind: PropertyKind
  readonly message: string
  /** Absent: it is only declared, and was not reached yet. */
  readonly condition?: boolean | undefined
  readonly details?: unknown
  /** Where in a program it stands: file, line and function. */
  readonly place?: string | undefined
}

/** Properties that one run keeps at most, and characters of a message: guests make them up. */
const MOST_PROPERTIES = 10_000
const MOST_CHARACTERS = 1000

/** True where a condition is what a property of that kind does not allow. */
const isViolated = (kind: PropertyKind, condition: boolean): boolean =>
  kind === 'unreachable' || (!condition && (kind === 'always' || kind === 'always-or-unreachable' || kind === 'eventually'))

/** The properties of one run. */
export class Properties {
  private readonly records = new Map<string, { kind: PropertyKind; hits: number; held: number; violations: number }>()
  private readonly listeners = new Set<(violation: Violation) => void>()
  private first: Violation | undefined

  /** Says that something holds whenever it is asked. False: the run has failed. */
  always(condition: boolean, message: string, details?: unknown): void {
    this.hit({ kind: 'always', message, condition, details })
  }

  /** Says that something holds at least once, in some run. */
  sometimes(condition: boolean, message: string, details?: unknown): void {
    this.hit({ kind: 'sometimes', message, condition, details })
  }

  /** Says that this place is come to, in some run. */
  reachable(message: string, details?: unknown): void {
    this.hit({ kind: 'reachable', message, condition: true, details })
  }

  /** Says that nobody comes to this place: the run has failed. */
  unreachable(message: string, details?: unknown): void {
    this.hit({ kind: 'unreachable', message, condition: false, details })
  }

  /** Takes in what anybody says of a property. */
  hit({ kind, message, condition, details, place }: PropertyHit): void {
    const record = this.recordOf(kind, message.slice(0, MOST_CHARACTERS))
    if (record === undefined || condition === undefined) return
    record.hits += 1
    if (!isViolated(kind, condition)) {
      if (condition) record.held += 1
      return
    }
    record.violations = 1
    const violation = { kind, message: message.slice(0, MOST_CHARACTERS), details, place }
    this.first ??= violation
    for (const listener of this.listeners) listener(violation)
  }

  /** The first that did not hold; undefined while all do. */
  get violation(): Violation | undefined {
    return this.first
  }

  /** Hears of each violation until the returned function is called. */
  onViolation(listener: (violation: Violation) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  /** All that were looked at or declared, in their order. */
  list(): readonly PropertyRecord[] {
    return [...this.records].map(([message, { kind, hits, held, violations }]) => ({ kind, message, hits, held, violations }))
  }

  private recordOf(kind: PropertyKind, message: string): { hits: number; held: number; violations: number } | undefined {
    const found = this.records.get(message)
    if (found !== undefined || this.records.size >= MOST_PROPERTIES) return found
    const made = { kind, hits: 0, held: 0, violations: 0 }
    this.records.set(message, made)
    return made
  }
}

/** The properties of many runs together. */
export class PropertySummary {
  private readonly records = new Map<string, PropertyRecord>()

  /** Adds what one run has found. */
  add(list: readonly PropertyRecord[]): void {
    for (const one of list) {
      const { hits = 0, held = 0, violations = 0, kind = one.kind } = this.records.get(one.message) ?? {}
      this.records.set(one.message, {
        kind, message: one.message, hits: hits + one.hits, held: held + one.held, violations: violations + one.violations,
      })
    }
  }

  /** All of them, by message. */
  list(): readonly PropertyRecord[] {
    return [...this.records.values()].sort((a, b) => (a.message < b.message ? -1 : 1))
  }

  /** Messages of those that no run has seen: `sometimes` that never held, `reachable` and `always` that were never come to. */
  unseen(): readonly string[] {
    return this.list().filter(({ kind, hits, held }) => (
      kind === 'sometimes' || kind === 'reachable' ? held === 0 : kind === 'always' && hits === 0
    )).map(({ message }) => message)
  }
}
