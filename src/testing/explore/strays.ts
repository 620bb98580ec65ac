/**
 * What fails where nobody waits for it: promises that reject without a handler, and timers and callbacks that throw. The platform tells, Node
 * by its process and browsers by their window.
 */

/** How it failed. */
export type StrayKind = 'rejected' | 'threw'

/** Hears of what fails. */
export type StrayHeard = (reason: unknown, kind: StrayKind) => void

/** Node's process, as far as it is of use here. */
interface FailingProcess {
  on(event: 'unhandledRejection' | 'uncaughtException', listener: (reason: unknown) => void): void
  off(event: 'unhandledRejection' | 'uncaughtException', listener: (reason: unknown) => void): void
}

/** Hears of what fails where nobody waits for it, until the returned function is called; it ends nothing meanwhile. */
export function watchStrays(heard: StrayHeard): () => void {
  const platform = globalThis as { readonly process?: FailingProcess; addEventListener?: unknown } & Partial<EventTarget>
  const { process } = platform
  const rejected = (reason: unknown): void => heard(reason, 'rejected')
  const threw = (reason: unknown): void => heard(reason, 'threw')
  if (typeof process?.on === 'function') {
    process.on('unhandledRejection', rejected)
    process.on('uncaughtException', threw)
    return () => {
      process.off('unhandledRejection', rejected)
      process.off('uncaughtException', threw)
    }
  }
  const listener = (event: Event): void => {
    event.preventDefault()
    const { reason, error } = event as Event & { readonly reason?: unknown; readonly error?: unknown }
    if (event.type === 'error') threw(error)
    else rejected(reason)
  }
  globalThis.addEventListener?.('unhandledrejection', listener)
  globalThis.addEventListener?.('error', listener)
  return () => {
    globalThis.removeEventListener?.('unhandledrejection', listener)
    globalThis.removeEventListener?.('error', listener)
  }
}
