/**
 * Packets of GDB's remote serial protocol, out of bytes and into bytes. A packet is text of which each character is a byte; what it means is
 * for the session. Bytes come from a stranger: what is no packet is dropped, what is too long or damaged is asked for again.
 * Reference: GDB manual, Overview and Packet Acknowledgment of the Remote Protocol.
 */

/** What stands in a stream of bytes. */
export type Incoming =
  | { readonly type: 'packet'; readonly text: string }
  /** Ctrl-C. */
  | { readonly type: 'interrupt' }
  | { readonly type: 'acknowledged' }
  /** The other end wants the last packet again. */
  | { readonly type: 'again' }
  /** A packet that is not what was sent, or longer than any. */
  | { readonly type: 'damaged' }

/** Characters of a packet at most, as `qSupported` tells. */
export const PACKET_SIZE = 0x4000

const CODE = { packet: 0x24, end: 0x23, escape: 0x7d, interrupt: 0x03, plus: 0x2b, minus: 0x2d } as const
/** What an escaped character is changed by. */
const ESCAPED = 0x20
/** Characters that a packet cannot have as they stand. */
const SPECIAL = new Set([CODE.packet, CODE.end, CODE.escape, 0x2a])

const sumOf = (text: string): number => {
  let sum = 0
  for (let i = 0; i < text.length; i += 1) sum += text.charCodeAt(i)
  return sum & 0xff
}

/** A byte as two digits. */
export const hexByte = (value: number): string => (value & 0xff).toString(16).padStart(2, '0')

/** Bytes as digits. */
export const hexOf = (bytes: Uint8Array): string => Array.from(bytes, hexByte).join('')

/** Digits as bytes; undefined for what is no list of bytes. */
export function bytesOf(hex: string): Uint8Array | undefined {
  if (hex.length % 2 !== 0 || /[^0-9a-fA-F]/.test(hex)) return undefined
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16))
}

/** The characters that bytes of a text are sent as. */
export const hexOfText = (text: string): string => hexOf(new TextEncoder().encode(text))

/** A packet around a text. Characters that cannot stand in one are escaped. */
export function packet(text: string): Uint8Array {
  let body = ''
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i)
    body += SPECIAL.has(code) ? String.fromCharCode(CODE.escape, code ^ ESCAPED) : text[i]!
  }
  return Uint8Array.from(`$${body}#${hexByte(sumOf(body))}`, (character) => character.charCodeAt(0))
}

/** Finds packets in pieces of bytes, however they are cut. */
export class PacketReader {
  /** Characters behind `$` so far; undefined between packets. */
  private body: string | undefined
  /** Digits of the sum so far, behind `#`. */
  private sum: string | undefined
  private isTooLong = false

  /** What ends within these bytes. */
  take(bytes: Uint8Array): Incoming[] {
    const found: Incoming[] = []
    for (const byte of bytes) {
      const one = this.sum !== undefined ? this.inSum(byte) : this.body !== undefined ? this.inBody(byte) : this.between(byte)
      if (one !== undefined) found.push(one)
    }
    return found
  }

  private between(byte: number): Incoming | undefined {
    switch (byte) {
      case CODE.packet:
        this.body = ''
        this.isTooLong = false
        return undefined
      case CODE.interrupt: return { type: 'interrupt' }
      case CODE.plus: return { type: 'acknowledged' }
      case CODE.minus: return { type: 'again' }
      default: return undefined
    }
  }

  private inBody(byte: number): undefined {
    if (byte === CODE.end) this.sum = ''
    // A packet never has one within: its beginning was cut.
    else if (byte === CODE.packet) this.body = ''
    else if (this.body!.length < PACKET_SIZE) this.body += String.fromCharCode(byte)
    else this.isTooLong = true
  }

  private inSum(byte: number): Incoming | undefined {
    this.sum += String.fromCharCode(byte)
    if (this.sum!.length < 2) return undefined
    const [body, sum] = [this.body!, this.sum!]
    this.body = undefined
    this.sum = undefined
    if (this.isTooLong || !/^[0-9a-fA-F]{2}$/.test(sum) || Number.parseInt(sum, 16) !== sumOf(body)) return { type: 'damaged' }
    return { type: 'packet', text: body.replace(/\}([^])/g, (_all, character: string) => String.fromCharCode(character.charCodeAt(0) ^ ESCAPED)) }
  }
}
