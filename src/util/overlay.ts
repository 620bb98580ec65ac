/**
 * Overlays: a C structure declared once as a table of fields, read and written in place over a DataView.
 * One declaration yields the accessors, the decoded object's type, and the offsets that the ABI tests compare
 * with the C compiler's. Everything is little-endian, as x86 is.
 *
 * hot path: a field access costs about 1 ns, as much as a hand-written one; `decode` allocates and is for control paths.
 */

/** What every field knows about its place. */
interface Placed {
  /** Byte offset from the start of the structure. */
  readonly offset: number
  /** Bytes it takes. */
  readonly size: number
}

/** A field of at most 32 bits. */
export interface NumberField extends Placed {
  readonly kind: 'number'
  /** The value, for a structure that starts at byte `base` of `view`. */
  get(view: DataView, base: number): number
  /** Writes the low bits of `value` that the field has room for. */
  set(view: DataView, base: number, value: number): void
}

/** A 64-bit field; `low` and `high` are unsigned 32-bit halves and avoid BigInt on hot paths. */
export interface WideField extends Placed {
  readonly kind: 'wide'
  /** All 64 bits, unsigned; allocates, so not for hot paths. */
  get(view: DataView, base: number): bigint
  /** Writes the low 64 bits of `value`. */
  set(view: DataView, base: number, value: bigint): void
  /** Bits 0 to 31, unsigned. */
  low(view: DataView, base: number): number
  /** Bits 32 to 63, unsigned. */
  high(view: DataView, base: number): number
  /** Writes both halves; each may be given signed or unsigned. */
  setParts(view: DataView, base: number, low: number, high: number): void
  /** The value as a number; exact up to 2^53, rounded above. */
  number(view: DataView, base: number): number
  /** Writes a whole number from 0 to 2^53. */
  setNumber(view: DataView, base: number, value: number): void
}

/** A run of raw bytes. */
export interface BytesField extends Placed {
  readonly kind: 'bytes'
  /** The bytes themselves, shared with the memory, not a copy. */
  get(view: DataView, base: number): Uint8Array
  /** Copies `value` in and fills the rest with zeros; longer values are cut. */
  set(view: DataView, base: number, value: Uint8Array): void
}

/** `count` elements of one layout in a row. */
export interface ArrayField<E> extends Placed {
  readonly kind: 'array'
  readonly count: number
  readonly stride: number
  readonly element: E
  /** Where element `index` starts, given where the structure starts. */
  at(base: number, index: number): number
}

/** A structure inside a structure. */
export interface NestedField<L> extends Placed {
  readonly kind: 'nested'
  readonly layout: L
  /** Where the inner structure starts, given where the outer one starts. */
  at(base: number): number
}

/** Any field of a layout. */
export type Field = NumberField | WideField | BytesField | ArrayField<unknown> | NestedField<unknown>
/** The fields of a layout by name. */
export type Fields = Readonly<Record<string, Field>>

/** What `decode` yields for one field. */
export type Decoded<F> = F extends NumberField
  ? number
  : F extends WideField
    ? bigint
    : F extends BytesField
      ? Uint8Array
      : F extends ArrayField<infer E>
        ? E extends Layout<infer T>
          ? DecodedFields<T>[]
          : Decoded<E>[]
        : F extends NestedField<infer L>
          ? L extends Layout<infer T>
            ? DecodedFields<T>
            : never
          : never

/** The plain object that stands for a whole structure. */
export type DecodedFields<T extends Fields> = { [K in keyof T]: Decoded<T[K]> }

/** Operations on a structure as a whole. */
export interface Layout<T extends Fields> {
  /** `sizeof` of the C structure. */
  readonly size: number
  readonly fields: T
  /** Copies a structure out of memory into a plain object (64-bit fields become BigInt). Byte runs are copied. */
  decode(view: DataView, base: number): DecodedFields<T>
  /** Writes the given fields; the others keep what they hold. */
  encode(view: DataView, base: number, values: Partial<DecodedFields<T>>): void
}

/** A layout whose fields are also its own properties: `RingHeader.reqProd.get(view, base)`. */
export type Overlay<T extends Fields> = Layout<T> & T

const numberField = (
  offset: number,
  size: number,
  get: NumberField['get'],
  set: NumberField['set'],
): NumberField => ({ kind: 'number', offset, size, get, set })

/** Unsigned 8-bit field. */
export const u8 = (offset: number): NumberField =>
  numberField(offset, 1, (v, b) => v.getUint8(b + offset), (v, b, x) => v.setUint8(b + offset, x))
/** Unsigned 16-bit field. */
export const u16 = (offset: number): NumberField =>
  numberField(offset, 2, (v, b) => v.getUint16(b + offset, true), (v, b, x) => v.setUint16(b + offset, x, true))
/** Signed 16-bit field. */
export const i16 = (offset: number): NumberField =>
  numberField(offset, 2, (v, b) => v.getInt16(b + offset, true), (v, b, x) => v.setInt16(b + offset, x, true))
/** Unsigned 32-bit field. */
export const u32 = (offset: number): NumberField =>
  numberField(offset, 4, (v, b) => v.getUint32(b + offset, true), (v, b, x) => v.setUint32(b + offset, x, true))
