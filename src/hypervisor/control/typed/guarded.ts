/** The control interface as a policy lets the toolstack have it: each call is asked about before it is made. */
import { named, XenError } from '../../../util/index.ts'
import type { Access } from '../../domains/access.ts'
import type { ControlInterface } from './control-interface.ts'

/** Calls that are no question of access: the clock's own work, and what only tells that something has happened. */
const UNASKED: ReadonlySet<string> = new Set(['run', 'markWritten', 'hasDomain', 'endedDomains', 'isQuiet', 'allows'] satisfies (keyof ControlInterface)[])
/** Calls whose first argument is no domain. */
const OF_HOST: ReadonlySet<string> = new Set([
  'createDomain', 'listDomains', 'machineToPhys', 'framePfns', 'frameInfo', 'hostInfo', 'readConsole', 'cpuPools', 'createCpuPool', 'destroyCpuPool', 'addPoolCpu',
  'removePoolCpu', 'poolParameters', 'setPoolParameters',
] satisfies (keyof ControlInterface)[])

/** The same faces; a call that the policy refuses throws PERMISSION_DENIED, which names it. */
export function guarded(control: ControlInterface, access: Access): ControlInterface {
  const calls = Object.entries(control).map(([name, call]: [string, unknown]) => {
    if (typeof call !== 'function' || UNASKED.has(name)) return [name, call]
    return [name, (...given: unknown[]): unknown => {
      const target = OF_HOST.has(name) ? undefined : given[0] as number
      if (access.mayControl(name, target)) return (call as (...all: unknown[]) => unknown)(...given)
      throw new XenError('PERMISSION_DENIED', `the policy ${access.facts().policy} does not allow ${name}${target === undefined ? '' : ` of domain ${named(target)}`}`, {
        details: { operation: name, domid: target, policy: access.facts().policy },
      })
    }]
  })
  // The same names with the same calls.
  return { ...Object.fromEntries(calls) as ControlInterface, allows: (operation, domid) => access.mayControl(operation, domid) }
}
