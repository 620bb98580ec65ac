/**
 * domctl: what a toolstack in a privileged domain asks of one domain. The structure is copied once, its version looked at, its domain
 * found, the caller asked for; then its operation is carried out, and the structure goes back where the operation answers by it.
 * Reference: public/domctl.h; xen/common/domctl.c, do_domctl; xen/include/xsm/dummy.h, xsm_domctl.
 */
import { DOMCTL, DOMCTL_INTERFACE_VERSION, DOMID, Domctl, ERRNO } from '../../../abi/index.ts'
import type { HypercallHandler, HypercallRow } from '../../domains/hypercall.ts'
import type { Domain } from '../../domains/domain.ts'
import { readInto } from '../../memory/guest-access.ts'
import { type Operations, byNumber, listed } from '../../domains/hypercall-rows.ts'
import { WORK } from '../../time/work-meter.ts'
import { type ControlOperation, answering } from '../binary/control-call.ts'
import { writeDomainRecord } from '../binary/domain-record.ts'
import { deviceOperations } from './devices.ts'
import { DOMCTL_ARGUMENT, DomctlCall, type DomctlParts } from './domctl-call.ts'
import { lifeOperations } from './life.ts'
import { memoryOperations } from './memory.ts'
import { policyOperations } from './policy.ts'
import { type SchedulingCallParts, schedulingOperations } from './scheduling.ts'
import { vcpuOperations } from './vcpus.ts'

type Operation = ControlOperation<DomctlCall>

function operations(parts: SchedulingCallParts): Operations<typeof DOMCTL, Operation> {
  return {
    ...lifeOperations(parts), ...vcpuOperations(parts), ...schedulingOperations(parts), ...memoryOperations(parts), ...policyOperations(parts),
    ...deviceOperations(parts),
    getdomaininfo: answering(({ domain, view }) => {
      writeDomainRecord(parts, domain, { view, base: DOMCTL_ARGUMENT })
      Domctl.domain.set(view, 0, domain.id)
      return 0
    }),
  }
}

/** The domain that a call is about: of getdomaininfo the next one, where there is none of that number. Negative: error number. */
function subjectOf({ domains }: DomctlParts, { caller, view }: DomctlCall, command: number): Domain | number {
  if (command === DOMCTL.createdomain) return caller.owner
  const id = Domctl.domain.get(view, 0)
  const found = domains.get(id)
  if (found !== undefined) return found
  if (command !== DOMCTL.getdomaininfo) return -ERRNO.ESRCH
  if (id >= DOMID.FIRST_RESERVED) return -ERRNO.EINVAL
  return domains.all().find((domain) => domain.id >= id) ?? -ERRNO.ESRCH
}

/** Makes the row of domctl(structure). */
export function domctl(parts: SchedulingCallParts): HypercallRow {
  const rows = operations(parts)
  const names = Object.entries(DOMCTL).reduce<string[]>((all, [name, number]) => {
    all[number] = `domctl.${name}`
    return all
  }, [])
  const flat = byNumber(DOMCTL, rows)
  const call = new DomctlCall()
  const handler: HypercallHandler = (caller, args) => {
    const address = args.address(0)
    if (!readInto(caller.access, address, call.scratch, Domctl.size)) return -ERRNO.EFAULT
    const { view } = call
    if (Domctl.interfaceVersion.get(view, 0) !== DOMCTL_INTERFACE_VERSION) return -ERRNO.EACCES
    call.caller = caller
    call.answers = false
    const command = Domctl.cmd.get(view, 0)
    const domain = subjectOf(parts, call, command)
    if (typeof domain === 'number') return domain
    const target = command === DOMCTL.createdomain ? undefined : domain.id
    if (!parts.domains.mayDo(caller.domid, names[command] ?? 'domctl', target)) return -ERRNO.EPERM
    const operation = command < flat.length ? flat[command] : undefined
    if (operation === undefined) return -ERRNO.ENOSYS
    call.domain = domain
    parts.meter.charge(WORK.element)
    const result = operation.run(call)
    return call.answers && !caller.access.write(address, call.scratch.bytes) ? -ERRNO.EFAULT : result
  }
  return { name: 'domctl', handler, source: 'public/domctl.h; do_domctl', operations: [listed('XEN_DOMCTL_', DOMCTL, rows)], asked: () => Domctl.cmd.get(call.view, 0) }
}
