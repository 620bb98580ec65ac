/**
 * A structure of Xen's interface declared once for guests of both widths: its members in the order of C's declaration,
 * from which the offsets follow by the rules of either compiler. What differs between x86-64 and i386 is how large an
 * `unsigned long`, a pointer and a frame number are, and that i386 aligns 64-bit numbers to 4 bytes.
 *
 * A structure is its 64-bit layout, which most of this library speaks; `compat` has the same fields in the 32-bit one. A
 * structure that is the same in both can be declared by its offsets, with `overlay`.
 *
 * Reference: System V ABI, AMD64 and i386 supplements, "Aggregates and Unions"; xen/include/xlat.lst.
 */
import {
  type ArrayField, type BytesField, type Field, type Fields, type Layout, type NestedField, type NumberField, type Overlay,
  type WideField, array as arrayAt, bytes as bytesAt, i16 as i16At, i32 as i32At, i8 as i8At, nested as nestedAt, overlay,
  u16 as u16At, u32 as u32At, u64 as u64At, u8 as u8At,
} from '../util/index.ts'

// What the layouts of structures are told in: declarations of the files that make them name the types from here.
export type { ArrayField, BytesField, NestedField, NumberField, Overlay, WideField } from '../util/index.ts'

/** Bits of a guest's machine word. */
export type Width = 64 | 32

/** A structure in both layouts: itself for 64-bit guests, `compat` for 32-bit ones. */
export type Structure<T extends Fields> = Overlay<T> & { readonly compat: Overlay<T> }

/** A member that is a field: of a size that may depend on the width. */
export interface Member<F extends Field> {
  /** Where it stands, by the width of the guest. */
  field(width: Width, offset: number): F
  /** It takes no place of its own, but shares that of the member before that does; or stands at an offset for each width. */
  readonly shares?: 'latest' | Readonly<Record<Width, number>>
}

/** Bytes that are no field. */
export interface Gap {
  readonly gap: Readonly<Record<Width, number>>
}

/** What a structure is declared by. */
export type Members = Readonly<Record<string, Member<Field> | Gap>>

/** The fields that members make. */
export type FieldsOf<M extends Members> = {
  readonly [K in keyof M as M[K] extends Gap ? never : K]: M[K] extends Member<infer F> ? F : never
}

const always = <F extends Field>(place: (offset: number) => F): Member<F> => ({ field: (_width, offset) => place(offset) })

/** Unsigned 8-bit member. */
export const u8: Member<NumberField> = /* @__PURE__ */ always(u8At)
/** Unsigned 16-bit member. */
export const u16: Member<NumberField> = /* @__PURE__ */ always(u16At)
/** Unsigned 32-bit member. */
export const u32: Member<NumberField> = /* @__PURE__ */ always(u32At)
/** Signed 8-bit member. */
export const i8: Member<NumberField> = /* @__PURE__ */ always(i8At)
/** Signed 16-bit member. */
export const i16: Member<NumberField> = /* @__PURE__ */ always(i16At)
/** Signed 32-bit member. */
export const i32: Member<NumberField> = /* @__PURE__ */ always(i32At)
/** Unsigned 64-bit member. */
export const u64: Member<WideField> = /* @__PURE__ */ always(u64At)

/** A field of 32 bits that is used like one of 64: its upper half reads as 0, and is lost when it is written. */
const narrowAt = (offset: number): WideField => ({
  kind: 'wide',
  offset,
  size: 4,
  get: (v, b) => BigInt(v.getUint32(b + offset, true)),
  set: (v, b, x) => v.setUint32(b + offset, Number(BigInt.asUintN(32, x)), true),
  low: (v, b) => v.getUint32(b + offset, true),
  high: () => 0,
  setParts: (v, b, low) => v.setUint32(b + offset, low, true),
  number: (v, b) => v.getUint32(b + offset, true),
  setNumber: (v, b, x) => v.setUint32(b + offset, x >>> 0, true),
})

/** `unsigned long`. */
export const ulong: Member<WideField> = { field: (width, offset) => (width === 64 ? u64At(offset) : narrowAt(offset)) }
/** A guest address, as guest handles are. */
export const pointer = ulong
/** `xen_pfn_t`: number of a frame. */
export const frame = ulong

