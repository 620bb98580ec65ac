/** Values in a guest's memory by their types: numbers, pointers, texts, structures, as plain data. */
import { XenError } from '../../util/index.ts'
import { BTF_KIND, type Btf, type BtfPlace } from '../btf/btf.ts'
import type { VirtualMemory } from '../memory/virtual-memory.ts'

/** A value: 64-bit numbers and pointers as bigint, arrays of char as text, structures by member. */
export type LinuxValue = number | bigint | boolean | string | undefined | readonly LinuxValue[] | { readonly [member: string]: LinuxValue }

/** Elements of an array, structures within each other, and bytes that are read at most. */
const MOST_ELEMENTS = 1024
const MOST_DEPTH = 12
const MOST_BYTES = 1 << 20

/** Reads values. */
export class TypedValues {
  private readonly btf: Btf
  private readonly memory: VirtualMemory

  constructor(btf: Btf, memory: VirtualMemory) {
    this.btf = btf
    this.memory = memory
  }

  /** The number of a type. Throws INVALID_ARGUMENT where there is none of that name. */
  typeOf(name: string): number {
    const type = this.btf.find(name)
    if (type === undefined) throw new XenError('INVALID_ARGUMENT', `the kernel has no type ${name}`, { details: { name } })
    return type
  }

  /** Where a member lies. Throws INVALID_ARGUMENT where there is none. */
  placeOf(name: string, path: string): BtfPlace {
    const place = this.btf.member(this.typeOf(name), path)
    if (place === undefined) throw new XenError('INVALID_ARGUMENT', `${name} has no member ${path}`, { details: { name, path } })
    return place
  }

  /** Bytes of a member in its structure. */
  offsetOf(name: string, path: string): number {
    return this.placeOf(name, path).offset >>> 3
  }

  /** A whole value. Throws INVALID_ARGUMENT where it is not mapped, or too large. */
  read(name: string, address: number | bigint): LinuxValue {
    return this.valueAt({ type: this.typeOf(name), offset: 0, bits: 0 }, address)
  }

  /** One member. */
  member(name: string, address: number | bigint, path: string): LinuxValue {
    return this.valueAt(this.placeOf(name, path), address)
  }

  private valueAt(place: BtfPlace, address: number | bigint): LinuxValue {
    const bytes = place.bits > 0 ? 8 : this.btf.size(place.type)
    if (bytes > MOST_BYTES) throw new XenError('INVALID_ARGUMENT', `${bytes} bytes are too many to be read at once`)
    const start = BigInt(address) + BigInt(place.offset >>> 3)
    const found = this.memory.read(start, bytes)
    if (found.length < bytes && place.bits === 0) throw new XenError('INVALID_ARGUMENT', `0x${BigInt.asUintN(64, start).toString(16)} is not mapped`, { details: { address: start } })
    const whole = new Uint8Array(Math.max(8, bytes))
    whole.set(found)
    return this.decode({ ...place, offset: place.offset & 7 }, new DataView(whole.buffer), 0)
  }

  private decode(place: BtfPlace, view: DataView, depth: number): LinuxValue {
    const { btf } = this
    const type = btf.resolve(place.type)
    if (place.bits > 0) return bitField(view, place)
    const at = place.offset >>> 3
    switch (btf.kind(type)) {
      case BTF_KIND.POINTER:
        return at + 8 <= view.byteLength ? view.getBigUint64(at, true) : undefined
      case BTF_KIND.INT: {
        const { isSigned, isFlag } = btf.integer(type)
        const value = integer(view, { at, size: btf.size(type), isSigned })
        return isFlag ? Number(value ?? 0) !== 0 : value
      }
      case BTF_KIND.ENUM:
      case BTF_KIND.ENUM64:
        return integer(view, { at, size: btf.size(type), isSigned: true })
      case BTF_KIND.ARRAY:
        return this.array(type, at, { view, depth })
      case BTF_KIND.STRUCT:
      case BTF_KIND.UNION:
        return this.structure(type, place.offset, { view, depth })
      default:
        return undefined
    }
  }

  private array(type: number, at: number, { view, depth }: { readonly view: DataView; readonly depth: number }): LinuxValue {
    const { btf } = this
    const element = btf.target(type)
    const [size, count] = [btf.size(element), Math.min(btf.elements(type), MOST_ELEMENTS)]
    if (size === 1 && btf.name(btf.resolve(element)) === 'char') return textAt(view, at, count)
    if (depth >= MOST_DEPTH || size === 0) return undefined
    return Array.from({ length: count }, (_, i) => this.decode({ type: element, offset: (at + i * size) * 8, bits: 0 }, view, depth + 1))
  }

  private structure(type: number, offset: number, { view, depth }: { readonly view: DataView; readonly depth: number }): LinuxValue {
    if (depth >= MOST_DEPTH) return undefined
    const found: Record<string, LinuxValue> = {}
    for (const member of this.btf.members(type)) {
      const value = this.decode({ type: member.type, offset: offset + member.offset, bits: member.bits }, view, depth + 1)
      if (member.name !== '') Object.defineProperty(found, member.name, { value, enumerable: true })
      // Members of what has no name are this one's.
      else if (typeof value === 'object' && !Array.isArray(value)) for (const [name, inner] of Object.entries(value)) Object.defineProperty(found, name, { value: inner, enumerable: true, configurable: true })
    }
    return found
  }
}

function integer(view: DataView, { at, size, isSigned }: { readonly at: number; readonly size: number; readonly isSigned: boolean }): number | bigint | undefined {
  if (at + size > view.byteLength) return undefined
  switch (size) {
    case 1:
      return isSigned ? view.getInt8(at) : view.getUint8(at)
    case 2:
      return isSigned ? view.getInt16(at, true) : view.getUint16(at, true)
    case 4:
      return isSigned ? view.getInt32(at, true) : view.getUint32(at, true)
    case 8:
      return isSigned ? view.getBigInt64(at, true) : view.getBigUint64(at, true)
    default:
      return undefined
  }
}

function bitField(view: DataView, { offset, bits }: BtfPlace): number | bigint | undefined {
  const first = offset >>> 3
  let value = 0n
  for (let i = 0; i < 8 && first + i < view.byteLength; i += 1) value |= BigInt(view.getUint8(first + i)) << BigInt(8 * i)
  const found = (value >> BigInt(offset & 7)) & ((1n << BigInt(bits)) - 1n)
  return bits > 32 ? found : Number(found)
}

function textAt(view: DataView, at: number, count: number): string {
  let text = ''
  for (let i = at; i < at + count && i < view.byteLength; i += 1) {
    const byte = view.getUint8(i)
    if (byte === 0) break
    text += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?'
  }
  return text
}
