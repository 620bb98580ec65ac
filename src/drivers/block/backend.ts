/**
 * The block back-end: what blkback does. It runs in dom0 or in a driver domain, opens the store that a device's nodes
 * describe, shakes hands with the front-end, and serves its ring until one of them goes. Opening the store stands for
 * the hotplug script of a real host, and leaves the same nodes behind.
 *
 * Reference: public/io/blkif.h; the captures of Linux and xl on Xen 4.17.
 */
import { VDISK, XENBUS_STATE } from '../../abi/index.ts'
import type { BackendDevice, BackendDriver, BackendInstance, MappedPage } from '../../guest/index.ts'
import { readState } from '../../guest/index.ts'
import type { DomId, EventPort, GrantRef } from '../../util/index.ts'
import { thrownMessage, XenError } from '../../util/index.ts'
import type { BlockStore } from './block-store.ts'
import { SECTOR_SIZE, checkStore } from './block-store.ts'
import type { BlockLayout } from './protocol.ts'
import { INDIRECT_SEGMENTS, layoutOf } from './protocol.ts'
import type { BlockStatistics } from './server.ts'
import { BlockServer } from './server.ts'
import { parseVirtualDevice } from './virtual-device.ts'

/** What the toolstack wrote about a disk. */
export interface DiskRequest {
  readonly domain: DomId
  /** Number of the virtual device, such as 51712 for xvda. */
  readonly device: string
  /** What the specification names as target: a path, as a rule. */
  readonly params: string
  /** `phy`, `file`, ... */
  readonly type: string
  readonly readOnly: boolean
  /** The virtual device's name, such as `xvda`. */
  readonly name: string
}

/** How the back-end is made. */
export interface BlockBackendOptions {
  /** Opens the store of a disk. A rejection is told to the toolstack in `hotplug-error`. */
  open(request: DiskRequest): BlockStore | Promise<BlockStore>
  /** A store has thrown or rejected. Its request fails, or it counts as closed; nothing else is harmed. */
  onStoreFailed?(request: DiskRequest, error: unknown): void
}

/** One disk that is being served. */
export interface ServedDisk {
  readonly request: DiskRequest
  /** What has been done; undefined while no front-end is connected. */
  readonly statistics: BlockStatistics | undefined
  /** True when the front-end broke its ring. */
  readonly broken: boolean
}

interface Connection {
  readonly server: BlockServer
  readonly page: MappedPage
  readonly port: EventPort
}

class BlockInstance implements BackendInstance, ServedDisk {
  request: DiskRequest
  private readonly device: BackendDevice
  private readonly backend: BlockBackend
  private store: BlockStore | undefined
  /** Sectors that the front-end was told of. */
  private announced = 0
  private gone = false
  /** What is to be let go with the store: listeners, and time that stands still for it. */
  private readonly releases: (() => void)[] = []
  private connection: Connection | undefined

  constructor(device: BackendDevice, backend: BlockBackend) {
    this.device = device
    this.backend = backend
    this.request = { domain: device.otherEnd, device: device.id, params: '', type: '', readOnly: false, name: '' }
  }

  get statistics(): BlockStatistics | undefined {
    return this.connection?.server.statistics
  }

  get broken(): boolean {
    return this.connection?.server.broken === true
  }

  async announce(): Promise<void> {
    await this.device.write({
      'feature-max-indirect-segments': String(INDIRECT_SEGMENTS),
      'multi-queue-max-queues': '1', 'max-ring-page-order': '0',
    })
  }

  /** Begins to open the store, as the hotplug script would; the handshake goes on when it is open. */
  async prepare(): Promise<void> {
    const { device } = this
    const read = async (name: string): Promise<string> => (await device.read(name)) ?? ''
    this.request = {
      domain: device.otherEnd, device: device.id, params: await read('params'), type: await read('type'),
      readOnly: !(await read('mode')).startsWith('w'), name: await read('dev'),
    }
    // Not waited for: the device may be taken away before an opener has answered, or when it never does.
    void this.open(device.kernel.hold())
  }

