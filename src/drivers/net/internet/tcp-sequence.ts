/** Sequence numbers of TCP: 32 bits that wrap, compared by their distance. Reference: RFC 9293, 3.4. */

/** A number so many behind another. */
export const advance = (sequence: number, length: number): number => (sequence + length) >>> 0

/** How far `a` is behind `b`; negative where it is before it. */
export const distance = (a: number, b: number): number => (a - b) | 0
