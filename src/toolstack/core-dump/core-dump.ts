/**
 * A domain's memory and registers as an ELF core file in the form of `xl dump-core`, which debuggers for Xen guests
 * read:
 *
 *   ELF header | section headers | program headers and notes for debuggers (core-segments.ts)
 *   | .note.Xen | .xen_prstatus | .xen_shared_info | .xen_p2m or .xen_pfn | .shstrtab | .xen_pages
 *
 * The domain should stand still meanwhile.
 * Reference: xen/docs/misc/dump-core-format.txt; xen/include/public/elfnote.h.
 */
import {
  ELFNOTE, HYPERVISOR_VIRT_START, VcpuGuestContext, XEN_CAPABILITIES_INFO_LEN, XEN_CHANGESET_INFO_LEN,
  XEN_EXTRAVERSION_LEN, XenCompileInfo, guestAbiOf,
} from '../../abi/index.ts'
import { type ControlInterface, type VcpuContext, XEN_VERSION, vcpuContextCodec } from '../../hypervisor/index.ts'
import type { DomId } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { type ByteOutput, openOutput } from '../stream/index.ts'
import { type CoreSegment, type FiledPage, PROGRAM_HEADER, registerNotes, segmentsOf, writeProgramHeaders } from './core-segments.ts'

/** What a core dump takes from the control interface. */
export type CoreSource = Pick<ControlInterface,
  'domainInfo' | 'vcpuInfo' | 'getVcpuContext' | 'domainFrames' | 'machineToPhys' | 'frameBytes' | 'readFrames' | 'frameOfGfn'>

/** One section: what it is called, its contents or its size alone, and the size of one of its entries. */
interface Section {
  readonly name: string
  readonly type: number
  readonly bytes?: Uint8Array
  readonly size: number
  readonly entry: number
  readonly align: number
}

const ELF_HEADER = 64
const SECTION_HEADER = 64
const SHT = { NULL: 0, PROGBITS: 1, STRTAB: 3, NOTE: 7 } as const
const ET_CORE = 4
const EM_X86_64 = 62
/** XC_CORE_MAGIC and XC_CORE_MAGIC_HVM: a paravirtual domain, and one whose frames a physical map translates. */
const MAGIC = { paravirtual: 0xf00f_ebedn, translated: 0xf00f_ebeen } as const
/** Format 0.1. */
const FORMAT = 1n
/** Bytes of one entry of .xen_p2m. */
const P2M_ENTRY = 16
/** Bytes of one entry of .xen_pfn. */
const PFN_ENTRY = 8
/** Pages that are handed over at once. */
const BATCH = 256

const encoder = new TextEncoder()

/** What is told while a core is written. */
export interface CoreHooks {
  /** So many pages of so many are written; may throw, and then the core is given up. */
  wrote?(pages: number, total: number): void
}

/** Writes the core of a domain. A target that fails is aborted, and the error passed on. */
export async function writeCoreDump(control: CoreSource, domid: DomId, target: ByteOutput, hooks: CoreHooks = {}): Promise<void> {
  const output = openOutput(target)
  try {
    const pages = pagesOf(control, domid)
    await output.write(headOf(control, domid, pages))
    for (let first = 0; first < pages.length; first += BATCH) {
      const frames = Uint32Array.from(pages.slice(first, first + BATCH), ({ frame }) => frame)
      const bytes = new Uint8Array(frames.length * PAGE_SIZE)
      control.readFrames(domid, frames, bytes)
      await output.write(bytes)
      hooks.wrote?.(Math.min(first + BATCH, pages.length), pages.length)
    }
    await output.close()
  } catch (error) {
    await output.abort(error)
    throw error
  }
}

/** The domain's pages in order of their numbers; frames that it has not numbered are left out. */
function pagesOf(control: CoreSource, domid: DomId): FiledPage[] {
  const numbered = control.domainFrames(domid).flatMap((frame) => {
    const pfn = control.machineToPhys(frame)
    return pfn === undefined ? [] : [{ pfn, frame }]
  })
  return numbered.sort((a, b) => a.pfn - b.pfn)
}

