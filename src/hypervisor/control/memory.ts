/**
 * The control interface's operations on memory: reservations, frames from outside, page-table pins, log-dirty.
 * Reference: xen/common/memory.c; xen/arch/x86/domctl.c, getpageframeinfo3; xen/arch/x86/mm/paging.c, log-dirty.
 */
import { Bitmap, type DomId, type Mfn, XenError } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { HypervisorParts } from '../composition.ts'
import { writeHypercallPage } from '../composition.ts'
import { FRAME_KIND, type FrameInfo, type MemoryRange } from './control-interface.ts'
import type { Domain } from '../domains/domain.ts'
import { FRAME_FLAG, FRAME_TYPE, OWNER_FREE, OWNER_XEN } from '../frames/frame-table.ts'
import type { WriteTracking } from '../memory/write-tracking.ts'

/** What memory control works on. */
export interface MemoryControlParts extends Pick<HypervisorParts,
  'memory' | 'frames' | 'domainMemory' | 'machineToPhys' | 'mmu' | 'tlb' | 'pageTypes' | 'reservationChanged'> {
  find(domid: DomId): Domain
  readonly tracking: Partial<WriteTracking>
}

const TYPE_NAMES = ['none', 'l1', 'l2', 'l3', 'l4', 'segdesc', 'writable'] as const

const isTableType = (type: number): boolean => type >= FRAME_TYPE.L1 && type <= FRAME_TYPE.L4

/**
 * Pseudo-physical numbers that the dirty log covers, far more than a host has frames. A guest may give a frame any
 * number: stops one write from becoming a bitmap of half a gigabyte.
 */
const MOST_PFNS = 2 ** 24

/** Carries out memory operations for the toolstack. */
export class MemoryControl {
  private readonly parts: MemoryControlParts
  /** References that the toolstack holds, by frame. */
  private readonly foreign = new Map<number, number>()

  constructor(parts: MemoryControlParts) {
    this.parts = parts
  }

  setMaxPages(domid: DomId, pages: number): void {
    if (!Number.isInteger(pages) || pages < 0) {
      throw new XenError('INVALID_ARGUMENT', `a limit of ${pages} pages makes no sense`, { details: { pages } })
    }
    this.parts.find(domid).maxPages = pages
  }

  populate(domid: DomId, count: number, firstPfn: number | undefined): Mfn[] {
    const domain = this.parts.find(domid)
    const { domainMemory, machineToPhys } = this.parts
    const room = Math.min(domain.maxPages - domain.totalPages, domainMemory.free)
    if (!Number.isInteger(count) || count < 0 || count > room || domain.dying) {
      const message = `${count} pages for domain ${domid}: there is room for ${Math.max(0, room)}`
      throw new XenError('OUT_OF_MEMORY', message, {
        details: { domid, wanted: count, room, free: domainMemory.free, maxPages: domain.maxPages },
      })
    }
    const frames = Array.from({ length: count }, () => domainMemory.allocate(domain) as Mfn)
    if (firstPfn !== undefined) frames.forEach((mfn, i) => machineToPhys.set(mfn, firstPfn + i))
    this.parts.reservationChanged(domain)
    return frames
  }

  setMachineToPhys(domid: DomId, frame: Mfn, pfn: number): void {
    this.own(domid, frame)
    this.parts.machineToPhys.set(frame, pfn)
  }

  machineToPhys(frame: Mfn): number | undefined {
    if (!this.parts.frames.isValid(frame)) return undefined
    const pfn = this.parts.machineToPhys.get(frame)
    return pfn >= 0xffff_ffff ? undefined : pfn
  }

  framesOf(domid: DomId): Mfn[] {
    this.parts.find(domid)
    const own: Mfn[] = []
    this.forEachOwn(domid, (mfn) => void own.push(mfn as Mfn))
    return own
  }

  /** The frames of its reservation, ascending. */
  private forEachOwn(domid: DomId, visit: (mfn: number) => void): void {
    const { frames } = this.parts
    const { owner, flags, end } = frames
    for (let mfn = frames.first; mfn < end; mfn += 1) {
      if (owner[mfn] === domid && (flags[mfn]! & FRAME_FLAG.SHARED) === 0) visit(mfn)
    }
  }

