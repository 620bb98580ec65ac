/**
 * The operations that are under way on one host. Each ends when its domain does, and when the host does, as it ends when
 * its caller aborts it: it is undone, and rejects saying why. Operations that exclude each other are kept apart: the
 * second is refused and nothing of the first is lost.
 */
import { XenError, type DomId, type EventBase } from '../../util/index.ts'
import { EXCLUDES, type Activity } from './activities.ts'
import type { Inputs } from './inputs.ts'
import type { OperationEvents, OperationFacts } from './operation-events.ts'
import { contextOf, OperationAbort, startOperation, type Operation, type OperationContext, type OperationOptions, type OperationStep } from './operation.ts'

/** What an operation is, and what it depends on. */
export interface OperationSettings extends OperationOptions {
  readonly name: string
  /** The domain with which it ends. */
  readonly domid?: DomId | undefined
  /** Throws when what the caller gave is wrong; then nothing begins. */
  readonly check?: (() => void) | undefined
  /** It reads or writes what is outside of the host: while it goes on, the host waits for that, however idle it is. */
  readonly isOutside?: boolean | undefined
  /** It looks at the host as a whole, and is none of those that keep others from doing so. */
  readonly isApart?: boolean | undefined
  /** What it is to its domain, which keeps some others from beginning meanwhile; `doing` says it in words: "being saved". */
  readonly activity?: { readonly kind: Activity; readonly doing: string } | undefined
}

interface Entry {
  readonly settings: OperationSettings
  readonly facts: OperationFacts
  readonly abort: OperationAbort
  /** Why it was ended from within. */
  cause: XenError | undefined
  settled: Promise<unknown>
  /** How often it has reported progress, and whether it does so now. */
  reports: number
  reporting: boolean
  /** Steps so far, and whether there are more: behind the point of no return there are none. */
  steps: number
  isFinal: boolean
}

/** The error of a domain that is gone. */
export const goneError = (domain: { readonly id: number; readonly name: string }, why = 'is gone'): XenError =>
  new XenError('DOMAIN_NOT_FOUND', `domain ${domain.id} (${domain.name}) ${why}`, {
    details: { id: domain.id, name: domain.name },
  })

/** What operations ask of their host. */
export interface OperationsHost {
  now(): number
  /** The door by which calls come in, and their aborts. */
  readonly inputs: Pick<Inputs, 'current' | 'note'>
  /** Something may come from outside until the returned function is called. */
  expectInput(): () => void
  /** Why there can be no operation on a domain; undefined where it is there. */
  gone(domid: DomId): XenError | undefined
  /** Why an operation on a domain has really failed: its error, or the domain's crash. */
  explain(domid: DomId, name: string, error: unknown): unknown
  /** Hears how operations begin, go on and end. */
  readonly events?: OperationEvents | undefined
  /** Hears of each step; what it throws is what the operation fails with there. */
  readonly onStep?: ((step: OperationStep) => void) | undefined
}

/** What a check throws; undefined when it passes. */
function errorOf(check: (() => void) | undefined): XenError | undefined {
  try {
    check?.()
  } catch (error) {
    if (XenError.is(error)) return error
    throw error
  }
  return undefined
}

/** All operations of one host. */
export class Operations {
  private readonly host: OperationsHost
  private readonly entries = new Set<Entry>()
  /** Domains that are being taken apart: nothing begins on them. */
  private readonly going = new Map<DomId | undefined, () => XenError>()
  private closed: XenError | undefined
  /** How many have begun. */
  private count = 0

  constructor(host: OperationsHost) {
    this.host = host
  }

  /** Starts one. It rejects with BUSY when another of its kind is under way, CLOSED when the host is shut down. */
  start<T, P extends EventBase>(
    settings: OperationSettings,
    body: (context: OperationContext<P>) => Promise<T>,
  ): Operation<T, P> {
    const { name } = settings
    const wrong = errorOf(settings.check)
    const signal = wrong === undefined ? settings.signal : undefined
    const abort = new OperationAbort()
    const refusal = wrong ?? this.closed ?? this.going.get(settings.domid)?.() ?? this.gone(settings) ?? this.busy(settings)
    const facts: OperationFacts = { operation: this.count += 1, name, ...(settings.domid === undefined ? {} : { domid: settings.domid }) }
    const entry: Entry = { settings, facts, abort, cause: refusal, settled: Promise.resolve(), reports: 0, reporting: false, steps: 0, isFinal: false }
    if (refusal === undefined && settings.isApart !== true) this.entries.add(entry)
    const ignoreCaller = this.followCaller(entry, signal)
    const release = settings.isOutside === true ? this.host.expectInput() : undefined
    const leave = (): void => {
      ignoreCaller()
      release?.()
      this.entries.delete(entry)
    }
    const operation = startOperation<T, P>({
      name, now: () => this.host.now(), abort, ignoreCaller, leave,
      // Ended from within it was nobody's wish: the reason is the error.
      explain: (error) => {
        const why = entry.cause !== undefined && XenError.is(error, 'ABORTED') ? entry.cause : error
        return settings.domid === undefined ? why : this.host.explain(settings.domid, name, why)
      },
    }, async (context) => {
      if (refusal !== undefined) throw refusal
      this.host.events?.emit({ type: 'operation-started', ...facts })
      return body(this.watched(entry, context))
    })
    entry.settled = operation.then(leave, leave)
    if (refusal === undefined) void this.tellEnd(facts, operation)
    return operation
  }

