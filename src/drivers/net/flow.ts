/** Which of several queues a frame to a guest goes by: frames of one flow keep their order, so they take the same. Reference: public/io/netif.h, "Mapping of packets to queues". */
import { isIpv6, networkOf, transportOf } from './frame.ts'

const [PRIME, BASIS] = [0x0100_0193, 0x811c_9dc5]

function mix(hash: number, bytes: Uint8Array, { from, end }: { readonly from: number; readonly end: number }): number {
  let mixed = hash
  for (let at = from; at < end; at += 1) mixed = Math.imul(mixed ^ bytes[at]!, PRIME)
  return mixed
}

/** A number from 0 to `queues - 1`: by addresses and ports, by Ethernet addresses where there are none. */
export function queueOf(bytes: Uint8Array, queues: number): number {
  const transport = transportOf(bytes)
  const network = networkOf(bytes)
  let hash = transport === undefined ? mix(BASIS, bytes, { from: 0, end: 12 }) : mix(BASIS, bytes, isIpv6(bytes) ? { from: network + 8, end: network + 40 } : { from: network + 12, end: network + 20 })
  if (transport !== undefined) hash = mix(hash, bytes, { from: transport.at, end: Math.min(transport.at + 4, transport.end) })
  // The lowest bits are the least mixed.
  return ((hash ^ hash >>> 15) >>> 0) % queues
}
