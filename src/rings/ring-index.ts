/**
 * Arithmetic on free-running ring indexes: unsigned 32-bit counters that wrap and whose differences are what counts.
 * The only place that knows it; a ring may have been running for 2^32 messages when we meet it.
 *
 * Reference: xen/include/public/io/ring.h, type RING_IDX.
 */

/** Distance from `from` to `to` on a counter that wraps at 2^32. */
export const ahead = (to: number, from: number): number => (to - from) >>> 0

/** The index `count` places further on. */
export const advance = (index: number, count: number): number => (index + count) >>> 0

/** True when the other side asked to be woken somewhere in (old, now]. */
export const mustNotify = (event: number, old: number, now: number): boolean => ahead(now, event) < ahead(now, old)

/** Largest power of two that is at most `value`; 0 for 0. */
export const roundDownToPowerOfTwo = (value: number): number => (value < 1 ? 0 : 2 ** (31 - Math.clz32(value)))
