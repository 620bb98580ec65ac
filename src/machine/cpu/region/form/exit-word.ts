/**
 * What an exit of a region says, as one 64-bit constant, which the epilogue takes apart: exits are the larger part of a
 * region's code.
 *
 *   63                      21 20        9 8        3 2     0
 *   | rip, from the entry's on | owed       | flags    | cause |
 *
 * owed: instructions done that have not been taken off the budget. flags: the number of their kind, see write/flag-kinds.ts;
 * MERGED where a local tells it. Where the cause is `indirect` a local has rip, and that of the word is the jump's own.
 */
import { invariant, signedFromParts } from '../../../../util/index.ts'
import { EXIT_CAUSES, exitCause } from './exit-causes.ts'
import type { ExitCause } from './exit-causes.ts'

/** Where the parts begin, and their bits. */
export const EXIT_WORD = {
  cause: { shift: 0, mask: 7 }, flags: { shift: 3, mask: 63 }, owed: { shift: 9, mask: 0xfff }, rip: { shift: 21 },
} as const

/** Flags of a kind that is known at run time only. */
export const MERGED = EXIT_WORD.flags.mask

/** Farthest that a region's code may lie from its entry: what it jumps to is then no farther than a word can tell. */
export const FARTHEST = 2 ** 30

/** Parts of an exit's word; rip is relative to the region's entry. */
export interface ExitParts {
  readonly cause: ExitCause
  readonly flags: number
  readonly owed: number
  readonly rip: number
}

/** The word. */
export function exitWord({ cause, flags, owed, rip }: ExitParts): number {
  invariant(owed <= EXIT_WORD.owed.mask && Math.abs(rip) < 2 ** 32, 'an exit fits into a word')
  const low = exitCause(cause) | (flags << EXIT_WORD.flags.shift) | (owed << EXIT_WORD.owed.shift)
  return rip * 2 ** EXIT_WORD.rip.shift + low
}

/** Cause and rip, from the entry's on, of an exit's word that is given in halves. */
export function readExit(low: number, high: number): Pick<ExitParts, 'cause' | 'rip'> {
  const { cause, rip } = EXIT_WORD
  return { cause: EXIT_CAUSES[low & cause.mask]!, rip: Math.floor(signedFromParts(low, high) / 2 ** rip.shift) }
}
