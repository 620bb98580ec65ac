/** Notes the frames that domains have registered and that their vCPUs hold, and what they map by grants. */
import type { Domain } from '../domains/domain.ts'
import { FRAME_TYPE } from '../frames/frame-table.ts'
import type { CheckedParts, Rule } from './parts.ts'
import type { Recount } from './recount.ts'

/** Goes through all domains. */
export const countDomainFrames: Rule = (parts, recount) => {
  for (const domain of parts.domains.all()) countDomain(parts, recount, domain)
}

function countDomain({ events, grants }: CheckedParts, recount: Recount, domain: Domain): void {
  for (const { vcpu, infoFrame, guest } of domain.vcpus) {
    if (infoFrame >= 0) recount.use(infoFrame, FRAME_TYPE.WRITABLE, `vcpu_info of vCPU ${vcpu}`)
    for (const { frame, type, what } of guest?.uses?.() ?? []) recount.use(frame, type, what)
  }
  if (domain.eoiFrame >= 0) recount.use(domain.eoiFrame, FRAME_TYPE.WRITABLE, 'the EOI bitmap')
  for (const mfn of events.of(domain.id)?.pages() ?? []) recount.use(mfn, FRAME_TYPE.WRITABLE, 'an event page')
  for (const { mfn, writable } of grants.uses(domain.id)) {
    recount.use(mfn, writable ? FRAME_TYPE.WRITABLE : FRAME_TYPE.NONE, 'a grant mapping')
  }
}
