/** What a host's policy lets its toolstack do with a domain, asked before there is no way back. */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { XenError, type DomId } from '../../util/index.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import { createDomain, type CreatedDomain, type CreateProgress } from '../create/create-domain.ts'
import type { CreateHost } from '../create/domain-shell.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import type { OperationContext } from '../run/operation.ts'

/** Calls of the control interface by which a domain is destroyed. */
const DESTROYING = ['pauseDomain', 'dismantleDomain'] as const satisfies readonly (keyof ControlInterface)[]

/** The error of the first of some calls that the policy does not allow; undefined where it allows all. */
function refused(control: ControlInterface, calls: readonly (keyof ControlInterface)[], domid: DomId): XenError | undefined {
  const operation = calls.find((call) => !control.allows(call, domid))
  if (operation === undefined) return undefined
  const { policy } = control.hostInfo().access
  return new XenError('PERMISSION_DENIED', `the policy ${policy} does not allow ${operation} of domain ${domid}`, { details: { operation, domid, policy } })
}

/** The error of whoever wants to destroy a domain that the policy keeps; undefined where it may be destroyed. */
export const notDestroyable = (control: ControlInterface, domid: DomId): XenError | undefined => refused(control, DESTROYING, domid)

/** Throws PERMISSION_DENIED where a domain that has been made may not be let run. */
export function checkStartable(control: ControlInterface, domid: DomId): void {
  const refusal = refused(control, ['unpauseDomain'], domid)
  if (refusal !== undefined) throw refusal
}

/** Creates a domain that is to run; one that may not is taken back. */
export async function createStartable(host: CreateHost, config: DomainConfig<KernelSource>, context: OperationContext<CreateProgress>): Promise<CreatedDomain> {
  const created = await createDomain(host, config, context)
  checkStartable(host.control, created.domid)
  return created
}
