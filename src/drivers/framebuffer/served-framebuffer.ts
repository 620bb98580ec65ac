/**
 * One framebuffer that the back-end serves: the handshake with its front-end, the pages that are mapped, what has been drawn. The guest is hostile: each
 * word of its page and of its directory is read once and checked, and a ring whose index contradicts itself is not looked at any more; what
 * was drawn so far can still be seen.
 *
 * Reference: public/io/fbif.h; QEMU, hw/display/xenfb.c.
 */
import { LAST_DOMID, PAGE_SIZE, XENFB_TYPE, XenfbPage, XenfbResize, XenfbUpdate } from '../../abi/index.ts'
import { mapForeignPage, type BackendDevice, type BackendInstance, type Page } from '../../guest/index.ts'
import { EventConsumer, eventRingState } from '../../rings/index.ts'
import { badState, EventHub, shape, XenError, type DomId, type EventPort, type EventSource, type StateOf } from '../../util/index.ts'
import type { FramebufferInterference } from './interference.ts'
import { clipped, geometryFault, geometryState, readArea, type Geometry, type Picture, type ScreenArea } from './picture.ts'
import { MAX_VIDEO_MEMORY, OUT_RING, numbersPerPage, wordOf } from './protocol.ts'

/** What happens on a framebuffer. */
export type FramebufferEvent =
  /** A front-end is there. */
  | { readonly type: 'connected'; readonly width: number; readonly height: number }
  /** The guest has drawn. */
  | { readonly type: 'drawn'; readonly area: ScreenArea }
  /** The picture has another size. */
  | { readonly type: 'resized'; readonly width: number; readonly height: number }
  /** The front-end is gone; another may come. */
  | { readonly type: 'disconnected' }
  /** The device is gone. */
  | { readonly type: 'closed' }

/** What has come from a front-end. */
export interface FramebufferStatistics {
  /** Rectangles that were drawn, and pixels in them. */
  readonly updates: number
  readonly pixels: number
  /** Other sizes that the guest went to, and those that cannot be. */
  readonly resizes: number
  readonly refused: number
}

/** One framebuffer as its back-end serves it. */
export interface ServedFramebuffer {
  readonly domid: DomId
  /** Number of the device. */
  readonly id: number
  /** The picture's size; undefined while no front-end is connected. */
  readonly size: { readonly width: number; readonly height: number } | undefined
  readonly statistics: FramebufferStatistics | undefined
  /** Why its front-end is not listened to any more; undefined while all is well. */
  readonly broken: string | undefined
  readonly events: EventSource<FramebufferEvent>
  /** What of a rectangle lies within the picture, as it is in the guest's memory now; undefined where nothing does, or nobody is connected. Changes nothing. */
  read(area: ScreenArea): Picture | undefined
}

const MAX_PAGES = MAX_VIDEO_MEMORY / PAGE_SIZE
/** No machine here has as many. */
const MAX_FRAME = 0xffff_ffff

const counts = /* @__PURE__ */ shape.record({ updates: shape.time, pixels: shape.time, resizes: shape.time, refused: shape.time })
/** The form in which a framebuffer is saved. */
export const servedFramebufferState = /* @__PURE__ */ shape.record({
  domid: /* @__PURE__ */ shape.whole(0, LAST_DOMID),
  counts,
  connection: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record({
    page: shape.word, pages: /* @__PURE__ */ shape.array(Uint32Array, 1, MAX_PAGES), geometry: geometryState, port: shape.word, consumed: eventRingState,
    broken: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(200)),
  })),
})
/** The same. */
export type ServedFramebufferState = StateOf<typeof servedFramebufferState>

interface Connection {
  /** Machine frame of the shared page, and those of the pixels. */
  readonly page: number
  readonly pages: Uint32Array
  geometry: Geometry
  readonly port: EventPort
  readonly out: EventConsumer
  broken: string | undefined
}

/** One framebuffer: the back-end's half of its handshake, and what is mapped. */
export class FramebufferInstance implements BackendInstance, ServedFramebuffer {
  readonly hub: EventHub<FramebufferEvent>
  private readonly device: BackendDevice
  private readonly interference: FramebufferInterference | undefined
  private readonly over: () => void
  private counted: FramebufferStatistics = { updates: 0, pixels: 0, resizes: 0, refused: 0 }
  private connection: Connection | undefined

  /** `hub` is that of the instance in whose place it comes. */
  constructor(device: BackendDevice, { over, hub, interference }: {
    readonly over: () => void; readonly hub: EventHub<FramebufferEvent> | undefined; readonly interference: FramebufferInterference | undefined
  }) {
    this.device = device
    this.interference = interference
    this.over = over
    this.hub = hub ?? new EventHub<FramebufferEvent>(() => device.kernel.now())
  }

