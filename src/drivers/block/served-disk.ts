/**
 * One disk that the block back-end serves: opens the store that the device's nodes describe, shakes hands with the
 * front-end, and has its rings served (disk-connection.ts) until one of them goes. Opening the store stands for the
 * hotplug script of a real host, and leaves the same nodes behind.
 *
 * Reference: public/io/blkif.h; the captures of Linux and xl on Xen 4.17.
 */
import { VDISK, XENBUS_STATE } from '../../abi/index.ts'
import type { BackendDevice, BackendInstance } from '../../guest/index.ts'
import { RateLimit, rateLimitState, readState, type Rate, type RateLimitState } from '../../guest/index.ts'
import type { StateOf } from '../../util/index.ts'
import { badState, shape, thrownMessage, XenError } from '../../util/index.ts'
import type { BlockServices, DiskRates, ServedDisk } from './block-services.ts'
import type { BlockStore } from './block-store.ts'
import { SECTOR_SIZE, checkStore } from './block-store.ts'
import { DiskConnection, diskConnectionState, readRings, type ConnectionServices, type ServerBase } from './disk-connection.ts'
import { diskRequest, type DiskRequest } from './disk-request.ts'
import { INDIRECT_SEGMENTS, MAX_QUEUES, MAX_DISK_RING_ORDER, layoutOf } from './protocol.ts'
import type { BlockLimits, BlockStatistics } from './server.ts'
import { LateOverlay } from './late-overlay.ts'
import { observedStore, type WriteObserver } from './observed-store.ts'
import { isHeld, type OpenedStore } from './stores.ts'
import type { RecordedAnswer } from './waiting-requests.ts'

/** The form in which a disk is saved. */
export const servedDiskState = /* @__PURE__ */ shape.record({
  request: diskRequest,
  /** Place among the stores of the back-end; undefined while none is open. */
  store: /* @__PURE__ */ shape.optional(shape.word),
  announced: shape.time,
  limits: /* @__PURE__ */ shape.record({ requests: /* @__PURE__ */ shape.optional(rateLimitState), bytes: /* @__PURE__ */ shape.optional(rateLimitState) }),
  connection: /* @__PURE__ */ shape.optional(diskConnectionState),
})
/** A disk as it is saved. */
export type ServedDiskState = StateOf<typeof servedDiskState>

/** One disk: the back-end's half of its handshake, and what serves its ring. */
export class BlockInstance implements BackendInstance, ServedDisk {
  request: DiskRequest
  private readonly device: BackendDevice
  private readonly backend: BlockServices
  private store: BlockStore | undefined
  /** Sectors that the front-end was told of. */
  private announced = 0
  private gone = false
  /** The opener has been asked and has not answered, or its answer is on its way. */
  private opening = false
  /** What is to be let go with the store: listeners, and time that stands still for it. */
  private readonly releases: (() => void)[] = []
  private connection: DiskConnection | undefined
  private limits: BlockLimits = {}
  private observer: WriteObserver | undefined
  /** Serves no more, and has requests that wait for the store. */
  private ending: DiskConnection | undefined
  private readonly services: ConnectionServices

  constructor(device: BackendDevice, backend: BlockServices) {
    this.device = device
    this.backend = backend
    this.services = {
      device,
      woken: () => this.lookAtSize(),
      answered: (answer, take) => {
        const { answered } = backend.options
        if (answered === undefined) take()
        else answered(this.request, answer, take)
      },
    }
    this.request = { domid: device.otherEnd, device: device.id, params: '', type: '', readOnly: false, format: 'raw', name: '' }
  }

  get statistics(): BlockStatistics | undefined {
    return this.connection?.statistics
  }

  get broken(): boolean {
    return this.connection?.broken === true
  }

  get rates(): DiskRates {
    return { requests: this.limits.requests?.rate, bytes: this.limits.bytes?.rate }
  }

