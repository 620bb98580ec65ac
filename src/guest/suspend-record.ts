/**
 * What a guest in TypeScript leaves in its own memory before it is saved, so that it can go on elsewhere: the list of
 * its frames, described in shared_info as any PV guest does, and its program's state as JSON. Where the state lies
 * stands in the second half of the start_info page, which names the rings by page numbers meanwhile:
 *
 *   start_info page | struct start_info ... | at 2048: magic, version, length, numbers of the pages with the text |
 *
 * Reference: public/arch-x86/xen.h, struct arch_shared_info (pfn_to_mfn_frame_list_list).
 */
import { PAGE_SIZE, SharedInfo, StartInfo } from '../abi/index.ts'
import type { HypercallPort } from '../abi/index.ts'
import { array, bytes, overlay, u32, XenError, type Mfn } from '../util/index.ts'
import { pageOf, type FrameAllocator, type Page } from './pages.ts'

const ENTRIES = PAGE_SIZE / 8
/** An entry of the list without a frame. */
const NO_FRAME = 0xffff_ffff
/** Pages of state that the record has room for: nearly 2 MiB. */
const STATE_PAGES = 508
const MAGIC = /* @__PURE__ */ new TextEncoder().encode('paravirt')
const VERSION = 1

/** Where the record stands in the start_info page. */
const RECORD_AT = 2048
const SuspendRecord = /* @__PURE__ */ overlay(2048, {
  magic: bytes(0, 8), version: u32(8), length: u32(12), pages: array(16, u32, STATE_PAGES),
})

type Memory = HypercallPort['memory']

const numbersOf = (frames: FrameAllocator): Map<Mfn | undefined, number> =>
  new Map(frames.p2m().map((frame, pfn) => [frame, pfn]))

/** start_info's fields that name rings. */
const RINGS = [StartInfo.storeMfn, StartInfo.consoleMfn] as const

/** A saved domain's start_info names its rings by page numbers: frames belong to one host. */
function nameRingsByPage({ memory, frames, startInfo }: SuspendFacts): void {
  const numbers = numbersOf(frames)
  for (const field of RINGS) {
    const pfn = numbers.get(field.number(memory.view, startInfo * PAGE_SIZE) as Mfn)
    if (pfn !== undefined) field.setNumber(memory.view, startInfo * PAGE_SIZE, pfn)
  }
}

/** What the page says while the guest runs. */
function nameRingsByFrame({ memory, frames, startInfo }: SuspendFacts): void {
  for (const field of RINGS) {
    const frame = frames.p2m()[field.number(memory.view, startInfo * PAGE_SIZE)]
    if (frame !== undefined) field.setNumber(memory.view, startInfo * PAGE_SIZE, frame)
  }
}

/** What the record is made of. */
export interface SuspendFacts {
  readonly memory: Memory
  readonly frames: FrameAllocator
  readonly sharedInfo: Mfn
  readonly startInfo: Mfn
}

/** Pages of one record, until the guest goes on. */
export interface SuspendPages {
  /** Gives the pages back. */
  release(): void
}

function writeEntry(page: Page, index: number, frame: number | undefined): void {
  page.view.setUint32(page.base + index * 8, frame ?? NO_FRAME, true)
  page.view.setUint32(page.base + index * 8 + 4, frame === undefined ? NO_FRAME : 0, true)
}

/** Writes the list of frames, and tells the toolstack where it is. */
function describeFrames({ memory, frames, sharedInfo }: SuspendFacts, allocate: () => Page): void {
  const maxPfn = frames.p2m().length
  const lists = Array.from({ length: Math.ceil(maxPfn / ENTRIES) }, allocate)
  const middles = Array.from({ length: Math.ceil(lists.length / ENTRIES) }, allocate)
  const top = allocate()
  frames.p2m().forEach((frame, pfn) => writeEntry(lists[Math.floor(pfn / ENTRIES)]!, pfn % ENTRIES, frame))
  lists.forEach((list, i) => writeEntry(middles[Math.floor(i / ENTRIES)]!, i % ENTRIES, list.frame))
  middles.forEach((middle, i) => writeEntry(top, i, middle.frame))
  for (const page of [...lists, ...middles, top]) memory.markWritten(page.frame)
  const { arch } = SharedInfo
  const place = arch.at(sharedInfo * PAGE_SIZE)
  arch.layout.pfnToMfnFrameListList.setNumber(memory.view, place, top.frame)
  arch.layout.maxPfn.setNumber(memory.view, place, maxPfn)
}

