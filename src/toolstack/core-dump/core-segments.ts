/**
 * The half of a core dump that debuggers read: registers as notes of Linux's form, and a segment for each run of pages that lie one
 * behind the other in the guest's kernel's address space and in the file. Xen's own readers take the sections and pass this over.
 * Reference: System V ABI, "Program Header"; Linux, include/linux/elfcore.h, struct elf_prstatus.
 */
import type { ControlInterface, VcpuContext } from '../../hypervisor/index.ts'
import type { DomId, Mfn } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'

/** What it takes from the control interface. */
export type SegmentSource = Pick<ControlInterface, 'domainInfo' | 'getVcpuContext' | 'readFrames' | 'frameOfGfn'>

/** A run of pages: where the guest's kernel sees it, which page of the file it begins with, its number there, its pages. */
export interface CoreSegment {
  readonly address: bigint
  readonly page: number
  readonly pfn: number
  count: number
}

/** Bytes of a program header. */
export const PROGRAM_HEADER = 56
const PT = { LOAD: 1, NOTE: 4 } as const
/** Readable, writable and executable. */
const FLAGS = 7
/** More program headers than a 16-bit count tells would need another form of the header. */
const MOST_SEGMENTS = 0xfff0

const ENTRIES = 512
const PRESENT = 1
const LARGE = 0x80
const FRAME_SHIFT = 12n
const FRAME_MASK = 0x000f_ffff_ffff_f000n

/** A page of the domain's as the file has it. */
export interface FiledPage {
  readonly pfn: number
  readonly frame: Mfn
}

/** Walks the page tables in force on a domain's first vCPU, and tells each page that they lead to, by address. */
class PageWalk {
  readonly segments: CoreSegment[] = []
  private readonly source: SegmentSource
  private readonly domid: DomId
  private readonly pages: readonly FiledPage[]
  /** Place in the file by frame. */
  private readonly places: ReadonlyMap<number, number>
  private readonly translated: boolean

  constructor(source: SegmentSource, domid: DomId, pages: readonly FiledPage[]) {
    this.source = source
    this.domid = domid
    this.pages = pages
    this.places = new Map(pages.map(({ frame }, i) => [frame, i]))
    this.translated = source.domainInfo(domid).translated
  }

  /** The tables below `frame`, of level 4 to 1, which map from `base` on. */
  table(frame: number, level: number, base: bigint): void {
    // Another's table, such as the hypervisor's, maps nothing of the domain's.
    if (!this.places.has(frame)) return
    const bytes = new Uint8Array(PAGE_SIZE)
    this.source.readFrames(this.domid, Uint32Array.of(frame), bytes)
    const entries = new BigUint64Array(bytes.buffer)
    const size = FRAME_SHIFT + 9n * BigInt(level - 1)
    for (let i = 0; i < ENTRIES; i += 1) {
      const entry = entries[i]!
      if ((Number(entry & 0xffn) & PRESENT) === 0) continue
      const address = BigInt.asUintN(64, BigInt.asIntN(48, base | (BigInt(i) << size)))
      const number = Number((entry & FRAME_MASK) >> FRAME_SHIFT)
      if (level > 1 && (Number(entry & 0xffn) & LARGE) === 0) this.table(this.frameAt(number), level - 1, address)
      else this.run(number, { address, count: level === 1 ? 1 : ENTRIES ** (level - 1) })
    }
  }

  /** A frame number as an entry has it. */
  frameAt(number: number): number {
    return this.translated ? this.source.frameOfGfn(this.domid, number) ?? -1 : number
  }

  private run(first: number, { address, count }: { readonly address: bigint; readonly count: number }): void {
    for (let i = 0; i < count; i += 1) this.page(this.places.get(this.frameAt(first + i)), address + BigInt(i * PAGE_SIZE))
  }

  private page(place: number | undefined, address: bigint): void {
    if (place === undefined) return
    const last = this.segments.at(-1)
    const isNext = last !== undefined && last.page + last.count === place && last.address + BigInt(last.count * PAGE_SIZE) === address
      && this.pages[place]!.pfn === last.pfn + last.count
    if (isNext) last.count += 1
    else if (this.segments.length < MOST_SEGMENTS) this.segments.push({ address, page: place, pfn: this.pages[place]!.pfn, count: 1 })
  }
}

