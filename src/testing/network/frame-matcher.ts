/** Which frames are meant: a condition, or a few facts that a frame must have. */
import { decodePacket, packetText, type Packet } from '../../drivers/index.ts'
import { shown, XenError } from '../../util/index.ts'

/** Facts of a packet, of which those that are named must be so; `data` may be a text, or a pattern of one. */
export type PacketFacts = { readonly kind?: Packet['kind'] | undefined } & Readonly<Record<string, string | number | Uint8Array | RegExp | undefined>>

/** Which frames are meant. */
export type FrameMatcher = PacketFacts | ((packet: Packet, frame: Uint8Array) => boolean)

/** Every name that a packet of some kind has. */
const NAMES: ReadonlySet<string> = /* @__PURE__ */ new Set([
  'kind', 'destination', 'source', 'operation', 'senderMac', 'sender', 'targetMac', 'target', 'from', 'to', 'id', 'sequence', 'data', 'fromPort', 'toPort',
  'flags', 'acknowledged', 'window', 'mss', 'windowScale', 'code', 'quoted', 'type',
])

const decoder = /* @__PURE__ */ new TextDecoder()

function isSame(wanted: unknown, found: unknown): boolean {
  if (found instanceof Uint8Array && !(wanted instanceof Uint8Array)) return isSame(wanted, decoder.decode(found))
  if (wanted instanceof Uint8Array) return found instanceof Uint8Array && found.length === wanted.length && wanted.every((byte, at) => byte === found[at])
  return wanted instanceof RegExp ? typeof found === 'string' && new RegExp(wanted.source, wanted.flags.replace(/[gy]/g, '')).test(found) : wanted === found
}

/** A matcher as a condition. Throws INVALID_ARGUMENT for what is none, and for facts that no packet has. */
export function frameCondition(matcher: FrameMatcher): (frame: Uint8Array) => boolean {
  if (typeof matcher === 'function') return (frame) => matcher(decodePacket(frame), frame)
  if (typeof matcher !== 'object' || matcher === null) throw new XenError('INVALID_ARGUMENT', `frames are told by a condition or by facts, got ${shown(matcher)}`)
  const facts = Object.entries(matcher).filter(([, value]) => value !== undefined)
  const unknown = facts.find(([name]) => !NAMES.has(name))
  if (unknown !== undefined) throw new XenError('INVALID_ARGUMENT', `no frame has a fact ${unknown[0]}; there are ${[...NAMES].join(', ')}`, { details: { name: unknown[0] } })
  return (frame) => {
    const packet = decodePacket(frame) as unknown as Readonly<Record<string, unknown>>
    return facts.every(([name, value]) => isSame(value, packet[name]))
  }
}

/** A matcher in a sentence. */
export const matcherText = (matcher: FrameMatcher): string => (typeof matcher === 'function' ? 'a frame that a condition takes'
  : `a frame with ${Object.entries(matcher).filter(([, value]) => value !== undefined).map(([name, value]) => `${name} ${value instanceof RegExp ? String(value) : shown(value)}`).join(', ') || 'anything'}`)

/** Frames as lines, for people. */
export const framesText = (frames: readonly Uint8Array[]): string => frames.map((frame) => packetText(decodePacket(frame))).join('\n')