  /** While the opener works time stands still; what follows is the device's next step. */
  private async open(release: () => void): Promise<void> {
    const { device, request } = this
    this.releases.push(release)
    const opening = (async () => checkStore(await this.backend.options.open(request)))()
    await opening.then(release, release)
    await opening.then((store) => device.perform(() => this.opened(store)), (error: unknown) => {
      const message = thrownMessage(error)
      return device.perform(() => device.write({ 'hotplug-error': message, 'hotplug-status': 'error' }))
    })
  }

  private async opened(store: BlockStore): Promise<void> {
    const { device } = this
    if (this.gone) return this.closeStore(store)
    this.store = store
    const end = store.onResize?.(() => device.kernel.post(() => this.lookAtSize()))
    if (end !== undefined) this.releases.push(end)
    const number = this.backend.nextNumber()
    await device.write({
      node: `/dev/loop${number}`, 'physical-device': `7:${number.toString(16)}`,
      'physical-device-path': `/dev/loop${number}`, 'hotplug-status': 'connected',
    })
    void device.reconsider()
  }

  /** Tells the front-end when the store has another size than it was told. To be called often: it costs a comparison. */
  private lookAtSize(): void {
    const { store, connection, device } = this
    if (store === undefined || connection === undefined || store.size === this.announced * SECTOR_SIZE) return
    this.announced = store.size / SECTOR_SIZE
    void device.perform(() => this.announceSize())
  }

  /**
   * The new size, and the state once more: a front-end that is connected looks again, as Linux has it.
   * Reference: drivers/block/xen-blkback, xen_vbd_resize.
   */
  private async announceSize(): Promise<void> {
    const { device: { store, path }, announced } = this
    await store.transaction(async (transaction) => {
      // Somebody may be asking for the device's end meanwhile.
      if ((await readState(transaction, path)) !== 'Connected') return
      await transaction.write(`${path}/sectors`, String(announced))
      await transaction.write(`${path}/state`, String(XENBUS_STATE.Connected))
    })
  }

  async connect(): Promise<boolean> {
    const { device, store } = this
    if (store === undefined) return false
    await this.disconnect()
    // It may have changed since it was opened: a store may grow.
    checkStore(store)
    const layout = layoutOf(await device.readOther('protocol'))
    if (layout === undefined) throw new XenError('NOT_SUPPORTED', `${device.otherPath}/protocol is not spoken here`)
    const persistent = (await device.readOtherNumber('feature-persistent')) === 1
    const queues = (await device.readOtherNumber('multi-queue-num-queues')) ?? 1
    const order = (await device.readOtherNumber('ring-page-order')) ?? 0
    if (queues !== 1 || order !== 0) {
      throw new XenError('NOT_SUPPORTED', 'more than one queue or ring page was not offered', {
        details: { queues, order },
      })
    }
    const remotePort = await device.requireOther('event-channel', { minimum: 1 })
    const ref = await device.requireOther('ring-ref')
    this.announced = store.size / SECTOR_SIZE
    this.map({ ref: ref as GrantRef, remotePort: remotePort as EventPort, layout, persistent, store })
    await device.writeTogether(this.features(store, await device.read('discard-enable')))
    return true
  }

  private map(ring: {
    readonly ref: GrantRef, readonly remotePort: EventPort, readonly layout: BlockLayout
    readonly persistent: boolean, readonly store: BlockStore
  }): void {
    const { kernel, otherEnd } = this.device
    const page = kernel.grants.map(otherEnd, ring.ref)
    const server = new BlockServer({
      grants: kernel.hypercalls, domain: otherEnd, store: this.readOnlyStore(ring.store), layout: ring.layout,
      ring: page.base, persistent: ring.persistent,
      notify: () => void kernel.events.notify(port),
      hold: () => kernel.hold(),
      spend: (instructions) => kernel.spend(instructions),
      pause: () => new Promise((resolve) => kernel.post(() => {
        kernel.turn()
        resolve()
      })),
      onStoreFailed: this.storeFailed,
    })
    let port: EventPort
    try {
      port = kernel.events.bindInterdomain(otherEnd, ring.remotePort, () => {
        this.lookAtSize()
        server.serve()
      })
    } catch (error) {
      kernel.grants.unmap(page)
      throw error
    }
    this.connection = { server, page, port }
  }

