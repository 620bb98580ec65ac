/**
 * Faults that the explorer of overlapping operations has to find: each is a piece of the source as it once was, or as it
 * must not be. `within`: explorations in which it is found at the latest.
 */
import type { Patch } from '../support/mutants.ts'

/** One planted fault. */
export interface OperationMutant {
  readonly name: string
  readonly patches: readonly Patch[]
  readonly within: number
  /** What a finding says. */
  readonly found: RegExp
}

const TOOLSTACK = 'src/toolstack'

const patch = (file: string, find: string, replace: string): Patch => ({ file, find, replace })

/** All of them; the first is found soonest. */
export const OPERATION_MUTANTS: readonly OperationMutant[] = [
  {
    name: 'a second save goes on beside the first',
    patches: [patch(`${TOOLSTACK}/run/operations.ts`, ' ?? this.busy(settings)', '')],
    within: 10, found: /two movements/,
  },
  {
    name: 'an overtaken memory target undoes the newer one',
    patches: [patch(`${TOOLSTACK}/run/wishes.ts`, '        if (!isNewest()) return\n        end()\n', '        end()\n')],
    within: 10, found: /undoes a newer one/,
  },
  {
    name: 'a domain that has crashed can be resumed',
    patches: [patch('src/toolstack/migrate/send.ts', '  checkSuspended(host, domain.id)\n', '  void checkSuspended\n')],
    within: 20, found: /was resumed after ending/,
  },
  {
    name: 'a state is written whether or not its device is there',
    patches: [patch('src/guest/xenbus/state.ts', "    if ((await readOptional(transaction, `${path}/state`)) === undefined) return false\n", '')],
    within: 20, found: /left: .*(backend|device)/,
  },
  {
    name: 'a name is taken after the shutdown has resolved',
    patches: [patch(`${TOOLSTACK}/host/ask-to-end.ts`, 'return fate.ended !== undefined && !host.isActing(fate.id)', 'return fate.ended !== undefined')],
    within: 10, found: /is there after its/,
  },
]
