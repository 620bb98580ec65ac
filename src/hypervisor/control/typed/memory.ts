/**
 * The control interface's face of memory: reservations, frames from outside, page-table pins, log-dirty. It finds the
 * domain, asks the core, and throws where the core refuses; it decides nothing.
 */
import { ERRNO } from '../../../abi/index.ts'
import { type DomId, type Mfn, TWO_32 } from '../../../util/index.ts'
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { Domain, MemoryMapEntry } from '../../domains/domain.ts'
import type { ForeignFrames } from '../core/foreign-frames.ts'
import type { Frames } from '../core/frames.ts'
import type { LogDirty } from '../core/log-dirty.ts'
import { setMemoryMap } from '../core/memory-map.ts'
import type { MemoryRange } from '../core/records.ts'
import type { Reservation } from '../core/reservation.ts'
import type { MemoryControl } from './control-interface.ts'
import { type DomainFinder, foundDomain } from './found.ts'
import { accepted, refusal } from './refusals.ts'

/** What the face of memory asks. */
export interface MemoryFaceParts {
  readonly domains: DomainFinder
  readonly reservation: Reservation
  readonly hostFrames: Frames
  readonly foreignFrames: ForeignFrames
  readonly logDirty: LogDirty
  readonly memory: { markWritten(mfn: number): void }
  readonly domainMemory: { readonly free: number; freeFor(domain: Domain): number }
  readonly tables: TableOperations
}

/** Operations on the page tables of a guest from outside: 0, or a negative error number. */
export interface TableOperations {
  /** Validates and pins a table. */
  pin(domain: Domain, mfn: number, level: number): number
  unpin(domain: Domain, mfn: number): number
  /** Fills a frame with hypercall stubs: -EINVAL when it is not the domain's, -EPERM when it is in use as a table. */
  writeHypercallPage(domain: Domain, mfn: number): number
}

/** Makes the face of memory. */
export function memoryFace(parts: MemoryFaceParts): Omit<MemoryControl, 'frameOfGfn' | 'highestGfn' | 'memoryGfns' | 'memoryAt' | 'onDemandGfns' | 'populateOnDemand' | 'setOnDemandTarget'> {
  const find = (domid: DomId): Domain => foundDomain(parts.domains, domid)
  return { ...reservationFace(parts, find), ...framesFace(parts, find), ...tablesFace(parts, find), ...dirtyFace(parts, find) }
}

type Find = (domid: DomId) => Domain

function reservationFace({ reservation, domainMemory }: MemoryFaceParts, find: Find): Pick<
  MemoryControl, 'setMaxPages' | 'claimPages' | 'populatePhysmap' | 'releaseFrames' | 'setMemoryMap'
> {
  return {
    setMaxPages(domid, pages) {
      accepted(reservation.setMaximum(find(domid), pages), 'setMaxPages', { pages })
    },
    claimPages(domid, pages) {
      const domain = find(domid)
      const { totalPages, maxPages, outstandingPages: outstanding } = domain
      accepted(reservation.claim(domain, pages), 'claimPages', { domid, pages, totalPages, maxPages, outstanding, free: domainMemory.freeFor(domain) })
    },
    populatePhysmap(domid, count, firstPfn) {
      const domain = find(domid)
      const frames: Mfn[] = []
      const facts = {
        domid, wanted: count, room: reservation.room(domain), free: domainMemory.free, maxPages: domain.maxPages,
      }
      accepted(reservation.populate(domain, { count, firstPfn }, frames), 'populatePhysmap', facts)
      return frames
    },
    releaseFrames: (domid, frames) => reservation.shrink(find(domid), frames),
    setMemoryMap(domid, map) {
      accepted(setMemoryMap(find(domid), map.map(entryOf)), 'setMemoryMap', { domid, ranges: map.length })
    },
  }
}

const entryOf = ({ address, size, type }: MemoryRange): MemoryMapEntry => ({
  addressLow: address >>> 0, addressHigh: Math.floor(address / TWO_32),
  sizeLow: size >>> 0, sizeHigh: Math.floor(size / TWO_32), type,
})

