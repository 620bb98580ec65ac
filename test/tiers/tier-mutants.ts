/**
 * Faults that random programs have to find in the compiling tier: each is a piece of the source as it should not be, or once
 * was. `within`: programs in which it is found at the latest. Six that random programs seldom meet are found by the tests of
 * test/unit/machine/cpu/region at once: a return taken for one to the first site, flags at a join taken for those of one way,
 * regions that outlive their code in another frame, a window for reading that is written through, the carry into ADC and SBB
 * forgotten at an exit, a budget that repetitions have used up.
 */
import type { Patch } from '../support/mutants.ts'

/** One planted fault. */
export interface TierMutant {
  readonly name: string
  readonly patches: readonly Patch[]
  readonly within: number
  /** What the finding says. */
  readonly found: RegExp
}

const REGION = 'src/machine/cpu/region'
// In registers at a stop, or in memory at the end.
const DIFFERS = /after \d+|between \d+|, reference /

const patch = (file: string, find: string, replace: string): Patch => ({ file, find, replace })

/** All of them; the first are found soonest. */
export const MUTANTS: readonly TierMutant[] = [
  {
    name: 'instructions before an exit are not paid for',
    patches: [patch(`${REGION}/write/writer.ts`, 'owed: this.owed, rip:', 'owed: 0, rip:')],
    within: 3, found: DIFFERS,
  },
  {
    name: 'INC and DEC forget the carry before them',
    patches: [patch(`${REGION}/write/region-flags.ts`, 'if (kind === \'inc\' || kind === \'dec\') this.keepCarry(b)', '')],
    within: 10, found: DIFFERS,
  },
  {
    name: 'a block that begins in the middle reaches farther than the one around it: where work is counted, fresh code is paid for too early',
    patches: [patch('src/machine/cpu/code/code-cache.ts', 'const end = (place.host - (place.host % BLOCK_WINDOW)) + BLOCK_WINDOW', 'const end = place.host + BLOCK_WINDOW')],
    within: 3, found: DIFFERS,
  },
  {
    name: 'a slice that is used up while an interrupt waits is not begun anew',
    patches: [patch('src/machine/cpu/processor/processor.ts', 'if (most > 0 && (block === 0 || this.slice <= 0)) this.slice', 'if (most > 0 && block === 0 && !isStepping) this.slice')],
    within: 3, found: /makes no progress/,
  },
  {
    name: 'an exit to the region\'s own entry looks the entry up again',
    patches: [patch(`${REGION}/write/writer.ts`, `c.op('i32.ge_s', 'i32.and')`, `c.op('i32.ge_s', 'i32.and')\n    c.i32(0)\n    c.op('i32.and')`)],
    within: 6, found: /makes no progress/,
  },
  {
    name: 'a loop is entered whatever is left of the budget',
    patches: [patch(`${REGION}/write/writer.ts`, 'c.i32(longest)', 'c.i32(0)')],
    within: 6, found: DIFFERS,
  },
  {
    name: 'a region is entered whatever is left of the budget',
    patches: [patch(`${REGION}/write/writer.ts`, 'c.i32(this.nodes[0]!.longest)', 'c.i32(0)')],
    within: 6, found: DIFFERS,
  },
  {
    name: 'an access into the next page is taken for one in its first',
    patches: [patch('src/machine/cpu/emit/tlb-look.ts', 'if (bytes > 1) {\n    c.i64(bytes - 1)', 'if (bytes > 1) {\n    c.i64(0)')],
    within: 20, found: DIFFERS,
  },
  {
    name: 'what a string instruction did to registers is forgotten',
    patches: [patch(`${REGION}/write/region-calls.ts`, 'b.registers.load({ used: use.written, written: 0 })', '')],
    within: 10, found: DIFFERS,
  },
  {
    name: 'flags are not shown to a comparison of strings, nor taken back',
    patches: [patch(`${REGION}/write/region-calls.ts`, 'if (usesFlags) b.flags.load(b.base)', '')],
    within: 20, found: DIFFERS,
  },
  {
    name: 'a string instruction is shown more of the budget than there is',
    patches: [patch(`${REGION}/write/writer.ts`, 'due: this.owed + 1 + ', 'due: this.owed - 9 + ')],
    within: 20, found: DIFFERS,
  },
  {
    name: 'a register that becomes anything is taken for what it was',
    patches: [patch(`${REGION}/write/values.ts`, 'this.roots[register] = this.rootsEnd++', 'this.rootsEnd++')],
    within: 20, found: DIFFERS,
  },
  {
    name: 'what is known on one way is taken for known where ways join',
    patches: [patch(`${REGION}/write/writer.ts`, 'this.tree(join, \'any\')', 'this.tree(join, \'this\')')],
    // Compiled code that goes by what is not so may leave the machine's memory before anything is compared.
    within: 40, found: new RegExp(`${DIFFERS.source}|out of bounds`),
  },
]
