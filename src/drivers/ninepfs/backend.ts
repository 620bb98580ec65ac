/**
 * The 9pfs back-end: what QEMU's does. It runs in dom0 or in a driver domain, opens the store of files that each device's nodes describe, shakes hands
 * with the front-end, and serves its rings until one of them goes. The stores that lie in memory are saved with it.
 *
 * Reference: docs/misc/9pfs.pandoc; QEMU, hw/9pfs/xen-9p-backend.c.
 */
import type { BackendDevice, BackendDriver, BackendInstance, DriverState } from '../../guest/index.ts'
import { badState, part, shape, type DomId, type Part, type StateOf } from '../../util/index.ts'
import type { FolderBackendOptions, FolderServices, ServedFolder } from './folder-services.ts'
import { MemoryFileStore, memoryFilesState, type MemoryFilesState } from './memory-file-store.ts'
import { NINEPFS_TYPE } from './protocol.ts'
import { FolderInstance, servedFolderState, type ServedFolderState } from './served-folder.ts'

/** The stores in memory behind a back-end's folders. */
export const foldersState = /* @__PURE__ */ shape.record({ stores: /* @__PURE__ */ shape.list(memoryFilesState, 2 ** 20) })
/** The same. */
export type FoldersState = StateOf<typeof foldersState>

/**
 * The driver for `9pfs` devices, to be registered with the guest kit's `BackendBus`.
 *
 * @example
 * await new BackendBus(kernel).register(new FolderBackend({ open: () => new MemoryFileStore({ motd: 'hello\n' }) }))
 */
export class FolderBackend implements BackendDriver {
  readonly type = NINEPFS_TYPE
  private readonly services: FolderServices
  private readonly instances = new Map<string, FolderInstance>()
  /** Stores that were loaded, for the devices of a loaded kernel. */
  private loaded: readonly MemoryFileStore[] = []

  constructor(options: FolderBackendOptions) {
    this.services = {
      options,
      placeOf: (store) => this.memoryStores().indexOf(store as MemoryFileStore),
      storeAt: (place) => this.storeAt(place),
      forget: (path) => void this.instances.delete(path),
    }
  }

  // State

  readonly state: DriverState = {
    version: 1,
    shape: servedFolderState,
    load: (device, state) => {
      const instance = this.add(device)
      // The shape has been checked.
      instance.load(state as ServedFolderState)
      return instance
    },
  }

  /** What lies in memory behind the folders, to be loaded before the devices. */
  part(): Part {
    return part({ name: 'folders', version: 1, shape: foldersState }, {
      save: () => ({ stores: this.memoryStores().map((store) => store.save()) }),
      isAsSaved: ({ stores }) => {
        const own = this.memoryStores()
        return own.length === stores.length && own.every((store, at) => store.isAsSaved(stores[at]!))
      },
      load: ({ stores }) => { this.loaded = stores.map((state: MemoryFilesState) => MemoryFileStore.from(state)) },
    })
  }

  private memoryStores(): readonly MemoryFileStore[] {
    return [...new Set([...this.instances.values()].flatMap(({ contents }) => (contents instanceof MemoryFileStore ? [contents] : [])))]
  }

  private storeAt(place: number): MemoryFileStore {
    const store = this.loaded[place]
    if (store === undefined) throw badState(`there is no folder ${place}`)
    return store
  }

  // Devices

  /** Called by the bus. */
  probe(device: BackendDevice): BackendInstance {
    return this.add(device)
  }

  private add(device: BackendDevice): FolderInstance {
    const instance = new FolderInstance(device, this.services)
    this.instances.set(device.path, instance)
    return instance
  }

  /** The folders that are served now. */
  get folders(): readonly ServedFolder[] {
    return [...this.instances.values()]
  }

  /** The folder of a domain by its device number. */
  folder(domid: DomId, device: number): ServedFolder | undefined {
    return this.instances.get(`backend/${NINEPFS_TYPE}/${domid}/${device}`)
  }
}
