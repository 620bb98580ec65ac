/**
 * TCP in Ethernet frames as the RFCs write them, for tests of what the drivers make of it: frames that are built, and a look at whether a frame is right. Written from
 * RFC 791, 1071, 8200 and 9293 and from nothing of the library: a checksum is the remainder of the whole number that the bytes are, modulo 2^16 - 1.
 */

/** What a frame is built of. */
export interface TcpFrame {
  readonly version?: 4 | 6
  /** Between the Ethernet header and IP's. */
  readonly isTagged?: boolean
  /** Bytes of options behind the TCP header, a multiple of four. */
  readonly options?: number
  readonly sequence?: number
  readonly flags?: number
  readonly ports?: readonly [number, number]
  readonly data: Uint8Array
  readonly to?: readonly number[]
  readonly from?: readonly number[]
}

const be16 = (value: number): readonly number[] => [value >>> 8 & 0xff, value & 0xff]
const be32 = (value: number): readonly number[] => [...be16(value >>> 16), ...be16(value & 0xffff)]

/** The remainder of some bytes, as a number of 16-bit digits, modulo 65,535. */
function remainder(bytes: ArrayLike<number>): number {
  let rest = 0
  for (let at = 0; at < bytes.length; at += 1) rest = (rest + bytes[at]! * (at % 2 === 0 ? 256 : 1)) % 0xffff
  return rest
}

const checksum = (bytes: ArrayLike<number>): number => 0xffff - remainder(bytes)

const ADDRESSES = { 4: [10, 0, 0, 1, 10, 0, 0, 2], 6: [...Array.from({ length: 15 }, (_, at) => (at === 0 ? 0xfd : 0)), 1, ...Array.from({ length: 15 }, (_, at) => (at === 0 ? 0xfd : 0)), 2] } as const

/** What TCP and UDP sum besides themselves. */
const pseudo = (addresses: readonly number[], protocol: number, length: number): readonly number[] => [...addresses, ...be32(length), 0, 0, 0, protocol]

/** Builds a frame whose checksum is blank: the sum of the pseudo-header stands in the field. */
export function blankTcp({ version = 4, isTagged = false, options = 0, sequence = 1000, flags = 0x18, ports = [4660, 80], data, to = [0, 0x16, 0x3e, 0, 0, 2], from = [0, 0x16, 0x3e, 0, 0, 1] }: TcpFrame): Uint8Array {
  const length = 20 + options + data.length
  const tcp = [...be16(ports[0]), ...be16(ports[1]), ...be32(sequence), ...be32(77), (20 + options) / 4 << 4, flags, ...be16(502), ...be16(remainder(pseudo(ADDRESSES[version], 6, length))), 0, 0]
  const head4 = [0x45, 0, ...be16(20 + length), 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, ...ADDRESSES[4]]
  head4.splice(10, 2, ...be16(checksum(head4)))
  const head = version === 4 ? head4 : [0x60, 0, 0, 0, ...be16(length), 6, 64, ...ADDRESSES[6]]
  return Uint8Array.from([...to, ...from, ...(isTagged ? [0x81, 0, 0, 5] : []), ...(version === 4 ? [8, 0] : [0x86, 0xdd]), ...head, ...tcp, ...new Uint8Array(options).fill(1), ...data])
}

/** A segment as it is read. */
export interface ReadSegment {
  readonly sequence: number
  readonly flags: number
  readonly id: number
  readonly data: Uint8Array
  /** Bytes behind the Ethernet header. */
  readonly size: number
  /** What is not as the RFCs have it. */
  readonly wrong: readonly string[]
}

/** Reads a frame with TCP. */
export function readTcp(frame: Uint8Array): ReadSegment {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  const ip = view.getUint16(12) === 0x8100 ? 18 : 14
  const isSix = view.getUint16(ip - 2) === 0x86dd
  const tcp = ip + (isSix ? 40 : (frame[ip]! & 15) * 4)
  const end = isSix ? tcp + view.getUint16(ip + 4) : ip + view.getUint16(ip + 2)
  const addresses = isSix ? frame.subarray(ip + 8, ip + 40) : frame.subarray(ip + 12, ip + 20)
  const data = tcp + (frame[tcp + 12]! >> 4) * 4
  const wrong = [
    ...(end === frame.length ? [] : [`the packet ends at ${end} of ${frame.length}`]),
    ...(isSix || remainder(frame.subarray(ip, tcp)) === 0 ? [] : ['the sum of the IP header']),
    ...(remainder([...pseudo([...addresses], 6, end - tcp), ...frame.subarray(tcp, end)]) === 0 ? [] : ['the sum of TCP']),
    ...((isSix ? frame[ip + 6] : frame[ip + 9]) === 6 ? [] : ['the protocol']),
  ]
  return { sequence: view.getUint32(tcp + 4), flags: frame[tcp + 13]!, id: isSix ? 0 : view.getUint16(ip + 4), data: frame.slice(data, end), size: frame.length - ip, wrong }
}
