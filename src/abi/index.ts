/**
 * Xen's public interface as data: numbers and layouts.
 *
 * @module
 */
export { Sring } from './io/ring.ts'
export { XenconsInterface } from './io/console.ts'
export {
  XENSTORE, XENSTORE_CONNECTION, XENSTORE_ERROR, XENSTORE_SERVER_FEATURE, XS, XenstoreDomainInterface, XsdSockmsg,
} from './io/xs-wire.ts'
