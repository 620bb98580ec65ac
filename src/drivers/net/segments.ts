/**
 * Large TCP frames: what a sender that leaves the cutting to others hands over, and how it is cut into the segments that it stands for, each a frame
 * of its own with headers and checksums that are right wherever it goes.
 *
 * A sender's word is not taken for where headers lie, nor for how large a segment may be: it fits the network that it goes to.
 * Reference: public/io/netif.h, XEN_NETIF_EXTRA_TYPE_GSO; RFC 791, 8200, 9293, 3168 (CWR).
 */
import { internetChecksum, isIpv6, TCP, transportOf, type NetFrame } from './frame.ts'

/** Segments that one frame may stand for: with fewer than 64 bytes each a guest would make others handle more headers than data. */
export const MOST_SEGMENTS = 1024

/** Where the parts of a TCP packet lie in its frame. */
interface TcpLayout {
  readonly network: number
  readonly transport: number
  /** Where the data begin, and where they end. */
  readonly data: number
  readonly end: number
  readonly isIpv6: boolean
}

const FLAGS_AT = 13
const CHECKSUM_AT = 16
const SEQUENCE_AT = 4
/** Flags that only the last segment has, FIN and PSH, and the one that only the first has, CWR. */
const [LAST_FLAGS, FIRST_FLAGS] = [0x09, 0x80]

const word = (bytes: Uint8Array, at: number): number => bytes[at]! << 8 | bytes[at + 1]!

function putWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8
  bytes[at + 1] = value
}

function layoutOf(bytes: Uint8Array): TcpLayout | undefined {
  const found = transportOf(bytes)
  if (found === undefined || found.protocol !== TCP || found.at + 20 > found.end) return undefined
  const length = (bytes[found.at + 12]! >> 4) * 4
  const data = found.at + length
  return length < 20 || data > found.end ? undefined : { network: found.network, transport: found.at, data, end: found.end, isIpv6: isIpv6(bytes) }
}

/** The sum of the pseudo-header of a packet with this length from its TCP header on. */
function pseudoSum(bytes: Uint8Array, { network, isIpv6: six }: TcpLayout, length: number): number {
  const [from, end] = six ? [network + 8, network + 40] : [network + 12, network + 20]
  return ~internetChecksum(bytes, from, end, TCP + length) & 0xffff
}

/**
 * Makes a frame that is said to be cut into segments of `size` bytes ready for that, in place: its checksum becomes blank, whatever it was. False when it
 * cannot be cut: it is no whole TCP packet of that version of IP, or would be too many segments.
 */
export function prepareLarge(bytes: Uint8Array, { size, version }: { readonly size: number; readonly version: 4 | 6 }): boolean {
  const layout = layoutOf(bytes)
  if (layout === undefined || layout.isIpv6 !== (version === 6) || layout.end - layout.data > size * MOST_SEGMENTS) return false
  putWord(bytes, layout.transport + CHECKSUM_AT, pseudoSum(bytes, layout, layout.end - layout.transport))
  return true
}

/** The frames that a large one stands for, each with at most `mtu` bytes behind its Ethernet header; the frame itself where it is none that can be cut. */
export function cutSegments(frame: NetFrame, mtu: number): readonly NetFrame[] {
  const { bytes, segmentSize = 0 } = frame
  const layout = layoutOf(bytes)
  // Headers may leave no room in the smallest networks, of 68 bytes: they get frames that are too long rather than tens of thousands of them.
  const size = layout === undefined ? 0 : Math.min(segmentSize, Math.max(64, mtu - (layout.data - layout.network)))
  if (layout === undefined || size === 0) return [{ bytes, checksumBlank: frame.checksumBlank, validated: frame.validated }]
  const segments: NetFrame[] = []
  for (let from = layout.data; from === layout.data || from < layout.end; from += size) {
    segments.push({ bytes: segment(bytes, layout, { from, to: Math.min(from + size, layout.end), number: segments.length }), checksumBlank: false, validated: true })
  }
  return segments
}

/** One segment: the headers, made true for it, and its part of the data. */
function segment(bytes: Uint8Array, layout: TcpLayout, { from, to, number }: { readonly from: number; readonly to: number; readonly number: number }): Uint8Array {
  const { network, transport, data, end, isIpv6: six } = layout
  const cut = new Uint8Array(data + to - from)
  cut.set(bytes.subarray(0, data))
  cut.set(bytes.subarray(from, to), data)
  if (six) putWord(cut, network + 4, cut.length - network - 40)
  else {
    putWord(cut, network + 2, cut.length - network)
    putWord(cut, network + 4, (word(bytes, network + 4) + number) & 0xffff)
    putWord(cut, network + 10, 0)
    putWord(cut, network + 10, internetChecksum(cut, network, transport))
  }
  const view = new DataView(cut.buffer)
  view.setUint32(transport + SEQUENCE_AT, view.getUint32(transport + SEQUENCE_AT) + (from - data))
  if (to < end) cut[transport + FLAGS_AT]! &= ~LAST_FLAGS
  if (number > 0) cut[transport + FLAGS_AT]! &= ~FIRST_FLAGS
  putWord(cut, transport + CHECKSUM_AT, pseudoSum(cut, layout, cut.length - transport))
  putWord(cut, transport + CHECKSUM_AT, internetChecksum(cut, transport, cut.length))
  return cut
}
