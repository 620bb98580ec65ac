/**
 * The sixteen conditions of Jcc, SETcc and CMOVcc.
 * Reference: Intel SDM volume 1, appendix B.
 */

/** Names of the conditions in the order of their numbers, which are the opcode's low four bits. */
export const CONDITIONS = [
  'o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g',
] as const
/** A condition by name. */
export type Condition = (typeof CONDITIONS)[number]