/** Where the kernel of a domain sees its pages; by their own numbers for one whose tables are not those of a 64-bit kernel. */
export function segmentsOf(source: SegmentSource, domid: DomId, pages: readonly FiledPage[]): readonly CoreSegment[] {
  const { hasRegisters, addressSize } = source.domainInfo(domid)
  const walk = new PageWalk(source, domid, pages)
  if (hasRegisters && addressSize === 64) walk.table(walk.frameAt(source.getVcpuContext(domid, 0).kernelTable), 4, 0n)
  if (walk.segments.length > 0) return walk.segments
  return pages.map(({ pfn }, page) => ({ address: BigInt(pfn * PAGE_SIZE), page, pfn, count: 1 }))
    .reduce<CoreSegment[]>((runs, segment) => {
      const last = runs.at(-1)
      if (last !== undefined && last.pfn + last.count === segment.pfn) last.count += 1
      else runs.push(segment)
      return runs
    }, []).slice(0, MOST_SEGMENTS)
}

/** Program headers: the notes, then each segment; `contents` is where the file's pages begin. */
export function writeProgramHeaders(
  view: DataView, at: number,
  { segments, notes, contents }: { readonly segments: readonly CoreSegment[]; readonly notes: { readonly place: number; readonly size: number }; readonly contents: number },
): void {
  writeHeader(view, at, { type: PT.NOTE, place: notes.place, address: 0n, physical: 0n, size: notes.size, align: 4 })
  segments.forEach(({ address, page, pfn, count }, i) => writeHeader(view, at + (i + 1) * PROGRAM_HEADER, {
    type: PT.LOAD, place: contents + page * PAGE_SIZE, address, physical: BigInt(pfn * PAGE_SIZE), size: count * PAGE_SIZE, align: PAGE_SIZE,
  }))
}

interface Header {
  readonly type: number
  readonly place: number
  readonly address: bigint
  readonly physical: bigint
  readonly size: number
  readonly align: number
}

function writeHeader(view: DataView, at: number, { type, place, address, physical, size, align }: Header): void {
  view.setUint32(at, type, true)
  view.setUint32(at + 4, FLAGS, true)
  for (const [i, value] of [BigInt(place), address, physical, BigInt(size), BigInt(type === PT.NOTE ? 0 : size), BigInt(align)].entries()) {
    view.setBigUint64(at + 8 + i * 8, BigInt.asUintN(64, value), true)
  }
}

/** Bytes of elf_prstatus and of its note, whose name is CORE. */
const PRSTATUS = 336
const NOTE = 20 + PRSTATUS
const NT_PRSTATUS = 1
/** Where struct elf_prstatus has the number of a thread, and its registers in the order of struct user_regs_struct. */
const PID = 32
const REGISTERS = 112

/** A note for each vCPU's registers. */
export function registerNotes(contexts: readonly VcpuContext[]): Uint8Array {
  const bytes = new Uint8Array(contexts.length * NOTE)
  const view = new DataView(bytes.buffer)
  contexts.forEach((context, vcpu) => {
    const at = vcpu * NOTE
    for (const [i, value] of [5, PRSTATUS, NT_PRSTATUS].entries()) view.setUint32(at + i * 4, value, true)
    bytes.set(new TextEncoder().encode('CORE'), at + 12)
    view.setInt32(at + 20 + PID, vcpu + 1, true)
    const r = context.user
    const values = [
      r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx, r.rdx, r.rsi, r.rdi, -1n, r.rip, BigInt(r.cs), r.rflags,
      r.rsp, BigInt(r.ss), context.fsBase, context.gsBaseKernel, BigInt(r.ds), BigInt(r.es), BigInt(r.fs), BigInt(r.gs),
    ]
    values.forEach((value, i) => view.setBigUint64(at + 20 + REGISTERS + i * 8, BigInt.asUintN(64, value), true))
  })
  return bytes
}
