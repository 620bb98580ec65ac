/**
 * One queue of an interface of a guest in TypeScript: its two rings, what is under way in them, and the pages that it has put up. What the back-end answers is
 * checked: a queue whose back-end breaks the rules says so, and whoever has it gives the interface up.
 *
 * hot path: nothing is allocated for a frame of one slot; figure in transmit.ts.
 * Reference: public/io/netif.h.
 */
import {
  NETIF_EXTRA_TYPE, NETIF_GSO_TYPE, NETIF_RSP, NetifExtraInfo, NetifRxRequest, NetifRxResponse, NetifTxRequest, NetifTxResponse, NETTXF, PAGE_SIZE,
} from '../../abi/index.ts'
import { sharePage, type FrontendDevice, type SharedPage } from '../../guest/index.ts'
import { FrontRing, NO_ENTRY } from '../../rings/index.ts'
import type { EventPort } from '../../util/index.ts'
import { isIpv6 } from './frame.ts'
import { IncomingFrames, type IncomingOptions, type NicPage } from './incoming-frames.ts'
import { RX_ENTRY, TX_ENTRY } from './protocol.ts'

/** Free pages that an interface leaves to the rest of the guest. */
const RESERVE = 16
/** Where the entries of a ring begin, which lies at the start of a page. */
const ENTRIES_AT = 64

/** What a queue is made with. */
export interface NicQueueOptions extends IncomingOptions {
  /** An event channel for each ring. */
  readonly split: boolean
  /** Pages that were used and are free again, of all queues of the interface. */
  readonly freePages: NicPage[]
  onEvent(): void
}

/** What a frame is sent as. */
export interface FrameMarks {
  readonly checksumBlank: boolean
  /** 0 for a frame that is one segment. */
  readonly segmentSize: number
}

interface Ring {
  readonly shared: SharedPage
  readonly ring: FrontRing
  readonly port: EventPort
}

/** A queue. */
export class NicQueue {
  private readonly device: FrontendDevice
  private readonly transmit: Ring
  private readonly receive: Ring
  private readonly freePages: NicPage[]
  /** Pages under way by the identifier of their request, and identifiers that are free. */
  private readonly sending: (NicPage | undefined)[]
  private readonly freeIds: number[]
  /** Pages that are put up for receiving, by the identifier of their request. */
  private readonly receiving: (NicPage | undefined)[]
  /** The identifier of each request of the receive ring by its place there, where answers may be extra information, which leaves no room for it. */
  private readonly placed: Uint16Array | undefined
  private nextSlot = 0
  private readonly incoming: IncomingFrames
  /** Who waits for what became of a request that carried no frame, by its identifier. */
  private readonly awaited = new Map<number, (okay: boolean) => void>()

  /** Makes the rings. Throws OUT_OF_MEMORY and the like with nothing kept. */
  constructor(device: FrontendDevice, options: NicQueueOptions) {
    this.device = device
    this.freePages = options.freePages
    this.incoming = new IncomingFrames(options)
    const { transmit, receive } = makeRings(device, options)
    this.transmit = transmit
    this.receive = receive
    const none = (count: number): undefined[] => Array.from({ length: count }, () => undefined)
    this.sending = none(transmit.ring.entries)
    this.receiving = none(receive.ring.entries)
    this.freeIds = Array.from({ length: transmit.ring.entries }, (_, id) => id)
    this.placed = options.large ? new Uint16Array(receive.ring.entries) : undefined
  }

  /** Its nodes in XenStore. */
  get nodes(): Readonly<Record<string, string>> {
    const { transmit, receive } = this
    return {
      'tx-ring-ref': String(transmit.shared.ref), 'rx-ring-ref': String(receive.shared.ref),
      ...(transmit.port === receive.port
        ? { 'event-channel': String(transmit.port) }
        : { 'event-channel-tx': String(transmit.port), 'event-channel-rx': String(receive.port) }),
    }
  }

  /** Requests to send that could be under way beside those that are. */
  get room(): number {
    return this.freeIds.length
  }

  /** True where there is room for a frame with extra information. */
  get hasRoom(): boolean {
    return this.freeIds.length > 0 && this.transmit.ring.freeRequests() > 1
  }

  // Sending

