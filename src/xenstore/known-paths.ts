/**
 * Paths taken apart, and kept for the next time: clients name the same few nodes again and again. A table of fixed
 * size holds the last path of each hash, found by bytes or by text; what it forgets is taken apart anew. Long paths
 * are not kept, so that nobody can make it large.
 *
 * hot path: every message names a path, and every look into the tree goes along its names. Measured on reading and
 * writing nodes six levels deep: a third of a server's time for a message went into this without the table.
 */
import { rawText } from './text.ts'

/** Entries of the table, a power of two. */
const SLOTS = 4096
/** Longest path that is kept. */
const LONGEST = 128
const SLASH = 0x2f

/** Characters that a node name may have: letters, digits, and - / _ @ */
const VALID: readonly boolean[] = /* @__PURE__ */ Array.from({ length: 128 }, (_, code) =>
  /[A-Za-z0-9\-/_@]/.test(String.fromCharCode(code)))

const NO_NAMES: readonly string[] = []

/** A path and its components. */
class KnownPath {
  readonly text: string
  /** Its components if it is well-formed; of a special or a relative path nothing but that is known. */
  readonly names: readonly string[] | undefined
  private above: string | undefined

  constructor(text: string) {
    this.text = text
    this.names = isWellFormed(text) ? componentsOf(text) : undefined
    this.above = undefined
  }

  /** The node above; the root for a name at the top and for special names. */
  get parent(): string {
    if (this.above === undefined) {
      const slash = this.text.lastIndexOf('/')
      this.above = slash > 0 ? knownPath(this.text.slice(0, slash)).text : '/'
    }
    return this.above
  }
}

/** Valid characters, no empty component, no slash at the end. */
function isWellFormed(path: string): boolean {
  let previous = 0
  for (let i = 0; i < path.length; i += 1) {
    const code = path.charCodeAt(i)
    if (VALID[code] !== true || (code === SLASH && previous === SLASH)) return false
    previous = code
  }
  return previous !== SLASH || path.length === 1
}

/** Names are shared with the path above: the same string is found to be equal without a look at its characters. */
function componentsOf(path: string): readonly string[] {
  if (path.length === 1 || path.charCodeAt(0) !== SLASH) return NO_NAMES
  const slash = path.lastIndexOf('/')
  if (slash === 0 || path.length > LONGEST) return path.slice(1).split('/')
  return [...knownPath(path.slice(0, slash)).names!, path.slice(slash + 1)]
}

const table = /* @__PURE__ */ new Array<KnownPath | undefined>(SLOTS).fill(undefined)
/** The path at hand, which is asked about several times. */
let last: KnownPath | undefined

const PRIME = 0x01000193
const slotOf = (hash: number): number => (hash ^ (hash >>> 15)) & (SLOTS - 1)

function knownPath(path: string): KnownPath {
  if (last !== undefined && last.text === path) return last
  if (path.length > LONGEST) return (last = new KnownPath(path))
  let hash = 0
  for (let i = 0; i < path.length; i += 1) hash = Math.imul(hash ^ path.charCodeAt(i), PRIME)
  const slot = slotOf(hash)
  const known = table[slot]
  return (last = known !== undefined && known.text === path ? known : (table[slot] = new KnownPath(path)))
}

function isSame(text: string, bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < text.length; i += 1) if (text.charCodeAt(i) !== bytes[start + i]) return false
  return true
}

/** The path that bytes spell, one character each. */
export function pathOfBytes(bytes: Uint8Array, start: number, end: number): string {
  const length = end - start
  if (length > LONGEST) return rawText(bytes, start, end)
  let hash = 0
  for (let i = start; i < end; i += 1) hash = Math.imul(hash ^ bytes[i]!, PRIME)
  const slot = slotOf(hash)
  let known = table[slot]
  if (known === undefined || known.text.length !== length || !isSame(known.text, bytes, start)) {
    known = new KnownPath(rawText(bytes, start, end))
    table[slot] = known
  }
  last = known
  return known.text
}

/** The components of a path; undefined when it is not well-formed. A relative or special path shows none. */
export const pathNames = (path: string): readonly string[] | undefined => knownPath(path).names

/** The node above; the root for a name at the top and for special names. */
export const parentPath = (path: string): string => knownPath(path).parent
