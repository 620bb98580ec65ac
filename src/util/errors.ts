/**
 * The one error type of the library and the two helpers for its own bugs.
 * Callers match by code (`XenError.is(error, 'DOMAIN_NOT_FOUND')`), never by class: ESM and CJS copies differ.
 */

import type { XenErrorCode } from './error-codes.ts'

/** Facts about the failure, by name: what was wrong, where, and what would have been right. */
export type XenErrorDetails = Readonly<Record<string, unknown>>

const brand = /* @__PURE__ */ Symbol.for('paravirt.XenError')

/**
 * Every failure that a caller can cause or should handle.
 *
 * @example
 * try { await host.createDomain(config) }
 * catch (error) { if (XenError.is(error, 'OUT_OF_MEMORY')) makeRoom(error.details) ; else throw error }
 */
export class XenError extends Error {
  /** What kind of failure it is; stable, meant to be compared. */
  readonly code: XenErrorCode
  /** The facts behind the message. */
  readonly details: XenErrorDetails

  constructor(code: XenErrorCode, message: string, options: { details?: XenErrorDetails; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'XenError'
    this.code = code
    this.details = options.details ?? {}
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for a XenError of any copy of this package, and of the given code where one is given. */
  static is(error: unknown, code?: XenErrorCode): error is XenError {
    if (typeof error !== 'object' || error === null) return false
    try {
      return brand in error && (code === undefined || (error as unknown as XenError).code === code)
    } catch {
      return false // A proxy may throw even here.
    }
  }
}

/** Throws a plain Error: the library broke its own promise. Never used on input. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`invariant violated: ${message}`)
}

/** Marks a case that the types exclude; reaching it is a bug of the library. */
export function unreachable(value: never, message = 'unreachable case'): never {
  throw new Error(`${message}: ${String(value)}`)
}