/** Everything before the pages. */
function headOf(control: CoreSource, domid: DomId, pages: readonly FiledPage[]): Uint8Array {
  const online = contextsOf(control, domid)
  const contexts = encodedContexts(control, domid, online)
  const view = { segments: segmentsOf(control, domid, pages), notes: registerNotes(online) }
  const { sharedInfoFrame, translated } = control.domainInfo(domid)
  const filled = (name: string, bytes: Uint8Array, entry: number): Section =>
    ({ name, type: SHT.PROGBITS, bytes, size: bytes.length, entry, align: 8 })
  const empty: Section = { name: '', type: SHT.NULL, size: 0, entry: 0, align: 0 }
  const magic = translated ? MAGIC.translated : MAGIC.paravirtual
  const note = notes(magic, contexts.length / VcpuGuestContext.size, pages.length)
  const contents = { type: SHT.PROGBITS, size: pages.length * PAGE_SIZE, entry: PAGE_SIZE, align: PAGE_SIZE }
  return layOut([
    empty,
    { ...filled('.note.Xen', note, 0), type: SHT.NOTE, align: 4 },
    filled('.xen_prstatus', contexts, VcpuGuestContext.size),
    filled('.xen_shared_info', control.frameBytes(domid, sharedInfoFrame), PAGE_SIZE),
    translated ? filled('.xen_pfn', numberList(pages), PFN_ENTRY) : filled('.xen_p2m', frameList(pages), P2M_ENTRY),
    { ...empty, name: '.shstrtab', type: SHT.STRTAB, align: 1 },
    { ...contents, name: '.xen_pages' },
  ], view)
}

/** What debuggers read beside the sections. */
interface DebuggerView {
  readonly segments: readonly CoreSegment[]
  readonly notes: Uint8Array
}

/** Puts headers and contents at their places; the last section's contents follow behind. */
function layOut(sections: readonly Section[], { segments, notes }: DebuggerView): Uint8Array {
  const names = encoder.encode(sections.map(({ name }) => `${name}\0`).join(''))
  const filled = sections.map((section) =>
    section.type === SHT.STRTAB ? { ...section, bytes: names, size: names.length } : section)
  const headers = ELF_HEADER + sections.length * SECTION_HEADER
  const noted = headers + (segments.length + 1) * PROGRAM_HEADER
  let end = noted + notes.length
  const places = filled.map(({ align, size, bytes }) => {
    const place = align === 0 ? 0 : Math.ceil(end / align) * align
    end = align === 0 ? end : place + (bytes === undefined ? 0 : size)
    return place
  })
  const head = new Uint8Array(end)
  const view = new DataView(head.buffer)
  writeElfHeader(view, { sections: filled.length, names: filled.findIndex(({ type }) => type === SHT.STRTAB), segments: segments.length + 1 })
  head.set(notes, noted)
  writeProgramHeaders(view, headers, { segments, notes: { place: noted, size: notes.length }, contents: places.at(-1)! })
  let name = 0
  filled.forEach((section, i) => {
    writeSectionHeader(view, ELF_HEADER + i * SECTION_HEADER, section, { name, place: places[i]! })
    name += section.name.length + 1
    if (section.bytes !== undefined) head.set(section.bytes, places[i]!)
  })
  return head
}

function writeElfHeader(view: DataView, { sections, names, segments }: { readonly sections: number; readonly names: number; readonly segments: number }): void {
  // 64-bit, little-endian, version 1.
  new Uint8Array(view.buffer).set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1])
  view.setUint16(16, ET_CORE, true)
  view.setUint16(18, EM_X86_64, true)
  view.setUint32(20, 1, true)
  view.setBigUint64(32, BigInt(ELF_HEADER + sections * SECTION_HEADER), true)
  view.setBigUint64(40, BigInt(ELF_HEADER), true)
  view.setUint16(52, ELF_HEADER, true)
  view.setUint16(54, PROGRAM_HEADER, true)
  view.setUint16(56, segments, true)
  view.setUint16(58, SECTION_HEADER, true)
  view.setUint16(60, sections, true)
  view.setUint16(62, names, true)
}

