/**
 * The guest's transmit ring, served: takes frames slot by slot, checks every field of the copies, has the hypervisor
 * copy the bytes out of the guest's grants in batches, and hands the frames to a bridge.
 *
 * hot path: one hypercall for up to 64 slots. Reference: public/io/netif.h.
 */
import {
  GNTST, NETIF_EXTRA_FLAG, NETIF_RSP, NETTXF, NetifExtraInfo, NetifTxRequest, NetifTxResponse,
} from '../../abi/index.ts'
import type { GrantCopy, HypercallPort } from '../../guest/index.ts'
import { BackRing } from '../../rings/index.ts'
import type { DomId, GrantRef } from '../../util/index.ts'
import type { BridgeLink } from './bridge.ts'
import type { NetFrame } from './frame.ts'
import { ETHERNET_HEADER } from './frame.ts'
import { MAX_SLOTS, TX_ENTRY } from './protocol.ts'
import type { Staging } from './staging.ts'
import { TRANSMIT_PAGES } from './staging.ts'

const PAGE_SIZE = 4096

/** What an interface has carried. `in` is what the back-end took from the guest, `out` what it gave to it. */
export interface NetStatistics {
  framesIn: number
  bytesIn: number
  framesOut: number
  bytesOut: number
  /** Frames of the guest's that were malformed or could not be copied. */
  errors: number
  /** Frames for the guest that found no room. */
  dropped: number
}

/** What both rings of an interface are served with. */
export interface RingServices {
  readonly grants: Pick<HypercallPort, 'memory' | 'copyGrants'>
  readonly domain: DomId
  readonly staging: Staging
  readonly statistics: NetStatistics
}

interface Slot {
  readonly id: number
  readonly ref: number
  readonly offset: number
  size: number
}

/** A frame as the guest described it. */
interface Packet {
  readonly slots: Slot[]
  /** Slots of extra information, answered with NULL. */
  extras: number
  flags: number
  /** The description makes sense and asks for nothing that was not offered. */
  sound: boolean
  /** First of its staging pages. */
  page: number
}

/** Serves a transmit ring. */
export class TransmitServer {
  private readonly services: RingServices
  private readonly link: BridgeLink
  private readonly notify: () => void
  private readonly ring: BackRing
  private readonly copy = new Uint8Array(TX_ENTRY)
  private readonly view = new DataView(this.copy.buffer)
  /** The front-end announced a frame and did not give all of its slots. */
  private torn = false

  /** `base` is the byte offset of the ring's page. */
  constructor(services: RingServices, base: number, options: { readonly link: BridgeLink; notify(): void }) {
    this.services = services
    this.link = options.link
    this.notify = () => options.notify()
    this.ring = new BackRing({ view: services.grants.memory.view, base, entrySize: TX_ENTRY })
  }

  /** True when the front-end has broken the rules of the ring; nothing is served any more. */
  get broken(): boolean {
    return this.ring.broken || this.torn
  }

  /** Takes what is in the ring. */
  serve(): void {
    if (this.torn) return
    do {
      for (let batch = this.collect(); batch.length > 0; batch = this.collect()) this.carry(batch)
    } while (!this.torn && this.ring.finalCheckForRequests())
  }

  /** Takes as many frames as the staging pages hold. */
  private collect(): Packet[] {
    const packets: Packet[] = []
    let pages = 0
    while (pages <= TRANSMIT_PAGES - MAX_SLOTS) {
      const packet = this.takePacket()
      if (packet === undefined) break
      packet.page = pages
      if (packet.sound) pages += packet.slots.length
      packets.push(packet)
    }
    return packets
  }

  private takePacket(): Packet | undefined {
    if (this.torn || !this.ring.copyRequest(this.copy)) return undefined
    const packet: Packet = { slots: [], extras: 0, flags: 0, sound: true, page: 0 }
    const first = this.takeSlot(packet)
    packet.flags = NetifTxRequest.flags.get(this.view, 0)
    if ((packet.flags & NETTXF.extra_info) !== 0 && !this.takeExtras(packet)) return undefined
    let rest = 0
    for (let flags = packet.flags; (flags & NETTXF.more_data) !== 0; flags = NetifTxRequest.flags.get(this.view, 0)) {
      if (packet.slots.length >= MAX_SLOTS || !this.ring.copyRequest(this.copy)) return this.tear()
      rest += this.takeSlot(packet).size
    }
    const total = first.size
    // The first slot says how large the whole frame is; what the others do not hold is its own part.
    first.size = total - rest
    packet.sound &&= total >= ETHERNET_HEADER && packet.slots.every(
      ({ offset, size }) => size > 0 && offset + size <= PAGE_SIZE,
    )
    return packet
  }

