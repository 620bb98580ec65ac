/** What the back-end of folders is asked for. */
import type { DomId } from '../../util/index.ts'

/** Which folder a guest is to be given. */
export interface FolderRequest {
  readonly domid: DomId
  /** Number of the device in its domain. */
  readonly device: string
  /** What the configuration names: a folder of the host, or what its opener understands. */
  readonly path: string
  /** By which the guest mounts it. */
  readonly tag: string
}
