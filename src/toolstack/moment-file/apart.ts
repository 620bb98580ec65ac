/**
 * Bytes that a file of a moment leaves out, because whoever reads it has them: kernels and ramdisks, which are packed already. The
 * file names them by SHA-256 and length.
 */
import { shape, XenError, type StateOf } from '../../util/index.ts'

/** Bytes that are left out, by their name. */
export const apartShape = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
  sha256: /* @__PURE__ */ shape.array(Uint8Array, 32), length: shape.word,
}), 1024)
/** Names of what is left out, in the order in which the file's rows count them. */
export type ApartNames = StateOf<typeof apartShape>

/** Bytes whose SHA-256 somebody knows already, and which nobody changes. */
export interface KnownBytes {
  readonly bytes: Uint8Array
  /** 32 bytes. */
  readonly sha256: Uint8Array
}

// The DOM's types want a narrower kind of bytes.
const sha256 = async (bytes: Uint8Array): Promise<Uint8Array> => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>))

/** Bytes with their SHA-256, for whoever needs it more than once. */
export const knowBytes = async (bytes: Uint8Array): Promise<KnownBytes> => ({ bytes, sha256: await sha256(bytes) })

/** The names of bytes. */
export const namesOfApart = (apart: readonly Uint8Array[]): Promise<ApartNames> =>
  Promise.all(apart.map(async (bytes) => ({ sha256: await sha256(bytes), length: bytes.length })))

/** True for two runs of the same bytes. */
export function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false
  for (let i = 0; i < one.length; i += 1) if (one[i] !== other[i]) return false
  return true
}

/** The bytes that names stand for, among those that are given. Rejects with NOT_SUPPORTED, naming what is missing. */
export async function findApart(names: ApartNames, given: readonly (Uint8Array | KnownBytes)[]): Promise<readonly Uint8Array[]> {
  const candidates = given.filter((each) => names.some(({ length }) => length === ('bytes' in each ? each.bytes : each).length))
  const known = await Promise.all(candidates.map((each) => ('bytes' in each ? each : knowBytes(each.slice()))))
  return names.map((name) => {
    const found = known.find((each) => each.bytes.length === name.length && sameBytes(each.sha256, name.sha256))
    if (found !== undefined) return found.bytes
    const digest = [...name.sha256].map((byte) => byte.toString(16).padStart(2, '0')).join('')
    throw new XenError('NOT_SUPPORTED', `the file leaves out ${name.length} bytes: give them as apart (SHA-256 ${digest})`, { details: { sha256: digest, length: name.length } })
  })
}
