/** A front-end's transmit ring that lies: what each lie is answered with, whether the ring goes on, and that nothing of it reaches the bridge. */
import { describe, expect, test } from 'vitest'
import { NETIF_EXTRA_TYPE, NETTXF, NetifTxRequest, NetifTxResponse, Sring } from '../../../../src/abi/index.ts'
import { Bridge, MulticastFilter, Staging, TransmitServer, noStatistics } from '../../../../src/drivers/index.ts'
import { FakeHypervisor } from '../../../../src/testing/index.ts'
import type { DomId } from '../../../../src/util/index.ts'
import { blankTcp } from '../../../support/tcp-frames.ts'

const OKAY = 0
const ERROR = -1
const NULL = 1
const { csum_blank: BLANK, data_validated: VALID, more_data: MORE, extra_info: EXTRA } = NETTXF

interface Slot {
  readonly flags?: number
  readonly size?: number
  readonly offset?: number
  /**
   * Which of the pages: 0 holds a TCP frame of 1,054 bytes over IPv4, 1 one over IPv6, 2 a UDP datagram, 3 ARP; in 4 the TCP header is said to have 60 bytes, in 5 that of
   * IP, in 6 the packet none; 9 is no grant at all.
   */
  readonly page?: number
}
/** Extra information: kind, flags, two bytes, one byte, as they stand. */
interface Extra {
  readonly extra: readonly [kind: number, flags: number, size: number, type: number]
}
const gso = (size: number, type = 1, flags = 0): Extra => ({ extra: [NETIF_EXTRA_TYPE.GSO, flags, size, type] })
const LENGTH = 1054

async function transmitting() {
  const hub = new FakeHypervisor(2048)
  const back = hub.createDomain(0, () => undefined, { pages: 256 })
  const front = hub.createDomain(1, () => undefined, { pages: 256 })
  await hub.settle()
  const page = (bytes: ArrayLike<number>): number => {
    const { bytes: place, frame } = front.kernel.frames.allocate()
    place.set(bytes)
    return front.kernel.grants.grant(0 as DomId, frame)
  }
  const changed = (at: number, ...values: readonly number[]): Uint8Array => {
    const frame = blankTcp({ data: new Uint8Array(1000) })
    frame.set(values, at)
    return frame
  }
  const refs = [changed(0), blankTcp({ version: 6, data: new Uint8Array(1000) }), changed(23, 17), Uint8Array.from({ length: LENGTH }, (_, at) => [0xff, 0, 8, 6][at < 6 ? 0 : at === 12 ? 2 : at === 13 ? 3 : 1]!), changed(46, 0xf0), changed(14, 0x4f), changed(16, 0, 0)].map(page)
  const ring = front.kernel.frames.allocate()
  Sring.reqEvent.set(hub.view, ring.base, 1)
  Sring.rspEvent.set(hub.view, ring.base, 1)
  const bridge = new Bridge({ now: () => 0 })
  const frames: number[] = []
  bridge.attach({ deliver: ({ bytes, segmentSize }) => { frames.push(segmentSize ?? bytes.length) }, flush: () => undefined, takesLarge: () => true })
  const statistics = noStatistics()
  const groups = new MulticastFilter()
  const services = { grants: back.kernel.hypercalls, domid: 1 as DomId, staging: new Staging(back.kernel), statistics }
  const server = new TransmitServer(services, ring.base, { link: bridge.attach({ deliver: () => undefined, flush: () => undefined }), groups, notify: () => undefined })
  let produced = 0
  const at = (index: number): number => ring.base + 64 + (index % 256) * NetifTxRequest.size
  const put = (slot: Slot | Extra): void => {
    const place = at(produced)
    hub.bytes.fill(0, place, place + NetifTxRequest.size)
    if ('extra' in slot) {
      const [kind, flags, size, type] = slot.extra
      hub.bytes.set([kind, flags, size & 0xff, size >> 8, type], place)
    } else {
      NetifTxRequest.gref.set(hub.view, place, refs[slot.page ?? 0] ?? 4000)
      NetifTxRequest.offset.set(hub.view, place, slot.offset ?? 0)
      NetifTxRequest.flags.set(hub.view, place, slot.flags ?? 0)
      NetifTxRequest.id.set(hub.view, place, produced)
      NetifTxRequest.packetSize.set(hub.view, place, slot.size ?? LENGTH)
    }
    produced += 1
  }
  /** Puts slots into the ring and says what came of them. */
  const send = (slots: readonly (Slot | Extra)[]): { readonly statuses: readonly number[]; readonly broken: boolean } => {
    const first = Sring.rspProd.get(hub.view, ring.base)
    slots.forEach(put)
    Sring.reqProd.set(hub.view, ring.base, produced)
    server.serve()
    const answered = Sring.rspProd.get(hub.view, ring.base)
    return { statuses: Array.from({ length: answered - first }, (_, index) => NetifTxResponse.status.get(hub.view, at(first + index))), broken: server.broken }
  }
  return { send, frames, statistics, groups, back }
}

