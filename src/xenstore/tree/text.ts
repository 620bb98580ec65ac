/**
 * Between bytes and strings. Names and tokens are bytes that travel unchanged, one character each; values that a
 * caller gives or wants as text are UTF-8.
 *
 * hot path: a short run of ASCII is turned into a string without a decoder, which costs more to start than it does.
 */

const encoder = /* @__PURE__ */ new TextEncoder()
const decoder = /* @__PURE__ */ new TextDecoder()

const SHORT = 128

/** Bytes as characters 0 to 255. */
export function rawText(bytes: Uint8Array, start = 0, end = bytes.length): string {
  if (end - start <= SHORT) return shortText(bytes, start, end)
  let text = ''
  for (let at = start; at < end; at += SHORT) text += shortText(bytes, at, Math.min(end, at + SHORT))
  return text
}

const shortText = (bytes: Uint8Array, start: number, end: number): string =>
  String.fromCharCode.apply(null, bytes.subarray(start, end) as unknown as number[])

/**
 * A copy of some bytes, as a plain array also where a transport hands in a Buffer, whose own `slice` copies nothing.
 * For the few bytes of an ordinary value a loop is twice as fast as the built-in ways.
 */
export function copyOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const copy = new Uint8Array(end - start)
  if (end - start > SHORT) copy.set(bytes.subarray(start, end))
  else for (let i = start; i < end; i += 1) copy[i - start] = bytes[i]!
  return copy
}

/** Characters 0 to 255 as bytes, written into `target` from `at`; where they end. */
export function putRawText(text: string, target: Uint8Array, at: number): number {
  for (let i = 0; i < text.length; i += 1) target[at + i] = text.charCodeAt(i)
  return at + text.length
}

/** A value as text. */
export function decodeText(bytes: Uint8Array): string {
  if (bytes.length > SHORT) return decoder.decode(bytes)
  for (let i = 0; i < bytes.length; i += 1) if (bytes[i]! > 127) return decoder.decode(bytes)
  return shortText(bytes, 0, bytes.length)
}

/** Text, or bytes as they are, as a value. */
export function encodeText(value: string | Uint8Array): Uint8Array {
  if (typeof value !== 'string') return value.slice()
  const bytes = new Uint8Array(value.length)
  for (let i = 0; i < value.length; i += 1) {
    const code = value.charCodeAt(i)
    if (code > 127) return encoder.encode(value)
    bytes[i] = code
  }
  return bytes
}

/** Longest text whose bytes are kept for the next that says the same, and places for such. */
const COMMON = 16
const PLACES = 256

/** Short texts that were turned into bytes lately, one for each hash: a table of fixed size. */
const common = /* @__PURE__ */ new Array<{ readonly text: string; readonly bytes: Uint8Array } | undefined>(PLACES).fill(undefined)

/**
 * As {@link encodeText}, for values that nobody writes to: most nodes of a domain say what those of the others say (`1`, `online`, nothing),
 * and have their bytes in common.
 */
export function encodeCommonText(value: string | Uint8Array): Uint8Array {
  if (typeof value !== 'string' || value.length > COMMON) return encodeText(value)
  let hash = value.length
  for (let i = 0; i < value.length; i += 1) hash = Math.imul(hash ^ value.charCodeAt(i), 0x01000193)
  const place = (hash ^ (hash >>> 15)) & (PLACES - 1)
  const known = common[place]
  if (known?.text === value) return known.bytes
  const bytes = encodeText(value)
  common[place] = { text: value, bytes }
  return bytes
}
