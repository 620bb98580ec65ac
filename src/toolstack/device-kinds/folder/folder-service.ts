/** Dom0's back-end of folders, with the stores that the host's opener finds for what their configurations name. */
import { FolderBackend, MemoryFileStore, type FolderRequest, type ServedFolder } from '../../../drivers/index.ts'
import { XenError, type DomId } from '../../../util/index.ts'
import type { BackendHost, DeviceService, ServedDevice } from '../served-device.ts'
import { FOLDER } from './folder.ts'
import type { FolderConfig } from './folder-specification.ts'

/** The back-end of folders. */
export interface FolderService extends DeviceService {
  /** What serves a folder of a domain; undefined while nothing does. */
  served(domid: DomId, id: number): ServedFolder | undefined
}

function serveFolders(host: BackendHost<FolderConfig>): FolderService {
  const attached = ({ domid, device }: FolderRequest) => host.find(domid, Number(device))
  const driver = new FolderBackend({
    open: async (request) => {
      const folder = attached(request)
      try {
        if (host.openFolder === undefined) throw new XenError('NOT_SUPPORTED', `nothing opens ${request.path}: the host was booted without openFolder`)
        return await host.openFolder({ ...request, origin: folder?.origin ?? 'attach' })
      } catch (error) {
        // The guest's nodes hold its message; whoever attached it is given the error itself.
        if (folder !== undefined) folder.lastError = error
        throw error
      }
    },
    now: () => host.calendar(), interference: host.interference?.folder,
    onStoreFailed: (request, error) => {
      const folder = attached(request)
      if (folder !== undefined) folder.lastError = error
      host.onCallbackFailed({ callback: 'file-store', subject: `domain ${request.domid}, ${request.tag}`, error })
    },
  })
  return {
    driver,
    served: (domid, id) => driver.folder(domid, id),
    isServed: (domid, id) => driver.folder(domid, id) !== undefined,
    statistics: (domid, id) => driver.folder(domid, id)?.statistics,
    awaited: () => {
      const asked = driver.folders.find(({ isAwaited }) => isAwaited)
      return asked && `the folder ${asked.request.tag} of domain ${asked.request.domid}`
    },
    state: {
      part: () => driver.part(),
      underWay: () => {
        const outside = driver.folders.find(({ contents }) => contents !== undefined && !(contents instanceof MemoryFileStore))
        return outside && `the folder ${outside.request.tag} of domain ${outside.request.domid}, whose files lie outside of the host`
      },
    },
  }
}

/** Who serves folders. */
export const SERVED_FOLDERS = { name: FOLDER.name, serve: serveFolders } satisfies ServedDevice<FolderConfig, FolderService>
