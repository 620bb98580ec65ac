/**
 * 64-bit values without BigInt. Registers and page-table entries travel as two 32-bit halves; virtual addresses
 * as one signed number, because a canonical 48-bit address (-2^47 to 2^47 - 1) is exact in a double.
 */

/** 2^32. */
export const TWO_32 = 0x1_0000_0000

/**
 * What a field begins with, until its constructor gives it its value, that will hold whole numbers of more than 31 bits: times,
 * counts of instructions. V8 keeps a field that begins with a small whole number as such a one; the first large one gives all
 * objects of that class another layout, by which all code that was compiled for them is thrown away, two seconds after a host's boot.
 * A fraction has the field hold doubles from the start.
 */
export const FRACTION = 0.5

/** The halves as one signed number: exact for canonical addresses, and out of canonical range for all others. */
export const signedFromParts = (low: number, high: number): number => (high | 0) * TWO_32 + (low >>> 0)

/** The halves as one unsigned number: exact below 2^53. */
export const unsignedFromParts = (low: number, high: number): number => (high >>> 0) * TWO_32 + (low >>> 0)

/** Low 32 bits of a whole number, unsigned. */
export const lowPart = (value: number): number => value >>> 0

/** High 32 bits of a whole number (two's complement when negative), unsigned. */
export const highPart = (value: number): number => Math.floor(value / TWO_32) >>> 0

/** True for an address that x86-64 with 48-bit addressing can use. */
export const isCanonical = (address: number): boolean => address >= -0x8000_0000_0000 && address < 0x8000_0000_0000

/** A 64-bit value as BigInt, for the edges of the API. */
export const bigFromParts = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0)
