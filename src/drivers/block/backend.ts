/**
 * The block back-end: what blkback does. It runs in dom0 or in a driver domain, and serves a disk for each device that
 * the bus brings (served-disk.ts). Here is what the disks have in common: their numbers, and the stores that are saved.
 *
 * Reference: public/io/blkif.h.
 */
import type { BackendDevice, BackendDriver, BackendInstance, DriverState } from '../../guest/index.ts'
import type { DomId, Part } from '../../util/index.ts'
import { badState, part, shape } from '../../util/index.ts'
import type { BlockStore } from './block-store.ts'
import type { BlockBackendOptions, BlockServices, ServedDisk } from './block-services.ts'
import { BlockInstance, servedDiskState, type ServedDiskState } from './served-disk.ts'
import { LateOverlay } from './late-overlay.ts'
import { isHeld, listStores, saveStores, storesState, type OpenedStore, type StoreState } from './stores.ts'
import { parseVirtualDevice } from './virtual-device.ts'

/** The stores behind a back-end's disks, and the number of the next one. */
export const disksState = /* @__PURE__ */ shape.record<DisksState>({ numbers: shape.time, stores: storesState })

/** Saved stores of a back-end. */
export interface DisksState {
  /** The number of the next one. */
  readonly numbers: number
  readonly stores: readonly StoreState[]
}

/**
 * The driver for `vbd` devices, to be registered with the guest kit's `BackendBus`.
 *
 * @example
 * await new BackendBus(kernel).register(new BlockBackend({ open: () => new MemoryBlockStore(1 << 20) }))
 */
export class BlockBackend implements BackendDriver {
  readonly type = 'vbd'
  private readonly services: BlockServices
  private readonly instances = new Map<string, BlockInstance>()
  private numbers = 0
  /** Stores that were opened again, for the devices of a loaded kernel. */
  private loaded: readonly BlockStore[] = []

  constructor(options: BlockBackendOptions) {
    this.services = {
      options,
      nextNumber: () => this.numbers++,
      placeOf: (store) => listStores(this.opened()).findIndex((entry) => entry.store === store),
      storeAt: (place) => this.storeAt(place),
      served: (store) => this.servedFor(store),
      forget: (path) => void this.instances.delete(path),
    }
  }

  // State

  readonly state: DriverState = {
    version: 4,
    shape: servedDiskState,
    load: (device, state) => {
      const instance = new BlockInstance(device, this.services)
      this.instances.set(device.path, instance)
      // The shape has been checked.
      instance.load(state as ServedDiskState)
      return instance
    },
  }

  /** What lies behind the disks, to be loaded before the devices; `stores` are those that `loadStores` has made of it. */
  part(stores: readonly BlockStore[] = []): Part {
    return part({ name: 'disks', version: 3, shape: disksState }, {
      save: () => ({ numbers: this.numbers, stores: saveStores(this.opened()) }),
      // Told at once where there is no disk.
      isAsSaved: ({ numbers, stores }) => this.instances.size === 0 && stores.length === 0 && numbers === this.numbers,
      load: ({ numbers }) => {
        this.numbers = numbers
        this.loaded = stores
      },
    })
  }

  /** Two disks that share a store share what is served in its place. */
  private servedFor(store: BlockStore): BlockStore {
    if (isHeld(store)) return store
    const known = this.opened().map((one) => one.store).find((one) => one instanceof LateOverlay && one.base === store)
    return known ?? new LateOverlay(store)
  }

  private opened(): readonly OpenedStore[] {
    return [...this.instances.values()].flatMap(({ opened }) => opened ?? [])
  }

  private storeAt(place: number): BlockStore {
    const store = this.loaded[place]
    if (store === undefined) throw badState(`there is no store ${place}`)
    return store
  }

  // Devices

  /** Called by the bus. */
  probe(device: BackendDevice): BackendInstance {
    const instance = new BlockInstance(device, this.services)
    this.instances.set(device.path, instance)
    return instance
  }

  /** The disks that are served now. */
  get disks(): readonly ServedDisk[] {
    return [...this.instances.values()]
  }

  /** The disk of a domain with this name (`xvda`, in any spelling) or device number. */
  disk(domid: DomId, device: string | number): ServedDisk | undefined {
    return this.instances.get(`backend/vbd/${domid}/${parseVirtualDevice(String(device)).number}`)
  }
}
