/** Dom0's block back-end with the stores behind it: what came with a disk, or what the host's opener finds for its target. */
import { BlockBackend, checkStore, disksState, loadStores, MemoryBlockStore, type BlockStore, type DiskRequest, type DisksState, type ServedDisk } from '../../../drivers/index.ts'
import { badState, thrownMessage, XenError, type DomId, type SavedPart } from '../../../util/index.ts'
import { openedBy, type DiskOpenRequest, type DiskOrigin } from '../device-sources.ts'
import type { BackendHost, DeviceService, ServedDevice } from '../served-device.ts'
import { DISK } from './disk.ts'
import type { DiskConfig } from './disk-specification.ts'

/** The back-end of disks. */
export interface DiskService extends DeviceService {
  /** Opens a disk's target for reading by the toolstack itself: a boot loader reads it before there is a domain. */
  openImage(disk: DiskConfig, origin: DiskOrigin): BlockStore | Promise<BlockStore>
  /** Opens what a disk is to have from now on; `store` is what comes along. An empty drive needs nobody. */
  openContents(domid: DomId, disk: DiskConfig, store: BlockStore | undefined): Promise<BlockStore>
  /** What serves a disk of a domain; undefined while nothing does. */
  served(domid: DomId, id: number): ServedDisk | undefined
}

/** The stores of a saved part, which comes from anywhere. */
function storesOf(saved: unknown): DisksState['stores'] {
  const state: unknown = (saved as Partial<SavedPart> | null | undefined)?.state
  const wrong = disksState(state)
  if (wrong !== undefined) throw badState(`saved disks${wrong}`)
  // The shape has just been checked.
  return (state as DisksState).stores
}

/** Makes the back-end of disks. */
function serveDisks(host: BackendHost<DiskConfig>): DiskService {
  const attached = ({ domid, device }: DiskRequest) => host.find(domid, Number(device))
  const ask = (request: DiskOpenRequest): BlockStore | Promise<BlockStore> => {
    // A drive without a medium.
    if (request.params === '') return new MemoryBlockStore(0, { readOnly: true })
    const { openDisk } = host
    const formats = openDisk?.formats ?? ['raw']
    if (openDisk !== undefined && formats.includes(request.format)) return openDisk(request)
    if (openDisk !== undefined) {
      throw new XenError('NOT_SUPPORTED', `disk ${request.name}: format ${request.format} is not supported, only ${formats.join(' and ')} is`, { details: { vdev: request.name, format: request.format } })
    }
    throw new XenError('NOT_SUPPORTED', `nothing opens ${request.params}: the host was booted without openDisk`)
  }
  const open = async (request: DiskRequest): Promise<BlockStore> => {
    const disk = attached(request)
    // What came with it was looked at where it came in.
    if (disk?.resource !== undefined) return disk.resource as BlockStore
    try {
      return await ask({ ...request, origin: disk?.origin ?? 'attach' })
    } catch (error) {
      // The guest's nodes hold its message; whoever attached it is given the error itself.
      if (disk !== undefined) disk.lastError = error
      throw error
    }
  }
  const driver = new BlockBackend({
    open, interference: host.interference?.disk,
    answered: ({ domid, device }, answer, take) => host.inputs.enter(
      () => ({ source: 'disk', domid, device: Number(device), request: answer.request, okay: answer.okay, bytes: answer.bytes() }), take),
    onStoreFailed: (request, error) => {
      const disk = attached(request)
      if (disk !== undefined) disk.lastError = error
      host.onCallbackFailed({ callback: 'block-store', subject: `domain ${request.domid}, ${request.name}`, error })
    },
  })
  let reopened: readonly BlockStore[] = []
  return {
    driver,
    state: {
      part: () => driver.part(reopened),
      reopen: async (saved) => {
        reopened = await loadStores(storesOf(saved), async (request) => ask({ ...request, origin: attached(request)?.origin ?? 'attach' }))
      },
      underWay: (hasOwn) => {
        const lost = driver.disks.find(({ request, opensAnew }) => opensAnew && hasOwn(request.domid, Number(request.device)))
        return lost && `the contents of disk ${lost.request.name} of domain ${lost.request.domid}, which came with it`
      },
    },
    holdOutside: () => {
      for (const disk of driver.disks) disk.holdContents()
    },
    outside: () => driver.disks.flatMap(({ contents }) => contents ?? []),
    stamps: () => new Map(driver.disks.flatMap(({ request, contents }) => {
      const stamp = contents?.stamp
      return stamp === undefined ? [] : [[openedBy(request), stamp]]
    })),
    releaseOutside: async (inUse) => {
      for (const disk of driver.disks) if (!inUse.has(disk.contents)) await disk.release()
    },
    awaited: () => {
      const asked = driver.disks.find(({ isAwaited }) => isAwaited)
      return asked && `the contents of disk ${asked.request.name} of domain ${asked.request.domid}`
    },
    openContents: async (domid, { vdev, target = '', access, format }, store) => {
      const request = { domid, device: String(vdev.number), params: target, type: 'phy', readOnly: access === 'r', format, name: vdev.name }
      if (store !== undefined) return checkStore(store)
      try {
        return checkStore(await ask({ ...request, origin: 'attach' }))
      } catch (cause) {
        throw new XenError('IO', `disk ${vdev.name} of domain ${domid}: ${thrownMessage(cause)}`, { details: { domid, disk: vdev.name, target }, cause })
      }
    },
    served: (domid, id) => driver.disk(domid, id),
    isServed: (domid, id) => driver.disk(domid, id) !== undefined,
    statistics: (domid, id) => {
      const counted = driver.disk(domid, id)?.statistics
      return counted && { ...counted }
    },
    openImage: ({ vdev, target = '', format }, origin) => {
      const device = String(vdev.number)
      return ask({ domid: 0 as DomId, device, params: target, type: 'phy', readOnly: true, name: vdev.name, format, origin })
    },
  }
}

/** Who serves disks. */
export const SERVED_DISKS = { name: DISK.name, serve: serveDisks } satisfies ServedDevice<DiskConfig, DiskService>
