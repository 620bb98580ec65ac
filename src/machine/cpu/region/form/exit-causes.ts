/** Why a region is left: what its function notes in State.exitCause. */

/** The causes by number. */
export const EXIT_CAUSES = [
  /** Less of the budget is left than the longest way to where it is looked at next. */
  'budget',
  /** It came back to its own entry from outside of any loop. */
  'entry',
  /** Declined: its pages are not mapped as they were. */
  'mapping',
  /** An access that needs more than a look into the TLB. */
  'memory',
  /** An instruction that no region carries out, or that raises an exception. */
  'instruction',
  /** Code goes on outside of the region. */
  'target',
  /** So it does at an address that was worked out. */
  'indirect',
  /** A jump into the middle of a loop. */
  'irreducible',
] as const

/** A cause. */
export type ExitCause = (typeof EXIT_CAUSES)[number]

/** From this number on the code that follows has not been taken into the region. */
export const FIRST_LEAD = 5

/** Number of a cause. */
export const exitCause = (cause: ExitCause): number => EXIT_CAUSES.indexOf(cause)
