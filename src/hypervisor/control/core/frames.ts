/**
 * Frames as a toolstack sees them from outside: who owns them, what they are used as, what they hold. Nothing throws;
 * what cannot be told is a negative error number.
 * Reference: xen/arch/x86/domctl.c, XEN_DOMCTL_getpageframeinfo3; xen/arch/x86/mm.c, MMU_MACHPHYS_UPDATE.
 */
import { ERRNO } from '../../../abi/index.ts'
import type { DomId, Mfn } from '../../../util/index.ts'
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { Domain } from '../../domains/domain.ts'
import { FRAME_FLAG, type FrameTable, OWNER_FREE, OWNER_VCPU, OWNER_XEN } from '../../frames/frame-table.ts'
import { isTable, levelOf } from '../../frames/frame-types.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { visitOwn } from './log-dirty.ts'
import { FRAME_KIND, type FrameInfo } from './records.ts'

/** What operations on frames work on. */
export interface FrameParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly machineToPhys: MachineToPhys
  /** Frames that may be written without a word now. */
  readonly silentFrames?: (() => Iterable<number>) | undefined
}

/** What is no pseudo-physical number. */
const NO_PFN = 0xffff_ffff

const TYPE_NAMES = ['none', 'l1', 'l2', 'l3', 'l4', 'segdesc', 'writable', 'l2'] as const

/** Looks at frames, reads and writes them. */
export class Frames {
  private readonly parts: FrameParts
  /** A mark for each frame, all 0 but while `blank` is at work. */
  private silent: Uint8Array | undefined

  constructor(parts: FrameParts) {
    this.parts = parts
  }

  /** True for a frame that belongs to the domain. */
  isOwn(domain: Domain, frame: number): boolean {
    const { frames } = this.parts
    return frames.isValid(frame) && frames.owner[frame] === domain.id
  }

  /** Index of the first of these frames that is not the domain's, or -1. */
  firstForeign(domain: Domain, list: Uint32Array): number {
    return findForeign(list, { frames: this.parts.frames, id: domain.id })
  }

  /** The frames of a domain's reservation, ascending. */
  own(domain: Domain): Mfn[] {
    const own: Mfn[] = []
    visitOwn(this.parts.frames, domain.id, (mfn) => void own.push(mfn as Mfn))
    return own
  }

  /**
   * For `blank` to hold, 1 for each of these frames that is of the domain's reservation and known to be all zero, without a look at what it holds; none of those that may be
   * written without a word, and no page tables: 0. hot path: nearly all frames of a domain are asked for.
   */
  blank(domain: Domain, list: Uint32Array, blank: Uint8Array): number {
    const { memory, frames, silentFrames } = this.parts
    // Guests in TypeScript write into their frames without a word.
    if (memory.isBlank === undefined || !domain.kind.hasRegisters) return 0
    const silent = (this.silent ??= new Uint8Array(frames.end))
    const named = [...silentFrames?.() ?? []]
    for (const mfn of named) silent[mfn] = 1
    markPlain(list, blank, { frames, silent, id: domain.id })
    for (const mfn of named) silent[mfn] = 0
    markBlank(list, blank, memory as BlankMemory)
    return 0
  }

  /** Owner, type and counts of a frame; -EINVAL for what is no frame of the host. */
  info(frame: number): FrameInfo | number {
    const { frames } = this.parts
    if (!frames.isValid(frame)) return -ERRNO.EINVAL
    const owner = frames.owner[frame]!
    return {
      owner: owner === OWNER_FREE || owner === OWNER_XEN || owner === OWNER_VCPU ? undefined : (owner as DomId),
      type: TYPE_NAMES[frames.type[frame]!]!,
      typeCount: frames.typeCount[frame]!,
      references: frames.references[frame]!,
      pinned: frames.hasFlag(frame, FRAME_FLAG.PINNED),
      validated: frames.hasFlag(frame, FRAME_FLAG.VALIDATED),
    }
  }

  /** FRAME_KIND of each of these frames, for `kinds` to hold: 0. */
  kinds(domain: Domain, list: Uint32Array, kinds: Uint8Array): number {
    tellKinds(list, kinds, { frames: this.parts.frames, id: domain.id })
    return 0
  }

  /** The bytes of a frame, shared with the domain; -EINVAL when it is not the domain's. */
  bytes(domain: Domain, frame: number): Uint8Array | number {
    if (!this.isOwn(domain, frame)) return -ERRNO.EINVAL
    return this.parts.memory.bytes.subarray(frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE)
  }

  /** Copies whole frames to `into`: 0, or -EINVAL when one is not the domain's, before anything is copied. */
  read(domain: Domain, list: Uint32Array, into: Uint8Array): number {
    const { bytes } = this.parts.memory
    if (this.firstForeign(domain, list) >= 0) return -ERRNO.EINVAL
    visitRuns(list, (mfn, count, index) => {
      into.set(bytes.subarray(mfn * PAGE_SIZE, (mfn + count) * PAGE_SIZE), index * PAGE_SIZE)
    })
    return 0
  }