  /** What is published when the rings are up, in the order in which Linux does. */
  private features(store: BlockStore, discardEnable: string | undefined): Record<string, string> {
    const { readOnly } = this.request
    const discard = store.discard !== undefined && !readOnly && !store.readOnly && discardEnable !== '0'
    return {
      'feature-flush-cache': '1',
      ...(discard && {
        'discard-granularity': '4096', 'discard-alignment': '0', 'discard-secure': '0', 'feature-discard': '1',
      }),
      'feature-barrier': '1', 'feature-persistent': '1',
      sectors: String(this.announced),
      info: String(readOnly || store.readOnly ? VDISK.READONLY : 0),
      'sector-size': String(SECTOR_SIZE), 'physical-sector-size': String(SECTOR_SIZE),
    }
  }

  /** The store as this device may use it: a disk that was given read-only stays so, whatever the store allows. */
  private readOnlyStore(store: BlockStore): BlockStore {
    if (!this.request.readOnly || store.readOnly) return store
    return {
      get size() {
        return store.size
      },
      readOnly: true,
      read: (offset, target) => store.read(offset, target),
      write: () => Promise.reject(new XenError('PERMISSION_DENIED', 'the disk is read-only')),
      flush: () => store.flush(),
      close: () => store.close(),
    }
  }

  async disconnect(): Promise<void> {
    const { connection, device: { kernel } } = this
    if (connection === undefined) return
    this.connection = undefined
    kernel.events.close(connection.port)
    await connection.server.stop()
    kernel.grants.unmap(connection.page)
  }

  async remove(): Promise<void> {
    this.gone = true
    this.backend.forget(this.device.path)
    for (const release of this.releases.splice(0)) release()
    const store = this.store
    this.store = undefined
    if (store !== undefined) await this.closeStore(store)
  }

  private async closeStore(store: BlockStore): Promise<void> {
    try {
      await store.close()
    } catch (error) {
      this.storeFailed(error)
    }
  }

  private readonly storeFailed = (error: unknown): void => {
    this.backend.options.onStoreFailed?.(this.request, error)
  }
}

/**
 * The driver for `vbd` devices, to be registered with a the guest kit's `BackendBus`.
 *
 * @example
 * await new BackendBus(kernel).register(new BlockBackend({ open: () => new MemoryBlockStore(1 << 20) }))
 */
export class BlockBackend implements BackendDriver {
  readonly type = 'vbd'
  /** @internal */
  readonly options: BlockBackendOptions
  private readonly instances = new Map<string, BlockInstance>()
  private numbers = 0

  constructor(options: BlockBackendOptions) {
    this.options = options
  }

  /** Called by the bus. */
  probe(device: BackendDevice): BackendInstance {
    const instance = new BlockInstance(device, this)
    this.instances.set(device.path, instance)
    return instance
  }

  /** The disks that are served now. */
  get disks(): readonly ServedDisk[] {
    return [...this.instances.values()]
  }

  /** The disk of a domain with this name (`xvda`, in any spelling) or device number. */
  disk(domain: DomId, device: string | number): ServedDisk | undefined {
    return this.instances.get(`backend/vbd/${domain}/${parseVirtualDevice(String(device)).number}`)
  }

  /** @internal */
  nextNumber(): number {
    return this.numbers++
  }

  /** @internal */
  forget(path: string): void {
    this.instances.delete(path)
  }
}
