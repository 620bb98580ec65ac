/**
 * Symbols of guests' kernels that nobody has given any for, read out of the guest's memory: Linux carries them with it. They are looked for when
 * somebody asks, kept while the kernel stands where it stood, and are no state: a host that was brought back or loaded finds them again.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId, Mfn } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { Kallsyms } from './kallsyms.ts'

/** What it takes from the control interface. */
export type GuestMemorySource = Pick<ControlInterface, 'domainInfo' | 'domainFrames' | 'machineToPhys' | 'frameOfGfn' | 'highestGfn' | 'onDemandGfns' | 'frameBytes' | 'readFrames'>

/** Where Linux is put in a guest's memory, by its pages: from 16 MiB on, most of them with all that is looked for in 32; or wherever else in the beginning. */
const WINDOWS: readonly (readonly [first: number, count: number])[] = [[4096, 8192], [4096, 16384], [0, 16384]]
/** The last page of them. */
const HIGHEST = 4096 + 16384 - 1
/** Nanoseconds of host time behind which a guest that had none is looked at again: it may have booted another kernel. */
const PATIENCE = 1e9

/** What was found in one domain's memory. */
interface FoundKernel {
  readonly kallsyms: Kallsyms
  /** The page with the table's digits, and where they stand in it. */
  readonly frame: Mfn
  readonly offset: number
}

/** Kernels of a host's guests. */
export class GuestKernels {
  private readonly source: GuestMemorySource
  private readonly now: () => number
  private readonly found = new Map<DomId, FoundKernel>()
  private readonly missed = new Map<DomId, number>()

  /** `now`: host time in nanoseconds. */
  constructor(source: GuestMemorySource, now: () => number) {
    this.source = source
    this.now = now
  }

  /** The symbols of a domain's kernel; undefined where it has none, or is not there. */
  of(domid: DomId): Kallsyms | undefined {
    const known = this.found.get(domid)
    if (known !== undefined && this.stands(domid, known)) return known.kallsyms
    this.found.delete(domid)
    const now = this.now()
    const missed = this.missed.get(domid)
    // Time that went back is another life of the host's.
    if (missed !== undefined && now >= missed && now < missed + PATIENCE) return undefined
    const kernel = this.look(domid)
    if (kernel === undefined) this.missed.set(domid, now)
    else {
      this.missed.delete(domid)
      this.found.set(domid, kernel)
    }
    return kernel?.kallsyms
  }

  /** The domain is gone. */
  forget(domid: DomId): void {
    this.found.delete(domid)
    this.missed.delete(domid)
  }

  private stands(domid: DomId, { kallsyms, frame, offset }: FoundKernel): boolean {
    const bytes = this.bytesOf(domid, frame)
    return bytes !== undefined && kallsyms.isAt(bytes, offset)
  }

  private look(domid: DomId): FoundKernel | undefined {
    const frames = this.framesOf(domid)
    if (frames === undefined) return undefined
    for (const [first, count] of WINDOWS) {
      const bytes = this.window(domid, frames, { first, count })
      const kallsyms = Kallsyms.find(bytes)
      if (kallsyms === undefined) continue
      const frame = frames.get(first + Math.floor(kallsyms.place / PAGE_SIZE))
      if (frame !== undefined) return { kallsyms, frame, offset: kallsyms.place % PAGE_SIZE }
    }
    return undefined
  }

  /** A run of a domain's pages as one; pages that it has not are zero. */
  private window(domid: DomId, frames: ReadonlyMap<number, Mfn>, { first, count }: { readonly first: number; readonly count: number }): Uint8Array {
    let end = 0
    for (let i = 0; i < count; i += 1) if (frames.has(first + i)) end = i + 1
    const bytes = new Uint8Array(end * PAGE_SIZE)
    for (let i = 0; i < end; i += 1) {
      const run: Mfn[] = []
      for (let frame = frames.get(first + i); frame !== undefined && i + run.length < end; frame = frames.get(first + i + run.length)) run.push(frame)
      if (run.length > 0) this.copy(domid, run, bytes.subarray(i * PAGE_SIZE, (i + run.length) * PAGE_SIZE))
      i += run.length
    }
    return bytes
  }

  /** Copies frames; those that are no longer the domain's stay zero. */
  private copy(domid: DomId, frames: readonly Mfn[], into: Uint8Array): void {
    try {
      this.source.readFrames(domid, Uint32Array.from(frames), into)
    } catch {
      for (const [i, frame] of frames.entries()) into.set(this.bytesOf(domid, frame) ?? into.subarray(0, 0), i * PAGE_SIZE)
    }
  }

  /** Frames of a domain by the numbers that its kernel has for them; undefined for a domain that is not there, or has no registers. */
  private framesOf(domid: DomId): ReadonlyMap<number, Mfn> | undefined {
    const { source } = this
    const frames = new Map<number, Mfn>()
    try {
      const { translated, hasRegisters } = source.domainInfo(domid)
      if (!hasRegisters) return undefined
      if (translated) {
        const most = Math.min(source.highestGfn(domid), HIGHEST)
        // Those that are to come on demand are left to do so.
        const awaited = new Set(source.onDemandGfns(domid))
        for (let gfn = 0; gfn <= most; gfn += 1) {
          const frame = awaited.has(gfn) ? undefined : source.frameOfGfn(domid, gfn)
          if (frame !== undefined) frames.set(gfn, frame)
        }
        return frames
      }
      for (const frame of source.domainFrames(domid)) {
        const pfn = source.machineToPhys(frame)
        if (pfn !== undefined) frames.set(pfn, frame)
      }
      return frames
    } catch {
      // It went meanwhile.
      return undefined
    }
  }

  private bytesOf(domid: DomId, frame: Mfn): Uint8Array | undefined {
    try {
      return this.source.frameBytes(domid, frame)
    } catch {
      // It is no longer the domain's.
      return undefined
    }
  }
}