/** What is offered and done rightly. */
const RIGHT: readonly (readonly [string, readonly (Slot | Extra)[], readonly number[], number])[] = [
  ['a frame', [{}], [OKAY], LENGTH],
  ['a blank checksum of TCP', [{ flags: BLANK | VALID }], [OKAY], LENGTH],
  ['a blank checksum of UDP', [{ flags: BLANK | VALID, page: 2 }], [OKAY], LENGTH],
  ['a large frame', [{ flags: BLANK | VALID | EXTRA }, gso(500)], [OKAY, NULL], 500],
  ['a large frame over IPv6', [{ flags: BLANK | VALID | EXTRA, page: 1, size: LENGTH + 20 }, gso(500, 2)], [OKAY, NULL], 500],
  ['a large frame in two slots', [{ flags: BLANK | VALID | EXTRA | MORE }, gso(100), { offset: 54, size: 1000 }], [OKAY, NULL, OKAY], 100],
  ['a large frame whose checksum is not blank', [{ flags: EXTRA }, gso(500)], [OKAY, NULL], 500],
  ['a hash beside it', [{ flags: BLANK | EXTRA }, gso(500, 1, 1), { extra: [NETIF_EXTRA_TYPE.HASH, 0, 0, 0] }], [OKAY, NULL, NULL], 500],
]

/** Lies about one frame: it is refused, and the ring goes on. */
const REFUSED: readonly (readonly [string, readonly (Slot | Extra)[], readonly number[]])[] = [
  ['a blank checksum of what has none', [{ flags: BLANK, page: 3 }], [ERROR]],
  ['a blank checksum of a frame cut in its TCP header', [{ flags: BLANK, size: 50 }], [ERROR]],
  ['a blank checksum of a frame that is its Ethernet header', [{ flags: BLANK, size: 14 }], [ERROR]],
  ['a large frame that is no TCP', [{ flags: BLANK | EXTRA, page: 2 }, gso(500)], [ERROR, NULL]],
  ['a large frame that is no IP', [{ flags: BLANK | EXTRA, page: 3 }, gso(500)], [ERROR, NULL]],
  ['a large frame of the other version of IP', [{ flags: BLANK | EXTRA, page: 1, size: LENGTH + 20 }, gso(500, 1)], [ERROR, NULL]],
  ['the same the other way round', [{ flags: BLANK | EXTRA }, gso(500, 2)], [ERROR, NULL]],
  ['a large frame cut in its TCP header', [{ flags: BLANK | EXTRA, size: 53 }, gso(500)], [ERROR, NULL]],
  ['a large frame whose TCP header is said to end beyond it', [{ flags: BLANK | EXTRA, size: 80, page: 4 }, gso(500)], [ERROR, NULL]],
  ['a large frame whose IP header is said to end beyond it', [{ flags: BLANK | EXTRA, size: 60, page: 5 }, gso(500)], [ERROR, NULL]],
  ['a blank checksum behind an IP header that is said to end beyond the frame', [{ flags: BLANK, size: 60, page: 5 }], [ERROR]],
  ['a large frame of no bytes', [{ flags: BLANK | EXTRA, size: 0 }, gso(500)], [ERROR, NULL]],
  ['a large frame in a page that nobody granted', [{ flags: BLANK | EXTRA, page: 9 }, gso(500)], [ERROR, NULL]],
  ['a large frame whose second slot is larger than the whole', [{ flags: BLANK | EXTRA | MORE }, gso(500), { size: 2000 }], [ERROR, NULL, ERROR]],
]