  private takeSlot(packet: Packet): Slot {
    const { view } = this
    const slot = {
      id: NetifTxRequest.id.get(view, 0), ref: NetifTxRequest.gref.get(view, 0),
      offset: NetifTxRequest.offset.get(view, 0), size: NetifTxRequest.packetSize.get(view, 0),
    }
    packet.slots.push(slot)
    return slot
  }

  /** Takes slots of extra information. None was offered, so a frame that needs one is not carried. */
  private takeExtras(packet: Packet): boolean {
    packet.sound = false
    let more = true
    while (more) {
      if (packet.extras >= MAX_SLOTS || !this.ring.copyRequest(this.copy)) return this.tear() !== undefined
      packet.extras += 1
      more = (NetifExtraInfo.flags.get(this.view, 0) & NETIF_EXTRA_FLAG.MORE) !== 0
    }
    return true
  }

  private tear(): undefined {
    this.torn = true
  }

  /** Copies a batch out of the guest, hands it to the bridge, and answers. */
  private carry(packets: readonly Packet[]): void {
    const copies: GrantCopy[] = []
    for (const packet of packets) if (packet.sound) this.plan(packet, copies)
    const statuses = copies.length === 0 ? [] : this.services.grants.copyGrants(copies)
    let next = 0
    for (const packet of packets) {
      let okay = packet.sound
      if (packet.sound) for (const _slot of packet.slots) okay = statuses[next++] === GNTST.okay && okay
      if (okay) this.hand(packet)
      else this.services.statistics.errors += 1
      this.answer(packet, okay ? NETIF_RSP.OKAY : NETIF_RSP.ERROR)
    }
    this.link.flush()
    if (this.ring.pushResponsesAndCheckNotify()) this.notify()
  }

  private plan(packet: Packet, copies: GrantCopy[]): void {
    const { domain, staging } = this.services
    packet.slots.forEach(({ ref, offset, size }, index) => {
      const { frame } = staging.transmit[packet.page + index]!
      copies.push({
        source: { domain, ref: ref as GrantRef, offset }, destination: { frame, offset: 0 }, length: size,
      })
    })
  }

  private hand({ slots, page, flags }: Packet): void {
    const { staging, statistics } = this.services
    const first = staging.transmit[page]!
    const checksumBlank = (flags & NETTXF.csum_blank) !== 0
    const marks = { checksumBlank, validated: checksumBlank || (flags & NETTXF.data_validated) !== 0 }
    const frame: NetFrame = slots.length === 1
      ? { bytes: first.bytes.subarray(0, slots[0]!.size), ...marks, place: { frame: first.frame, offset: 0 } }
      : { bytes: this.join(slots, page), ...marks }
    statistics.framesIn += 1
    statistics.bytesIn += frame.bytes.length
    this.link.send(frame)
  }

  private join(slots: readonly Slot[], page: number): Uint8Array {
    const bytes = new Uint8Array(slots.reduce((sum, { size }) => sum + size, 0))
    let place = 0
    slots.forEach(({ size }, index) => {
      bytes.set(this.services.staging.transmit[page + index]!.bytes.subarray(0, size), place)
      place += size
    })
    return bytes
  }

  /** Answers every slot of a frame, extra information after the first as it stood in the ring. */
  private answer({ slots, extras }: Packet, status: number): void {
    slots.forEach(({ id }, index) => {
      this.respond(id, status)
      if (index === 0) for (let extra = 0; extra < extras; extra += 1) this.respond(0, NETIF_RSP.NULL)
    })
  }

  private respond(id: number, status: number): void {
    const { view } = this.services.grants.memory
    const address = this.ring.nextResponse()
    if (address < 0) return
    NetifTxResponse.id.set(view, address, id)
    NetifTxResponse.status.set(view, address, status)
  }
}
