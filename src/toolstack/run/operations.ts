/**
 * The operations that are under way on one host. Each ends when its domain does, and when the host does, as it ends when
 * its caller aborts it: it is undone, and rejects saying why. Operations that exclude each other are kept apart: the
 * second is refused and nothing of the first is lost.
 */
import { XenError, type DomId, type EventBase } from '../../util/index.ts'
import type { Inputs } from './inputs.ts'
import { startOperation, type Operation, type OperationContext, type OperationOptions } from './operation.ts'

/** What an operation is, and what it depends on. */
export interface OperationSettings extends OperationOptions {
  readonly name: string
  /** The domain with which it ends. */
  readonly domid?: DomId | undefined
  /** Throws when what the caller gave is wrong; then nothing begins. */
  readonly check?: (() => void) | undefined
  /** It reads or writes what is outside of the host: while it goes on, the host waits for that, however idle it is. */
  readonly isOutside?: boolean | undefined
  /** Operations of the same kind on one domain exclude each other; the word says what the first is doing: "being saved". */
  readonly excluding?: { readonly kind: string; readonly doing: string } | undefined
}

interface Entry {
  readonly settings: OperationSettings
  readonly abort: AbortController
  /** Why it was ended from within. */
  cause: XenError | undefined
  settled: Promise<unknown>
  /** How often it has reported progress, and whether it does so now. */
  reports: number
  reporting: boolean
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
  /** Why an operation on a domain has really failed: its error, or the domain's crash. */
  explain(domid: DomId, name: string, error: unknown): unknown
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
  private readonly going = new Map<DomId | undefined, XenError>()
  private closed: XenError | undefined

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
    const abort = new AbortController()
    const refusal = wrong ?? this.closed ?? this.going.get(settings.domid) ?? this.busy(settings)
    const entry: Entry = { settings, abort, cause: refusal, settled: Promise.resolve(), reports: 0, reporting: false }
    if (refusal === undefined) this.entries.add(entry)
    const ignoreCaller = this.followCaller(entry, signal)
    const release = settings.isOutside === true ? this.host.expectInput() : undefined
    const leave = (): void => {
      ignoreCaller()
      release?.()
      this.entries.delete(entry)
    }
    const operation = startOperation<T, P>({
      name, now: () => this.host.now(), signal: abort.signal, ignoreCaller, leave,
      // Ended from within it was nobody's wish: the reason is the error.
      explain: (error) => {
        const why = entry.cause !== undefined && XenError.is(error, 'ABORTED') ? entry.cause : error
        return settings.domid === undefined ? why : this.host.explain(settings.domid, name, why)
      },
    }, async (context) => {
      if (refusal !== undefined) throw refusal
      return body({
        ...context,
        report: (event) => {
          entry.reports += 1
          entry.reporting = true
          context.report(event)
          entry.reporting = false
        },
      })
    })
    entry.settled = operation.then(leave, leave)
    return operation
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

  /** What is being done to a domain that excludes others of this kind; undefined when nothing is. */
  underWay(domid: DomId, kind: string): string | undefined {
    for (const { settings } of this.entries) {
      if (settings.domid === domid && settings.excluding?.kind === kind) return settings.excluding.doing
    }
    return undefined
  }

  /** Ends all operations on a domain, and lets none begin until it is forgotten; resolves when they have been undone. */
  async endDomain(domid: DomId, cause: XenError): Promise<void> {
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
    await this.end([...this.entries], cause)
  }

  private async end(entries: readonly Entry[], cause: XenError): Promise<void> {
    for (const entry of entries) {
      entry.cause ??= cause
      entry.abort.abort(cause)
    }
    await Promise.all(entries.map(({ settled }) => settled))
  }

  private busy({ name, domid, excluding }: OperationSettings): XenError | undefined {
    if (domid === undefined || excluding === undefined) return undefined
    const doing = this.underWay(domid, excluding.kind)
    if (doing === undefined) return undefined
    return new XenError('BUSY', `${name}: domain ${domid} is ${doing} already`, { details: { domid, doing } })
  }
}
