/**
 * Work whose calls may answer at once or later, written once: a generator that waits by `yield*`. Where every call answers at once, it is done
 * when it is begun, and nothing else happens meanwhile; that is what keeps a run over a store in memory repeatable.
 */

/** Work that may have to wait for promises. */
export type Steps<T> = Generator<PromiseLike<unknown>, T, unknown>

const isPromise = (value: unknown): value is PromiseLike<unknown> => typeof (value as { readonly then?: unknown } | null | undefined)?.then === 'function'

/** What a call has answered, which is waited for where it is a promise. */
export function* wait<T>(answer: T | Promise<T>): Steps<T> {
  return isPromise(answer) ? (yield answer) as T : answer
}

async function goOn<T>(steps: Steps<T>, first: PromiseLike<unknown>): Promise<T> {
  let awaited = first
  for (;;) {
    let next: IteratorResult<PromiseLike<unknown>, T>
    let value: unknown
    try {
      value = await awaited
    } catch (error) {
      next = steps.throw(error)
      if (next.done === true) return next.value
      awaited = next.value
      continue
    }
    next = steps.next(value)
    if (next.done === true) return next.value
    awaited = next.value
  }
}

/** Does the work: at once as far as nothing has to be waited for. */
export function perform<T>(steps: Steps<T>): T | Promise<T> {
  const next = steps.next()
  return next.done === true ? next.value : goOn(steps, next.value)
}
