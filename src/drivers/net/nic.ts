/**
 * One network interface of a guest in TypeScript: rings, pages, sending and receiving. Its pages stay granted and are used
 * again and again; what the back-end answers is checked, and a back-end that breaks the rules loses the interface, no more.
 *
 * hot path: nothing is allocated for a frame of one slot that goes to a handler; figure in transmit.ts.
 * Reference: public/io/netif.h.
 */
import { NETIF_RSP, NetifRxRequest, NetifRxResponse, NetifTxRequest, NetifTxResponse, NETTXF, PAGE_SIZE } from '../../abi/index.ts'
import type { FrontendDevice, FrontendInstance, SharedPage } from '../../guest/index.ts'
import { sharePage } from '../../guest/index.ts'
import { FrontRing, NO_ENTRY } from '../../rings/index.ts'
import type { EventPort } from '../../util/index.ts'
import { XenError } from '../../util/index.ts'
import { FrameQueue } from './frame-queue.ts'
import { completeChecksum, parseMac } from './frame.ts'
import { IncomingFrames, type NicPage } from './incoming-frames.ts'
import { RX_ENTRY, TX_ENTRY } from './protocol.ts'

/** Free pages that an interface leaves to the rest of the guest. */
const RESERVE = 16

/** What a program says about a frame that it sends. */
export interface SendOptions {
  /** The transport checksum holds only the pseudo-header's sum; the other end completes it where it matters. */
  readonly checksumBlank?: boolean
}

interface Ring {
  readonly shared: SharedPage
  readonly ring: FrontRing
  readonly port: EventPort
}

interface Rings {
  readonly transmit: Ring
  readonly receive: Ring
}

/** Makes the interface of a device, with what the bus does with it; for the driver alone. */
export let openNic: (device: FrontendDevice, before: Nic | undefined) => { readonly nic: Nic; readonly instance: FrontendInstance }

/** One network interface of a guest: `send`, and an AsyncIterable of frames. */
export class Nic implements AsyncIterable<Uint8Array> {
  /** Its address. */
  mac: Uint8Array = new Uint8Array(6)
  private readonly device: FrontendDevice
  private rings: Rings | undefined
  private up = false
  private broken = false
  /** Pages for sending: free ones, and those under way by their identifier. */
  private readonly freePages: NicPage[] = []
  private readonly sending: (NicPage | undefined)[] = []
  private readonly freeIds: number[] = []
  /** Pages that are put up for receiving, by their slot in the ring. */
  private readonly receiving: (NicPage | undefined)[] = []
  private nextSlot = 0
  private readonly incoming = new IncomingFrames((frame, checksumBlank) => this.accept(frame, checksumBlank))
  private readonly queue = new FrameQueue()
  private handler: ((frame: Uint8Array) => void) | undefined
  private wake: (() => void) | undefined
  private roomHandler: (() => void) | undefined
  private readonly roomWaiters: (() => void)[] = []
  private readonly waiting: ((nic: Nic) => void)[] = []

  static {
    openNic = (device, before) => {
      const nic = new Nic(device)
      // Who waits for one that went away waits for the one that has come in its place.
      nic.waiting.push(...before?.waiting.splice(0) ?? [])
      const instance = { publish: () => nic.publish(), connected: async () => nic.begin(), disconnect: () => nic.disconnect() }
      return { nic, instance }
    }
  }

  private constructor(device: FrontendDevice) {
    this.device = device
  }

  /** Number of the interface. */
  get id(): string {
    return this.device.id
  }

  /** True while frames can be sent. */
  get connected(): boolean {
    return this.up && !this.broken
  }

  /** Frames that were dropped because the program was too slow. */
  get lost(): number {
    return this.queue.lost
  }