/** Writes the state's text into pages of the guest, and their numbers into the record. */
function writeState({ memory, frames, startInfo }: SuspendFacts, text: Uint8Array, allocate: () => Page): void {
  const place = startInfo * PAGE_SIZE + RECORD_AT
  const count = Math.ceil(text.length / PAGE_SIZE)
  if (count > STATE_PAGES) {
    throw new XenError(
      'OUT_OF_RESOURCES',
      `the state has ${text.length} bytes, at most ${STATE_PAGES * PAGE_SIZE} can be saved`,
      {
        details: { length: text.length, limit: STATE_PAGES * PAGE_SIZE },
      },
    )
  }
  const numbers = numbersOf(frames)
  SuspendRecord.magic.set(memory.view, place, MAGIC)
  SuspendRecord.version.set(memory.view, place, VERSION)
  SuspendRecord.length.set(memory.view, place, text.length)
  for (let i = 0; i < count; i += 1) {
    const page = allocate()
    page.bytes.set(text.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE))
    memory.markWritten(page.frame)
    memory.view.setUint32(SuspendRecord.pages.at(place, i), numbers.get(page.frame)!, true)
  }
  memory.markWritten(startInfo)
}

/**
 * Leaves everything in the guest's memory that a restored guest needs. Throws OUT_OF_MEMORY when the guest has no free
 * pages for it, OUT_OF_RESOURCES when the state is too large; nothing is left behind then.
 */
export function writeSuspendRecord(facts: SuspendFacts, state: unknown): SuspendPages {
  const { memory, frames, sharedInfo } = facts
  const taken: Page[] = []
  const allocate = (): Page => {
    const page = frames.allocate()
    taken.push(page)
    return page
  }
  const forget = (): void => {
    const { arch } = SharedInfo
    arch.layout.maxPfn.setNumber(memory.view, arch.at(sharedInfo * PAGE_SIZE), 0)
    for (const page of taken.splice(0)) frames.release(page)
  }
  try {
    writeState(facts, new TextEncoder().encode(JSON.stringify(state ?? null)), allocate)
    describeFrames(facts, allocate)
  } catch (error) {
    forget()
    throw error
  }
  nameRingsByPage(facts)
  return {
    release: () => {
      nameRingsByFrame(facts)
      forget()
    },
  }
}

const bad = (what: string): XenError => new XenError('INVALID_STATE', `the saved guest has no state: ${what}`)

/** Reads the state that {@link writeSuspendRecord} left; `frames` are the guest's by pseudo-physical number. */
export function readSuspendRecord(memory: Memory, startInfo: Mfn, frames: readonly (Mfn | undefined)[]): unknown {
  const place = startInfo * PAGE_SIZE + RECORD_AT
  const magic = SuspendRecord.magic.get(memory.view, place)
  if (magic.some((byte, i) => byte !== MAGIC[i])) throw bad('wrong magic')
  const version = SuspendRecord.version.get(memory.view, place)
  if (version !== VERSION) throw bad(`version ${version} is not ${VERSION}`)
  const length = SuspendRecord.length.get(memory.view, place)
  if (length > STATE_PAGES * PAGE_SIZE) throw bad(`${length} bytes are too many`)
  const text = new Uint8Array(length)
  for (let i = 0; i * PAGE_SIZE < length; i += 1) {
    const frame = frames[memory.view.getUint32(SuspendRecord.pages.at(place, i), true)]
    if (frame === undefined) throw bad(`its page ${i} is missing`)
    text.set(pageOf(memory, frame).bytes.subarray(0, Math.min(PAGE_SIZE, length - i * PAGE_SIZE)), i * PAGE_SIZE)
  }
  return JSON.parse(new TextDecoder().decode(text))
}