  get events(): EventSource<FramebufferEvent> {
    return this.hub
  }

  get domid(): DomId {
    return this.device.otherEnd
  }

  get id(): number {
    return Number(this.device.id)
  }

  get size(): { readonly width: number; readonly height: number } | undefined {
    const { geometry: { width, height } = {} } = this.connection ?? {}
    return width === undefined || height === undefined ? undefined : { width, height }
  }

  get statistics(): FramebufferStatistics | undefined {
    return this.connection && this.counted
  }

  get broken(): string | undefined {
    return this.connection?.broken
  }

  read(area: ScreenArea): Picture | undefined {
    const { connection, device } = this
    const within = connection && clipped(area, connection.geometry)
    return within && readArea(device.kernel.hypercalls.memory.bytes, { pages: connection!.pages, geometry: connection!.geometry, area: within })
  }

  // Handshake

  async announce(): Promise<void> {
    await this.device.write({ 'feature-resize': '1' })
  }

  async connect(): Promise<boolean> {
    const { device } = this
    this.disconnect()
    const frame = await device.requireOther('page-ref', { maximum: MAX_FRAME })
    const port = await device.requireOther('event-channel', { minimum: 1 })
    const word = wordOf(await device.readOther('protocol'))
    if ((await device.readOther('feature-update')) === '1') await device.write({ 'request-update': '1' })
    this.connection = this.open(frame, { port, word })
    const { width, height } = this.connection.geometry
    this.emit({ type: 'connected', width, height })
    return true
  }

  /** Maps all of it and binds the port, or nothing. */
  private open(frame: number, { port: remote, word }: { readonly port: number; readonly word: 4 | 8 }): Connection {
    const { kernel, otherEnd } = this.device
    const mapped: number[] = []
    try {
      const page = this.map(frame, mapped)
      const { geometry, bytes, directory } = this.describe(page, word)
      const pages = this.mapPixels({ directory, count: Math.ceil(bytes / PAGE_SIZE), word }, mapped)
      const port = kernel.events.keep(kernel.events.bindInterdomain(otherEnd, remote as EventPort, () => this.onEvent()))
      return { page, pages, geometry, port, out: new EventConsumer(this.placeOf(page), OUT_RING), broken: undefined }
    } catch (error) {
      for (const one of mapped) kernel.hypercalls.unmapForeign(otherEnd, one)
      throw error
    }
  }

  /** Maps a frame that the guest names, takes note of it, and says which of the machine's it is. */
  private map(frame: number, mapped: number[]): number {
    const { frame: found } = this.mapFrame(frame)
    mapped.push(found)
    return found
  }

  private mapFrame(frame: number): Page {
    const { kernel: { hypercalls }, otherEnd, path } = this.device
    if (frame > MAX_FRAME) throw new XenError('INVALID_ARGUMENT', `${path}: there is no frame ${frame}`, { details: { frame } })
    return mapForeignPage(hypercalls, otherEnd, frame)
  }

  private placeOf(page: number): { readonly memory: BackendDevice['kernel']['hypercalls']['memory']; readonly base: number } {
    return { memory: this.device.kernel.hypercalls.memory, base: page * PAGE_SIZE }
  }

  /** What the shared page says. Throws INVALID_ARGUMENT for what cannot be. */
  private describe(page: number, word: 4 | 8): { readonly geometry: Geometry; readonly bytes: number; readonly directory: readonly number[] } {
    const { memory: { view }, base } = this.placeOf(page)
    const layout = word === 8 ? XenfbPage : XenfbPage.compat
    const { width, height, lineLength: stride, memLength: bytes, depth } = layout.decode(view, base)
    const geometry = { width, height, stride, depth, offset: 0 }
    const fault = bytes < 1 || bytes > MAX_VIDEO_MEMORY ? `${bytes} bytes of pixels are not from 1 to ${MAX_VIDEO_MEMORY}` : geometryFault(geometry, bytes)
    if (fault !== undefined) throw new XenError('INVALID_ARGUMENT', `${this.device.path}: ${fault}`, { details: { ...geometry, bytes } })
    const { pd } = layout
    const used = Math.ceil(bytes / PAGE_SIZE / numbersPerPage(word))
    if (used > pd.count) throw new XenError('INVALID_ARGUMENT', `${this.device.path}: ${bytes} bytes of pixels are more than its directory can name`, { details: { bytes } })
    return { geometry, bytes, directory: Array.from({ length: used }, (_, at) => pd.element.number(view, pd.at(base, at))) }
  }

