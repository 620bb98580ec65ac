/**
 * One disk that the block back-end serves: opens the store that the device's nodes describe, shakes hands with the
 * front-end, and serves its ring until one of them goes. Opening the store stands for the hotplug script of a real host,
 * and leaves the same nodes behind.
 *
 * Reference: public/io/blkif.h; the captures of Linux and xl on Xen 4.17.
 */
import { VDISK, XENBUS_STATE } from '../../abi/index.ts'
import type { BackendDevice, BackendInstance, MappedPage } from '../../guest/index.ts'
import { RateLimit, mappedPageState, rateLimitState, readState, type Rate, type RateLimitState } from '../../guest/index.ts'
import type { EventPort, GrantRef, StateOf } from '../../util/index.ts'
import { badState, shape, thrownMessage, XenError } from '../../util/index.ts'
import type { BlockServices, DiskRates, ServedDisk } from './block-services.ts'
import type { BlockStore } from './block-store.ts'
import { SECTOR_SIZE, checkStore } from './block-store.ts'
import { diskRequest, type DiskRequest } from './disk-request.ts'
import { INDIRECT_SEGMENTS, layoutOf } from './protocol.ts'
import type { BlockLimits, BlockStatistics } from './server.ts'
import { BlockServer, blockServerState } from './server.ts'
import { LateOverlay } from './late-overlay.ts'
import { observedStore, type WriteObserver } from './observed-store.ts'
import { isHeld, type OpenedStore } from './stores.ts'
import type { RecordedAnswer } from './waiting-requests.ts'

interface Connection {
  readonly server: BlockServer
  readonly page: MappedPage
  readonly port: EventPort
  readonly ring: Ring
}

/** How a front-end speaks. */
interface Ring {
  /** What it names; undefined for the layout of 64-bit guests. */
  readonly protocol: string | undefined
  readonly persistent: boolean
}