  /** Fills whole frames and marks them written: 0, or -EINVAL when one is not the domain's, before anything is written. */
  write(domain: Domain, list: Uint32Array, from: Uint8Array): number {
    const { memory } = this.parts
    if (this.firstForeign(domain, list) >= 0) return -ERRNO.EINVAL
    visitRuns(list, (mfn, count, index) => {
      memory.bytes.set(from.subarray(index * PAGE_SIZE, (index + count) * PAGE_SIZE), mfn * PAGE_SIZE)
      for (let frame = mfn; frame < mfn + count; frame += 1) memory.markWritten(frame)
    })
    return 0
  }

  /**
   * Writes the machine-to-physical entry of a frame: 0, or -EINVAL when it is not the domain's, and in a translated domain, where
   * the entry follows from the frame's place.
   */
  setMachineToPhys(domain: Domain, frame: number, pfn: number): number {
    if (!this.isOwn(domain, frame) || domain.guest !== undefined) return -ERRNO.EINVAL
    this.parts.machineToPhys.set(frame, pfn)
    return 0
  }

  /** The pseudo-physical number that a frame has; -EINVAL for no frame of the host, -ENOENT for a frame without one. */
  machineToPhys(frame: number): number {
    if (!this.parts.frames.isValid(frame)) return -ERRNO.EINVAL
    const pfn = this.parts.machineToPhys.get(frame)
    return pfn >= NO_PFN ? -ERRNO.ENOENT : pfn
  }

  /** The same of many frames, for `pfns` to hold, 2^32 - 1 where there is none: 0. */
  pfns(list: Uint32Array, pfns: Uint32Array): number {
    const { frames, machineToPhys } = this.parts
    machineToPhys.getAll(list, pfns, frames)
    return 0
  }
}

/** A memory that knows which frames are zero. */
type BlankMemory = Required<Pick<GuestMemory, 'isBlank'>>

/** hot path: all frames that are copied or filled. */
function findForeign(list: Uint32Array, { frames: { owner, first, end }, id }: { readonly frames: FrameTable; readonly id: DomId }): number {
  for (let i = 0; i < list.length; i += 1) {
    const mfn = list[i]!
    if (mfn < first || mfn >= end || owner[mfn] !== id) return i
  }
  return -1
}

/** Tells the kind of each. hot path: all frames of a domain in each round of a migration; as below. */
function tellKinds(list: Uint32Array, kinds: Uint8Array, { frames: { owner, flags, type, first, end }, id }: { readonly frames: FrameTable; readonly id: DomId }): void {
  for (let i = 0; i < list.length; i += 1) {
    const mfn = list[i]!
    if (mfn < first || mfn >= end || owner[mfn] !== id) kinds[i] = FRAME_KIND.NOT_OWNED
    else if ((flags[mfn]! & FRAME_FLAG.VALIDATED) !== 0 && isTable(type[mfn]!))
      kinds[i] = levelOf(type[mfn]!) | ((flags[mfn]! & FRAME_FLAG.PINNED) !== 0 ? FRAME_KIND.PINNED : 0)
  }
}

/** Sets those that are a domain's, neither tables nor written without a word. hot path: it knows no object of a host's, with which V8 would throw away what it has compiled. */
function markPlain(list: Uint32Array, marks: Uint8Array, { frames: { owner, flags, type, first, end }, silent, id }: { readonly frames: FrameTable; readonly silent: Uint8Array; readonly id: DomId }): void {
  for (let i = 0; i < list.length; i += 1) {
    const mfn = list[i]!
    if (mfn < first || mfn >= end || owner[mfn] !== id || silent[mfn] !== 0) continue
    if ((flags[mfn]! & FRAME_FLAG.SHARED) === 0 && ((flags[mfn]! & FRAME_FLAG.VALIDATED) === 0 || !isTable(type[mfn]!))) marks[i] = 1
  }
}

/** Leaves those set that are known to be zero. hot path, as above. */
function markBlank(list: Uint32Array, marks: Uint8Array, memory: BlankMemory): void {
  for (let i = 0; i < list.length; i += 1) if (marks[i] === 1 && !memory.isBlank(list[i]!)) marks[i] = 0
}

/** Visits neighbouring frames together. */
function visitRuns(list: Uint32Array, visit: (mfn: number, count: number, index: number) => void): void {
  for (let start = 0, end; start < list.length; start = end) {
    const first = list[start]!
    for (end = start + 1; end < list.length && list[end] === first + end - start;) end += 1
    visit(first, end - start, start)
  }
}
