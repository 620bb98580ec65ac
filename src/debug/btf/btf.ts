/**
 * BTF: the types of a kernel, as it carries them with it. Types are numbered from 1 in the order in which they stand, 0 is void. The bytes may be anything: all is bounded, and what does
 * not fit is refused.
 * Reference: Linux, Documentation/bpf/btf.rst, include/uapi/linux/btf.h.
 */
import { byteArray, checkArgument, XenError } from '../../util/index.ts'

const MAGIC = 0xeb9f
const HEADER = 24
/** Bytes at most: kernels have some 6 MiB. */
const MOST_BYTES = 64 << 20
/** Names that lead from type to type at most: typedefs, qualifiers. */
const MOST_STEPS = 32
const MOST_NAME = 256

/** Kinds of types. */
export const BTF_KIND = {
  INT: 1, POINTER: 2, ARRAY: 3, STRUCT: 4, UNION: 5, ENUM: 6, FORWARD: 7, TYPEDEF: 8, VOLATILE: 9, CONST: 10, RESTRICT: 11, FUNCTION: 12, PROTOTYPE: 13, VARIABLE: 14, SECTION: 15,
  FLOAT: 16, DECLARATION_TAG: 17, TYPE_TAG: 18, ENUM64: 19,
} as const

/** Bytes behind a type's record: once, and for each of its parts. */
const EXTRA: readonly (readonly [once: number, each: number])[] = [
  [0, 0], [4, 0], [0, 0], [12, 0], [0, 12], [0, 12], [0, 8], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 8], [4, 0], [0, 12], [0, 0], [4, 0], [0, 0], [0, 12],
]
const INT_SIGNED = 1
const INT_BOOL = 4

/** A member of a structure or union. */
export interface BtfMember {
  /** Empty for an unnamed structure or union, whose members count as these. */
  readonly name: string
  readonly type: number
  /** Bits from the beginning. */
  readonly offset: number
  /** Of a bit field; 0 for any other member. */
  readonly bits: number
}

/** Where a member of a structure, or of one in it, lies. */
export interface BtfPlace {
  readonly type: number
  /** Bits from the beginning. */
  readonly offset: number
  readonly bits: number
}

const bad = (what: string): XenError => new XenError('INVALID_IMAGE', `BTF: ${what}`)

/** The types of one kernel. */
export class Btf {
  private readonly view: DataView
  private readonly strings: Uint8Array
  /** Where each type stands; 0 for void. */
  private readonly places: Uint32Array
  private readonly asked = new Map<string, number | undefined>()
  private readonly memberLists = new Map<number, readonly BtfMember[]>()

  private constructor(bytes: Uint8Array, strings: Uint8Array, places: Uint32Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.strings = strings
    this.places = places
  }

  /** The types in the bytes of a section .BTF. Throws INVALID_IMAGE for what is none, INVALID_ARGUMENT. */
  static read(bytes: Uint8Array): Btf {
    checkArgument('the bytes of BTF', bytes, byteArray)
    if (bytes.length < HEADER || bytes.length > MOST_BYTES) throw bad(`${bytes.length} bytes are too few or too many`)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (view.getUint16(0, true) !== MAGIC || view.getUint8(2) !== 1) throw bad('it begins with another magic number or version')
    const [header, typesAt, typesSize, stringsAt, stringsSize] = [4, 8, 12, 16, 20].map((at) => view.getUint32(at, true)) as [number, number, number, number, number]
    if (header < HEADER || header + typesAt + typesSize > bytes.length || header + stringsAt + stringsSize > bytes.length) throw bad('its parts lie outside of it')
    const places = scan(view, header + typesAt, header + typesAt + typesSize)
    const strings = bytes.slice(header + stringsAt, header + stringsAt + stringsSize)
    return new Btf(bytes.slice(0, header + typesAt + typesSize), strings, places)
  }

  /** How many types there are. */
  get count(): number {
    return this.places.length - 1
  }

  /** Kind of a type, of {@link BTF_KIND}; 0 for void. Throws INVALID_IMAGE for a number of none. */
  kind(type: number): number {
    return (this.info(type) >>> 24) & 31
  }

  /** Its name; empty where it has none. */
  name(type: number): string {
    return type === 0 ? 'void' : this.text(this.view.getUint32(this.place(type), true))
  }

  /** The number of a structure, union, enumeration, typedef, function or number by its name, `struct` and the like left out; undefined where there is none. */
  find(name: string): number | undefined {
    const plain = name.replace(/^(struct|union|enum) /, '')
    if (!this.asked.has(plain)) this.asked.set(plain, this.look(plain))
    return this.asked.get(plain)
  }

  /** Names of functions, as BTF has them. */
  functions(): readonly string[] {
    const found: string[] = []
    for (let type = 1; type < this.places.length; type += 1) if (this.kind(type) === BTF_KIND.FUNCTION) found.push(this.name(type))
    return found
  }

  /** What a typedef or a qualified type is in the end. */
  resolve(type: number): number {
    let found = type
    for (let step = 0; step < MOST_STEPS; step += 1) {
      const kind = this.kind(found)
      if (kind !== BTF_KIND.TYPEDEF && kind !== BTF_KIND.TYPE_TAG && (kind < BTF_KIND.VOLATILE || kind > BTF_KIND.RESTRICT)) return found
      found = this.second(found)
    }
    throw bad(`type ${type} leads in a circle`)
  }

  /** What a pointer leads to, an array consists of, a typedef stands for. */
  target(type: number): number {
    return this.kind(type) === BTF_KIND.ARRAY ? this.view.getUint32(this.place(type) + 12, true) : this.second(type)
  }