  setRates({ requests, bytes }: DiskRates): void {
    this.limits.requests?.stop()
    this.limits.bytes?.stop()
    this.limits = { requests: this.limitOf(requests), bytes: this.limitOf(bytes) }
    if (this.connection === undefined) return
    this.connection.setLimits(this.usedLimits())
    // Within the kernel, whose timers are set behind its own steps.
    this.device.kernel.post(() => this.connection?.serve())
  }

  private limitOf(rate: Rate | undefined): RateLimit | undefined {
    return rate && new RateLimit(rate, this.device.kernel, () => this.connection?.serve())
  }

  private loadLimit(saved: RateLimitState | undefined): RateLimit | undefined {
    const limit = this.limitOf(saved && { amount: saved.amount, interval: saved.interval })
    if (saved !== undefined) limit?.load(saved, this.device.kernel.attachments)
    return limit
  }

  /** Undefined where nothing is limited: the server asks no limit then. */
  private usedLimits(): BlockLimits | undefined {
    const { requests, bytes } = this.limits
    return requests === undefined && bytes === undefined ? undefined : this.limits
  }

  waitsFor(request: number): boolean {
    return (this.connection ?? this.ending)?.waitsFor(request) === true
  }

  answer(answer: RecordedAnswer): void {
    const connection = this.connection ?? this.ending
    if (connection === undefined) throw badState(`no front-end is connected to ${this.request.name}`)
    connection.answer(answer)
  }

  async announce(): Promise<void> {
    await this.device.write({
      'feature-max-indirect-segments': String(INDIRECT_SEGMENTS),
      'multi-queue-max-queues': String(MAX_QUEUES), 'max-ring-page-order': String(MAX_DISK_RING_ORDER),
    })
  }

  /** Begins to open the store, as the hotplug script would; the handshake goes on when it is open. */
  async prepare(): Promise<void> {
    const { device } = this
    const read = async (name: string): Promise<string> => (await device.read(name)) ?? ''
    this.request = {
      domid: device.otherEnd, device: device.id, params: await read('params'), type: await read('type'),
      readOnly: !(await read('mode')).startsWith('w'), format: (await read('format')) || 'raw', name: await read('dev'),
    }
    // Not waited for: the device may be taken away before an opener has answered, or when it never does.
    void this.open(device.kernel.hold())
  }

  // State

  underWay(): string | undefined {
    return this.opening ? 'the opening of its store' : this.connection?.underWay()
  }

  get isAwaited(): boolean {
    return this.opening || this.connection?.isAwaited === true
  }

  get contents(): BlockStore | undefined {
    return this.store instanceof LateOverlay ? this.store.base : this.store
  }

  holdContents(): void {
    if (this.store instanceof LateOverlay) this.store.begin()
  }

  get opensAnew(): boolean {
    return this.store !== undefined && !isHeld(this.store)
  }

  /** The store, and what it was opened for; undefined while none is open. */
  get opened(): OpenedStore | undefined {
    return this.store && { store: this.store, request: this.request }
  }

  save(): ServedDiskState {
    const { store, connection, announced, request } = this
    return {
      request: { ...request }, announced, limits: { requests: this.limits.requests?.save(), bytes: this.limits.bytes?.save() }, store: store && this.backend.placeOf(store),
      connection: connection?.save(),
    }
  }

  load({ request, announced, store: place, connection, limits }: ServedDiskState): void {
    this.limits = { requests: this.loadLimit(limits.requests), bytes: this.loadLimit(limits.bytes) }
    this.request = request
    this.announced = announced
    const store = place === undefined ? undefined : this.backend.storeAt(place)
    if (store !== undefined) this.keep(store)
    if (connection === undefined) return
    if (store === undefined) throw badState('a front-end is connected to no store')
    this.connection = DiskConnection.load(this.services, connection, this.serverBase(store))
    this.connection.setLimits(this.usedLimits())
  }

  // Handshake