function framesFace({ hostFrames, foreignFrames, memory }: MemoryFaceParts, find: Find): Pick<
  MemoryControl,
  'setMachineToPhys' | 'machineToPhys' | 'framePfns' | 'domainFrames' | 'frameInfo' | 'frameBytes' | 'markWritten' | 'frameKinds'
  | 'blankFrames' | 'readFrames' | 'writeFrames' | 'mapForeign' | 'unmapForeign'
> {
  /** What is wrong with a list: the first frame that is not the domain's. */
  const strangerOf = (domain: Domain, list: Uint32Array) => (
    { domid: domain.id, frame: list[hostFrames.firstForeign(domain, list)] }
  )
  return {
    setMachineToPhys(domid, frame, pfn) {
      accepted(hostFrames.setMachineToPhys(find(domid), frame, pfn), 'setMachineToPhys', { domid, frame })
    },
    machineToPhys(frame) {
      const pfn = hostFrames.machineToPhys(frame)
      return pfn < 0 ? undefined : pfn
    },
    framePfns(frames) {
      const pfns = new Uint32Array(frames.length)
      hostFrames.pfns(frames, pfns)
      return pfns
    },
    domainFrames: (domid) => hostFrames.own(find(domid)),
    frameInfo: (frame) => accepted(hostFrames.info(frame), 'frameInfo', { frame }),
    frameBytes: (domid, frame) => accepted(hostFrames.bytes(find(domid), frame), 'frameBytes', { domid, frame }),
    markWritten: (frame) => memory.markWritten(frame),
    frameKinds(domid, frames) {
      const kinds = new Uint8Array(frames.length)
      hostFrames.kinds(find(domid), frames, kinds)
      return kinds
    },
    blankFrames(domid, frames) {
      const blank = new Uint8Array(frames.length)
      hostFrames.blank(find(domid), frames, blank)
      return blank
    },
    readFrames(domid, frames, into) {
      const domain = find(domid)
      const result = hostFrames.read(domain, frames, into)
      if (result < 0) throw refusal('readFrames', result, strangerOf(domain, frames))
    },
    writeFrames(domid, frames, from) {
      if (from.length !== frames.length * PAGE_SIZE) {
        throw refusal('writeFrames', -ERRNO.EINVAL, { cause: 'length', bytes: from.length, count: frames.length })
      }
      const domain = find(domid)
      const result = hostFrames.write(domain, frames, from)
      if (result < 0) throw refusal('writeFrames', result, strangerOf(domain, frames))
    },
    mapForeign(domid, frame) {
      const domain = find(domid)
      const cause = hostFrames.isOwn(domain, frame) ? 'table' : undefined
      accepted(foreignFrames.map(domid, frame), 'mapForeign', { domid, frame, cause })
      return frame
    },
    unmapForeign(domid, frame) {
      accepted(foreignFrames.unmap(frame), 'unmapForeign', { domid, frame })
    },
  }
}

function tablesFace({ tables }: MemoryFaceParts, find: Find): Pick<MemoryControl, 'pinTable' | 'unpinTable' | 'writeHypercallPage'> {
  return {
    pinTable(domid, frame, level) {
      accepted(tables.pin(find(domid), frame, level), 'pinTable', { domid, frame, level })
    },
    unpinTable(domid, frame) {
      accepted(tables.unpin(find(domid), frame), 'unpinTable', { domid, frame })
    },
    writeHypercallPage(domid, frame) {
      accepted(tables.writeHypercallPage(find(domid), frame), 'writeHypercallPage', { domid, frame })
    },
  }
}

function dirtyFace({ logDirty }: MemoryFaceParts, find: Find): Pick<MemoryControl, 'enableLogDirty' | 'disableLogDirty' | 'readLogDirty'> {
  /** A toolstack may end what has not begun: after an error it need not know how far it came. */
  const end = (domid: DomId): void => {
    const result = logDirty.disable(find(domid))
    if (result !== -ERRNO.EINVAL) accepted(result, 'disableLogDirty', { domid })
  }
  return {
    enableLogDirty(domid) {
      end(domid)
      accepted(logDirty.enable(find(domid)), 'enableLogDirty', { domid })
    },
    disableLogDirty: end,
    readLogDirty(domid, { clear = false } = {}) {
      const domain = find(domid)
      return accepted(clear ? logDirty.clean(domain) : logDirty.peek(domain), 'readLogDirty', { domid })
    },
  }
}
