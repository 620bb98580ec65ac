/**
 * Operations of domctl on what processors look like to a domain: its CPU policy, and how it sees the time-stamp counter.
 * Reference: xen/arch/x86/domctl.c, update_domain_cpu_policy; xen/arch/x86/time.c, tsc_get_info, tsc_set_info.
 */
import { DomctlCpuPolicy, DomctlTscInfo, ERRNO } from '../../../abi/index.ts'
import { partial } from '../../domains/hypercall-rows.ts'
import { answering, silent } from '../binary/control-call.ts'
import { type Objection, auditPolicy, readPolicy, writePolicy } from '../binary/policy-records.ts'
import { setTscInfo, tscInfo } from '../core/tsc.ts'
import { DOMCTL_ARGUMENT, type DomctlCall, type DomctlParts, ofOthers } from './domctl-call.ts'

const NONE = 0xffff_ffff

function setPolicy({ vcpus }: DomctlParts, call: DomctlCall): number {
  const { domain, view } = call
  if (domain.vcpus.some(({ initialised }) => initialised)) return -ERRNO.EEXIST
  const prepared = vcpus.prepare(domain.vcpus[0]!)
  if (prepared < 0) return prepared
  const policy = vcpus.policy(domain)
  const most = vcpus.offeredPolicy(domain)
  if (typeof policy === 'number') return policy
  if (typeof most === 'number') return most
  const objection: Objection = { leaf: NONE, subleaf: NONE, msr: NONE }
  const wanted = readPolicy(call, DomctlCpuPolicy, DOMCTL_ARGUMENT, { policy, objection })
  const result = typeof wanted === 'number' ? wanted : auditPolicy(wanted, most, objection)
  if (result === 0 && typeof wanted !== 'number') return vcpus.setPolicy(domain, wanted, [])
  call.answers = true
  DomctlCpuPolicy.errLeaf.set(view, DOMCTL_ARGUMENT, objection.leaf)
  DomctlCpuPolicy.errSubleaf.set(view, DOMCTL_ARGUMENT, objection.subleaf)
  DomctlCpuPolicy.errMsr.set(view, DOMCTL_ARGUMENT, objection.msr)
  return result
}

function getPolicy({ vcpus }: DomctlParts, call: DomctlCall): number {
  const { domain } = call
  const prepared = vcpus.prepare(domain.vcpus[0]!)
  if (prepared < 0) return prepared
  const policy = vcpus.policy(domain)
  return typeof policy === 'number' ? policy : writePolicy(call, DomctlCpuPolicy, DOMCTL_ARGUMENT, policy)
}

function getTsc(parts: DomctlParts, { domain, view }: DomctlCall): number {
  const { mode, kilohertz, nanoseconds, incarnation } = tscInfo(parts, domain)
  DomctlTscInfo.encode(view, DOMCTL_ARGUMENT, { tscMode: mode, gtscKhz: kilohertz, incarnation, elapsedNsec: nanoseconds })
  return 0
}

function setTsc(parts: DomctlParts, { domain, view }: DomctlCall): number {
  const { tscMode, gtscKhz, incarnation, elapsedNsec } = DomctlTscInfo.decode(view, DOMCTL_ARGUMENT)
  return setTscInfo(parts, domain, { mode: tscMode, kilohertz: gtscKhz, incarnation, nanoseconds: elapsedNsec })
}

/** The operations, by the names of their numbers. */
export function policyOperations(parts: DomctlParts) {
  return {
    set_cpu_policy: silent(ofOthers((call) => setPolicy(parts, call)), partial('what the host does not offer is hidden')),
    get_cpu_policy: answering((call: DomctlCall) => getPolicy(parts, call)),
    settscinfo: silent(ofOthers((call) => setTsc(parts, call))),
    gettscinfo: answering(ofOthers((call) => getTsc(parts, call))),
  }
}
