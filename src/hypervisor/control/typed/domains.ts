/** The control interface's face of the life of domains: it finds the domain, asks the core, and throws where that refuses. */
import { ERRNO } from '../../../abi/index.ts'
import { type DomId, type OptionChecks, anything, byteArray, callable, checkOptions, flag, text, whole } from '../../../util/index.ts'
import type { Domain } from '../../domains/domain.ts'
import type { RefusalFacts } from '../../domains/refusal-facts.ts'
import type { DomainActivity } from '../core/activity.ts'
import { describeDomain } from '../core/info.ts'
import type { DomainLifecycle } from '../core/lifecycle.ts'
import type { CreateDomainOptions, DomainInfo } from '../core/records.ts'
import { type TscParts, setTscInfo, tscInfo } from '../core/tsc.ts'
import type { DomainControl } from './control-interface.ts'
import { type DomainFinder, foundDomain } from './found.ts'
import { accepted, refusal } from './refusals.ts'

/** What the face of domains asks. */
export interface DomainFaceParts extends TscParts {
  readonly domains: DomainFinder & { all(): Domain[]; ended(): Domain[]; isQuiet(): boolean }
  readonly lifecycle: DomainLifecycle
  readonly activity: DomainActivity
  readonly scheduler: { poolOf(domid: DomId): { readonly id: number } | undefined }
}

const DOMAIN_CHECKS: OptionChecks<CreateDomainOptions> = {
  domid: anything, kind: text, createRunner: callable, vcpus: anything,
  maxPages: /* @__PURE__ */ whole(0, 2 ** 40), privileged: flag, handle: byteArray, maxGrantFrames: /* @__PURE__ */ whole(0, 2 ** 20),
  maxMaptrackFrames: /* @__PURE__ */ whole(0, 2 ** 20), maxPorts: /* @__PURE__ */ whole(1, 2 ** 17), grantVersion: /* @__PURE__ */ whole(1, 2),
}

/** Makes the face of domains. */
export function domainFace(
  parts: DomainFaceParts,
): Omit<DomainControl, 'getHvmParam' | 'setHvmParam' | 'getHvmContext' | 'setHvmContext'> {
  const { domains, lifecycle, activity, clock, scheduler } = parts
  const find = (domid: DomId): Domain => foundDomain(domains, domid)
  const describe = (domain: Domain): DomainInfo =>
    describeDomain(domain, { now: clock.now(), pool: scheduler.poolOf(domain.id)?.id ?? -1 })
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
    setTimeOffset(domid, seconds) {
      accepted(lifecycle.setTimeOffset(find(domid), seconds), 'setTimeOffset', { domid, seconds })
    },
    getTscInfo: (domid) => tscInfo(parts, find(domid)),
    setTscInfo(domid, info) {
      accepted(setTscInfo(parts, find(domid), info), 'setTscInfo', { domid, mode: info.mode, kilohertz: info.kilohertz })
    },
    crashReport: (domid) => find(domid).crashReport,
    resumeDomain(domid, result) {
      if (activity.resume(find(domid), result) === 0) throw refusal('resumeDomain', -ERRNO.EINVAL, { domid })
    },
    softResetDomain(domid) {
      const facts: RefusalFacts = {}
      const domain = find(domid)
      accepted(lifecycle.softReset(domain, facts), 'softResetDomain', { ...facts, domid })
      activity.resume(domain)
    },
    domainInfo: (domid) => describe(find(domid)),
    listDomains: () => domains.all().map(describe),
    endedDomains: () => domains.ended().map(({ id, isShutDown, shutdownReason, dying }) =>
      ({ domid: id, shutdownReason: isShutDown ? shutdownReason : undefined, dying })),
    isQuiet: () => domains.isQuiet(),
    hasDomain: (domid) => domains.get(domid) !== undefined,
  }
}