/** Signed 32-bit field. */
export const i32 = (offset: number): NumberField =>
  numberField(offset, 4, (v, b) => v.getInt32(b + offset, true), (v, b, x) => v.setInt32(b + offset, x, true))
/** Signed 8-bit field. */
export const i8 = (offset: number): NumberField =>
  numberField(offset, 1, (v, b) => v.getInt8(b + offset), (v, b, x) => v.setInt8(b + offset, x))

/** Unsigned 64-bit field. */
export const u64 = (offset: number): WideField => ({
  kind: 'wide',
  offset,
  size: 8,
  get: (v, b) => v.getBigUint64(b + offset, true),
  set: (v, b, x) => v.setBigUint64(b + offset, x, true),
  low: (v, b) => v.getUint32(b + offset, true),
  high: (v, b) => v.getUint32(b + offset + 4, true),
  setParts: (v, b, low, high) => {
    v.setUint32(b + offset, low, true)
    v.setUint32(b + offset + 4, high, true)
  },
  number: (v, b) => v.getUint32(b + offset + 4, true) * 0x1_0000_0000 + v.getUint32(b + offset, true),
  setNumber: (v, b, x) => {
    v.setUint32(b + offset, x >>> 0, true)
    v.setUint32(b + offset + 4, Math.floor(x / 0x1_0000_0000) >>> 0, true)
  },
})

/** A run of `size` raw bytes. */
export const bytes = (offset: number, size: number): BytesField => ({
  kind: 'bytes',
  offset,
  size,
  get: (v, b) => new Uint8Array(v.buffer, v.byteOffset + b + offset, size),
  set: (v, b, x) => {
    const target = new Uint8Array(v.buffer, v.byteOffset + b + offset, size)
    target.fill(0)
    target.set(x.subarray(0, size))
  },
})

/** `count` elements in a row; `element` is a layout, or a field factory such as `u32`. */
export function array<T extends Fields>(offset: number, element: Overlay<T>, count: number): ArrayField<Overlay<T>>
export function array<F extends Field>(offset: number, element: (offset: number) => F, count: number): ArrayField<F>
export function array(offset: number, element: unknown, count: number): ArrayField<unknown> {
  const inner = typeof element === 'function' ? (element as (offset: number) => Field)(0) : (element as Layout<Fields>)
  const stride = inner.size
  return {
    kind: 'array', offset, size: stride * count, count, stride, element: inner,
    at: (base, index) => base + offset + index * stride,
  }
}

/** A structure inside a structure. */
export const nested = <T extends Fields>(offset: number, layout: Overlay<T>): NestedField<Overlay<T>> => ({
  kind: 'nested', offset, size: layout.size, layout, at: (base) => base + offset,
})

/** Reads one field as a plain value. */
function decodeField(field: Field, view: DataView, base: number): unknown {
  if (field.kind === 'bytes') return field.get(view, base).slice()
  if (field.kind === 'nested') return (field.layout as Layout<Fields>).decode(view, field.at(base))
  if (field.kind !== 'array') return field.get(view, base)
  return Array.from({ length: field.count }, (_, i) => {
    const place = field.at(base, i)
    const element = field.element as Field | Layout<Fields>
    return 'decode' in element ? element.decode(view, place) : decodeField(element, view, place)
  })
}

/** Writes one field from a plain value of the shape that {@link decodeField} yields. */
function encodeField(field: Field, view: DataView, base: number, value: unknown): void {
  if (field.kind === 'number') field.set(view, base, value as number)
  else if (field.kind === 'wide') field.set(view, base, value as bigint)
  else if (field.kind === 'bytes') field.set(view, base, value as Uint8Array)
  else if (field.kind === 'nested') (field.layout as Layout<Fields>).encode(view, field.at(base), value as object)
  else {
    const element = field.element as Field | Layout<Fields>
    ;(value as unknown[]).slice(0, field.count).forEach((item, i) => {
      const place = field.at(base, i)
      if ('decode' in element) element.encode(view, place, item as object)
      else encodeField(element, view, place, item)
    })
  }
}

/**
 * Declares a structure of `size` bytes.
 *
 * @example
 * const RingHeader = overlay(64, { reqProd: u32(0), reqEvent: u32(4), rspProd: u32(8), rspEvent: u32(12) })
 * RingHeader.reqProd.set(view, ringPage, 1)
 */
export function overlay<T extends Fields>(size: number, fields: T): Overlay<T> {
  const entries = Object.entries(fields)
  for (const [name, field] of entries) {
    if (['size', 'fields', 'decode', 'encode'].includes(name)) throw new Error(`${name} cannot be a field's name`)
    if (field.offset + field.size > size) throw new Error(`field ${name} ends beyond the structure's ${size} bytes`)
  }
  const layout: Layout<T> = {
    size,
    fields,
    decode: (view, base) =>
      Object.fromEntries(entries.map(([name, field]) => [name, decodeField(field, view, base)])) as DecodedFields<T>,
    encode: (view, base, values) => {
      for (const [name, value] of Object.entries(values)) {
        const field = fields[name]
        if (field === undefined) throw new Error(`no field ${name} in this structure`)
        if (value !== undefined) encodeField(field, view, base, value)
      }
    },
  }
  // The fields first: in V8 an object to which dozens of properties are added one by one is a hash table from then on.
  return { ...fields, ...layout }
}
