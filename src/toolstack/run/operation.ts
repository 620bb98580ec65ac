/**
 * Long operations: a promise with typed progress that can be aborted, and that takes back what it has done when it
 * fails or is aborted.
 */
import { EventHub, XenError, type EventBase, type EventSource } from '../../util/index.ts'

declare global {
  /** For `using` and `await using`: compilers whose `lib` has no disposables are to know the names of these methods all the same. */
  interface SymbolConstructor {
    readonly dispose: unique symbol
    readonly asyncDispose: unique symbol
  }
}

/** A promise whose progress can be watched. */
export type Operation<T, P extends EventBase> = Promise<T> & {
  /** What has been done so far, as events; the promise tells the end. */
  readonly progress: EventSource<P>
}

/** What every long operation takes. */
export interface OperationOptions {
  /** Aborts the operation; it is undone and rejects with ABORTED. */
  readonly signal?: AbortSignal | undefined
}

/** A place in an operation at which it can still fail or be given up, and then takes back what it has done. */
export interface OperationStep {
  /** What the operation is called in its errors: "saving domain 3". */
  readonly operation: string
  /** Counts the steps of this operation from 1. */
  readonly number: number
  /** What was just done: it has begun, looked whether it goes on, remembered how to take something back, or reported an event. */
  readonly place: 'begun' | 'checked' | 'remembered' | `reported ${string}`
}

/** Takes something back; it is told why the operation failed. */
export type UndoStep = (cause: unknown) => void | Promise<void>

/** What the body of an operation works with. */
export interface OperationContext<P extends EventBase> {
  /** Reports progress. */
  report(event: P): void
  /** Throws ABORTED when the caller has given up. To be called between steps. */
  check(): void
  /** Remembers how to take back what was just done; undone in reverse order when the operation fails. */
  undo(step: UndoStep): void
  /** Forgets how to take back what was done so far: there is no way back any more. */
  commit(): void
  /** From now on the caller cannot abort it any more; the end of its domain or host still ends it. */
  ignoreCaller(): void
  /** From now on nobody ends it, nobody waits for it, and it excludes no other: what is left is its caller's alone. */
  leave(): void
  readonly signal: AbortSignal | undefined
}

/** What a context does. */
type ContextCalls<P extends EventBase> = Omit<OperationContext<P>, 'signal'>

/** A context whose signal is asked for where somebody wants it, and not before. */
class LazyContext<P extends EventBase> implements OperationContext<P> {
  readonly report: ContextCalls<P>['report']
  readonly check: ContextCalls<P>['check']
  readonly undo: ContextCalls<P>['undo']
  readonly commit: ContextCalls<P>['commit']
  readonly ignoreCaller: ContextCalls<P>['ignoreCaller']
  readonly leave: ContextCalls<P>['leave']
  private readonly source: Pick<OperationContext<P>, 'signal'>

  constructor(source: Pick<OperationContext<P>, 'signal'>, { report, check, undo, commit, ignoreCaller, leave }: ContextCalls<P>) {
    this.source = source
    this.report = report
    this.check = check
    this.undo = undo
    this.commit = commit
    this.ignoreCaller = ignoreCaller
    this.leave = leave
  }

  get signal(): AbortSignal | undefined {
    return this.source.signal
  }
}

/** A context with the signal of `source`: another one, or what aborts the operation. */
export const contextOf = <P extends EventBase>(source: Pick<OperationContext<P>, 'signal'>, calls: ContextCalls<P>): OperationContext<P> =>
  new LazyContext(source, calls)

/** The same context but for some of its calls. */
export const alteredContext = <P extends EventBase>(context: OperationContext<P>, calls: Partial<ContextCalls<P>>): OperationContext<P> =>
  new LazyContext(context, { ...context, ...calls })

/**
 * What aborts one operation. The signal is made for whoever asks for it: most operations end without, and Node makes one in five
 * microseconds, with a hidden class of its own.
 */
export class OperationAbort {
  /** Aborted, and why. */
  private given: { readonly reason: unknown } | undefined
  private controller: AbortController | undefined

  get aborted(): boolean {
    return this.given !== undefined
  }

  get reason(): unknown {
    return this.given?.reason
  }

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      this.controller = new AbortController()
      if (this.given !== undefined) this.controller.abort(this.given.reason)
    }
    return this.controller.signal
  }

  /** Aborts it; the first reason counts. */
  abort(reason: unknown): void {
    this.given ??= { reason }
    this.controller?.abort(reason)
  }
}

/** The error of an aborted operation. */
export const abortedError = (what: string, signal: { readonly reason: unknown } | undefined): XenError =>
  new XenError('ABORTED', `${what} was aborted`, { cause: signal?.reason })

/**
 * Waits for something that cannot be aborted itself; rejects with ABORTED as soon as the caller has given up. What the
 * work comes to then is nobody's concern any more.
 */
export async function abortable<T>(work: Promise<T>, what: string, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work
  let onAbort: (() => void) | undefined
  try {
    return await Promise.race([work, new Promise<never>((_, reject) => {
      onAbort = () => reject(abortedError(what, signal))
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort)
    })])
  } finally {
    work.catch(() => undefined)
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort)
  }
}

/** What an operation fails with that could not be undone completely: why it has failed, with its code, and what was not undone. */
function notUndone(why: unknown, failures: readonly unknown[]): Error {
  if (!XenError.is(why)) return new AggregateError([why, ...failures], 'an operation could not be undone completely', { cause: why })
  return new XenError(why.code, `${why.message}; what it had done could not be undone completely`, { details: { ...why.details, notUndone: failures }, cause: why.cause ?? why })
}

/** Undoes steps, latest first; what to fail with. One that fails does not keep the others from being undone. */
async function rollBack(steps: UndoStep[], cause: unknown): Promise<unknown> {
  const failures: unknown[] = []
  for (const step of steps.reverse()) {
    try {
      await step(cause)
    } catch (error) {
      failures.push(error)
    }
  }
  return failures.length > 0 ? notUndone(cause, failures) : cause
}

/** Runs `body` as an operation called `name`; it begins after the caller has had time to listen. */
export function startOperation<T, P extends EventBase>(
  settings: {
    readonly name: string
    readonly now: () => number
    readonly abort?: OperationAbort | undefined
    /** What is told instead of an error, where the caller of this function knows better. */
    readonly explain?: (error: unknown) => unknown
    readonly ignoreCaller?: () => void
    readonly leave?: () => void
  },
  body: (context: OperationContext<P>) => Promise<T>,
): Operation<T, P> {
  const hub = new EventHub<P>(settings.now)
  const { name, abort = new OperationAbort(), explain } = settings
  const steps: UndoStep[] = []
  const check = (): void => {
    if (abort.aborted) throw abortedError(name, abort)
  }
  const run = async (): Promise<T> => {
    await Promise.resolve()
    try {
      check()
      return await body(contextOf<P>(abort, {
        report: (event) => hub.emit(event),
        check,
        undo: (step) => steps.push(step),
        commit: () => void steps.splice(0),
        ignoreCaller: () => settings.ignoreCaller?.(),
        leave: () => settings.leave?.(),
      }))
    } catch (error) {
      const why = explain === undefined ? error : explain(error)
      throw await rollBack(steps, why)
    }
  }
  const source: EventSource<P> = hub
  return Object.assign(run(), { progress: source })
}