  private async tellEnd(facts: OperationFacts, operation: Promise<unknown>): Promise<void> {
    const { events } = this.host
    if (events === undefined) return
    try {
      await operation
      events.emit({ type: 'operation-completed', ...facts })
    } catch (error) {
      events.emit(XenError.is(error, 'ABORTED') ? { type: 'operation-aborted', ...facts } : { type: 'operation-failed', error, ...facts })
    }
  }

  /** The context of an operation, with every step of it counted and told. */
  private watched<P extends EventBase>(entry: Entry, context: OperationContext<P>): OperationContext<P> {
    const { host: { onStep, events } } = this
    const step = (place: OperationStep['place']): void => {
      if (entry.isFinal) return
      entry.steps += 1
      onStep?.({ operation: entry.settings.name, number: entry.steps, place })
      context.check()
    }
    step('begun')
    return contextOf<P>(context, {
      check: () => {
        context.check()
        step('checked')
      },
      undo: (back) => {
        context.undo(back)
        step('remembered')
      },
      report: (event) => {
        entry.reports += 1
        entry.reporting = true
        context.report(event)
        if (events?.wants('operation-progress') === true) events.emit({ type: 'operation-progress', progress: event, ...entry.facts })
        entry.reporting = false
        step(`reported ${event.type}`)
      },
      commit: () => {
        entry.isFinal = true
        context.commit()
      },
      ignoreCaller: () => context.ignoreCaller(),
      leave: () => {
        entry.isFinal = true
        context.leave()
      },
    })
  }

  /** Lets the caller's signal abort an operation, by the host's door, until the returned function is called. */
  private followCaller(entry: Entry, signal: AbortSignal | undefined): () => void {
    if (signal === undefined) return () => undefined
    const { inputs } = this.host
    const call = inputs.current
    const abort = (): void => entry.abort.abort(signal.reason)
    const follow = (): void => {
      // Where it comes from a listener of progress, a step is half done: time does not move on before it.
      if (call !== undefined) inputs.note(() => ({ source: 'abort', call, ...(entry.reporting ? { report: entry.reports } : {}) }))
      abort()
    }
    // That it was aborted before it began is part of the call.
    if (signal.aborted) abort()
    else signal.addEventListener('abort', follow)
    return () => signal.removeEventListener('abort', follow)
  }

  /** The name of an operation that is under way; undefined when none is. */
  get first(): string | undefined {
    const [first] = this.entries
    return first?.settings.name
  }

  /** True while one is under way that reads or writes what is outside of the host. */
  get isOutside(): boolean {
    return [...this.entries].some(({ settings }) => settings.isOutside === true)
  }

  /** Throws BUSY when something is under way with a domain that keeps an activity of this kind from beginning. `what` is to begin. */
  checkFree(domid: DomId, kind: Activity, what: string): void {
    const busy = this.busy({ name: what, domid, activity: { kind, doing: what } })
    if (busy !== undefined) throw busy
  }

  /** Ends all operations on a domain for a cause, and lets none begin until it is forgotten; resolves when they have been undone. */
  async endDomain(domid: DomId, cause: () => XenError): Promise<void> {
    this.going.set(domid, cause)
    await this.end([...this.entries].filter(({ settings }) => settings.domid === domid), cause)
  }

  /** The domain is gone; its number may come again. */
  forget(domid: DomId): void {
    this.going.delete(domid)
  }

  /** Ends all operations, and refuses new ones; resolves when they have been undone. */
  async close(cause: XenError): Promise<void> {
    this.closed = cause
    await this.end([...this.entries], () => cause)
  }

  private async end(entries: readonly Entry[], cause: () => XenError): Promise<void> {
    // An error takes down who has called, which costs more than the rest: it is made where somebody is told.
    const why = entries.length === 0 ? undefined : cause()
    for (const entry of entries) {
      entry.cause ??= why
      entry.abort.abort(why)
    }
    await Promise.all(entries.map(({ settled }) => settled))
  }

  private gone({ domid }: OperationSettings): XenError | undefined {
    return domid === undefined ? undefined : this.host.gone(domid)
  }

  private busy({ name, domid, activity }: OperationSettings): XenError | undefined {
    if (domid === undefined || activity === undefined) return undefined
    for (const { settings } of this.entries) {
      const { activity: other } = settings
      if (settings.domid !== domid || other === undefined || !EXCLUDES[other.kind].includes(activity.kind)) continue
      return new XenError('BUSY', `${name}: domain ${domid} is ${other.doing} already`, { details: { domid, doing: other.doing } })
    }
    return undefined
  }
}