  /** Puts a frame into the ring; false when there is no room, or no page. */
  queueFrame(frame: Uint8Array, marks: FrameMarks): boolean {
    const { ring } = this.transmit
    const extra = marks.segmentSize > 0 ? 1 : 0
    const slots = frame.length <= PAGE_SIZE ? 1 : Math.ceil(frame.length / PAGE_SIZE)
    if (this.freeIds.length < slots || ring.freeRequests() < slots + extra || !this.hasPages(slots)) return false
    const flags = (marks.checksumBlank ? NETTXF.csum_blank | NETTXF.data_validated : 0) | (extra > 0 ? NETTXF.extra_info : 0)
    if (slots === 1) {
      this.writeSlot(frame, flags, frame.length)
      if (extra > 0) this.writeSegments(frame, marks.segmentSize)
      return true
    }
    for (let slot = 0; slot < slots; slot += 1) {
      const part = frame.subarray(slot * PAGE_SIZE, (slot + 1) * PAGE_SIZE)
      // The first slot says how large the whole is.
      this.writeSlot(part, (slot === 0 ? flags : 0) | (slot + 1 < slots ? NETTXF.more_data : 0), slot === 0 ? frame.length : part.length)
      if (slot === 0 && extra > 0) this.writeSegments(frame, marks.segmentSize)
    }
    return true
  }

  /** Asks to join or to leave a group; `done` hears what became of it. False when there is no room. */
  queueGroup(group: Uint8Array, joins: boolean, done: (okay: boolean) => void): boolean {
    const { ring, shared: { page: { view } } } = this.transmit
    if (this.freeIds.length === 0 || ring.freeRequests() < 2 || !this.hasPages(1)) return false
    const id = this.writeSlot(group, NETTXF.extra_info, 0)
    this.awaited.set(id, done)
    const address = ring.nextRequest()
    NetifExtraInfo.type.set(view, address, joins ? NETIF_EXTRA_TYPE.MCAST_ADD : NETIF_EXTRA_TYPE.MCAST_DEL)
    NetifExtraInfo.flags.set(view, address, 0)
    NetifExtraInfo.mcastAddr.set(view, address, group)
    return true
  }

  private hasPages(count: number): boolean {
    return this.freePages.length >= count || this.freePages.length + this.device.kernel.frames.free >= count
  }

  private writeSlot(bytes: Uint8Array, flags: number, size: number): number {
    const page = this.freePages.pop() ?? this.newPage()
    const { shared } = page
    const id = this.freeIds.pop()!
    const address = this.transmit.ring.nextRequest()
    const { view } = this.transmit.shared.page
    shared.page.bytes.set(bytes)
    this.sending[id] = page
    NetifTxRequest.gref.set(view, address, shared.ref)
    NetifTxRequest.offset.set(view, address, 0)
    NetifTxRequest.flags.set(view, address, flags)
    NetifTxRequest.id.set(view, address, id)
    NetifTxRequest.packetSize.set(view, address, size)
    return id
  }

  private writeSegments(frame: Uint8Array, segmentSize: number): void {
    const { ring, shared: { page: { view } } } = this.transmit
    const address = ring.nextRequest()
    NetifExtraInfo.type.set(view, address, NETIF_EXTRA_TYPE.GSO)
    NetifExtraInfo.flags.set(view, address, 0)
    NetifExtraInfo.gsoSize.set(view, address, segmentSize)
    NetifExtraInfo.gsoType.set(view, address, isIpv6(frame) ? NETIF_GSO_TYPE.TCPV6 : NETIF_GSO_TYPE.TCPV4)
    NetifExtraInfo.gsoFeatures.set(view, address, 0)
  }

  private newPage(): NicPage {
    const shared = sharePage(this.device.kernel, this.device.otherEnd)
    return { shared, head: shared.page.bytes }
  }

  /** Tells the back-end of what has been put into the ring. */
  kick(): void {
    if (this.transmit.ring.pushRequestsAndCheckNotify()) this.device.kernel.events.notify(this.transmit.port)
  }

  // Answers

  /** Takes what the back-end has answered; false when it broke the rules. */
  take(): boolean {
    return this.reap() && this.takeFrames()
  }

