/**
 * The objects of a pool as XAPI keeps them: records by class and opaque reference, each change with its number, so that clients can
 * ask what has happened since. Not here: what calls do.
 * Reference: xapi-project.github.io, "Overview of the XenAPI", "event".
 */

/** A value of a record. */
export type XapiValue = string | number | boolean | Date | readonly XapiValue[] | { readonly [key: string]: XapiValue }
/** A record: the fields of an object. */
export type XapiRecord = Record<string, XapiValue>

/** A failure as clients see it: a code and parameters. */
export class XapiFailure extends Error {
  /** The code and its parameters, all texts. */
  readonly description: readonly string[]

  constructor(code: string, ...parameters: readonly string[]) {
    super([code, ...parameters].join(' '))
    this.description = [code, ...parameters]
  }
}

/** What `event.from` answers for one object. */
export interface XapiEvent {
  readonly id: string
  readonly timestamp: string
  /** The class, in small letters. */
  readonly class: string
  readonly operation: 'add' | 'mod' | 'del'
  readonly ref: string
  readonly snapshot?: XapiRecord
}

/** Stands for no object. */
export const NULL_REF = 'OpaqueRef:NULL'

interface Row {
  readonly record: XapiRecord
  /** Numbers of its first and its last change. */
  readonly created: number
  changed: number
}

/** All objects of one pool. */
export class Database {
  /** Classes that there are. */
  readonly classes: readonly string[]
  private readonly rows = new Map<string, Map<string, Row>>()
  private readonly gone: { readonly name: string; readonly ref: string; readonly at: number }[] = []
  private readonly waiting = new Set<() => void>()
  private readonly uuid: () => string
  private sequence = 0

  /** `uuid` makes a new one at each call. */
  constructor(classes: readonly string[], uuid: () => string) {
    this.classes = classes
    this.uuid = uuid
    for (const name of classes) this.rows.set(name, new Map())
  }

  /** The number of the last change. */
  get last(): number {
    return this.sequence
  }

  /** Adds an object with a reference of its own. */
  add(name: string, fields: XapiRecord): string {
    const ref = `OpaqueRef:${this.uuid()}`
    this.table(name).set(ref, { record: { uuid: this.uuid(), ...fields }, created: this.sequence += 1, changed: this.sequence })
    this.wake()
    return ref
  }

  /** Changes fields of an object. Throws HANDLE_INVALID. */
  change(name: string, ref: string, fields: XapiRecord): void {
    const row = this.row(name, ref)
    Object.assign(row.record, fields)
    row.changed = this.sequence += 1
    this.wake()
  }

  /** Removes an object. Throws HANDLE_INVALID. */
  remove(name: string, ref: string): void {
    this.row(name, ref)
    this.table(name).delete(ref)
    this.gone.push({ name, ref, at: this.sequence += 1 })
    this.wake()
  }

  /** The record of an object. Throws HANDLE_INVALID. */
  get(name: string, ref: string): Readonly<XapiRecord> {
    return this.row(name, ref).record
  }

  /** All objects of a class, as clients are given them. */
  all(name: string): ReadonlyMap<string, Readonly<XapiRecord>> {
    return new Map([...this.table(name)].map(([ref, { record }]) => [ref, record]))
  }

  /** What has happened behind a number to objects of some classes (`*` for all, `VM/OpaqueRef:...` for one). */
  since(wanted: readonly string[], number: number): readonly XapiEvent[] {
    const matches = (name: string, ref: string): boolean => wanted.some((one) => {
      const [own, only] = one.split('/')
      return own === '*' || (own!.toLowerCase() === name.toLowerCase() && (only === undefined || only === ref))
    })
    const event = (name: string, ref: string, operation: XapiEvent['operation'], at: number, snapshot?: XapiRecord): XapiEvent =>
      ({ id: String(at), timestamp: String(at), class: name.toLowerCase(), operation, ref, ...(snapshot === undefined ? {} : { snapshot: { ...snapshot } }) })
    const living = [...this.rows].flatMap(([name, rows]) => [...rows].filter(([ref, { changed }]) => changed > number && matches(name, ref))
      .map(([ref, { record, created, changed }]) => event(name, ref, created > number ? 'add' : 'mod', changed, record)))
    const dead = this.gone.filter(({ name, ref, at }) => at > number && matches(name, ref)).map(({ name, ref, at }) => event(name, ref, 'del', at))
    return [...living, ...dead].sort((a, b) => Number(a.id) - Number(b.id))
  }

  /** How many objects each class has. */
  counts(): XapiRecord {
    return Object.fromEntries([...this.rows].map(([name, rows]) => [name.toLowerCase(), rows.size]))
  }

  /** Resolves at the next change, or after so many milliseconds. */
  changeOrTime(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        this.waiting.delete(done)
        resolve()
      }
      const timer = setTimeout(done, milliseconds)
      this.waiting.add(done)
    })
  }

  /** Lets all who wait look again. */
  wake(): void {
    for (const done of [...this.waiting]) done()
  }

  private table(name: string): Map<string, Row> {
    const rows = this.rows.get(name)
    if (rows === undefined) throw new XapiFailure('MESSAGE_METHOD_UNKNOWN', name)
    return rows
  }

  private row(name: string, ref: string): Row {
    const row = this.table(name).get(ref)
    if (row === undefined) throw new XapiFailure('HANDLE_INVALID', name, ref)
    return row
  }
}
