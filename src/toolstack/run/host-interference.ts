/**
 * What may come between the parts of a host, for tests: a face for each layer that asks, declared there. A host that is booted
 * without it has nothing of it, and pays nothing.
 */
import type { DiskInterference, FolderInterference, FramebufferInterference, KeyboardInterference, NetInterference } from '../../drivers/index.ts'
import type { HypervisorInterference } from '../../hypervisor/index.ts'
import type { StoreInterference } from '../../xenstore/index.ts'

/** The faces; what is absent interferes with nothing. */
export interface HostInterference {
  readonly hypervisor?: HypervisorInterference | undefined
  readonly store?: StoreInterference | undefined
  readonly disk?: DiskInterference | undefined
  readonly net?: NetInterference | undefined
  readonly folder?: FolderInterference | undefined
  readonly framebuffer?: FramebufferInterference | undefined
  readonly keyboard?: KeyboardInterference | undefined
  /** What it has in hand that keeps the host from being saved; undefined when nothing. */
  underWay?(): string | undefined
}
