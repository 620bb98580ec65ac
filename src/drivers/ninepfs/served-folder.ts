/** One folder that the back-end serves: the store behind it, the handshake with its front-end, the rings that are mapped. Reference: docs/misc/9pfs.pandoc. */
import { LAST_DOMID, Xen9pfsDataIntf } from '../../abi/index.ts'
import { mappedPageState, type BackendDevice, type BackendInstance, type MappedPage } from '../../guest/index.ts'
import type { FlexPlace } from '../../rings/index.ts'
import { badState, shape, thrownMessage, XenError, type EventPort, type GrantRef, type StateOf } from '../../util/index.ts'
import { checkFileStore, type FileStore } from './file-store.ts'
import type { FolderRequest } from './folder-request.ts'
import type { FolderServices, ServedFolder } from './folder-services.ts'
import { requestKind, type FolderEffect, type FolderInterference } from './interference.ts'
import { MemoryFileStore } from './memory-file-store.ts'
import { MAX_RINGS, MAX_FOLDER_RING_ORDER, TRANSPORT_VERSION } from './protocol.ts'
import { FileServer, fileServerState } from './server.ts'

/** Smallest order whose rings can carry the shortest message. */
const MIN_FOLDER_RING_ORDER = 1

interface MappedRing {
  readonly indexes: MappedPage
  readonly pages: readonly MappedPage[]
  readonly order: number
  readonly port: EventPort
}

interface Connection {
  readonly server: FileServer
  readonly rings: readonly MappedRing[]
}

const text = /* @__PURE__ */ shape.text(4096)
/** The form in which a folder is saved. */
export const servedFolderState = /* @__PURE__ */ shape.record({
  request: /* @__PURE__ */ shape.record({ domid: /* @__PURE__ */ shape.whole(0, LAST_DOMID), device: /* @__PURE__ */ shape.text(16), path: text, tag: text }),
  /** Place among the stores of the back-end; undefined while none is open. */
  store: /* @__PURE__ */ shape.optional(shape.word),
  connection: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record({
    rings: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
      indexes: mappedPageState, pages: /* @__PURE__ */ shape.list(mappedPageState, 2 ** MAX_FOLDER_RING_ORDER), order: /* @__PURE__ */ shape.whole(MIN_FOLDER_RING_ORDER, MAX_FOLDER_RING_ORDER), port: shape.word,
    }), MAX_RINGS, 1),
    server: fileServerState,
  })),
})
/** The same. */
export type ServedFolderState = StateOf<typeof servedFolderState>

/** One folder: the back-end's half of its handshake, and what serves its rings. */
export class FolderInstance implements BackendInstance, ServedFolder {
  request: FolderRequest
  private readonly device: BackendDevice
  private readonly backend: FolderServices
  private store: FileStore | undefined
  private connection: Connection | undefined
  private gone = false
  /** The opener has been asked and has not answered, or its answer is on its way. */
  private opening = false
  private release: (() => void) | undefined

  constructor(device: BackendDevice, backend: FolderServices) {
    this.device = device
    this.backend = backend
    this.request = { domid: device.otherEnd, device: device.id, path: '', tag: '' }
  }

  get statistics(): Readonly<Record<string, number>> | undefined {
    const counts = this.connection?.server.counts
    return counts && { ...counts }
  }

  get broken(): string | undefined {
    return this.connection?.server.broken
  }

  get isAwaited(): boolean {
    return this.opening || this.connection?.server.isAwaited === true
  }

  get contents(): FileStore | undefined {
    return this.store
  }

  underWay(): string | undefined {
    return this.opening ? 'the opening of its folder' : this.connection?.server.underWay()
  }

  async announce(): Promise<void> {
    await this.device.write({ versions: TRANSPORT_VERSION, 'max-rings': String(MAX_RINGS), 'max-ring-page-order': String(MAX_FOLDER_RING_ORDER) })
  }

