/**
 * The ACPI Machine Language, as far as the tables of a PVH guest need it: terms as bytes, put together from the inside out.
 * Integers take their shortest form, as compilers write them. Nothing of Xen here.
 * Reference: ACPI Specification 6.3, section 20.2.
 */

/** A term, or several one behind the other. */
export type Aml = readonly number[]

/** Kinds of address space. */
export const ADDRESS_SPACE = { memory: 0, io: 1 } as const

/** Results and arguments that have names of their own. */
export const LOCAL = { 0: [0x60], 1: [0x61], 2: [0x62] } as const satisfies Readonly<Record<number, Aml>>
/** Arguments of the method. */
export const ARGUMENT = { 0: [0x68], 1: [0x69] } as const satisfies Readonly<Record<number, Aml>>

const characters = (text: string): number[] => Array.from(text, (character) => character.charCodeAt(0))
const littleEndian = (value: number, bytes: number): number[] => Array.from({ length: bytes }, (_, i) => (value >>> (i * 8)) & 0xff)

/** One segment of a name: four characters, filled up with underscores. */
const segment = (name: string): number[] => characters(name.padEnd(4, '_'))

/** A name with its prefixes: `\_SB.PRSC`, `^PR00.FLG`, `MSU`. */
export function name(path: string): Aml {
  const prefix = /^[\\^]*/.exec(path)![0]
  const segments = path.slice(prefix.length).split('.')
  // Two segments have a prefix of their own; more do not occur here.
  return [...characters(prefix), ...(segments.length === 2 ? [0x2e] : []), ...segments.flatMap(segment)]
}

/** A number of bytes or bits as terms carry it: up to 63 in one byte, otherwise 4 bits and the rest behind them. */
function packed(value: number): number[] {
  if (value < 0x40) return [value]
  const more = littleEndian(value >>> 4, value < 0x1000 ? 1 : value < 0x10_0000 ? 2 : 3)
  return [(more.length << 6) | (value & 15), ...more]
}

/** A term's length, which counts its own bytes, and its contents. */
function withLength(contents: Aml): number[] {
  const bytes = contents.length + 1 < 0x40 ? 1 : contents.length + 2 < 0x1000 ? 2 : contents.length + 3 < 0x10_0000 ? 3 : 4
  const total = contents.length + bytes
  return [...(bytes === 1 ? [total] : [((bytes - 1) << 6) | (total & 15), ...littleEndian(total >>> 4, bytes - 1)]), ...contents]
}

/** A number. */
export function integer(value: number): Aml {
  if (value <= 1) return [value]
  if (value < 0x100) return [0x0a, value]
  return value < 0x1_0000 ? [0x0b, ...littleEndian(value, 2)] : [0x0c, ...littleEndian(value, 4)]
}

/** A text. */
export const string = (text: string): Aml => [0x0d, ...characters(text), 0]
/** Bytes. */
export const buffer = (bytes: Aml): Aml => [0x11, ...withLength([...integer(bytes.length), ...bytes])]

/** What stands in a place of the namespace. */
export const scope = (place: string, ...body: Aml[]): Aml => [0x10, ...withLength([...name(place), ...body.flat()])]
/** A named value. */
export const named = (place: string, value: Aml): Aml => [0x08, ...name(place), ...value]
/** A method that is not serialised. */
export const method = (place: string, parameters: number, ...body: Aml[]): Aml =>
  [0x14, ...withLength([...name(place), parameters, ...body.flat()])]
/** A processor with its number, and the address and length of its register block. */
export const processor = (place: string, facts: { readonly id: number; readonly block: number; readonly length: number }, ...body: Aml[]): Aml =>
  [0x5b, 0x83, ...withLength([...name(place), facts.id, ...littleEndian(facts.block, 4), facts.length, ...body.flat()])]
/** A range of addresses. */
export const region = (place: string, space: number, start: Aml, length: number): Aml =>
  [0x5b, 0x80, ...name(place), space, ...start, ...integer(length)]

/** Fields of a region, byte by byte, each with its bits; those without a name are passed over. */
export const fields = (place: string, list: readonly (readonly [name: string, bits: number])[]): Aml =>
  [0x5b, 0x81, ...withLength([...name(place), 1, ...list.flatMap(([field, bits]) => [...(field === '' ? [0] : segment(field)), ...packed(bits)])])]

const NO_TARGET = 0

/** `left + right`, stored in `target` where there is one. */
export const add = (left: Aml, right: Aml, target: Aml = [NO_TARGET]): Aml => [0x72, ...left, ...right, ...target]
/** `left - right`, stored in `target`. */
export const subtract = (left: Aml, right: Aml, target: Aml): Aml => [0x74, ...left, ...right, ...target]
/** `value >> bits`, stored in `target`. */
export const shiftRight = (value: Aml, bits: Aml, target: Aml): Aml => [0x7a, ...value, ...bits, ...target]
/** `left & right`, stored in `target`. */
export const and = (left: Aml, right: Aml, target: Aml): Aml => [0x7b, ...left, ...right, ...target]
/** Puts a value into `target`. */
export const store = (value: Aml, target: Aml): Aml => [0x70, ...value, ...target]
/** The bytes of a value. */
export const toBuffer = (value: Aml): Aml => [0x96, ...value, NO_TARGET]
/** An element of a buffer. */
export const element = (of: Aml, index: Aml): Aml => [0x83, 0x88, ...of, ...index, NO_TARGET]
/** `left == right`. */
export const equal = (left: Aml, right: Aml): Aml => [0x93, ...left, ...right]
/** `left < right`. */
export const less = (left: Aml, right: Aml): Aml => [0x95, ...left, ...right]
/** Not so. */
export const not = (condition: Aml): Aml => [0x92, ...condition]
/** What is done when a condition holds. */
export const when = (condition: Aml, ...body: Aml[]): Aml => [0xa0, ...withLength([...condition, ...body.flat()])]
/** What is done when the condition in front does not hold. */
export const otherwise = (...body: Aml[]): Aml => [0xa1, ...withLength(body.flat())]
/** The method's result. */
export const returns = (value: Aml): Aml => [0xa4, ...value]
/** Tells the operating system of something about an object. */
export const notify = (object: Aml, event: Aml): Aml => [0x86, ...object, ...event]
/** Waits for so many milliseconds. */
export const sleep = (milliseconds: Aml): Aml => [0x5b, 0x22, ...milliseconds]
/** A method's result for arguments. */
export const call = (place: string, ...values: Aml[]): Aml => [...name(place), ...values.flat()]