/** A run of `size` raw bytes. */
export const bytes = (size: number): Member<BytesField> => always((offset) => bytesAt(offset, size))

/** A structure inside a structure. */
export const nested = <T extends Fields>(layout: Overlay<T> | Structure<T>): Member<NestedField<Overlay<T>>> => ({
  field: (width, offset) => nestedAt(offset, layoutOf(layout, width)),
})

/** `count` elements in a row, or `compat` of them in a 32-bit guest: structures, or members such as `ulong`. */
export function array<T extends Fields>(element: Structure<T>, count: number, compat?: number): Member<ArrayField<Overlay<T>>>
export function array<F extends Field>(element: Member<F>, count: number, compat?: number): Member<ArrayField<F>>
export function array(element: Structure<Fields> | Member<Field>, count: number, compat = count): Member<ArrayField<unknown>> {
  const counts = { 64: count, 32: compat }
  return {
    field: (width, offset) => ('decode' in element
      ? arrayAt(offset, layoutOf(element, width), counts[width])
      : arrayAt(offset, (at) => element.field(width, at), counts[width])),
  }
}

/** Another member of a union: it begins where the member before does that has a place of its own. */
export const over = <F extends Field>(member: Member<F>): Member<F> => ({ ...member, shares: 'latest' })

/** A member that stands at an offset of its own for each width, whatever its place among the others. */
export const placed = <F extends Field>(member: Member<F>, native: number, compat: number): Member<F> =>
  ({ ...member, shares: { 64: native, 32: compat } })

/** Bytes without a name; `compat` of a 32-bit guest's, where it has more or fewer of them. */
export const gap = (native: number, compat: number = native): Gap => ({ gap: { 64: native, 32: compat } })

/** The layout of a structure for guests of a width; one without a second is the same for both. */
export const layoutOf = <T extends Fields>(layout: Overlay<T> | Structure<T>, width: Width): Overlay<T> =>
  (width === 32 && 'compat' in layout ? (layout as Structure<T>).compat : layout)

/** What C aligns a field to. */
function alignmentOf(field: Field | Layout<Fields>, width: Width): number {
  if ('decode' in field) return Math.max(1, ...Object.values(field.fields).map((inner) => alignmentOf(inner, width)))
  switch (field.kind) {
    case 'array':
      return alignmentOf(field.element as Field | Layout<Fields>, width)
    case 'nested':
      return alignmentOf(field.layout as Layout<Fields>, width)
    case 'bytes':
      return 1
    default:
      return Math.min(field.size, width / 8)
  }
}

const roundUp = (offset: number, alignment: number): number => Math.ceil(offset / alignment) * alignment

/** One layout of a structure. */
function layOut(members: Members, width: Width): Overlay<Fields> {
  const fields: Record<string, Field> = {}
  let end = 0
  let latest = 0
  let alignment = 1
  for (const [name, member] of Object.entries(members)) {
    if ('gap' in member) {
      end += member.gap[width]
      continue
    }
    const { shares } = member
    alignment = Math.max(alignment, alignmentOf(member.field(width, 0), width))
    if (shares === undefined) latest = roundUp(end, alignmentOf(member.field(width, 0), width))
    const field = member.field(width, typeof shares === 'object' ? shares[width] : latest)
    fields[name] = field
    if (typeof shares !== 'object') end = Math.max(end, field.offset + field.size)
  }
  const last = Math.max(end, ...Object.values(fields).map((field) => field.offset + field.size))
  return overlay(roundUp(last, alignment), fields)
}

/**
 * Declares a structure by its members, in C's order.
 *
 * @example
 * const SchedPoll = structure({ ports: pointer, nrPorts: u32, timeout: u64 })
 * SchedPoll.timeout.offset // 16
 * SchedPoll.compat.timeout.offset // 8
 */
export function structure<M extends Members>(members: M): Structure<FieldsOf<M>> {
  // Both layouts have the fields that the members make.
  const layouts = { 64: layOut(members, 64), 32: layOut(members, 32) } as unknown as Record<Width, Overlay<FieldsOf<M>>>
  return Object.assign(layouts[64], { compat: layouts[32] })
}

/** Declares a structure that only 32-bit guests have. */
export const compat = <M extends Members>(members: M): Overlay<FieldsOf<M>> =>
  // As above.
  layOut(members, 32) as unknown as Overlay<FieldsOf<M>>