  /** While the opener works time stands still; what follows is the device's next step. */
  private async open(release: () => void): Promise<void> {
    const { device, request } = this
    this.opening = true
    this.releases.push(release)
    const opening = (async () => checkStore(await this.backend.options.open(request)))()
    await opening.then(release, release)
    await opening.then((store) => device.perform(() => this.serveStore(store)), (error: unknown) => {
      const message = thrownMessage(error)
      return device.perform(() => device.write({ 'hotplug-error': message, 'hotplug-status': 'error' }))
    })
    this.opening = false
  }

  private keep(store: BlockStore): void {
    this.store = store
    const end = store.onResize?.(() => this.device.kernel.post(() => this.lookAtSize()))
    if (end !== undefined) this.releases.push(end)
  }

  private async serveStore(store: BlockStore): Promise<void> {
    const { device } = this
    if (this.gone) return this.closeStore(store)
    this.keep(this.backend.served(store))
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
    const protocol = await device.readOther('protocol')
    if (layoutOf(protocol) === undefined) throw new XenError('NOT_SUPPORTED', `${device.otherPath}/protocol is not spoken here`)
    const persistent = (await device.readOtherNumber('feature-persistent')) === 1
    const rings = await readRings(device)
    this.announced = store.size / SECTOR_SIZE
    this.connection = DiskConnection.map(this.services, { rings, terms: { protocol, persistent }, base: this.serverBase(store) })
    this.connection.setLimits(this.usedLimits())
    const kind = (await device.read('device-type')) === 'cdrom' ? VDISK.CDROM | VDISK.REMOVABLE : 0
    await device.writeTogether(this.features(store, { discardEnable: await device.read('discard-enable'), kind }))
    return true
  }

  /** What serves the disk's rings. */
  private serverBase(store: BlockStore): ServerBase {
    const { kernel, otherEnd } = this.device
    return {
      grants: kernel.hypercalls, domid: otherEnd, store: this.readOnlyStore(this.observed(this.interfered(store))),
      // Whoever interferes lets time stand still for what is outside.
      hold: this.backend.options.interference === undefined ? () => kernel.hold() : () => () => undefined,
      spend: (instructions) => kernel.spend(instructions),
      pause: () => new Promise((resolve) => kernel.post(() => {
        kernel.turn()
        resolve()
      })),
      onStoreFailed: this.storeFailed,
    }
  }

  /** What is published when the rings are up, in the order in which Linux does. */
  private features(store: BlockStore, { discardEnable, kind }: { readonly discardEnable: string | undefined; readonly kind: number }): Record<string, string> {
    const { readOnly } = this.request
    const discard = store.discard !== undefined && !readOnly && !store.readOnly && discardEnable !== '0'
    return {
      'feature-flush-cache': '1',
      ...(discard && {
        'discard-granularity': '4096', 'discard-alignment': '0', 'discard-secure': '0', 'feature-discard': '1',
      }),
      'feature-barrier': '1', 'feature-persistent': '1',
      sectors: String(this.announced),
      info: String(kind | (readOnly || store.readOnly ? VDISK.READONLY : 0)),
      'sector-size': String(SECTOR_SIZE), 'physical-sector-size': String(SECTOR_SIZE),
    }
  }

  /** The store, or what stands between it and the ring. */
  private interfered(store: BlockStore): BlockStore {
    const { request, backend: { options: { interference } }, device: { kernel } } = this
    if (interference === undefined) return store
    return interference.through(request, store, { now: () => kernel.now(), after: (nanoseconds, act) => void kernel.after(nanoseconds, () => this.actLater(act)), hold: () => kernel.hold() })
  }

  get size(): number {
    return this.store?.size ?? 0
  }

  read(offset: number, target: Uint8Array): void | Promise<void> {
    if (this.store === undefined) throw new XenError('CLOSED', `nothing is open for disk ${this.request.name}`, { details: { disk: this.request.name } })
    return this.store.read(offset, target)
  }

