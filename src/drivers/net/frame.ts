/**
 * Ethernet frames as the drivers pass them on: addresses, and the checksum that a sender may leave blank because the
 * frame never meets a wire. Whoever lets a frame out to where checksums count completes it first.
 *
 * Reference: public/io/netif.h, NETTXF_csum_blank; RFC 791, 793, 768, 8200.
 */

import type { Mfn } from '../../util/index.ts'

/** A frame on its way. The bytes are valid during the call that hands it over; whoever keeps them copies. */
export interface NetFrame {
  readonly bytes: Uint8Array
  /** The transport checksum holds only the pseudo-header's sum. */
  readonly checksumBlank: boolean
  /** The sender vouches for the content, so that the receiver need not check. */
  readonly validated: boolean
  /**
   * Bytes of payload of each segment that its TCP is still to be cut into: a frame of up to 64 KiB that stands for so many. Absent in a frame that is
   * one. Its checksum is blank.
   */
  readonly segmentSize?: number | undefined
  /** The own page, by its machine frame number, and the place in it where the bytes lie, if they do: they can be copied from there. */
  readonly place?: { readonly mfn: Mfn; readonly offset: number }
}

/** A frame with bytes of its own, as it must be when it outlives the batch that brought it. */
export function withOwnBytes({ bytes, checksumBlank, validated, segmentSize }: NetFrame): NetFrame {
  const own = { bytes: bytes.slice(), checksumBlank, validated }
  return segmentSize === undefined ? own : { ...own, segmentSize }
}

/** Bytes of an Ethernet header. */
export const ETHERNET_HEADER = 14

/** The address at `offset` as a number; 48 bits are exact. */
export const addressAt = (bytes: Uint8Array, offset: number): number =>
  (bytes[offset]! * 256 + bytes[offset + 1]!) * 0x1_0000_0000 +
  ((bytes[offset + 2]! << 24 | bytes[offset + 3]! << 16 | bytes[offset + 4]! << 8 | bytes[offset + 5]!) >>> 0)

/** True for a broadcast or multicast address: the lowest bit of its first byte is set. */
export const isGroupAddress = (bytes: Uint8Array, offset: number): boolean => (bytes[offset]! & 1) !== 0

/** Reads `00:16:3e:00:00:01`; undefined when it is no address. */
export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16))
}

/** Writes an address as `00:16:3e:00:00:01`. */
export const formatMac = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':')

/** Number of TCP among the protocols of IP. */
export const TCP = 6
const UDP = 17

/** Where the parts of a frame lie. */
export interface Transport {
  /** Where the IP header begins. */
  readonly network: number
  /** Where the transport header begins. */
  readonly at: number
  /** Where the packet ends; padding may stand behind it. */
  readonly end: number
  readonly protocol: number
}

/** Where a frame's IP header begins; one VLAN tag is looked through. */
export const networkOf = (bytes: Uint8Array): number => (bytes[12] === 0x81 && bytes[13] === 0 ? 18 : 14)

const word = (bytes: Uint8Array, at: number): number => bytes[at]! << 8 | bytes[at + 1]!

/** Where a frame's transport header lies, where the packet ends, and its protocol; undefined for what has none, is cut, or is a fragment. */
export function transportOf(bytes: Uint8Array): Transport | undefined {
  const network = networkOf(bytes)
  const type = word(bytes, network - 2)
  if (type === 0x0800 && bytes.length >= network + 20) {
    const length = (bytes[network]! & 15) * 4
    const at = network + length
    // Of a fragment, the first one too, nobody can sum the packet.
    if (length < 20 || at > bytes.length || (word(bytes, network + 6) & 0x3fff) !== 0) return undefined
    return { network, at, end: endOf(bytes, at, network + word(bytes, network + 2)), protocol: bytes[network + 9]! }
  }
  return type === 0x86dd && bytes.length >= network + 40 ? ipv6Transport(bytes, network) : undefined
}

/** The same behind an IPv6 header and those that may stand between: for each hop, for the destination, for routing. */
function ipv6Transport(bytes: Uint8Array, network: number): Transport | undefined {
  let at = network + 40
  let protocol = bytes[network + 6]!
  const end = endOf(bytes, at, at + word(bytes, network + 4))
  while (protocol === 0 || protocol === 60 || protocol === 43) {
    if (at + 8 > end) return undefined
    protocol = bytes[at]!
    at += 8 + bytes[at + 1]! * 8
  }
  return protocol === 44 || at > end ? undefined : { network, at, end, protocol }
}

/** The end that a header tells of, or the frame's where that cannot be. */
const endOf = (bytes: Uint8Array, at: number, told: number): number => (told > at && told <= bytes.length ? told : bytes.length)

/** True for an IPv6 frame, VLAN tag or not. */
export const isIpv6 = (bytes: Uint8Array): boolean => word(bytes, networkOf(bytes) - 2) === 0x86dd

/** The Internet checksum of some bytes, with a sum to begin with: 0 where theirs is among them and right. */
export function internetChecksum(bytes: Uint8Array, from: number, end: number, begin = 0): number {
  let sum = begin
  for (let at = from; at + 1 < end; at += 2) sum += bytes[at]! << 8 | bytes[at + 1]!
  if ((end - from) % 2 === 1) sum += bytes[end - 1]! << 8
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}

/** Where the checksum of a frame with TCP or UDP stands; undefined where there is none to complete. */
function checksumField(bytes: Uint8Array, transport = transportOf(bytes)): number | undefined {
  if (transport === undefined) return undefined
  const { at, end, protocol } = transport
  const field = protocol === TCP ? at + 16 : protocol === UDP ? at + 6 : end
  return field + 2 > end ? undefined : field
}

/** True where a checksum can be blank: the frame has whole headers of TCP or UDP. */
export const hasChecksumField = (bytes: Uint8Array): boolean => checksumField(bytes) !== undefined

/**
 * Completes a blank transport checksum in place: sums the packet from the transport header on, the pseudo-header's sum
 * that stands in the field included. False when the frame has no TCP or UDP header to complete.
 */
export function completeChecksum(bytes: Uint8Array): boolean {
  const transport = transportOf(bytes)
  const field = checksumField(bytes, transport)
  if (transport === undefined || field === undefined) return false
  const { at, end, protocol } = transport
  const sum = internetChecksum(bytes, at, end)
  // A UDP checksum of zero would mean that there is none.
  const checksum = sum === 0 && protocol === UDP ? 0xffff : sum
  bytes[field] = checksum >>> 8
  bytes[field + 1] = checksum & 0xff
  return true
}