  /** Begins to open the store; the handshake goes on when it is open. */
  async prepare(): Promise<void> {
    const { device } = this
    this.request = { domid: device.otherEnd, device: device.id, path: (await device.read('path')) ?? '', tag: (await device.readOther('tag')) ?? '' }
    // Not waited for: the device may be taken away before an opener has answered, or when it never does.
    void this.open(device.kernel.hold())
  }

  /** While the opener works time stands still; what follows is the device's next step. */
  private async open(release: () => void): Promise<void> {
    const { device, request } = this
    this.opening = true
    this.release = release
    const opening = (async () => checkFileStore(await this.backend.options.open(request)))()
    await opening.then(release, release)
    await opening.then((store) => device.perform(() => this.serveStore(store)), (error: unknown) =>
      device.perform(() => device.write({ 'hotplug-error': thrownMessage(error), 'hotplug-status': 'error' })))
    this.opening = false
  }

  private async serveStore(store: FileStore): Promise<void> {
    if (this.gone) return this.closeStore(store)
    this.keep(store)
    await this.device.write({ 'hotplug-status': 'connected' })
    void this.device.reconsider()
  }

  private keep(store: FileStore): void {
    this.store = store
    const { now } = this.backend.options
    if (now !== undefined) store.useClock?.(() => now())
  }

  async connect(): Promise<boolean> {
    const { device, store } = this
    if (store === undefined) return false
    await this.disconnect()
    if ((await device.readOther('version')) !== TRANSPORT_VERSION) throw new XenError('NOT_SUPPORTED', `${device.otherPath}/version is not ${TRANSPORT_VERSION}`)
    const count = await device.requireOther('num-rings', { minimum: 1, maximum: MAX_RINGS })
    const places: { readonly ref: number; readonly port: number }[] = []
    for (let at = 0; at < count; at += 1) {
      places.push({ ref: await device.requireOther(`ring-ref${at}`), port: await device.requireOther(`event-channel-${at}`, { minimum: 1 }) })
    }
    this.map(places, store)
    return true
  }

  /** Maps all rings and binds their ports, or nothing. */
  private map(places: readonly { readonly ref: number; readonly port: number }[], store: FileStore): void {
    const { kernel, otherEnd } = this.device
    const rings: MappedRing[] = []
    try {
      for (const { ref, port: remote } of places) {
        const mapped = this.mapRing(ref)
        try {
          const port = kernel.events.keep(kernel.events.bindInterdomain(otherEnd, remote as EventPort, () => this.connection?.server.serve()))
          rings.push({ ...mapped, port })
        } catch (error) {
          this.unmap([mapped.indexes, ...mapped.pages])
          throw error
        }
      }
    } catch (error) {
      this.letGo(rings)
      throw error
    }
    this.connection = { rings, server: this.makeServer(rings, store) }
  }

  /** The page with the indices, and those that it names: each word of it is read once. */
  private mapRing(ref: number): Pick<MappedRing, 'indexes' | 'pages' | 'order'> {
    const { kernel, otherEnd, path } = this.device
    const indexes = kernel.grants.map(otherEnd, ref as GrantRef)
    const pages: MappedPage[] = []
    try {
      const order = Xen9pfsDataIntf.ringOrder.get(indexes.view, indexes.base)
      if (order < MIN_FOLDER_RING_ORDER || order > MAX_FOLDER_RING_ORDER) throw new XenError('INVALID_ARGUMENT', `${path}: a ring of order ${order} is not from ${MIN_FOLDER_RING_ORDER} to ${MAX_FOLDER_RING_ORDER}`, { details: { order } })
      for (let at = 0; at < 2 ** order; at += 1) {
        pages.push(kernel.grants.map(otherEnd, indexes.view.getUint32(indexes.base + Xen9pfsDataIntf.size + 4 * at, true) as GrantRef))
      }
      return { indexes, pages, order }
    } catch (error) {
      this.unmap([indexes, ...pages])
      throw error
    }
  }

  private unmap(pages: readonly MappedPage[]): void {
    for (const page of pages) this.device.kernel.grants.unmap(page)
  }

