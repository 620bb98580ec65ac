/**
 * The page tables of a guest as objects: what an address passes through, and what is mapped. They are read as they stand in memory, whoever wrote them; what no processor could follow ends there.
 * Reference: Intel SDM volume 3, chapter 4 (4-level paging, PAE paging).
 */
import { PAGE_SHIFT, PAGE_SIZE, PTE } from '../../x86/index.ts'

/** Bits 51 to 12 of an entry, and what else is not in its low half. */
const FRAME = 0x000f_ffff_ffff_f000n
const NX = 1n << 63n
const ENTRY = 8
/** Regions at most. */
const MOST_REGIONS = 1 << 20

/** What an address passes through. */
export interface PageWalkStep {
  /** 4 is the top of 64-bit tables, 3 that of PAE's; 1 holds single pages. */
  readonly level: number
  /** Frame of the table, as the guest numbers it, and which of its entries. */
  readonly table: number
  readonly index: number
  readonly entry: bigint
}

/** Where an address leads. */
export interface PageWalk {
  readonly steps: readonly PageWalkStep[]
  /** The mapping; undefined for an address that is not mapped. */
  readonly page: MappedPage | undefined
}

/** What may be done with some pages. */
export interface PageRights {
  readonly isWritable: boolean
  /** Code of rings 3 may use it. */
  readonly isUser: boolean
  readonly isExecutable: boolean
}

/** One mapping. */
export interface MappedPage extends PageRights {
  /** The first address of the page, unsigned. */
  readonly address: bigint
  /** Bytes: 4 KiB, 2 MiB, 1 GiB. */
  readonly size: number
  /** Frame, as the guest numbers it. */
  readonly frame: number
  readonly isAccessed: boolean
  readonly isDirty: boolean
}

/** Addresses in a row with the same rights. */
export interface MappedRegion extends PageRights {
  readonly from: bigint
  /** Behind the last byte. */
  readonly to: bigint
}

/** What page tables are read from. */
export interface PageTableSource {
  /** Frame of the top-level table, as the guest numbers it. */
  readonly root: number
  readonly levels: 3 | 4
  /** A frame's bytes; undefined for one that the guest cannot have as a table. */
  read(frame: number): Uint8Array | undefined
}

interface Place extends PageRights {
  readonly level: number
  readonly frame: number
  readonly base: bigint
}

/** Tables, as they stand when they are asked. */
export class PageTables {
  private readonly source: PageTableSource

  constructor(source: PageTableSource) {
    this.source = source
  }

  /** Frame of the top-level table, as the guest numbers it. */
  get root(): number {
    return this.source.root
  }

  /** What an address passes through, down to where it ends. */
  walk(address: number | bigint): PageWalk {
    const wanted = BigInt.asUintN(64, BigInt(address))
    const steps: PageWalkStep[] = []
    let place = this.top()
    for (;;) {
      const index = Number((wanted >> BigInt(PAGE_SHIFT + 9 * (place.level - 1))) & 511n)
      const view = this.view(place.frame)
      if (view === undefined || (index + 1) * ENTRY > view.byteLength) return { steps, page: undefined }
      const entry = view.getBigUint64(index * ENTRY, true)
      steps.push({ level: place.level, table: place.frame, index, entry })
      const next = this.enter(place, index, entry)
      if (next === undefined || 'size' in next) return { steps, page: next }
      place = next
    }
  }

  /** Bytes from an address on, as far as they are mapped and the guest's own. */
  read(address: number | bigint, length: number): Uint8Array {
    const found = new Uint8Array(length)
    let done = 0
    while (done < length) {
      const at = BigInt.asUintN(64, BigInt(address) + BigInt(done))
      const { page } = this.walk(at)
      const bytes = page && this.source.read(page.frame + Number((at - page.address) >> BigInt(PAGE_SHIFT)))
      if (bytes === undefined) break
      const offset = Number(at & BigInt(PAGE_SIZE - 1))
      const size = Math.min(length - done, PAGE_SIZE - offset)
      found.set(bytes.subarray(offset, offset + size), done)
      done += size
    }
    return found.subarray(0, done)
  }

  /** All mappings, by address. */
  *pages(): Generator<MappedPage> {
    yield* this.below(this.top(), new Set())
  }

  /** What is mapped, as runs of addresses with the same rights. */
  regions(): readonly MappedRegion[] {
    const found: { from: bigint; to: bigint; isWritable: boolean; isUser: boolean; isExecutable: boolean }[] = []
    for (const { address, size, isWritable, isUser, isExecutable } of this.pages()) {
      const last = found.at(-1)
      const isNext = last?.to === address && last.isWritable === isWritable && last.isUser === isUser && last.isExecutable === isExecutable
      if (last !== undefined && isNext) last.to += BigInt(size)
      else found.push({ from: address, to: address + BigInt(size), isWritable, isUser, isExecutable })
      if (found.length >= MOST_REGIONS) break
    }
    return found
  }

  private top(): Place {
    return { level: this.source.levels, frame: this.source.root, base: 0n, isWritable: true, isUser: true, isExecutable: true }
  }

  private view(frame: number): DataView | undefined {
    const bytes = this.source.read(frame)
    return bytes && new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Tables above one may be entered again, as Linux does for a window of itself: what leads back into a table is not followed. */
  private *below(place: Place, above: ReadonlySet<number>): Generator<MappedPage> {
    if (above.has(place.frame)) return
    const view = this.view(place.frame)
    if (view === undefined) return
    const within = new Set([...above, place.frame])
    const entries = this.source.levels === 3 && place.level === 3 ? 4 : PAGE_SIZE / ENTRY
    for (let index = 0; index < entries; index += 1) {
      const next = this.enter(place, index, view.getBigUint64(index * ENTRY, true))
      if (next === undefined) continue
      if ('size' in next) yield next
      else yield* this.below(next, within)
    }
  }

  /** What an entry leads to: a page, a table, nothing. Rights are those of all entries on the way. */
  private enter({ level, base, ...rights }: Place, index: number, entry: bigint): MappedPage | Place | undefined {
    const low = Number(entry & 0xfffn)
    if ((low & PTE.PRESENT) === 0) return undefined
    const shift = PAGE_SHIFT + 9 * (level - 1)
    const address = this.canonical(base + (BigInt(index) << BigInt(shift)))
    const frame = Number((entry & FRAME) >> BigInt(PAGE_SHIFT))
    // Entries of PAE's highest table have no rights.
    const isRoot = this.source.levels === 3 && level === 3
    const own: PageRights = {
      isWritable: rights.isWritable && (isRoot || (low & PTE.WRITABLE) !== 0), isUser: rights.isUser && (isRoot || (low & PTE.USER) !== 0), isExecutable: rights.isExecutable && (entry & NX) === 0n,
    }
    const isPage = level === 1 || (level <= 3 && !isRoot && (low & PTE.LARGE) !== 0)
    if (!isPage) return { ...own, level: level - 1, frame, base: address }
    const size = 2 ** shift
    const first = level === 1 ? frame : Math.floor(frame / (size / PAGE_SIZE)) * (size / PAGE_SIZE)
    return { ...own, address, size, frame: first, isAccessed: (low & PTE.ACCESSED) !== 0, isDirty: (low & PTE.DIRTY) !== 0 }
  }

  private canonical(address: bigint): bigint {
    return this.source.levels === 4 ? BigInt.asUintN(64, BigInt.asIntN(48, address)) : address
  }
}
