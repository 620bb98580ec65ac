/** Images of 32-bit PV domains: what a domain holds comes back in another one, with that host's frames. */
import { describe, expect, test } from 'vitest'
import { COMPAT, SharedInfo, StartInfo, VcpuInfo } from '../../../../src/abi/index.ts'
import type { VcpuContext } from '../../../../src/hypervisor/index.ts'
import { readP2m } from '../../../../src/toolstack/save/p2m.ts'
import { PvImageReader } from '../../../../src/toolstack/save/pv-image-reader.ts'
import { PvImageWriter } from '../../../../src/toolstack/save/pv-image-writer.ts'
import { finishImage } from '../../../../src/toolstack/save/save-domain.ts'
import { type ImageRecord, SaveStreamReader, SaveStreamWriter } from '../../../../src/toolstack/stream/index.ts'
import type { EventPort, Mfn } from '../../../../src/util/index.ts'
import { FrameHost } from '../../../support/frame-host.ts'

const PAGES = 40
/** Page numbers: the tree of lists, start_info, rings, L3, the four L2s from 7 on, an L1, the GDT. */
const PAGE = { top: 0, middle: 1, list: 2, startInfo: 3, store: 4, console: 5, l3: 6, l2: 7, l1: 11, gdt: 12 } as const
/** A frame that is not the domain's: Xen's own tables. */
const XEN_FRAME = 5

const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength)

/** A suspended 32-bit domain, whose frames are in no order. */
function narrowDomain(): { readonly host: FrameHost; readonly frames: readonly Mfn[] } {
  const host = new FrameHost()
  host.addressSize = 32
  const frames = host.populatePhysmap(host.domid, PAGES, 0)
  const view = (page: number): DataView => viewOf(host.frameBytes(host.domid, frames[page]!))
  const word = (page: number, index: number, value: number): void => view(page).setUint32(index * 4, value, true)
  const entry = (page: number, slot: number, target: number): void =>
    view(page).setBigUint64(slot * 8, (BigInt(frames[target]!) << 12n) | 0x63n, true)
  word(PAGE.top, 0, frames[PAGE.middle]!)
  word(PAGE.middle, 0, frames[PAGE.list]!)
  for (let i = 0; i < 1024; i += 1) word(PAGE.list, i, frames[i] ?? 0xffff_ffff)
  for (let i = 0; i < 4; i += 1) entry(PAGE.l3, i, PAGE.l2 + i)
  entry(PAGE.l2 + 3, 0, PAGE.l1)
  entry(PAGE.l1, 5, 20)
  host.pinTable(host.domid, frames[PAGE.l3]!, 3)
  // What Xen has put into tables that are in use.
  for (const slot of [428, 429, 511]) view(PAGE.l2 + 3).setBigUint64(slot * 8, (BigInt(XEN_FRAME) << 12n) | 0x63n, true)
  view(PAGE.l3).setBigUint64(4 * 8, (BigInt(XEN_FRAME) << 12n) | 0x63n, true)
  view(20).setUint32(8, 0x1234_5678, true)
  const start = COMPAT.of(StartInfo)
  start.storeMfn.setNumber(view(PAGE.startInfo), 0, PAGE.store)
  start.consoleMfn.setNumber(view(PAGE.startInfo), 0, PAGE.console)
  const shared = viewOf(host.frameBytes(host.domid, host.sharedInfoFrame))
  const { arch, evtchnPending, vcpuInfo } = COMPAT.of(SharedInfo)
  arch.layout.maxPfn.setNumber(shared, arch.offset, PAGES)
  arch.layout.pfnToMfnFrameListList.setNumber(shared, arch.offset, frames[PAGE.top]!)
  shared.setUint32(evtchnPending.offset, 0xff, true)
  vcpuInfo.element.arch.layout.cr2.setNumber(shared, vcpuInfo.element.arch.at(vcpuInfo.offset), 0xbad)
  host.contexts.set(0, contextOf(frames))
  return { host, frames }
}

