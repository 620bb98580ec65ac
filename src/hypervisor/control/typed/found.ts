/** Finding what a call of the control interface names, or throwing what says that it is not there. */
import { ERRNO } from '../../../abi/index.ts'
import type { DomId } from '../../../util/index.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import { refusal } from './refusals.ts'

/** Domains by number. */
export interface DomainFinder {
  get(domid: number): Domain | undefined
}

/** A domain, dying ones included. Throws DOMAIN_NOT_FOUND. */
export function foundDomain(domains: DomainFinder, domid: DomId): Domain {
  const domain = domains.get(domid)
  if (domain === undefined) throw refusal('find', -ERRNO.ESRCH, { domid })
  return domain
}

/** A vCPU of a domain. Throws DOMAIN_NOT_FOUND, INVALID_ARGUMENT. */
export function foundVcpu(domains: DomainFinder, domid: DomId, index: number): Vcpu {
  const vcpu = foundDomain(domains, domid).vcpus[index]
  if (vcpu === undefined) throw refusal('findVcpu', -ERRNO.ENOENT, { domid, vcpu: index })
  return vcpu
}
