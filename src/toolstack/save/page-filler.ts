/**
 * Fills a domain with the pages of an image: gives it frames for those that it lacks, neighbours together, and copies what
 * is not zero. What the pages mean is another's to look at, who hears of those with contents.
 * hot path: pages are nearly all of an image.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { PAGE_TYPE, type PageBatch, hasContents } from '../stream/index.ts'
import { badImage } from './image-reader.ts'
import type { ImagePages } from './image-pages.ts'
import { ZeroPages } from './zero-pages.ts'

/** What is used of the control interface. */
export type FillControl = Pick<ControlInterface, 'populatePhysmap' | 'releaseFrames' | 'writeFrames'>

/** Where pages go. */
export interface FilledDomain {
  readonly domid: DomId
  /** Frames that the domain may own. */
  readonly maxPages: number
}

/** Who looks at pages. */
export interface PageWatcher {
  /** A page with contents is about to be written. Throws INVALID_STREAM for a type that cannot be. */
  take(pfn: number, type: number): void
  /** A page that was there goes. */
  dropped(): void
}

const isPresent = (type: number): boolean => type !== PAGE_TYPE.INVALID && type !== PAGE_TYPE.BROKEN

/** Where numbers end to follow each other. hot path: no object of a host's, as in p2m.ts. */
function endOfRun(pfns: Float64Array, start: number): number {
  let end = start + 1
  while (end < pfns.length && pfns[end] === pfns[end - 1]! + 1) end += 1
  return end
}

/** Fills one domain. */
export class PageFiller {
  private readonly control: FillControl
  private readonly domain: FilledDomain
  private readonly pages: ImagePages
  private readonly watcher: PageWatcher

  constructor(control: FillControl, domain: FilledDomain, { pages, watcher }: { readonly pages: ImagePages; readonly watcher: PageWatcher }) {
    this.control = control
    this.domain = domain
    this.pages = pages
    this.watcher = watcher
  }

  /** Takes a batch; whether the domain has had all of its pages before. */
  take(batch: PageBatch): 'known' | 'new' {
    const { pfns, types, contents } = batch
    if (batch.isNamed) return this.takeNamed(batch)
    const { isNew, added } = this.populate(pfns, types)
    const zeros = new ZeroPages(contents)
    const frames = new Uint32Array(pfns.length)
    // Frames from `done` to `count` are still to be filled from `contents`, where their bytes end at `end`.
    let [done, count, at, end] = [0, 0, 0, 0]
    const flush = (): void => {
      if (count === done) return
      const from = contents.subarray(end - (count - done) * PAGE_SIZE, end)
      this.control.writeFrames(this.domain.domid, frames.subarray(done, count), from)
      done = count
    }
    const { pages } = this
    for (let i = 0; i < pfns.length; i += 1) {
      const pfn = pfns[i]!
      const type = types[i]!
      if (!isPresent(type)) {
        flush()
        this.drop(pfn)
        continue
      }
      const frame = pages.frameNumber(pfn)
      if (frame < 0) throw badImage(`one record takes page ${pfn} away and then has it`, { pfn })
      pages.setType(pfn, type)
      if (!hasContents(type)) continue
      this.watcher.take(pfn, type)
      const place = at
      at += PAGE_SIZE
      if (isNew[i] === 1 && zeros.has(place)) continue
      if (end !== place) flush()
      end = place + PAGE_SIZE
      frames[count] = frame
      count += 1
    }
    flush()
    return added > 0 ? 'new' : 'known'
  }

  /** Takes pages that are only named, neighbours together: those that the domain has keep what they hold. hot path. */
  private takeNamed({ pfns }: PageBatch): 'known' | 'new' {
    const { pages, control, domain } = this
    let added = 0
    for (let start = 0, end; start < pfns.length; start = end) {
      const first = pfns[start]!
      end = start + 1
      if (first >= pages.end) throw badImage(`page ${first} lies beyond the last one ${pages.end - 1}`, { pfn: first })
      pages.setType(first, PAGE_TYPE.ALLOCATE_ONLY)
      if (pages.has(first)) continue
      end = start + pages.nameFrom(first, endOfRun(pfns, start) - start)
      added += end - start
      this.checkRoom(end - start)
      pages.add(first, control.populatePhysmap(domain.domid, end - start, first))
    }
    return added > 0 ? 'new' : 'known'
  }

  /** Throws INVALID_STREAM where the domain may not own so many more pages. */
  private checkRoom(more: number): void {
    const { pages, domain: { maxPages } } = this
    if (pages.count + more > maxPages) throw badImage(`the image holds more pages than the domain may own (${maxPages})`, { maxPages })
  }

  /**
   * Gives the domain frames for those of these pages that it lacks, neighbours together. Tells for each whether it is
   * new, and so all zero; and how many are.
   */
  private populate(pfns: Float64Array, types: Uint8Array): { readonly isNew: Uint8Array; readonly added: number } {
    const { pages } = this
    const isNew = new Uint8Array(pfns.length)
    const wanted = new Uint32Array(pfns.length)
    let added = 0
    for (let i = 0; i < pfns.length; i += 1) {
      const pfn = pfns[i]!
      if (pfn >= pages.end) throw badImage(`page ${pfn} lies beyond the last one ${pages.end - 1}`, { pfn })
      if (!isPresent(types[i]!) || !pages.reserve(pfn)) continue
      isNew[i] = 1
      wanted[added++] = pfn
    }
    this.checkRoom(added)
    this.give(wanted.subarray(0, added))
    return { isNew, added }
  }

  private give(wanted: Uint32Array): void {
    for (let start = 0; start < wanted.length;) {
      let end = start + 1
      while (end < wanted.length && wanted[end] === wanted[end - 1]! + 1) end += 1
      this.pages.add(wanted[start]!, this.control.populatePhysmap(this.domain.domid, end - start, wanted[start]!))
      start = end
    }
  }

  /** The guest has given the page away since an earlier round. */
  private drop(pfn: number): void {
    const frame = this.pages.frame(pfn)
    if (frame === undefined) return
    this.watcher.dropped()
    this.control.releaseFrames(this.domain.domid, [frame])
    this.pages.delete(pfn)
  }
}
