/**
 * The control interface's face of translated domains: frames by the guest's own numbers, parameters, HVM contexts. It finds
 * the domain, asks the half that its kind keeps, and throws where that refuses or is not there.
 */
import { ERRNO } from '../../../abi/index.ts'
import type { DomId, Mfn } from '../../../util/index.ts'
import type { GuestDomain } from '../../domains/guest-domain.ts'
import { MEMORY_AT } from '../../frames/physical-map.ts'
import type { DomainControl, MemoryControl } from './control-interface.ts'
import { type DomainFinder, foundDomain } from './found.ts'
import { type RefusableOperation, accepted, refusal } from './refusals.ts'

/** What the face of translated domains asks. */
export interface TranslatedFaceParts {
  readonly domains: DomainFinder
}

type TranslatedControl =
  Pick<MemoryControl, 'frameOfGfn' | 'highestGfn' | 'memoryGfns' | 'memoryAt' | 'onDemandGfns' | 'populateOnDemand' | 'setOnDemandTarget'>
  & Pick<DomainControl, 'getHvmParam' | 'setHvmParam' | 'getHvmContext' | 'setHvmContext'>

/** Makes the face of translated domains. */
export function translatedFace({ domains }: TranslatedFaceParts): TranslatedControl {
  const guestOf = (domid: DomId): GuestDomain | undefined => foundDomain(domains, domid).guest
  const needed = (domid: DomId, operation: RefusableOperation): GuestDomain => {
    const guest = guestOf(domid)
    if (guest === undefined) throw refusal(operation, -ERRNO.EINVAL, { domid, cause: 'untranslated' })
    return guest
  }
  return {
    frameOfGfn(domid, gfn) {
      const mfn = guestOf(domid)?.physmap.frame(gfn) ?? -1
      // A frame of the domain's own.
      return mfn < 0 ? undefined : mfn as Mfn
    },
    highestGfn: (domid) => guestOf(domid)?.physmap.highest() ?? -1,
    memoryGfns: (domid) => guestOf(domid)?.physmap.memory() ?? new Uint32Array(0),
    memoryAt: (domid, gfns) => guestOf(domid)?.physmap.memoryAt(gfns) ?? new Int32Array(gfns.length).fill(MEMORY_AT.NONE),
    onDemandGfns: (domid) => guestOf(domid)?.physmap.onDemandPlaces() ?? [],
    populateOnDemand(domid, count, firstGfn) {
      accepted(needed(domid, 'populateOnDemand').populateOnDemand(firstGfn, count), 'populateOnDemand', { domid, count, firstGfn })
    },
    setOnDemandTarget(domid, pages) {
      accepted(needed(domid, 'setOnDemandTarget').setOnDemandTarget(pages), 'setOnDemandTarget', { domid, pages })
    },
    getHvmParam(domid, index) {
      const value = needed(domid, 'getHvmParam').parameter(index)
      return typeof value === 'bigint' ? value : BigInt(accepted(value, 'getHvmParam', { domid, index }))
    },
    setHvmParam(domid, index, value) {
      accepted(needed(domid, 'setHvmParam').setParameter(index, value), 'setHvmParam', { domid, index, value: String(value) })
    },
    getHvmContext: (domid) => needed(domid, 'getHvmContext').context(),
    setHvmContext(domid, bytes) {
      accepted(needed(domid, 'setHvmContext').setContext(bytes), 'setHvmContext', { domid, bytes: bytes.length })
    },
  }
}