  /** Maps what the directory's pages name; those themselves only while they are read. */
  private mapPixels({ directory, count, word }: { readonly directory: readonly number[]; readonly count: number; readonly word: 4 | 8 }, mapped: number[]): Uint32Array {
    const { kernel: { hypercalls }, otherEnd } = this.device
    const pages = new Uint32Array(count)
    for (const [place, frame] of directory.entries()) {
      const { base, view, frame: found } = this.mapFrame(frame)
      try {
        for (let at = 0; at < numbersPerPage(word) && place * numbersPerPage(word) + at < count; at += 1) {
          const low = view.getUint32(base + at * word, true)
          const high = word === 8 ? view.getUint32(base + at * word + 4, true) : 0
          pages[place * numbersPerPage(word) + at] = this.map(high * 2 ** 32 + low, mapped)
        }
      } finally {
        hypercalls.unmapForeign(otherEnd, found)
      }
    }
    return pages
  }

  disconnect(): void {
    const { connection, device: { kernel, otherEnd } } = this
    if (connection === undefined) return
    this.connection = undefined
    kernel.events.close(connection.port)
    for (const page of [connection.page, ...connection.pages]) kernel.hypercalls.unmapForeign(otherEnd, page)
    this.emit({ type: 'disconnected' })
  }

  remove(): void {
    this.over()
    this.emit({ type: 'closed' })
  }

  private emit(event: FramebufferEvent): void {
    this.device.kernel.turn()
    this.hub.emit(event)
  }

  // Events

  private onEvent(): void {
    const { connection, device: { kernel } } = this
    if (connection === undefined || connection.broken !== undefined) return
    const events = connection.out.take()
    if (events === undefined) {
      connection.broken = 'its index is beyond the ring'
      return
    }
    for (const event of events) this.take(event, connection)
    if (events.length > 0) kernel.events.notify(connection.port)
  }

  /** What is of no known type is passed over, as the protocol says. */
  private take(event: DataView, connection: Connection): void {
    const type = event.getUint8(0)
    if (type === XENFB_TYPE.UPDATE) {
      const { x, y, width, height } = XenfbUpdate.decode(event, 0)
      this.drawn(width < 1 || height < 1 ? undefined : clipped({ x, y, width, height }, connection.geometry))
    } else if (type === XENFB_TYPE.RESIZE) {
      const { width, height, stride, depth, offset } = XenfbResize.decode(event, 0)
      this.resize({ width, height, stride, depth, offset }, connection)
    }
  }

  private drawn(area: ScreenArea | undefined): void {
    if (area === undefined) return this.count({ refused: 1 })
    if (this.interference?.isLost({ domid: this.domid, framebuffer: this.id }) === true) return
    this.count({ updates: 1, pixels: area.width * area.height })
    this.emit({ type: 'drawn', area })
  }

  private resize(geometry: Geometry, connection: Connection): void {
    if (geometryFault(geometry, connection.pages.length * PAGE_SIZE) !== undefined) return this.count({ refused: 1 })
    connection.geometry = geometry
    this.count({ resizes: 1 })
    const { width, height } = geometry
    this.emit({ type: 'resized', width, height })
  }

  private count(more: Partial<FramebufferStatistics>): void {
    const { updates, pixels, resizes, refused } = this.counted
    this.counted = { updates: updates + (more.updates ?? 0), pixels: pixels + (more.pixels ?? 0), resizes: resizes + (more.resizes ?? 0), refused: refused + (more.refused ?? 0) }
  }

  // State

  save(): ServedFramebufferState {
    const { connection, counted } = this
    return {
      domid: this.domid, counts: { ...counted },
      connection: connection && {
        page: connection.page, pages: connection.pages, geometry: { ...connection.geometry }, port: connection.port, consumed: connection.out.save(), broken: connection.broken,
      },
    }
  }

  load({ counts: counted, connection }: ServedFramebufferState): void {
    this.counted = { ...counted }
    if (connection === undefined) return
    const { page, pages, geometry, port, consumed, broken } = connection
    const { attachments, hypercalls: { memory } } = this.device.kernel
    if ([page, ...pages].some((frame) => (frame + 1) * PAGE_SIZE > memory.bytes.length)) throw badState('a frame is beyond the machine\'s memory')
    if (geometryFault(geometry, pages.length * PAGE_SIZE) !== undefined) throw badState('a picture is beyond its pages')
    const out = new EventConsumer(this.placeOf(page), OUT_RING)
    out.load(consumed)
    this.connection = { page, pages, geometry, out, broken, port: attachments.attachPort(port, () => this.onEvent()) }
  }
}
