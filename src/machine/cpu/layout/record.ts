/**
 * A record: one micro-operation of a decoded instruction, 16 bytes.
 *
 *   0        2      3      4      5      6              8              12
 *   | number | what the shape says       | ip           | displacement | immediate  |
 *
 * Registers are named by their slots (byte offsets into the processor's state), vectors by their units of 16 bytes. ip:
 * offset of the instruction in its page in bits 11..0, its length in 15..12. Branches: displacement is relative to the
 * next instruction, immediate the block it leads to once known. A block is a header (instruction count, physical address,
 * mode, next in chain), its records, and an end record.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../../x86/index.ts'

/** Names of the four bytes behind the number, by what the record is for. A name lies at the same place in every shape. */
export const SHAPES = {
  /**
   * Registers or vectors: destination is the first operand, also of a comparison, unless there is an `addend`, which then is;
   * control an immediate byte.
   */
  operands: { destination: 2, source: 3, addend: 4, control: 5 },
  /** A vector that chooses for each lane of the result between the two operands. */
  blend: { destination: 2, source: 3, addend: 4, chooser: 5 },
  shift: { destination: 2, count: 3 },
  /** `register` is an operand that is only read; scale: the index's shift in bits 1..0, the segment base's slot in 7..3. */
  memory: { register: 2, base: 3, index: 4, scale: 5 },
  /** behind: instructions of the block behind it; mask, negate: SELECTOR in emit/conditions.ts; isShort: a target of 16 bits. */
  branch: { behind: 2, mask: 3, negate: 4, isShort: 5 },
  /** element: log2 of its size; segmentBase: slot of the source's. */
  string: { element: 2, repeat: 3, segmentBase: 4, addressSize: 5 },
  /** frame: three bytes, that which the block lies in; 0 in a copy. */
  end: { frame: 3 },
  /** From here on for handlers: segment and special are numbers, target and segmentSlot slots; sizes are in bytes. */
  segments: { register: 2, target: 3, segment: 4, size: 5 },
  segmentBases: { register: 2, segmentSlot: 3, size: 5 },
  sized: { register: 2, target: 3, operandBytes: 4 },
  float: { destination: 2, source: 3, operandBits: 4, control: 5 },
  /** stackRegister: i of st(i); result: where it goes; operandKind: lift/x87.ts. */
  x87: { stackRegister: 2, result: 3, operandKind: 4 },
  shortBranch: { register: 2, condition: 3, isRegister: 4, addressSize: 5 },
  special: { general: 2, isWrite: 3, special: 4 },
  port: { isInDx: 4, size: 5 },
  stringPort: { addressBits: 2, segmentSlot: 3, isRepeated: 4, size: 5 },
  enter: { level: 2 },
  interrupt: { isBreakpoint: 4 },
} as const

/** Names of the four bytes. */
export type SmallField = { [S in keyof typeof SHAPES]: keyof (typeof SHAPES)[S] }[keyof typeof SHAPES]

const small = /* @__PURE__ */ Object.assign({}, ...Object.values(SHAPES)) as Readonly<Record<SmallField, number>>

/** Offsets in a record. */
export const RECORD = /* @__PURE__ */ { ...small, number: 0, ip: 6, displacement: 8, immediate: 12, bytes: 16 }
/** In a record's ip: bits of the offset in its page, and where the instruction's length begins. */
export const IP = { OFFSET: PAGE_SIZE - 1, LENGTH: PAGE_SHIFT } as const
/** Offsets in a block's header. */
export const BLOCK = { count: 0, physical: 4, mode: 8, next: 12, bytes: 16 } as const
/** In a header's mode: the block's only instruction goes on into the next page, whose host address is in bits 31..12. */
export const BLOCK_CROSSES = 0x100
/** In a header's mode: the block must not be entered any more. */
export const BLOCK_DEAD = 0x200
/**
 * A block ends where code goes on into another such piece of its page: wherever in a piece blocks begin, they end alike, so
 * that none which is begun in the midst of another looks at code that the other did not.
 */
export const BLOCK_WINDOW = 128
/** Most instructions of a block: one a byte. */
export const BLOCK_INSTRUCTIONS = BLOCK_WINDOW