const connectionState = /* @__PURE__ */ shape.record({
  page: mappedPageState, port: shape.word, protocol: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(64)),
  persistent: shape.flag, server: blockServerState,
})
/** The form in which a disk is saved. */
export const servedDiskState = /* @__PURE__ */ shape.record({
  request: diskRequest,
  /** Place among the stores of the back-end; undefined while none is open. */
  store: /* @__PURE__ */ shape.optional(shape.word),
  announced: shape.time,
  limits: /* @__PURE__ */ shape.record({ requests: /* @__PURE__ */ shape.optional(rateLimitState), bytes: /* @__PURE__ */ shape.optional(rateLimitState) }),
  connection: /* @__PURE__ */ shape.optional(connectionState),
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
  private connection: Connection | undefined
  private limits: BlockLimits = {}
  private observer: WriteObserver | undefined
  /** Serves no more, and has requests that wait for the store. */
  private ending: BlockServer | undefined

  constructor(device: BackendDevice, backend: BlockServices) {
    this.device = device
    this.backend = backend
    this.request = { domid: device.otherEnd, device: device.id, params: '', type: '', readOnly: false, name: '' }
  }

  get statistics(): BlockStatistics | undefined {
    return this.connection?.server.statistics
  }

  get broken(): boolean {
    return this.connection?.server.broken === true
  }

  get rates(): DiskRates {
    return { requests: this.limits.requests?.rate, bytes: this.limits.bytes?.rate }
  }

  setRates({ requests, bytes }: DiskRates): void {
    this.limits.requests?.stop()
    this.limits.bytes?.stop()
    this.limits = { requests: this.limitOf(requests), bytes: this.limitOf(bytes) }
    if (this.connection === undefined) return
    this.connection.server.limits = this.usedLimits()
    // Within the kernel, whose timers are set behind its own steps.
    this.device.kernel.post(() => this.connection?.server.serve())
  }

  private limitOf(rate: Rate | undefined): RateLimit | undefined {
    return rate && new RateLimit(rate, this.device.kernel, () => this.connection?.server.serve())
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
    return this.waitingServer?.waitsFor(request) === true
  }

  answer(answer: RecordedAnswer): void {
    const server = this.waitingServer
    if (server === undefined) throw badState(`no front-end is connected to ${this.request.name}`)
    server.answerFrom(answer)
  }

  private get waitingServer(): BlockServer | undefined {
    return this.connection?.server ?? this.ending
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
      domid: device.otherEnd, device: device.id, params: await read('params'), type: await read('type'),
      readOnly: !(await read('mode')).startsWith('w'), name: await read('dev'),
    }
    // Not waited for: the device may be taken away before an opener has answered, or when it never does.
    void this.open(device.kernel.hold())
  }

  // State

  underWay(): string | undefined {
    return this.opening ? 'the opening of its store' : this.connection?.server.underWay()
  }

  get isAwaited(): boolean {
    return this.opening || this.connection?.server.isAwaited === true
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
      connection: connection && {
        page: { frame: connection.page.frame, handle: connection.page.handle }, port: connection.port,
        ...connection.ring, server: connection.server.save(),
      },
    }
  }

  load({ request, announced, store: place, connection, limits }: ServedDiskState): void {
    this.limits = { requests: this.loadLimit(limits.requests), bytes: this.loadLimit(limits.bytes) }
    const { device: { kernel } } = this
    this.request = request
    this.announced = announced
    const store = place === undefined ? undefined : this.backend.storeAt(place)
    if (store !== undefined) this.keep(store)
    if (connection === undefined) return
    if (store === undefined) throw badState('a front-end is connected to no store')
    const page = kernel.attachments.attachPage(connection.page)
    const { server, handler } = this.makeServer(page, { protocol: connection.protocol, persistent: connection.persistent }, store)
    server.load(connection.server)
    const port = kernel.attachments.attachPort(connection.port, handler)
    this.connection = { server, page, port, ring: { protocol: connection.protocol, persistent: connection.persistent } }
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
    this.map({ ref: ref as GrantRef, remotePort: remotePort as EventPort }, { protocol, persistent }, store)
    const kind = (await device.read('device-type')) === 'cdrom' ? VDISK.CDROM | VDISK.REMOVABLE : 0
    await device.writeTogether(this.features(store, { discardEnable: await device.read('discard-enable'), kind }))
    return true
  }

  private map(place: { readonly ref: GrantRef; readonly remotePort: EventPort }, ring: Ring, store: BlockStore): void {
    const { kernel, otherEnd } = this.device
    const page = kernel.grants.map(otherEnd, place.ref)
    try {
      const { server, handler } = this.makeServer(page, ring, store)
      const port = kernel.events.keep(kernel.events.bindInterdomain(otherEnd, place.remotePort, handler))
      this.connection = { server, page, port, ring }
    } catch (error) {
      kernel.grants.unmap(page)
      throw error
    }
  }

  /** What serves a mapped ring, and the handler of its port. */
  private makeServer(page: MappedPage, ring: Ring, store: BlockStore): { readonly server: BlockServer; readonly handler: () => void } {
    const { kernel, otherEnd } = this.device
    const layout = layoutOf(ring.protocol)
    if (layout === undefined) throw badState(`protocol ${ring.protocol} is not spoken here`)
    const server = new BlockServer({
      grants: kernel.hypercalls, domid: otherEnd, store: this.readOnlyStore(this.observed(this.interfered(store))), layout,
      ring: page.base, persistent: ring.persistent,
      notify: () => void (this.connection && kernel.events.notify(this.connection.port)),
      // Whoever interferes lets time stand still for what is outside.
      hold: this.backend.options.interference === undefined ? () => kernel.hold() : () => () => undefined,
      spend: (instructions) => kernel.spend(instructions),
      pause: () => new Promise((resolve) => kernel.post(() => {
        kernel.turn()
        resolve()
      })),
      onStoreFailed: this.storeFailed,
      answered: (answer, take) => {
        const { answered } = this.backend.options
        if (answered === undefined) take()
        else answered(this.request, answer, take)
      },
    })
    server.limits = this.usedLimits()
    const handler = (): void => {
      this.lookAtSize()
      this.connection?.server.serve()
    }
    return { server, handler }
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
    await this.asStep(() => this.connection?.server.stop())
    await this.store?.flush()
    return () => this.setObserver(this.observer)
  }

  private setObserver(observer: WriteObserver | undefined): Promise<void> {
    this.observer = observer
    return this.asStep(async () => {
      if (this.store !== undefined) await this.serveAnew(this.store)
      this.device.kernel.post(() => this.connection?.server.serve())
    })
  }

  private asStep(act: () => void | Promise<void>): Promise<void> {
    return new Promise((resolve) => void this.device.perform(async () => resolve(await act())))
  }

  /** Has another server take the ring up where the present one leaves it. */
  private async serveAnew(store: BlockStore): Promise<void> {
    const { connection } = this
    if (connection === undefined) return
    await connection.server.stop()
    const { server } = this.makeServer(connection.page, connection.ring, store)
    server.load(connection.server.save())
    this.connection = { ...connection, server }
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
    device.kernel.post(() => this.connection?.server.serve())
    if (before !== undefined) await this.closeStore(before)
  }

  async disconnect(): Promise<void> {
    const { connection, device: { kernel } } = this
    if (connection === undefined) return
    this.connection = undefined
    kernel.events.close(connection.port)
    this.ending = connection.server
    await connection.server.stop()
    this.ending = undefined
    kernel.grants.unmap(connection.page)
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