  private observed(store: BlockStore): BlockStore {
    return this.observer === undefined ? store : observedStore(store, this.observer)
  }

  observe(observer: WriteObserver): Promise<() => Promise<void>> {
    if (this.observer !== undefined) {
      return Promise.reject(new XenError('BUSY', `somebody observes disk ${this.request.name} already`, { details: { disk: this.request.name, doing: 'observed' } }))
    }
    return this.setObserver(observer).then(() => () => this.setObserver(undefined))
  }

  async hold(): Promise<() => Promise<void>> {
    const release = (): Promise<void> => this.setObserver(this.observer)
    await this.asStep(() => this.connection?.conclude())
    try {
      await this.store?.flush()
    } catch (error) {
      await release()
      throw error
    }
    return release
  }

  private setObserver(observer: WriteObserver | undefined): Promise<void> {
    this.observer = observer
    return this.asStep(async () => {
      if (this.store !== undefined) await this.serveAnew(this.store)
      this.device.kernel.post(() => this.connection?.serve())
    })
  }

  private asStep(act: () => void | Promise<void>): Promise<void> {
    return new Promise((resolve) => void this.device.perform(async () => resolve(await act())))
  }

  /** Has other servers take the rings up where the present ones leave them. */
  private async serveAnew(store: BlockStore): Promise<void> {
    await this.connection?.serveAnew(this.serverBase(store), this.usedLimits())
  }

  /** What is done later may resolve promises. */
  private actLater(act: () => void): void {
    act()
    this.device.kernel.turn()
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

  async resize(bytes: number): Promise<void> {
    const { store, device, request: { name } } = this
    if (store?.resize === undefined) {
      throw new XenError('NOT_SUPPORTED', `the contents of disk ${name} have the size that they have`, { details: { name, bytes } })
    }
    await store.resize(bytes)
    this.lookAtSize()
    // Behind the announcement that this, or the store itself, has asked for.
    await device.perform(() => undefined)
  }

  changeContents(store: BlockStore, params: string): Promise<void> {
    const { device } = this
    return new Promise((resolve, reject) => {
      void device.perform(async () => {
        if (this.gone) {
          await this.closeStore(store)
          return reject(new XenError('CLOSED', `disk ${this.request.name} was taken away meanwhile`, { details: { name: this.request.name } }))
        }
        await this.exchange(this.backend.served(store), params)
        resolve()
      })
    })
  }

  /** Puts other contents in the place of those that are served. The ring goes on where it is, with what has not been taken from it. */
  private async exchange(store: BlockStore, params: string): Promise<void> {
    const { device, connection, store: before } = this
    for (const release of this.releases.splice(0)) release()
    await this.serveAnew(store)
    this.request = { ...this.request, params }
    this.keep(store)
    this.announced = store.size / SECTOR_SIZE
    const number = this.backend.nextNumber()
    await device.write({ params, node: `/dev/loop${number}`, 'physical-device': `7:${number.toString(16)}`, 'physical-device-path': `/dev/loop${number}` })
    if (connection !== undefined) await this.announceSize()
    device.kernel.post(() => this.connection?.serve())
    if (before !== undefined) await this.closeStore(before)
  }

  async disconnect(): Promise<void> {
    const { connection } = this
    if (connection === undefined) return
    this.connection = undefined
    this.ending = connection
    await connection.stop()
    this.ending = undefined
  }

  async remove(): Promise<void> {
    this.gone = true
    this.limits.requests?.stop()
    this.limits.bytes?.stop()
    this.backend.forget(this.device.path)
    for (const release of this.releases.splice(0)) release()
    const store = this.store
    this.store = undefined
    if (store !== undefined) await this.closeStore(store)
  }

  async release(): Promise<void> {
    for (const release of this.releases.splice(0)) release()
    if (this.store !== undefined) await this.closeStore(this.store)
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