/** What no front-end does that knows the protocol: its ring is given up, as by Linux's netback. */
const BREAKING: readonly (readonly [string, readonly (Slot | Extra)[]])[] = [
  ['segments of no bytes', [{ flags: BLANK | EXTRA }, gso(0)]],
  ['segments of no kind', [{ flags: BLANK | EXTRA }, gso(500, 0)]],
  ['segments of a kind that does not exist', [{ flags: BLANK | EXTRA }, gso(500, 3)]],
  ['extra information of no kind', [{ flags: EXTRA }, { extra: [0, 0, 500, 1] }]],
  ['extra information of a kind that does not exist', [{ flags: EXTRA }, { extra: [NETIF_EXTRA_TYPE.MAX, 0, 500, 1] }]],
  ['extra information without end', [{ flags: EXTRA }, ...Array.from({ length: 20 }, () => gso(500, 1, 1))]],
  ['extra information that is not there', [{ flags: EXTRA }]],
  ['further slots that are not there', [{ flags: BLANK | EXTRA | MORE }, gso(500)]],
  ['a frame of 19 slots', [{ flags: MORE, size: 4000 }, ...Array.from({ length: 18 }, (_, at) => ({ flags: at < 17 ? MORE : 0, size: 100 }))]],
]

describe('a front-end', () => {
  test.each(RIGHT)('is served with %s', async (_, slots, statuses, arrives) => {
    const { send, frames, statistics } = await transmitting()
    expect(send(slots)).toEqual({ statuses, broken: false })
    expect([frames, statistics.framesIn, statistics.errors]).toEqual([[arrives], 1, 0])
  })

  test.each(REFUSED)('is refused %s, and the next frame is served', async (_, slots, statuses) => {
    const { send, frames, statistics } = await transmitting()
    expect(send([...slots, { size: 60 }])).toEqual({ statuses: [...statuses, OKAY], broken: false })
    expect([frames, statistics.framesIn, statistics.errors]).toEqual([[60], 1, 1])
  })

  test.each(BREAKING)('loses its ring by %s, and what came before has been served', async (_, slots) => {
    const { send, frames, back } = await transmitting()
    expect(send([{ size: 60 }, ...slots])).toEqual({ statuses: [OKAY], broken: true })
    expect(send([{ size: 61 }])).toEqual({ statuses: [], broken: true })
    expect([frames, back.crash]).toEqual([[60], undefined])
  })

  test('cannot have one frame cut into more pieces than would be worth it', async () => {
    const { send, frames } = await transmitting()
    const pages = Array.from({ length: 16 }, (_, at) => ({ flags: at < 15 ? MORE : 0, size: 3800 }))
    const frame = (size: number): (Slot | Extra)[] => [{ flags: BLANK | EXTRA | MORE, size: LENGTH + 16 * 3800, page: 6 }, gso(size), ...pages]
    // 61,800 bytes of data: at 60 in a segment they are 1,030 segments.
    expect(send(frame(60)).statuses[0]).toBe(ERROR)
    expect(send(frame(1460)).statuses[0]).toBe(OKAY)
    expect(frames).toEqual([1460])
  })

  test('joins and leaves groups by slots that carry no frame, 64 of them', async () => {
    const { send, frames, groups, statistics } = await transmitting()
    const group = (kind: number, last: number): (Slot | Extra)[] => [{ flags: EXTRA, size: 0, page: 9 }, { extra: [kind, 0, 0x0001 | last << 8, 0x5e] }]
    const { MCAST_ADD, MCAST_DEL } = NETIF_EXTRA_TYPE
    for (let last = 0; last < 64; last += 1) expect(send(group(MCAST_ADD, last)).statuses).toEqual([OKAY, NULL])
    expect(send(group(MCAST_ADD, 64))).toEqual({ statuses: [ERROR, NULL], broken: false })
    expect(send(group(MCAST_DEL, 99)).statuses).toEqual([OKAY, NULL])
    expect(send(group(MCAST_DEL, 3)).statuses).toEqual([OKAY, NULL])
    groups.isOn = true
    const to = (last: number): Uint8Array => Uint8Array.from([0x01, last, 0x5e, 0, 0, 0, ...new Uint8Array(60)])
    expect([2, 3, 4, 64].map((last) => groups.keepsOut(to(last)))).toEqual([false, true, false, true])
    expect([frames, statistics.framesIn, statistics.errors]).toEqual([[], 0, 1])
  })
})
