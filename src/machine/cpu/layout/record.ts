/**
 * A record: one micro-operation of a decoded instruction, 16 bytes.
 *
 *   0        2    3    4    5       6              8              12
 *   | number | a  | b  | c  | d     | ip           | displacement | immediate  |
 *
 * a, b, c: slots of registers (byte offsets into the processor's state). As an address: b is the base, c the index, d
 * holds the index's shift in bits 1..0 and the segment base's slot in bits 7..3. ip: offset of the instruction in its
 * page in bits 11..0, its length in 15..12. Branches: displacement is relative to the next instruction, immediate the
 * block it leads to once known, `a` the number of instructions of the block behind it. A block is a header (instruction
 * count, physical address, mode, next in chain), its records, and an end record, whose b, c and d are the frame that
 * the block lies in (0 in a copy).
 */

/** Offsets in a record. */
export const RECORD = { number: 0, a: 2, b: 3, c: 4, d: 5, ip: 6, displacement: 8, immediate: 12, bytes: 16 } as const
/** Offsets in a block's header. */
export const BLOCK = { count: 0, physical: 4, mode: 8, next: 12, bytes: 16 } as const
/** In a header's mode: the block's last instruction goes on into the next page. */
export const BLOCK_CROSSES = 0x100
/** In a header's mode: the block must not be entered any more. */
export const BLOCK_DEAD = 0x200
/** Most instructions of a block. */
export const BLOCK_INSTRUCTIONS = 48
