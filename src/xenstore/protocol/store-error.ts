/**
 * Errors of the store. Inside the layer and on the wire an error is its name, a plain string, so that a refused
 * request costs nothing; at the API it is a XenError with code XENSTORE and the name in its details.
 *
 * Reference: xen/include/public/io/xs_wire.h, xsd_errors.
 */
import { XSD_ERROR } from '../../abi/index.ts'
import { XenError } from '../../util/index.ts'

/** Name of an error as it travels on the wire: `ENOENT`, `EACCES`, ... */
export type StoreErrorName = keyof typeof XSD_ERROR

/** True for a failed result; every successful one is an object or undefined. */
export const isStoreErrorName = (result: unknown): result is StoreErrorName => typeof result === 'string'

/** The name of an error that came over the wire; an unknown one is read as EINVAL. */
export const knownErrorName = (text: string): StoreErrorName =>
  Object.hasOwn(XSD_ERROR, text) ? (text as StoreErrorName) : 'EINVAL'

/** The exception for a refused operation. */
export const storeError = (error: StoreErrorName, operation: string, path = ''): XenError =>
  new XenError('XENSTORE', `xenstore: ${operation}${path === '' ? '' : ` ${path}`}: ${error}`, {
    details: { error, operation, path },
  })

/**
 * The name inside an exception of the store, or undefined for any other exception.
 *
 * @example
 * try { await store.read('name') } catch (error) { if (storeErrorName(error) !== 'ENOENT') throw error }
 */
export const storeErrorName = (error: unknown): StoreErrorName | undefined =>
  XenError.is(error, 'XENSTORE') ? (error.details['error'] as StoreErrorName) : undefined
