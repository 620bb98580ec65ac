/** Answers to ARP requests and to ICMP echo requests over IPv4, and a guest in TypeScript that gives them. */
import { NetFrontend } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'

const word = (bytes: Uint8Array, at: number): number => bytes[at]! << 8 | bytes[at + 1]!

const same = (bytes: Uint8Array, at: number, address: readonly number[]): boolean =>
  address.every((byte, index) => bytes[at + index] === byte)

/** The answer of the host with these addresses to a frame, or undefined when it is not asked. */
export function answerPing(frame: Uint8Array, mac: Uint8Array, address: readonly number[]): Uint8Array | undefined {
  const answer = frame.slice()
  answer.set(frame.subarray(6, 12))
  answer.set(mac, 6)
  const isArpRequest = word(frame, 12) === 0x0806 && word(frame, 20) === 1
  if (isArpRequest && same(frame, 38, address)) {
    answer[21] = 2
    answer.set(mac, 22)
    answer.set(address, 28)
    answer.set(frame.subarray(22, 32), 32)
    return answer
  }
  const isEcho = word(frame, 12) === 0x0800 && frame[14] === 0x45 && frame[23] === 1 && frame[34] === 8
  if (!isEcho || !same(frame, 30, address)) return undefined
  answer.set(frame.subarray(30, 34), 26)
  answer.set(frame.subarray(26, 30), 30)
  answer[34] = 0
  answer[36] = answer[37] = 0
  let sum = 0
  for (let at = 34; at < answer.length; at += 2) sum += answer[at]! << 8 | (answer[at + 1] ?? 0)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  answer[36] = (~sum >>> 8) & 0xff
  answer[37] = ~sum & 0xff
  return answer
}

/** A guest with this IPv4 address on its first interface that answers whoever pings it. */
export const pingResponder = (address: readonly number[]): GuestProgram => async (kernel) => {
  const nics = new NetFrontend()
  await new FrontendBus(kernel).register(nics)
  const nic = await nics.nic(0)
  nic.onFrame((frame) => {
    const answer = answerPing(frame, nic.mac, address)
    if (answer !== undefined) nic.send(answer)
  })
}
