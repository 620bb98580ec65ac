/**
 * Calling code that is not ours: what a user's callback throws, rejects with or answers must stay with that callback.
 * Not here: where the failure is told; whoever calls says that.
 */

/** Hears of what a callback threw or rejected with. */
export type CallbackFailed = (error: unknown) => void

/** Looks at what a callback answered: a promise that rejects is told to `failed`, everything else is nobody's concern. */
export function watchAnswer(answer: unknown, failed: CallbackFailed): void {
  if (answer === undefined || answer === null || (typeof answer !== 'object' && typeof answer !== 'function')) return
  // A thing with a `then` of its own may throw from it; a promise's executor turns that into a rejection.
  new Promise<unknown>((resolve) => resolve(answer)).catch(failed)
}

/** Calls a callback; what it throws, at once or by a promise, goes to `failed`, and nothing else happens. */
export function callGuarded(callback: () => unknown, failed: CallbackFailed): void {
  try {
    watchAnswer(callback(), failed)
  } catch (error) {
    failed(error)
  }
}