const contextOf = (frames: readonly Mfn[]): VcpuContext => ({
  flags: 4, fpu: new Uint8Array(512).fill(3), traps: [{ vector: 14, flags: 4, cs: 0xe019, address: 0xc010_0000n }],
  user: {
    rax: 1n, rbx: 2n, rcx: 3n, rdx: BigInt(frames[PAGE.startInfo]!), rsi: 5n, rdi: 6n, rbp: 7n, rsp: 0xc000_1000n, rip: 0xc010_0000n, rflags: 0x202n,
    r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n, r15: 0n, cs: 0xe019, ss: 0xe021, ds: 0xe021, es: 0xe021, fs: 0, gs: 0, savedUpcallMask: 1,
  },
  ldtBase: 0n, ldtEntries: 0, gdtFrames: [frames[PAGE.gdt]!], gdtEntries: 512, kernelSs: 0xe021, kernelSp: 0xc000_2000n,
  kernelTable: frames[PAGE.l3]!, userTable: 0, cr0: 0x8005_003bn, cr4: 0x20n, debug: [0n, 0n, 0n, 0n, 0n, 0n, 0xffff_0ff0n, 0x400n],
  eventCallback: 0xc010_2000n, eventCallbackCs: 0xe019, failsafeCallback: 0xc010_3000n, failsafeCallbackCs: 0xe019,
  syscallCallback: 0n, vmAssist: 0x28n, fsBase: 0n, gsBaseKernel: 0n, gsBaseUser: 0n,
})

/** The records of its image. */
async function saved(host: FrameHost): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  const stream = new SaveStreamWriter({ write: (chunk) => void chunks.push(chunk) })
  const image = new PvImageWriter(host, host.domid, stream)
  await image.writeStart()
  await image.writePages(image.pages())
  await finishImage(image, stream)
  return Buffer.concat(chunks)
}

async function imageOf(host: FrameHost): Promise<SaveStreamReader> {
  const reader = new SaveStreamReader([await saved(host)])
  await reader.readImageHeader()
  return reader
}

async function recordsOf(host: FrameHost): Promise<ImageRecord[]> {
  const reader = await imageOf(host)
  const all: ImageRecord[] = []
  do all.push(await reader.readImageRecord()); while (all.at(-1)!.type !== 'end')
  return all
}

/** Restores it into a domain of so many bits on another host. */
async function restored(host: FrameHost, addressSize: 32 | 64) {
  const other = new FrameHost()
  other.addressSize = addressSize
  other.populatePhysmap(other.domid, 3)
  const target = { domid: other.domid, hasRegisters: true, maxPages: 100, xenstorePort: 21 as EventPort, consolePort: 22 as EventPort }
  const image = new PvImageReader(other, target)
  await image.read(await imageOf(host))
  const result = image.finish()
  return { other, result, view: (page: number) => viewOf(other.frameBytes(other.domid, result.frames()[page]!)) }
}

