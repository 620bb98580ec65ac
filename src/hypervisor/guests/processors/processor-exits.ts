/**
 * The numbers by which a processor says why it came back. The machine owns them; this layer imports its types only, so
 * they are repeated here, and the compiler compares them.
 */
import type { EXIT as MachineExit } from '../../../machine/index.ts'

/** Why a processor came back; see the machine's constants of the same names. */
export const EXIT: typeof MachineExit = {
  BUDGET: 0, EXCEPTION: 1, SYSCALL: 2, INTERRUPT: 3, PRIVILEGED: 4, HALT: 5, DEBUG: 6, SHUTDOWN: 7, PHYSICAL: 8,
}
