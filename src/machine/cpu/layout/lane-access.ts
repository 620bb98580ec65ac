/**
 * What records of loads and stores lane by lane say in their displacement: masked moves and gathers. The offset in the
 * segment, without the indices of a gather, is in t3.
 */

/** Bits, and where numbers begin. */
export const LANE_ACCESS = {
  /** Elements and indices of 8 bytes, else 4. */
  wideData: 1, wideIndex: 2,
  /** Offsets of 32 bits. */
  shortAddress: 4,
  /** Shift of the index, two bits. */
  scale: 3,
  /** Registers of 256 bits. */
  long: 32,
  /** Slot of the segment's base, eight bits; its number. */
  slot: 8, segment: 16,
} as const