  /** Takes the pages of sent frames back. */
  private reap(): boolean {
    const { ring, shared: { page: { view } } } = this.transmit
    do {
      for (let address = ring.takeResponse(); address !== NO_ENTRY; address = ring.takeResponse()) {
        const status = NetifTxResponse.status.get(view, address)
        if (status === NETIF_RSP.NULL) continue
        const id = NetifTxResponse.id.get(view, address)
        const page = this.sending[id]
        if (page === undefined) return false
        this.sending[id] = undefined
        this.freeIds.push(id)
        this.freePages.push(page)
        if (this.awaited.size > 0) this.tell(id, status === NETIF_RSP.OKAY)
      }
    } while (ring.finalCheckForResponses())
    return !ring.broken
  }

  private tell(id: number, okay: boolean): void {
    const done = this.awaited.get(id)
    this.awaited.delete(id)
    done?.(okay)
  }

  /** Takes received frames. */
  private takeFrames(): boolean {
    const { ring, shared: { page: { view, base } } } = this.receive
    const { incoming } = this
    do {
      for (let address = ring.takeResponse(); address !== NO_ENTRY; address = ring.takeResponse()) {
        const isExtra = incoming.awaitsExtra
        const slot = isExtra ? this.placed![(address - base - ENTRIES_AT) / RX_ENTRY]! : NetifRxResponse.id.get(view, address)
        const page = this.receiving[slot]
        if (page === undefined) return false
        this.receiving[slot] = undefined
        const okay = isExtra ? incoming.takeExtra(view, address) : incoming.take(page, view, address)
        this.freePages.push(page)
        if (!okay) return false
      }
    } while (ring.finalCheckForResponses())
    return !ring.broken
  }

  /** Puts up pages for receiving, `most` of them, until the ring is full or the guest has no more to spare; how many. */
  putUp(most: number): number {
    const { kernel } = this.device
    const { ring, shared: { page: { view, base } }, port } = this.receive
    let count = 0
    while (count < most && ring.freeRequests() > 0 && (this.freePages.length > 0 || kernel.frames.free > RESERVE)) {
      const page = this.freePages.pop() ?? this.newPage()
      const slot = this.freeSlot(ring.entries)
      const address = ring.nextRequest()
      NetifRxRequest.id.set(view, address, slot)
      NetifRxRequest.gref.set(view, address, page.shared.ref)
      if (this.placed !== undefined) this.placed[(address - base - ENTRIES_AT) / RX_ENTRY] = slot
      this.receiving[slot] = page
      count += 1
    }
    if (count > 0 && ring.pushRequestsAndCheckNotify()) kernel.events.notify(port)
    return count
  }

  /** An identifier that is not in use; they go round as the ring does. */
  private freeSlot(entries: number): number {
    while (this.receiving[this.nextSlot] !== undefined) this.nextSlot = (this.nextSlot + 1) & (entries - 1)
    return this.nextSlot
  }

  /** Lets the rings go, and all pages that are in them. */
  release(): void {
    const { transmit, receive, device: { kernel } } = this
    kernel.events.close(transmit.port)
    if (receive.port !== transmit.port) kernel.events.close(receive.port)
    for (const page of [...this.sending.splice(0), ...this.receiving.splice(0)]) page?.shared.release()
    this.incoming.forget()
    transmit.shared.release()
    receive.shared.release()
    for (const id of [...this.awaited.keys()]) this.tell(id, false)
  }
}

function makeRings({ kernel, otherEnd }: FrontendDevice, { split, onEvent }: NicQueueOptions): { readonly transmit: Ring; readonly receive: Ring } {
  const undo: (() => void)[] = []
  const open = (): EventPort => {
    const port = kernel.events.allocateUnbound(kernel.domid, otherEnd, onEvent)
    undo.push(() => kernel.events.close(port))
    return port
  }
  const make = (entrySize: number, port: EventPort): Ring => {
    const shared = sharePage(kernel, otherEnd)
    undo.push(() => shared.release())
    return { shared, port, ring: FrontRing.create({ view: shared.page.view, base: shared.page.base, entrySize }) }
  }
  try {
    const transmitPort = open()
    const receivePort = split ? open() : transmitPort
    return { transmit: make(TX_ENTRY, transmitPort), receive: make(RX_ENTRY, receivePort) }
  } catch (error) {
    for (const step of undo.reverse()) step()
    throw error
  }
}
