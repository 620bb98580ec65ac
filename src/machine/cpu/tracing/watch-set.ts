/** Which accesses touch what is watched, by linear address or by where in the machine's memory they go. */
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { TracedAccess, WatchedBytes } from '../../interface/trace.ts'
import type { Watched } from '../core/debug.ts'

/** An access that is about to be made. */
interface Access {
  readonly address: number
  readonly size: number
  readonly isWrite: boolean
}

const APART: Watched = { reads: false, writes: false, again: false }

const pageOf = (address: number): number => Math.floor(address / PAGE_SIZE)

const overlaps = (bytes: WatchedBytes, address: number, size: number): boolean =>
  address < bytes.address + bytes.length && bytes.address < address + size

const isMeant = ({ kind }: WatchedBytes, isWrite: boolean): boolean => kind === 'access' || (kind === 'write') === isWrite

/** Whether an access has touched some bytes. */
export function isWatched(all: readonly WatchedBytes[], { address, physical, size, kind }: TracedAccess): boolean {
  return all.some((bytes) => isMeant(bytes, kind === 'write') && overlaps(bytes, bytes.space === 'linear' ? address : physical, size))
}

/** All that is watched on a processor. */
export class WatchSet {
  private readonly linear = new Map<number, WatchedBytes[]>()
  private readonly physical = new Map<number, WatchedBytes[]>()

  constructor(all: readonly WatchedBytes[]) {
    for (const bytes of all) {
      const pages = bytes.space === 'linear' ? this.linear : this.physical
      for (let page = pageOf(bytes.address); page <= pageOf(bytes.address + bytes.length - 1); page += 1) {
        pages.set(page, [...pages.get(page) ?? [], bytes])
      }
    }
  }

  /** True where nothing is watched. */
  get isEmpty(): boolean {
    return this.linear.size === 0 && this.physical.size === 0
  }

  /** What is watched of the pages of an access; `translate` tells where it would go, 0 where it faults. */
  look({ address, size, isWrite }: Access, translate: (address: number) => number): Watched {
    let found = APART
    for (let at = address, left = size; left > 0;) {
      const piece = Math.min(left, PAGE_SIZE - (((at % PAGE_SIZE) + PAGE_SIZE) % PAGE_SIZE))
      found = this.lookAt(this.linear, { address: at, size: piece, isWrite }, found)
      if (this.physical.size > 0) {
        const host = translate(at)
        // It faults, and nothing is accessed.
        if (host === 0) return found
        found = this.lookAt(this.physical, { address: host, size: piece, isWrite }, found)
      }
      at += piece
      left -= piece
    }
    return found
  }

  private lookAt(pages: ReadonlyMap<number, readonly WatchedBytes[]>, { address, size, isWrite }: Access, before: Watched): Watched {
    const all = pages.get(pageOf(address))
    if (all === undefined) return before
    return {
      reads: before.reads || all.some((bytes) => isMeant(bytes, false)),
      writes: before.writes || all.some((bytes) => isMeant(bytes, true)),
      again: before.again || all.some((bytes) => isMeant(bytes, isWrite) && overlaps(bytes, address, size)),
    }
  }
}