function writeSectionHeader(
  view: DataView, at: number, { type, size, align, entry }: Section,
  { name, place }: { readonly name: number; readonly place: number },
): void {
  view.setUint32(at, name, true)
  view.setUint32(at + 4, type, true)
  view.setBigUint64(at + 24, BigInt(place), true)
  view.setBigUint64(at + 32, BigInt(size), true)
  view.setBigUint64(at + 48, BigInt(align), true)
  view.setBigUint64(at + 56, BigInt(entry), true)
}

/** Registers of the vCPUs that are online and have any. */
function contextsOf(control: CoreSource, domid: DomId): VcpuContext[] {
  const { hasRegisters, maxVcpu } = control.domainInfo(domid)
  return Array.from({ length: hasRegisters ? maxVcpu + 1 : 0 }, (_, vcpu) => vcpu)
    .filter((vcpu) => control.vcpuInfo(domid, vcpu).online).map((vcpu) => control.getVcpuContext(domid, vcpu))
}

/** The same, one vcpu_guest_context each: a 32-bit guest's begins the room of a 64-bit one's, as in libxc's union of the two. */
function encodedContexts(control: CoreSource, domid: DomId, contexts: readonly VcpuContext[]): Uint8Array {
  const bytes = new Uint8Array(contexts.length * VcpuGuestContext.size)
  const view = new DataView(bytes.buffer)
  const codec = vcpuContextCodec(guestAbiOf(control.domainInfo(domid).addressSize))
  contexts.forEach((context, i) => codec.encode(context, view, i * VcpuGuestContext.size))
  return bytes
}

function frameList(pages: readonly FiledPage[]): Uint8Array {
  const bytes = new Uint8Array(pages.length * P2M_ENTRY)
  const view = new DataView(bytes.buffer)
  pages.forEach(({ pfn, frame }, i) => {
    view.setBigUint64(i * P2M_ENTRY, BigInt(pfn), true)
    view.setBigUint64(i * P2M_ENTRY + 8, BigInt(frame), true)
  })
  return bytes
}

/** The pages' numbers alone: where the host has them is nothing to a guest of its own numbering. */
const numberList = (pages: readonly FiledPage[]): Uint8Array =>
  new Uint8Array(BigUint64Array.from(pages, ({ pfn }) => BigInt(pfn)).buffer)

/** The four notes that every dump has. */
function notes(magic: bigint, vcpus: number, pages: number): Uint8Array {
  const list = [
    note(ELFNOTE.DUMPCORE_NONE, new Uint8Array()),
    note(ELFNOTE.DUMPCORE_HEADER, words(magic, BigInt(vcpus), BigInt(pages), BigInt(PAGE_SIZE))),
    note(ELFNOTE.DUMPCORE_XEN_VERSION, joined([
      words(BigInt(XEN_VERSION.major), BigInt(XEN_VERSION.minor)), text(XEN_VERSION.extra, XEN_EXTRAVERSION_LEN),
      new Uint8Array(XenCompileInfo.size), text(XEN_VERSION.capabilities, XEN_CAPABILITIES_INFO_LEN),
      new Uint8Array(XEN_CHANGESET_INFO_LEN),
      words(BigInt.asUintN(64, BigInt(HYPERVISOR_VIRT_START)), BigInt(PAGE_SIZE)),
    ])),
    note(ELFNOTE.DUMPCORE_FORMAT_VERSION, words(FORMAT)),
  ]
  return joined(list)
}

/** A note of Xen's: sizes of name and contents, type, name, contents. */
function note(type: number, contents: Uint8Array): Uint8Array {
  const header = new DataView(new ArrayBuffer(16))
  header.setUint32(0, 4, true)
  header.setUint32(4, contents.length, true)
  header.setUint32(8, type, true)
  new Uint8Array(header.buffer).set(encoder.encode('Xen'), 12)
  return joined([new Uint8Array(header.buffer), contents])
}

function words(...values: readonly bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values).buffer)
}

function text(value: string, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  bytes.set(encoder.encode(value))
  return bytes
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  parts.reduce((at, part) => {
    bytes.set(part, at)
    return at + part.length
  }, 0)
  return bytes
}
