/**
 * Hypercalls that this hypervisor refuses as a whole.
 */
import { ERRNO } from '../../abi/index.ts'
import type { HypercallHandler } from '../domains/hypercall.ts'

/** A hypercall that only a privileged domain may make, and that this hypervisor leaves to its control interface. */
export const privilegedOnly: HypercallHandler = (caller) => (caller.owner.privileged ? -ERRNO.ENOSYS : -ERRNO.EPERM)

/** A hypercall that this configuration of the hypervisor has not. */
export const notConfigured = (error: number): HypercallHandler => () => -error
