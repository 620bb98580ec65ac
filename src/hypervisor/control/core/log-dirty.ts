/**
 * Noting which frames of a domain are written, for migration: by pseudo-physical number, since the last reading.
 * Reference: xen/arch/x86/mm/paging.c, paging_log_dirty_enable, paging_log_dirty_op; domctl.h, XEN_DOMCTL_SHADOW_OP_*.
 */
import { ERRNO } from '../../../abi/index.ts'
import { Bitmap } from '../../../util/index.ts'
import type { Domain } from '../../domains/domain.ts'
import { type FrameTable, FRAME_FLAG } from '../../frames/frame-table.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import type { WriteTracking } from '../../memory/write-tracking.ts'

/** What the dirty log works on. */
export interface LogDirtyParts {
  readonly frames: FrameTable
  readonly machineToPhys: MachineToPhys
  readonly tlb: { now(): number; flushSince(stamp: number): void }
  /** Memory, as far as it can note writes. */
  readonly tracking: Partial<WriteTracking>
}

/**
 * Pseudo-physical numbers that the dirty log covers, far more than a host has frames. A guest may give a frame any
 * number: stops one write from becoming a bitmap of half a gigabyte.
 */
const MOST_PFNS = 2 ** 24

/** Notes writes of domains. */
export class LogDirty {
  private readonly parts: LogDirtyParts

  constructor(parts: LogDirtyParts) {
    this.parts = parts
  }

  /** From now on writes are noted: 0, -EINVAL when they are already, -EOPNOTSUPP on memory that cannot. */
  enable(domain: Domain): number {
    const tracking = this.tracking()
    if (tracking === undefined) return -ERRNO.EOPNOTSUPP
    if (domain.logDirty) return -ERRNO.EINVAL
    domain.logDirty = true
    const { owner, flags, first, end } = this.parts.frames
    // hot path: without a call for each.
    for (let mfn = first; mfn < end; mfn += 1) if (owner[mfn] === domain.id && (flags[mfn]! & FRAME_FLAG.SHARED) === 0) tracking.watchWrites(mfn)
    this.forgetTranslations()
    return 0
  }

  /** Ends it: 0, -EINVAL when writes are not noted, -EOPNOTSUPP. */
  disable(domain: Domain): number {
    const tracking = this.tracking()
    if (tracking === undefined) return -ERRNO.EOPNOTSUPP
    if (!domain.logDirty) return -ERRNO.EINVAL
    domain.logDirty = false
    visitOwn(this.parts.frames, domain.id, (mfn) => tracking.ignoreWrites(mfn))
    return 0
  }

  /** XEN_DOMCTL_SHADOW_OP_PEEK: what has been written, -EINVAL when writes are not noted, -EOPNOTSUPP. */
  peek(domain: Domain): Bitmap | number {
    return this.read(domain).bitmap
  }

  /** XEN_DOMCTL_SHADOW_OP_CLEAN: the same, and what was written counts as clean again. */
  clean(domain: Domain): Bitmap | number {
    const { bitmap, dirty } = this.read(domain)
    const tracking = this.tracking()
    for (const mfn of dirty) tracking?.watchWrites(mfn)
    if (dirty.length > 0) this.forgetTranslations()
    return bitmap
  }

  /** What has been written: by pseudo-physical numbers, in a map as long as the domain has pages, or longer, and the frames. hot path: all frames are passed by, most of them clean. */
  private read(domain: Domain): { readonly bitmap: Bitmap | number; readonly dirty: readonly number[] } {
    const tracking = this.tracking()
    if (!domain.logDirty) return { bitmap: -ERRNO.EINVAL, dirty: [] }
    if (tracking === undefined) return { bitmap: -ERRNO.EOPNOTSUPP, dirty: [] }
    const { frames: { owner, flags, first, end }, machineToPhys } = this.parts
    const dirty: number[] = []
    let last = domain.totalPages - 1
    const next = (mfn: number): number => tracking.firstNotClean?.(mfn, end) ?? mfn
    for (let mfn = next(first); mfn < end; mfn = next(mfn + 1)) {
      if (owner[mfn] !== domain.id || (flags[mfn]! & FRAME_FLAG.SHARED) !== 0 || tracking.isClean(mfn)) continue
      const pfn = machineToPhys.get(mfn)
      if (pfn >= MOST_PFNS) continue
      if (pfn > last) last = pfn
      dirty.push(mfn)
    }
    const bitmap = new Bitmap(last + 1)
    for (const mfn of dirty) bitmap.add(machineToPhys.get(mfn))
    return { bitmap, dirty }
  }

  private tracking(): WriteTracking | undefined {
    const { tracking } = this.parts
    const isWhole = tracking.watchWrites !== undefined && tracking.ignoreWrites !== undefined && tracking.isClean !== undefined
    // All three are there.
    return isWhole ? (tracking as WriteTracking) : undefined
  }

  /** Frames of a domain are written through its own translations and through those of whoever maps its grants. */
  private forgetTranslations(): void {
    this.parts.tlb.flushSince(this.parts.tlb.now())
  }
}

/** The frames of a domain's reservation, ascending. */
export function visitOwn(frames: FrameTable, domid: number, visit: (mfn: number) => void): void {
  const { owner, flags, end } = frames
  for (let mfn = frames.first; mfn < end; mfn += 1) {
    if (owner[mfn] === domid && (flags[mfn]! & FRAME_FLAG.SHARED) === 0) visit(mfn)
  }
}
