/** The control interface's face of the life of domains: it finds the domain, asks the core, and throws where that refuses. */
import { ERRNO } from '../../../abi/index.ts'
import { type DomId, type OptionChecks, anything, byteArray, callable, checkOptions, flag, text, whole } from '../../../util/index.ts'
import type { Domain } from '../../domains/domain.ts'
import type { RefusalFacts } from '../../domains/refusal-facts.ts'
import type { HostClock } from '../../time/host-clock.ts'
import type { DomainActivity } from '../core/activity.ts'
import { describeDomain } from '../core/info.ts'
import type { DomainLifecycle } from '../core/lifecycle.ts'
import type { CreateDomainOptions } from '../core/records.ts'
import type { DomainControl } from './control-interface.ts'
import { type DomainFinder, foundDomain } from './found.ts'
import { accepted, refusal } from './refusals.ts'

/** What the face of domains asks. */
export interface DomainFaceParts {
  readonly domains: DomainFinder & { all(): Domain[] }
  readonly lifecycle: DomainLifecycle
  readonly activity: DomainActivity
  readonly clock: HostClock
}

const DOMAIN_CHECKS: OptionChecks<CreateDomainOptions> = {
  domid: anything, kind: text, createRunner: callable, vcpus: anything,
  maxPages: /* @__PURE__ */ whole(0, 2 ** 40), privileged: flag, handle: byteArray, maxGrantFrames: /* @__PURE__ */ whole(0, 2 ** 20),
  maxMaptrackFrames: /* @__PURE__ */ whole(0, 2 ** 20), maxPorts: /* @__PURE__ */ whole(1, 2 ** 17),
}

/** Makes the face of domains. */
export function domainFace(
  { domains, lifecycle, activity, clock }: DomainFaceParts,
): Omit<DomainControl, 'getHvmParam' | 'setHvmParam' | 'getHvmContext' | 'setHvmContext'> {
  const find = (domid: DomId): Domain => foundDomain(domains, domid)
  return {
    createDomain(options) {
      checkOptions('createDomain', options, DOMAIN_CHECKS)
      const facts: RefusalFacts = {}
      // The core numbers domains.
      return accepted(lifecycle.create(options, facts), 'createDomain', facts) as DomId
    },
    destroyDomain: (domid) => lifecycle.destroy(find(domid)),
    dismantleDomain: (domid) => lifecycle.dismantle(find(domid)) === 0,
    pauseDomain(domid) {
      accepted(activity.pause(find(domid)), 'pauseDomain', { domid })
    },
    unpauseDomain(domid) {
      accepted(activity.unpause(find(domid)), 'unpauseDomain', { domid })
    },
    shutdownDomain(domid, reason) {
      activity.shutdown(find(domid), reason)
    },
    crashReport: (domid) => find(domid).crashReport,
    resumeDomain(domid, result) {
      if (activity.resume(find(domid), result) === 0) throw refusal('resumeDomain', -ERRNO.EINVAL, { domid })
    },
    domainInfo: (domid) => describeDomain(find(domid), clock.now()),
    listDomains: () => domains.all().map((domain) => describeDomain(domain, clock.now())),
    hasDomain: (domid) => domains.get(domid) !== undefined,
  }
}
