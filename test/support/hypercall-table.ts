/** The table of hypercalls of each kind of guest, out of a hypervisor over a little memory. */
import { compose } from '../../src/hypervisor/composition.ts'
import type { HypercallRow } from '../../src/hypervisor/domains/hypercall.ts'
import { VirtualClock } from '../../src/hypervisor/index.ts'
import { SeededRandom } from '../../src/util/index.ts'
import { PlainMemory } from './hypervisor-host.ts'

/** Kinds of guests, by the names of `createDomain`. */
export const KINDS = ['typescript', 'pv', 'pv32', 'pvh'] as const

/** Rows by kind, in the order of the hypercalls' numbers. */
export function hypercallTables(): Record<(typeof KINDS)[number], readonly HypercallRow[]> {
  const { kinds } = compose({ memory: new PlainMemory(256), clock: new VirtualClock(), random: new SeededRandom(1) })
  const rowsOf = (name: string): readonly HypercallRow[] => kinds.get(name)!.hypercalls.rows
  return { typescript: rowsOf('typescript'), pv: rowsOf('pv'), pv32: rowsOf('pv32'), pvh: rowsOf('pvh') }
}