  private letGo(rings: readonly MappedRing[]): void {
    for (const { port, indexes, pages } of rings) {
      this.device.kernel.events.close(port)
      this.unmap([indexes, ...pages])
    }
  }

  private makeServer(rings: readonly MappedRing[], store: FileStore): FileServer {
    const { device: { kernel }, backend: { options }, request } = this
    const { memory } = kernel.hypercalls
    return new FileServer({
      memory, store, rings: rings.map(({ indexes, pages, order }): FlexPlace => ({ memory, indexes: indexes.base, pages: pages.map(({ base }) => base), order })),
      notify: (at) => void kernel.events.notify(rings[at]!.port),
      hold: () => kernel.hold(),
      spend: (instructions) => kernel.spend(instructions),
      pause: () => new Promise((resolve) => kernel.post(() => {
        kernel.turn()
        resolve()
      })),
      // Within the kernel: what it leads to may ask hypercalls.
      answered: (take) => {
        const post = (): void => kernel.post(take)
        if (options.answered === undefined) post()
        else options.answered(request, post)
      },
      ...(options.interference !== undefined && { interfere: this.interfere(options.interference) }),
      after: (nanoseconds, act) => void kernel.after(nanoseconds, () => {
        kernel.turn()
        act()
      }),
      onStoreFailed: (error) => options.onStoreFailed?.(request, error),
    })
  }

  private interfere(interference: FolderInterference): (type: number) => FolderEffect | undefined {
    return (type) => {
      const kind = requestKind(type)
      return kind && interference.message(this.request, kind)
    }
  }

  async disconnect(): Promise<void> {
    const { connection } = this
    if (connection === undefined) return
    this.connection = undefined
    for (const { port } of connection.rings) this.device.kernel.events.close(port)
    try {
      await connection.server.stop()
    } finally {
      for (const { indexes, pages } of connection.rings) this.unmap([indexes, ...pages])
    }
  }

  async remove(): Promise<void> {
    this.gone = true
    this.backend.forget(this.device.path)
    this.release?.()
    const { store } = this
    this.store = undefined
    if (store !== undefined) await this.closeStore(store)
  }

  private async closeStore(store: FileStore): Promise<void> {
    try {
      await store.close()
    } catch (error) {
      this.backend.options.onStoreFailed?.(this.request, error)
    }
  }

  // State

  save(): ServedFolderState {
    const { store, connection, request } = this
    const page = ({ frame, handle }: MappedPage) => ({ frame, handle })
    // Whoever saves has asked whether its store lies in memory.
    const identityOf: Parameters<FileServer['save']>[0] = (file) => (store instanceof MemoryFileStore ? store.identityOf(file) : 0)
    return {
      request: { ...request }, store: store && this.backend.placeOf(store),
      connection: connection && {
        rings: connection.rings.map(({ indexes, pages, order, port }) => ({ indexes: page(indexes), pages: pages.map(page), order, port })),
        server: connection.server.save(identityOf),
      },
    }
  }

  load({ request, store: place, connection }: ServedFolderState): void {
    const { kernel } = this.device
    // It was a domain's number.
    this.request = { ...request, domid: request.domid as FolderRequest['domid'] }
    const store = place === undefined ? undefined : this.backend.storeAt(place)
    if (store !== undefined) this.keep(store)
    if (connection === undefined) return
    if (store === undefined) throw badState('a front-end is connected to no folder')
    const rings = connection.rings.map(({ indexes, pages, order, port }): MappedRing => {
      if (pages.length !== 2 ** order) throw badState(`a ring of order ${order} has ${pages.length} pages`)
      return {
        indexes: kernel.attachments.attachPage(indexes), pages: pages.map((page) => kernel.attachments.attachPage(page)), order,
        port: kernel.attachments.attachPort(port, () => this.connection?.server.serve()),
      }
    })
    const server = this.makeServer(rings, store)
    server.load(connection.server, store)
    this.connection = { server, rings }
  }
}