  /** Elements of an array. */
  elements(type: number): number {
    return this.view.getUint32(this.place(type) + 20, true)
  }

  /** Bytes of a type; 0 for what has none, as a function. */
  size(type: number): number {
    let [found, count] = [this.resolve(type), 1]
    for (let step = 0; step < MOST_STEPS; step += 1) {
      const kind = this.kind(found)
      if (kind === BTF_KIND.ARRAY) {
        count *= this.elements(found)
        found = this.resolve(this.target(found))
        continue
      }
      if (kind === BTF_KIND.POINTER) return count * 8
      const isSized = kind === BTF_KIND.INT || kind === BTF_KIND.STRUCT || kind === BTF_KIND.UNION || kind === BTF_KIND.ENUM || kind === BTF_KIND.ENUM64 || kind === BTF_KIND.FLOAT
      return isSized ? count * this.second(found) : 0
    }
    throw bad(`type ${type} leads in a circle`)
  }

  /** Whether a number is signed, and whether it is a truth value. */
  integer(type: number): { readonly isSigned: boolean; readonly isFlag: boolean } {
    const encoding = (this.view.getUint32(this.place(type) + 12, true) >>> 24) & 15
    return { isSigned: (encoding & INT_SIGNED) !== 0, isFlag: (encoding & INT_BOOL) !== 0 }
  }

  /** Members of a structure or union. */
  members(type: number): readonly BtfMember[] {
    const known = this.memberLists.get(type)
    if (known !== undefined) return known
    const info = this.info(type)
    const kind = (info >>> 24) & 31
    if (kind !== BTF_KIND.STRUCT && kind !== BTF_KIND.UNION) return []
    const at = this.place(type) + 12
    const hasBits = info >>> 31 === 1
    const found = Array.from({ length: info & 0xffff }, (_, i): BtfMember => {
      const offset = this.view.getUint32(at + i * 12 + 8, true)
      return {
        name: this.text(this.view.getUint32(at + i * 12, true)), type: this.view.getUint32(at + i * 12 + 4, true),
        offset: hasBits ? offset & 0xff_ffff : offset, bits: hasBits ? offset >>> 24 : 0,
      }
    })
    this.memberLists.set(type, found)
    return found
  }

  /** Where a member lies, by names with points between them; undefined where there is none. */
  member(type: number, path: string): BtfPlace | undefined {
    let place: BtfPlace | undefined = { type, offset: 0, bits: 0 }
    for (const name of path.split('.')) {
      const inner: BtfPlace | undefined = this.memberOf(this.resolve(place.type), name, 0)
      if (inner === undefined) return undefined
      place = { type: inner.type, offset: place.offset + inner.offset, bits: inner.bits }
    }
    return place
  }

  private memberOf(type: number, name: string, depth: number): BtfPlace | undefined {
    if (depth > MOST_STEPS) throw bad(`type ${type} contains itself`)
    for (const member of this.members(type)) {
      if (member.name === name) return member
      if (member.name !== '') continue
      const inner = this.memberOf(this.resolve(member.type), name, depth + 1)
      if (inner !== undefined) return { ...inner, offset: member.offset + inner.offset }
    }
    return undefined
  }

  /** Of some 150,000 names few are ever asked for: they are compared where they stand. A structure comes before a typedef or a function of its name. */
  private look(name: string): number | undefined {
    const { view, places } = this
    let found: number | undefined
    if (name === '') return undefined
    for (let type = 1; type < places.length; type += 1) {
      const place = places[type]!
      if (!this.isText(view.getUint32(place, true), name)) continue
      const kind = (view.getUint32(place + 4, true) >>> 24) & 31
      if (kind === BTF_KIND.STRUCT) return type
      if (kind !== BTF_KIND.FORWARD && kind !== BTF_KIND.DECLARATION_TAG) found ??= type
    }
    return found
  }

  private isText(offset: number, text: string): boolean {
    const { strings } = this
    for (let i = 0; i < text.length; i += 1) if (strings[offset + i] !== text.charCodeAt(i)) return false
    return text.length < MOST_NAME && (strings[offset + text.length] ?? 0) === 0
  }

  private place(type: number): number {
    const place = this.places[type]
    if (place === undefined || type <= 0) throw bad(`there is no type ${type}`)
    return place
  }

  private info(type: number): number {
    return type === 0 ? 0 : this.view.getUint32(this.place(type) + 4, true)
  }

  private second(type: number): number {
    return this.view.getUint32(this.place(type) + 8, true)
  }

  private text(offset: number): string {
    const { strings } = this
    if (offset >= strings.length) return ''
    let text = ''
    for (let at = offset; at < strings.length && strings[at] !== 0 && text.length < MOST_NAME; at += 1) text += String.fromCharCode(strings[at]!)
    return text
  }
}

/** Where each type stands. */
function scan(view: DataView, start: number, end: number): Uint32Array {
  const found: number[] = [0]
  for (let at = start; at < end;) {
    if (at + 12 > end) throw bad('its last type is cut short')
    const info = view.getUint32(at + 4, true)
    const extra = EXTRA[(info >>> 24) & 31]
    if (extra === undefined || ((info >>> 24) & 31) === 0) throw bad(`type ${found.length} is of a kind that there is not`)
    found.push(at)
    at += 12 + extra[0] + extra[1] * (info & 0xffff)
    if (at > end) throw bad(`type ${found.length - 1} is cut short`)
  }
  return Uint32Array.from(found)
}