describe('an image of a 32-bit PV domain', () => {
  test('tells its width, and holds lists of 1,024 entries and contexts of 2,800 bytes', async () => {
    const all = await recordsOf(narrowDomain().host)
    expect(all[0]).toEqual({ type: 'pv-info', guestWidth: 4, pageTableLevels: 3 })
    expect(all.find(({ type }) => type === 'p2m-frames')).toEqual({ type: 'p2m-frames', startPfn: 0, endPfn: PAGES - 1, frames: [PAGE.list] })
    expect(all.flatMap((record) => (record.type === 'vcpu-basic' ? [record.blob.length] : []))).toEqual([2800])
  })

  test('holds no entries of Xen\'s', async () => {
    const pages = (await recordsOf(narrowDomain().host)).flatMap((record) => (record.type === 'page-data' ? record.pages : []))
    const present = (pfn: number): number[] => {
      const view = viewOf(pages.find((page) => page.pfn === pfn)!.contents!)
      return Array.from({ length: 512 }, (_, slot) => slot).filter((slot) => view.getUint32(slot * 8, true) !== 0)
    }
    expect([present(PAGE.l3), present(PAGE.l2 + 3)]).toEqual([[0, 1, 2, 3], [0]])
  })

  test('gives a domain its memory, list, tables and registers back', async () => {
    const { other, result, view } = await restored(narrowDomain().host, 32)
    const frames = result.frames()
    expect(view(20).getUint32(8, true)).toBe(0x1234_5678)
    expect([0, 39, 40].map((page) => view(PAGE.list).getUint32(page * 4, true))).toEqual([frames[0], frames[39], 0xffff_ffff])
    expect(view(PAGE.l3).getBigUint64(3 * 8, true) >> 12n).toBe(BigInt(frames[PAGE.l2 + 3]!))
    expect(view(PAGE.l1).getBigUint64(5 * 8, true) >> 12n).toBe(BigInt(frames[20]!))
    expect(other.frameInfo(frames[PAGE.l3]!)).toMatchObject({ type: 'l3', pinned: true })
    expect(other.contexts.get(0)).toEqual(contextOf(frames.map((frame) => frame ?? (0 as Mfn))))
  })

  test('gives it start_info and shared_info in its layout', async () => {
    const { other, result, view } = await restored(narrowDomain().host, 32)
    const start = COMPAT.of(StartInfo)
    expect([start.storeMfn, start.consoleMfn].map((field) => field.number(view(PAGE.startInfo), 0))).toEqual([result.xenstoreFrame, result.consoleFrame])
    expect([start.storeEvtchn, start.consoleEvtchn].map((field) => field.get(view(PAGE.startInfo), 0))).toEqual([21, 22])
    const shared = viewOf(other.frameBytes(other.domid, other.sharedInfoFrame))
    const { arch, evtchnPending, evtchnMask, vcpuInfo } = COMPAT.of(SharedInfo)
    expect([shared.getUint32(evtchnPending.offset, true), shared.getUint32(evtchnMask.offset, true)]).toEqual([0, 0xffff_ffff])
    expect(arch.layout.maxPfn.number(shared, arch.offset)).toBe(PAGES)
    const { cr2 } = COMPAT.of(VcpuInfo).arch.layout
    expect(cr2.number(shared, vcpuInfo.element.arch.at(vcpuInfo.offset))).toBe(0xbad)
  })

  test('can be saved again when the guest has described its list anew', async () => {
    const { other, result } = await restored(narrowDomain().host, 32)
    const frames = result.frames()
    const { arch } = COMPAT.of(SharedInfo)
    viewOf(other.frameBytes(other.domid, frames[PAGE.top]!)).setUint32(0, frames[PAGE.middle]!, true)
    viewOf(other.frameBytes(other.domid, frames[PAGE.middle]!)).setUint32(0, frames[PAGE.list]!, true)
    arch.layout.pfnToMfnFrameListList.setNumber(viewOf(other.frameBytes(other.domid, other.sharedInfoFrame)), arch.offset, frames[PAGE.top]!)
    expect(readP2m(other, other.domid).entries.slice(0, PAGES)).toEqual(Uint32Array.from(frames.slice(0, PAGES), Number))
    expect((await recordsOf(other)).map(({ type }) => type)).toEqual((await recordsOf(narrowDomain().host)).map(({ type }) => type))
  })

  test('is refused by a domain of the other width', async () => {
    await expect(restored(narrowDomain().host, 64)).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
  })

  test('is looked at before it is read, and read as if nobody had looked', async () => {
    const reader = await imageOf(narrowDomain().host)
    const { offset } = reader
    const first = await reader.peekBulkRecord()
    expect([first, await reader.peekBulkRecord(), reader.offset]).toEqual([{ type: 'pv-info', guestWidth: 4, pageTableLevels: 3 }, first, offset])
    expect(await reader.readBulkRecord()).toBe(first)
    expect((await reader.readBulkRecord()).type).not.toBe('pv-info')
    expect(reader.offset).toBeGreaterThan(offset + 16)
  })
})
