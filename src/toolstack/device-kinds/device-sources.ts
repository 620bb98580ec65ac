/** Who asks for a device, where the contents of disks and folders come from, and what is at bridges. */
import type { BlockStore, DiskRequest, FileStore, FolderRequest, UserNetworkOptions } from '../../drivers/index.ts'

/**
 * Who asks for a device: the description that a domain was created from, an attach while it runs, or a stream that it came
 * by, which somebody else may have written. A domain that came by a stream counts as such also when it starts anew.
 */
export type DiskOrigin = 'configuration' | 'attach' | 'stream'

/** A disk that is to be opened. */
export interface DiskOpenRequest extends DiskRequest {
  readonly origin: DiskOrigin
}

/** What a disk is opened by, as one text. */
export const openedBy = ({ domid, device, params }: Pick<DiskRequest, 'domid' | 'device' | 'params'>): string => JSON.stringify([domid, device, params])

/** User-mode networks, by the names of the bridges that they are at. */
export type Networks = Readonly<Record<string, UserNetworkOptions>>

/** Opens what a disk's specification names as its target. A rejection makes attaching the disk fail. */
export interface DiskOpener {
  (request: DiskOpenRequest): BlockStore | Promise<BlockStore>
  /** Formats that it knows: it is asked for no others. Default: `raw` alone. */
  readonly formats?: readonly string[] | undefined
}

/** A folder that is to be opened. */
export interface FolderOpenRequest extends FolderRequest {
  readonly origin: DiskOrigin
}

/** Opens what a folder's specification names as its path. A rejection makes attaching the folder fail. */
export type FolderOpener = (request: FolderOpenRequest) => FileStore | Promise<FileStore>