  /** Resolves when the interface can be used. */
  ready(): Promise<Nic> {
    if (this.up) return Promise.resolve(this)
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  /** Hands every frame to `handler` as it comes, instead of the queue. The bytes are valid during the call only. */
  onFrame(handler: (frame: Uint8Array) => void): void {
    this.handler = handler
    for (const frame of this.queue.drain()) handler(frame)
  }

  /** Sends a frame; false when there is no room in the ring, or no page, and the frame was not taken. */
  send(frame: Uint8Array, options: SendOptions = {}): boolean {
    if (!this.queueFrame(frame, options)) return false
    this.kick()
    return true
  }

  /** Sends frames with one notification; how many were taken. */
  sendAll(frames: Iterable<Uint8Array>, options: SendOptions = {}): number {
    let taken = 0
    for (const frame of frames) {
      if (!this.queueFrame(frame, options)) break
      taken += 1
    }
    if (taken > 0) this.kick()
    return taken
  }

  /** Calls `handler` whenever frames have been sent and there is room again. */
  onRoom(handler: () => void): void {
    this.roomHandler = handler
  }

  /** Resolves when there is room for a frame, or the interface is gone. */
  room(): Promise<void> {
    if (!this.connected || this.freeIds.length > 0) return Promise.resolve()
    return new Promise((resolve) => this.roomWaiters.push(resolve))
  }

  /** Frames as they come; ends when the interface goes. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    for (;;) {
      const frame = this.queue.shift()
      if (frame !== undefined) yield frame
      else if (!this.connected) return
      else await new Promise<void>((resolve) => { this.wake = resolve })
    }
  }

  /** Ends the connection from the guest's side. */
  close(): Promise<void> {
    return this.device.close()
  }

  /** Makes the rings and publishes them. */
  private async publish(): Promise<'Connected'> {
    const { device } = this
    if ((await device.readOtherNumber('feature-rx-copy')) !== 1) {
      throw new XenError('NOT_SUPPORTED', 'the back-end does not copy received frames')
    }
    const split = (await device.readOtherNumber('feature-split-event-channels')) === 1
    this.mac = parseMac((await device.read('mac')) ?? '') ?? this.mac
    this.disconnect()
    this.rings = this.makeRings(split)
    const { transmit, receive } = this.rings
    await device.writeTogether({
      'multi-queue-num-queues': '1',
      'tx-ring-ref': String(transmit.shared.ref), 'rx-ring-ref': String(receive.shared.ref),
      ...(split
        ? { 'event-channel-tx': String(transmit.port), 'event-channel-rx': String(receive.port) }
        : { 'event-channel': String(transmit.port) }),
      'request-rx-copy': '1', 'feature-rx-notify': '1', 'feature-sg': '1', 'feature-ipv6-csum-offload': '1',
    })
    this.broken = false
    this.putUp()
    return 'Connected'
  }

  /** The back-end is connected. */
  private begin(): void {
    this.up = true
    this.putUp()
    this.device.kernel.turn()
    for (const resolve of this.waiting.splice(0)) resolve(this)
  }

  /** Lets the rings go. */
  private disconnect(): void {
    const { rings, device: { kernel } } = this
    if (rings === undefined) return
    this.rings = undefined
    this.up = false
    kernel.events.close(rings.transmit.port)
    if (rings.receive.port !== rings.transmit.port) kernel.events.close(rings.receive.port)
    const pages = [...this.freePages.splice(0), ...this.sending.splice(0), ...this.receiving.splice(0)]
    for (const page of pages) page?.shared.release()
    this.incoming.forget()
    rings.transmit.shared.release()
    rings.receive.shared.release()
    this.wakeReader()
    this.tellRoom()
  }

  private makeRings(split: boolean): Rings {
    const { kernel, otherEnd } = this.device
    const undo: (() => void)[] = []
    const open = (handler: () => void): EventPort => {
      const port = kernel.events.allocateUnbound(kernel.domid, otherEnd, handler)
      undo.push(() => kernel.events.close(port))
      return port
    }
    const make = (entrySize: number, port: EventPort): Ring => {
      const shared = sharePage(kernel, otherEnd)
      undo.push(() => shared.release())
      return { shared, port, ring: FrontRing.create({ view: shared.page.view, base: shared.page.base, entrySize }) }
    }
    try {
      const transmitPort = open(() => this.onEvent())
      const receivePort = split ? open(() => this.onEvent()) : transmitPort
      const rings = { transmit: make(TX_ENTRY, transmitPort), receive: make(RX_ENTRY, receivePort) }
      const none = (count: number): undefined[] => Array.from({ length: count }, () => undefined)
      const { entries } = rings.transmit.ring
      this.sending.splice(0, this.sending.length, ...none(entries))
      this.receiving.splice(0, this.receiving.length, ...none(rings.receive.ring.entries))
      this.freeIds.splice(0, this.freeIds.length, ...Array.from({ length: entries }, (_, id) => id))
      this.nextSlot = 0
      return rings
    } catch (error) {
      for (const step of undo.reverse()) step()
      throw error
    }
  }

  private queueFrame(frame: Uint8Array, { checksumBlank }: SendOptions): boolean {
    if (frame.length > PAGE_SIZE) {
      throw new XenError('INVALID_ARGUMENT', `a frame of ${frame.length} bytes is longer than a page`, {
        details: { length: frame.length },
      })
    }
    const ring = this.rings?.transmit.ring
    if (ring === undefined || !this.connected) throw new XenError('CLOSED', `interface ${this.id} is not connected`)
    if (this.freeIds.length === 0 || ring.freeRequests() === 0) return false
    if (this.freePages.length === 0 && this.device.kernel.frames.free === 0) return false
    const page = this.freePages.pop() ?? this.newPage()
    const { shared } = page
    const id = this.freeIds.pop()!
    const address = ring.nextRequest()
    const { view } = shared.page
    shared.page.bytes.set(frame)
    this.sending[id] = page
    NetifTxRequest.gref.set(view, address, shared.ref)
    NetifTxRequest.offset.set(view, address, 0)
    NetifTxRequest.flags.set(view, address, checksumBlank === true ? NETTXF.csum_blank | NETTXF.data_validated : 0)
    NetifTxRequest.id.set(view, address, id)
    NetifTxRequest.packetSize.set(view, address, frame.length)
    return true
  }

  private newPage(): NicPage {
    const shared = sharePage(this.device.kernel, this.device.otherEnd)
    return { shared, head: shared.page.bytes }
  }

  private kick(): void {
    if (this.rings?.transmit.ring.pushRequestsAndCheckNotify() === true) {
      this.device.kernel.events.notify(this.rings.transmit.port)
    }
  }

  private onEvent(): void {
    if (this.rings === undefined || this.broken) return
    const before = this.freeIds.length
    if (!this.reap(this.rings.transmit.ring) || !this.takeFrames(this.rings.receive.ring)) {
      this.broken = true
      this.wakeReader()
      this.tellRoom()
      void this.device.close()
      return
    }
    this.putUp()
    if (this.freeIds.length > before) this.tellRoom()
  }

  private tellRoom(): void {
    if (this.roomWaiters.length > 0) {
      this.device.kernel.turn()
      for (const resolve of this.roomWaiters.splice(0)) resolve()
    }
    if (this.connected) this.roomHandler?.()
  }

  /** Takes the pages of sent frames back; false when the back-end broke the rules. */
  private reap(ring: FrontRing): boolean {
    const { view } = this.rings!.transmit.shared.page
    do {
      for (let address = ring.takeResponse(); address !== NO_ENTRY; address = ring.takeResponse()) {
        if (NetifTxResponse.status.get(view, address) === NETIF_RSP.NULL) continue
        const id = NetifTxResponse.id.get(view, address)
        const page = this.sending[id]
        if (page === undefined) return false
        this.sending[id] = undefined
        this.freeIds.push(id)
        this.freePages.push(page)
      }
    } while (ring.finalCheckForResponses())
    return !ring.broken
  }

  /** Takes received frames; false when the back-end broke the rules. */
  private takeFrames(ring: FrontRing): boolean {
    const { view } = this.rings!.receive.shared.page
    do {
      for (let address = ring.takeResponse(); address !== NO_ENTRY; address = ring.takeResponse()) {
        const slot = NetifRxResponse.id.get(view, address)
        const page = this.receiving[slot]
        if (page === undefined) return false
        this.receiving[slot] = undefined
        const okay = this.incoming.take(page, view, address)
        this.freePages.push(page)
        if (!okay) return false
      }
    } while (ring.finalCheckForResponses())
    this.wakeReader()
    return !ring.broken
  }

  /** Takes a whole frame, which may lie in a page that is put up again afterwards. */
  private accept(frame: Uint8Array, checksumBlank: boolean): void {
    if (checksumBlank) completeChecksum(frame)
    if (this.handler !== undefined) {
      this.handler(frame)
      return
    }
    this.queue.push(frame.slice())
  }

  /** Puts up pages for receiving until the ring is full or the guest has no more to spare. */
  private putUp(): void {
    const { rings, device: { kernel } } = this
    if (rings === undefined) return
    const { ring, shared: { page: { view } }, port } = rings.receive
    let wrote = false
    while (ring.freeRequests() > 0 && (this.freePages.length > 0 || kernel.frames.free > RESERVE)) {
      const page = this.freePages.pop() ?? this.newPage()
      const slot = this.freeSlot(ring.entries)
      const address = ring.nextRequest()
      NetifRxRequest.id.set(view, address, slot)
      NetifRxRequest.gref.set(view, address, page.shared.ref)
      this.receiving[slot] = page
      wrote = true
    }
    if (wrote && ring.pushRequestsAndCheckNotify()) kernel.events.notify(port)
  }

  /** An identifier that is not in use; they go round as the ring does. */
  private freeSlot(entries: number): number {
    while (this.receiving[this.nextSlot] !== undefined) this.nextSlot = (this.nextSlot + 1) & (entries - 1)
    return this.nextSlot
  }

  private wakeReader(): void {
    const { wake } = this
    if (wake === undefined || (this.queue.length === 0 && this.connected)) return
    this.wake = undefined
    this.device.kernel.turn()
    wake()
  }
}