  frameInfo(frame: Mfn): FrameInfo {
    const { frames } = this.parts
    if (!frames.isValid(frame)) {
      throw new XenError('INVALID_ADDRESS', `the host has no frame ${frame}`, {
        details: { frame },
      })
    }
    const owner = frames.owner[frame]!
    return {
      owner: owner === OWNER_FREE || owner === OWNER_XEN ? undefined : (owner as DomId),
      type: TYPE_NAMES[frames.type[frame]!]!,
      typeCount: frames.typeCount[frame]!,
      references: frames.references[frame]!,
      pinned: frames.hasFlag(frame, FRAME_FLAG.PINNED),
      validated: frames.hasFlag(frame, FRAME_FLAG.VALIDATED),
    }
  }

  frameBytes(domid: DomId, frame: Mfn): Uint8Array {
    this.own(domid, frame)
    return this.parts.memory.bytes.subarray(frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE)
  }

  frameKinds(domid: DomId, list: Uint32Array): Uint8Array {
    this.parts.find(domid)
    const { frames } = this.parts
    const kinds = new Uint8Array(list.length)
    for (let i = 0; i < list.length; i += 1) {
      const mfn = list[i]!
      if (!frames.isValid(mfn) || frames.owner[mfn] !== domid) kinds[i] = FRAME_KIND.NOT_OWNED
      else if (isTableType(frames.type[mfn]!) && frames.hasFlag(mfn, FRAME_FLAG.VALIDATED))
        kinds[i] = frames.type[mfn]! | (frames.hasFlag(mfn, FRAME_FLAG.PINNED) ? FRAME_KIND.PINNED : 0)
    }
    return kinds
  }

  readFrames(domid: DomId, list: Uint32Array, into: Uint8Array): void {
    const { bytes } = this.parts.memory
    this.forEachRun(domid, list, (mfn, count, index) => {
      into.set(bytes.subarray(mfn * PAGE_SIZE, (mfn + count) * PAGE_SIZE), index * PAGE_SIZE)
    })
  }

  writeFrames(domid: DomId, list: Uint32Array, from: Uint8Array): void {
    if (from.length !== list.length * PAGE_SIZE) {
      throw new XenError('INVALID_ARGUMENT', `${from.length} bytes do not fill ${list.length} frames`)
    }
    const { memory } = this.parts
    this.forEachRun(domid, list, (mfn, count, index) => {
      memory.bytes.set(from.subarray(index * PAGE_SIZE, (index + count) * PAGE_SIZE), mfn * PAGE_SIZE)
      for (let frame = mfn; frame < mfn + count; frame += 1) memory.markWritten(frame)
    })
  }

  /** Checks that all frames are the domain's, then visits neighbours together. */
  private forEachRun(domid: DomId, list: Uint32Array, visit: (mfn: number, count: number, index: number) => void): void {
    this.parts.find(domid)
    const { frames } = this.parts
    for (let i = 0; i < list.length; i += 1) {
      const mfn = list[i]!
      if (!frames.isValid(mfn) || frames.owner[mfn] !== domid) throw notOwned(domid, mfn as Mfn)
    }
    for (let start = 0, end; start < list.length; start = end) {
      const first = list[start]!
      for (end = start + 1; end < list.length && list[end] === first + end - start;) end += 1
      visit(first, end - start, start)
    }
  }

  pin(domid: DomId, frame: Mfn, level: 1 | 2 | 3 | 4): void {
    const result = this.parts.mmu.pin(this.parts.find(domid), frame, level)
    if (result < 0) {
      const message = `frame ${frame} of domain ${domid} cannot be pinned as a table of level ${level}`
      throw new XenError('INVALID_STATE', message, { details: { domid, frame, level, result } })
    }
  }

  unpin(domid: DomId, frame: Mfn): void {
    const result = this.parts.mmu.unpin(this.parts.find(domid), frame)
    if (result < 0) {
      throw new XenError('INVALID_STATE', `frame ${frame} of domain ${domid} is not pinned`, {
        details: { domid, frame, result },
      })
    }
  }

