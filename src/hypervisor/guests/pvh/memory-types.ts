/**
 * The MTRRs of one vCPU: kept, checked and saved, and of no effect, as all memory is write-back. PAT is the processor's.
 * Reference: xen/arch/x86/hvm/mtrr.c, mtrr_def_type_msr_set, mtrr_fix_range_msr_set, mtrr_var_range_msr_set; Intel SDM volume 3, 12.11.
 */
import { type StateOf, type Stateful, shape } from '../../../util/index.ts'

type Value = readonly [low: number, high: number]

/** Eight ranges, fixed ranges, write combining. */
export const MTRR_CAPABILITY = 0x508
const [RANGES, FIRST_RANGE] = [8, 0x200] as const
const [CAPABILITY, DEFAULT] = [0xfe, 0x2ff] as const
/** The fixed ranges in the order in which saved domains have them. */
export const FIXED_RANGES = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f] as const
const WORDS = (RANGES * 2 + FIXED_RANGES.length + 1) * 2

/** Types of memory, and what else the registers may hold. */
const isType = (type: number): boolean => type === 0 || type === 1 || (type >= 4 && type <= 6)
const [DEFAULT_BITS, BASE_RESERVED, MASK_RESERVED, HIGH_RESERVED] = [0xcff, 0xf00, 0x7ff, 0xffff_ff00] as const

/** What saved MTRRs look like: base and mask of each range, the fixed ones, the default; low and high halves in turn. */
export const memoryTypesShape = /* @__PURE__ */ shape.array(Uint32Array, WORDS)

/** MTRRs of one vCPU. */
export class MemoryTypes implements Stateful<StateOf<typeof memoryTypesShape>> {
  private readonly words = new Uint32Array(WORDS)

  /** Value of a register; undefined where there is none. */
  read(register: number): Value | undefined {
    if (register === CAPABILITY) return [MTRR_CAPABILITY, 0]
    const at = placeOf(register)
    return at < 0 ? undefined : [this.words[at]!, this.words[at + 1]!]
  }

  /** Writes a register; false where it does not take the value. */
  write(register: number, [low, high]: Value): boolean {
    const at = placeOf(register)
    if (at < 0 || !accepts(register, low, high)) return false
    this.words[at] = low
    this.words[at + 1] = high
    return true
  }

  save(): StateOf<typeof memoryTypesShape> {
    return this.words.slice()
  }

  load(state: StateOf<typeof memoryTypesShape>): void {
    this.words.set(state)
  }
}

function placeOf(register: number): number {
  if (register >= FIRST_RANGE && register < FIRST_RANGE + RANGES * 2) return (register - FIRST_RANGE) * 2
  const fixed = FIXED_RANGES.findIndex((one) => one === register)
  if (fixed >= 0) return (RANGES * 2 + fixed) * 2
  return register === DEFAULT ? WORDS - 2 : -1
}

function accepts(register: number, low: number, high: number): boolean {
  if (register === DEFAULT) return high === 0 && (low & ~DEFAULT_BITS) === 0 && isType(low & 0xff)
  if (register >= 0x250) return [low, high].every((word) => [0, 8, 16, 24].every((shift) => isType((word >>> shift) & 0xff)))
  if ((high & HIGH_RESERVED) !== 0) return false
  return register % 2 === 0 ? (low & BASE_RESERVED) === 0 && isType(low & 0xff) : (low & MASK_RESERVED) === 0
}
