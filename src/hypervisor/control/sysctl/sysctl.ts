/**
 * sysctl: what a toolstack in a privileged domain asks of the host. The structure is copied once, its version looked at, the caller
 * asked for; then its operation is carried out, and the structure goes back where the operation answers by it.
 * Reference: public/sysctl.h; xen/common/sysctl.c, do_sysctl.
 */
import { ERRNO, SYSCTL, SYSCTL_INTERFACE_VERSION, Sysctl } from '../../../abi/index.ts'
import type { HypercallHandler, HypercallRow } from '../../domains/hypercall.ts'
import { readInto } from '../../memory/guest-access.ts'
import { type Operations, byNumber, listed } from '../../domains/hypercall-rows.ts'
import { WORK } from '../../time/work-meter.ts'
import type { ControlOperation } from '../binary/control-call.ts'
import { consoleOperations } from './console.ts'
import { poolOperations } from './cpu-pools.ts'
import { hostOperations } from './host.ts'
import { systemPolicyOperations } from './policies.ts'
import { powerOperations } from './power.ts'
import { SysctlCall, type SysctlParts } from './sysctl-call.ts'
import { traceOperations } from './trace.ts'

const operations = (parts: SysctlParts): Operations<typeof SYSCTL, ControlOperation<SysctlCall>> => ({
  ...hostOperations(parts), ...poolOperations(parts), ...consoleOperations(parts), ...systemPolicyOperations(parts), ...powerOperations(parts), ...traceOperations(parts),
})

/** Makes the row of sysctl(structure). */
export function sysctl(parts: SysctlParts): HypercallRow {
  const rows = operations(parts)
  const names = Object.entries(SYSCTL).reduce<string[]>((all, [name, number]) => {
    all[number] = `sysctl.${name}`
    return all
  }, [])
  const flat = byNumber(SYSCTL, rows)
  const call = new SysctlCall()
  const handler: HypercallHandler = (caller, args) => {
    const address = args.address(0)
    if (!readInto(caller.access, address, call.scratch, Sysctl.size)) return -ERRNO.EFAULT
    if (Sysctl.interfaceVersion.get(call.view, 0) !== SYSCTL_INTERFACE_VERSION) return -ERRNO.EACCES
    const command = Sysctl.cmd.get(call.view, 0)
    if (!parts.domains.mayDo(caller.domid, names[command] ?? 'sysctl')) return -ERRNO.EPERM
    const operation = command < flat.length ? flat[command] : undefined
    if (operation === undefined) return -ERRNO.ENOSYS
    call.caller = caller
    call.answers = false
    parts.meter.charge(WORK.element)
    const result = operation.run(call)
    return call.answers && !caller.access.write(address, call.scratch.bytes) ? -ERRNO.EFAULT : result
  }
  return { name: 'sysctl', handler, source: 'public/sysctl.h; do_sysctl', operations: [listed('XEN_SYSCTL_', SYSCTL, rows)], asked: () => Sysctl.cmd.get(call.view, 0) }
}