  writeHypercallPage(domid: DomId, frame: Mfn): void {
    this.own(domid, frame)
    if (!writeHypercallPage(this.parts, domid, frame)) {
      throw new XenError('INVALID_STATE', `frame ${frame} of domain ${domid} is in use as a table`, {
        details: { domid, frame },
      })
    }
  }

  setMemoryMap(domid: DomId, map: readonly MemoryRange[]): void {
    this.parts.find(domid).memoryMap = map.map(({ address, size, type }) => ({
      addressLow: address >>> 0, addressHigh: Math.floor(address / 2 ** 32),
      sizeLow: size >>> 0, sizeHigh: Math.floor(size / 2 ** 32), type,
    }))
  }

  mapForeign(domid: DomId, frame: Mfn): Mfn {
    this.parts.find(domid)
    if (!this.parts.frames.getPage(frame, domid)) throw notOwned(domid, frame)
    this.foreign.set(frame, (this.foreign.get(frame) ?? 0) + 1)
    return frame
  }

  unmapForeign(domid: DomId, frame: Mfn): void {
    const count = this.foreign.get(frame)
    if (count === undefined) {
      throw new XenError('INVALID_STATE', `frame ${frame} of domain ${domid} is not mapped`, {
        details: { domid, frame },
      })
    }
    if (count === 1) this.foreign.delete(frame)
    else this.foreign.set(frame, count - 1)
    this.parts.frames.putPage(frame)
  }

  enableLogDirty(domid: DomId): void {
    const domain = this.parts.find(domid)
    const { watchWrites } = this.tracking()
    domain.logDirty = true
    this.forEachOwn(domid, watchWrites)
    this.forgetTranslations()
  }

  disableLogDirty(domid: DomId): void {
    const domain = this.parts.find(domid)
    const { ignoreWrites } = this.tracking()
    domain.logDirty = false
    this.forEachOwn(domid, ignoreWrites)
  }

  readLogDirty(domid: DomId, clear: boolean): Bitmap {
    if (!this.parts.find(domid).logDirty) {
      throw new XenError('INVALID_STATE', `writes of domain ${domid} are not noted`, { details: { domid } })
    }
    const { isClean, watchWrites } = this.tracking()
    const { machineToPhys } = this.parts
    const dirty: number[] = []
    let last = -1
    this.forEachOwn(domid, (mfn) => {
      const pfn = machineToPhys.get(mfn)
      if (pfn >= MOST_PFNS) return
      last = Math.max(last, pfn)
      if (isClean(mfn)) return
      dirty.push(pfn)
      if (clear) watchWrites(mfn)
    })
    if (clear && dirty.length > 0) this.forgetTranslations()
    const bitmap = new Bitmap(last + 1)
    for (const pfn of dirty) bitmap.add(pfn)
    return bitmap
  }

  /** Foreign references that the toolstack holds: frame and count. */
  *references(): IterableIterator<readonly [number, number]> {
    yield* this.foreign
  }

  private tracking(): WriteTracking {
    const { tracking } = this.parts
    const { watchWrites, ignoreWrites, isClean } = tracking
    if (watchWrites === undefined || ignoreWrites === undefined || isClean === undefined) {
      throw new XenError('NOT_SUPPORTED', 'this host\'s memory cannot note writes')
    }
    return {
      watchWrites: (mfn) => watchWrites.call(tracking, mfn),
      ignoreWrites: (mfn) => ignoreWrites.call(tracking, mfn),
      isClean: (mfn) => isClean.call(tracking, mfn),
    }
  }

  /** Frames of a domain are written through its own translations and through those of whoever maps its grants. */
  private forgetTranslations(): void {
    this.parts.tlb.flushSince(this.parts.tlb.now())
  }

  private own(domid: DomId, frame: Mfn): void {
    this.parts.find(domid)
    const { frames } = this.parts
    if (!frames.isValid(frame) || frames.owner[frame] !== domid) throw notOwned(domid, frame)
  }
}

const notOwned = (domid: DomId, frame: Mfn): XenError =>
  new XenError('PERMISSION_DENIED', `frame ${frame} does not belong to domain ${domid}`, { details: { domid, frame } })

