import { describe, expect, test } from 'vitest'
import { SharedInfo, StartInfo } from '../../../../src/abi/index.ts'
import { PvImageReader } from '../../../../src/toolstack/save/pv-image-reader.ts'
import { PvImageWriter } from '../../../../src/toolstack/save/pv-image-writer.ts'
import { finishImage } from '../../../../src/toolstack/save/save-domain.ts'
import {
  type ImageRecord,
  PAGE_TYPE,
  type PageEntry,
  SaveStreamReader,
  SaveStreamWriter,
  readHead,
  writeHead,
} from '../../../../src/toolstack/stream/index.ts'
import type { EventPort, Mfn } from '../../../../src/util/index.ts'
import { FrameHost } from '../../../support/frame-host.ts'
import { savedMini } from '../../../support/saved-mini.ts'

const PORTS = { xenstorePort: 21 as EventPort, consolePort: 22 as EventPort }

async function openImage(file: Uint8Array): Promise<SaveStreamReader> {
  const reader = new SaveStreamReader([file])
  await readHead(reader)
  await reader.readImageHeader()
  return reader
}

async function records(file: Uint8Array): Promise<ImageRecord[]> {
  const reader = await openImage(file)
  const all: ImageRecord[] = []
  do all.push(await reader.readImageRecord()); while (all.at(-1)!.type !== 'end')
  return all
}

const pagesOf = (all: readonly ImageRecord[]): PageEntry[] =>
  all.flatMap((record) => (record.type === 'page-data' ? record.pages : []))
const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength)

async function restored(file: Uint8Array, maxPages = 2000) {
  const host = new FrameHost()
  const image = new PvImageReader(host, { domid: host.domid, hasRegisters: true, maxPages, ...PORTS })
  await image.read(await openImage(file))
  return { host, image, result: image.finish() }
}

async function saved(host: FrameHost): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  const stream = new SaveStreamWriter({ write: (chunk) => void chunks.push(chunk) })
  await writeHead(stream, '{}')
  const image = new PvImageWriter(host, host.domid, stream)
  await image.writeStart()
  await image.writePages(image.pages())
  await finishImage(image, stream)
  return Buffer.concat(chunks)
}

describe('a domain that real Xen saved', () => {
  test('gets its memory, with the frames of this host in list, start_info and page tables', async () => {
    const { host, result } = await restored(savedMini())
    expect(host.frames.size).toBe(1024 + 1)
    expect(host.contexts.size).toBe(1)
    const { kernelTable, user, eventCallback, traps } = host.contexts.get(0)!
    expect(host.frameInfo(kernelTable as Mfn)).toMatchObject({ type: 'l4', pinned: true, validated: true })
    expect(Number(user.rdx)).toBe(result.startInfoFrame)
    expect(eventCallback >> 32n).toBe(0xffffffffn)
    expect(traps.length).toBeGreaterThan(10)
    const start = viewOf(host.frameBytes(host.domid, result.startInfoFrame))
    expect(StartInfo.nrPages.number(start, 0)).toBe(1024)
    expect(StartInfo.storeEvtchn.get(start, 0)).toBe(21)
    expect(StartInfo.consoleEvtchn.get(start, 0)).toBe(22)
    expect(StartInfo.storeMfn.number(start, 0)).toBe(result.xenstoreFrame)
    expect(StartInfo.sharedInfo.number(start, 0)).toBe(host.sharedInfoFrame * 4096)
    expect([host.grants.get(0), host.grants.get(1)]).toEqual([result.consoleFrame, result.xenstoreFrame])
    expect(new TextDecoder().decode(StartInfo.cmdLine.get(start, 0).subarray(0, 11))).toBe('hello=world')
  })

  test('has every port masked and none pending, and still says where its p2m is', async () => {
    const { host } = await restored(savedMini())
    const page = host.frameBytes(host.domid, host.sharedInfoFrame)
    const { evtchnMask, evtchnPending, arch } = SharedInfo
    expect(page.subarray(evtchnMask.offset, evtchnMask.offset + evtchnMask.size).every((byte) => byte === 0xff)).toBe(
      true,
    )
    expect(
      page.subarray(evtchnPending.offset, evtchnPending.offset + evtchnPending.size).every((byte) => byte === 0),
    ).toBe(true)
    expect(arch.layout.maxPfn.number(viewOf(page), arch.at(0))).toBe(1024)
  })

  test('is saved again page by page as Xen wrote it, but for what names the host', async () => {
    const file = savedMini()
    const { host, result } = await restored(file)
    const original = await records(file)
    const p2m = original.flatMap((record) => (record.type === 'p2m-frames' ? record.frames : []))
    describeP2m(host, result.frames(), p2m)
    const before = new Map(pagesOf(original).map((page) => [page.pfn, page]))
    const changed: number[] = []
    const again = await records(await saved(host))
    for (const { pfn, type, contents } of pagesOf(again)) {
      expect([pfn, type]).toEqual([pfn, before.get(pfn)!.type])
      if (Buffer.compare(contents!, before.get(pfn)!.contents!) !== 0) changed.push(pfn)
    }
    const startInfo = host.machineToPhys(result.startInfoFrame)!
    expect(changed.sort((a, b) => a - b)).toEqual([...p2m, startInfo, TREE.top, TREE.middle].sort((a, b) => a - b))
    const kinds = (all: readonly ImageRecord[]): string[] => all.map(({ type }) => type).filter((type) => type !== 'page-data')
    expect(kinds(again)).toEqual(kinds(original))
    const policies = (all: readonly ImageRecord[]): ImageRecord[] => all.filter(({ type }) => type.endsWith('-policy'))
    expect(policies(again)).toEqual(policies(original))
    const alike = (all: readonly ImageRecord[]): unknown[] => all.flatMap((record): unknown[] =>
      (record.type === 'tsc-info' ? [record] : record.type === 'vcpu-extended' ? [[record.vcpu, ...record.blob]] : []))
    expect(alike(again)).toEqual(alike(original))
    expect(alike(again)).toHaveLength(2)
  })

  test('is refused when the domain may not own as many pages', async () => {
    await expect(restored(savedMini(), 1000)).rejects.toMatchObject({
      code: 'INVALID_STREAM', details: { record: 'page-data', maxPages: 1000, offset: expect.any(Number) },
    })
  })

  test('whose page comes twice has it as it came last, also when that is zero, or given and taken', async () => {
    const host = new FrameHost()
    const image = new PvImageReader(host, { domid: host.domid, hasRegisters: true, maxPages: 2000, ...PORTS })
    const chunks: Uint8Array[] = []
    const stream = new SaveStreamWriter({ write: (chunk) => void chunks.push(chunk) })
    const page = (pfn: number, fill: number): PageEntry =>
      ({ pfn, type: PAGE_TYPE.NORMAL, contents: new Uint8Array(4096).fill(fill) })
    const gone = (pfn: number): PageEntry => ({ pfn, type: PAGE_TYPE.INVALID, contents: undefined })
    await stream.writeImageRecord({ type: 'pv-info', guestWidth: 8, pageTableLevels: 4 })
    await stream.writeImageRecord({ type: 'p2m-frames', startPfn: 0, endPfn: 15, frames: [0] })
    const records = [
      [page(1, 5), page(1, 0), page(2, 0), page(2, 6), page(3, 0), page(6, 0), page(5, 8)],
      [page(3, 9), page(5, 0), page(6, 1), gone(2), { pfn: 7, type: PAGE_TYPE.ALLOCATE_ONLY, contents: undefined }],
    ]
    for (const pages of records) await stream.writeImageRecord({ type: 'page-data', pages })
    await stream.writeImageRecord({ type: 'checkpoint' })
    await image.read(new SaveStreamReader(chunks))
    const fills = [...host.frames.values()].filter(({ pfn }) => pfn !== undefined).map(({ pfn, bytes }) => [pfn, bytes[9]])
    expect(fills.sort(([a], [b]) => a! - b!)).toEqual([[1, 0], [3, 9], [5, 0], [6, 1], [7, 0]])
    expect(image.pageCount).toBe(5)
    const again: Uint8Array[] = []
    const later = new SaveStreamWriter({ write: (chunk) => void again.push(chunk) })
    await later.writeImageRecord({ type: 'page-data', pages: [gone(9), page(9, 1)] })
    await expect(image.read(new SaveStreamReader(again))).rejects.toThrow('takes page 9 away and then has it')
  })

  test('whose pages are only named gets them once, and keeps what they hold', async () => {
    const host = new FrameHost()
    const image = new PvImageReader(host, { domid: host.domid, hasRegisters: true, maxPages: 9, ...PORTS })
    const chunks: Uint8Array[] = []
    const stream = new SaveStreamWriter({ write: (chunk) => void chunks.push(chunk) })
    await stream.writeImageRecord({ type: 'pv-info', guestWidth: 8, pageTableLevels: 4 })
    await stream.writeImageRecord({ type: 'p2m-frames', startPfn: 0, endPfn: 15, frames: [0] })
    await stream.writeImageRecord({ type: 'page-data', pages: [{ pfn: 3, type: PAGE_TYPE.NORMAL, contents: new Uint8Array(4096).fill(5) }] })
    await stream.writeNamedPages(Uint32Array.of(1, 2, 3, 4, 9, 4, 8))
    await stream.writeImageRecord({ type: 'checkpoint' })
    await image.read(new SaveStreamReader(chunks))
    const fills = [...host.frames.values()].filter(({ pfn }) => pfn !== undefined).map(({ pfn, bytes }) => [pfn, bytes[9]])
    expect(fills.sort(([a], [b]) => a! - b!)).toEqual([[1, 0], [2, 0], [3, 5], [4, 0], [8, 0], [9, 0]])
    for (const [pfns, why] of [[[10, 11, 12, 13], 'more pages than the domain may own'], [[14, 15, 16], 'page 16 lies beyond the last one 15']] as const) {
      const again: Uint8Array[] = []
      await new SaveStreamWriter({ write: (chunk) => void again.push(chunk) }).writeNamedPages(Uint32Array.from(pfns))
      await expect(image.read(new SaveStreamReader(again))).rejects.toThrow(why)
    }
  })

  test('that gave a page away while it was copied gets it back neither in its list nor from the host', async () => {
    const file = savedMini()
    const host = new FrameHost()
    const image = new PvImageReader(host, { domid: host.domid, hasRegisters: true, maxPages: 2000, ...PORTS })
    await image.read(await openImage(file))
    // The table that maps the topmost page, before and after.
    const table = pagesOf(await records(file)).find(
      ({ type, contents }) => type === PAGE_TYPE.L1 && viewOf(contents!).getUint32(4088, true) >>> 12 === 1023,
    )!
    const contents = table.contents!.slice()
    contents.fill(0, 4088)
    const chunks: Uint8Array[] = []
    const later = new SaveStreamWriter({ write: (chunk) => void chunks.push(chunk) })
    await later.writeImageRecord({
      type: 'page-data',
      pages: [
        { ...table, contents },
        { pfn: 1023, type: PAGE_TYPE.INVALID, contents: undefined },
      ],
    })
    await later.writeImageRecord({ type: 'checkpoint' })
    expect(await image.read(new SaveStreamReader(chunks))).toBe('checkpoint')
    expect(image.finish().frames()[1023]).toBeUndefined()
    expect(host.frames.size).toBe(1023 + 1)
  })
})

describe('page tables that are converted while more is to come', () => {
  /** An image of which one page has been sent again, and what is needed to send more. */
  async function early() {
    const file = savedMini()
    const host = new FrameHost()
    const image = new PvImageReader(host, { domid: host.domid, hasRegisters: true, maxPages: 2000, ...PORTS })
    await image.read(await openImage(file))
    const original = pagesOf(await records(file))
    const send = async (...pages: PageEntry[]): Promise<void> => {
      const chunks: Uint8Array[] = []
      const stream = new SaveStreamWriter({ write: (chunk) => void chunks.push(chunk) })
      await stream.writeImageRecord({ type: 'page-data', pages })
      await stream.writeImageRecord({ type: 'checkpoint' })
      await image.read(new SaveStreamReader(chunks))
    }
    await send(original.find(({ type, pfn }) => type === PAGE_TYPE.NORMAL && pfn > 100)!)
    const table = original.find(
      ({ type, contents }) => type === PAGE_TYPE.L1 && viewOf(contents!).getUint32(4088, true) >>> 12 === 1023,
    )!
    const frameOf = (pfn: number): number => [...host.frames].find(([, frame]) => frame.pfn === pfn)![0]
    const lastEntry = (): number => viewOf(host.frameBytes(host.domid, frameOf(table.pfn) as Mfn)).getUint32(4088, true) >>> 12
    return { host, image, send, table, frameOf, lastEntry, gone: { pfn: 1023, type: PAGE_TYPE.INVALID, contents: undefined } }
  }

  test('name frames, are converted anew when they come again, and once only', async () => {
    const { host, image, send, table, frameOf, lastEntry } = await early()
    expect(lastEntry()).toBe(frameOf(1023))
    await send(table)
    expect(lastEntry()).toBe(frameOf(1023))
    image.finish()
    expect(lastEntry()).toBe(frameOf(1023))
    expect(host.frameInfo(host.contexts.get(0)!.kernelTable as Mfn)).toMatchObject({ type: 'l4', pinned: true })
  })

  test('name pages again when one of these is taken away, and do not keep it', async () => {
    const wrong = await early()
    await wrong.send(wrong.gone)
    expect(wrong.lastEntry()).toBe(1023)
    expect(() => wrong.image.finish()).toThrow(/maps a page that the stream does not hold, 1023/)
    const { host, image, send, table, gone } = await early()
    await send(gone)
    const contents = table.contents!.slice().fill(0, 4088)
    await send({ ...table, contents })
    image.finish()
    expect(host.frames.size).toBe(1023 + 1)
  })
})

/** Free pages that serve as the tree over the p2m. */
const TREE = { top: 1000, middle: 1001 } as const

/** What the guest does when it goes on: it tells where its p2m is. */
function describeP2m(host: FrameHost, frames: readonly (Mfn | undefined)[], p2m: readonly number[]): void {
  const [top, middle] = [frames[TREE.top]!, frames[TREE.middle]!]
  viewOf(host.frameBytes(host.domid, top)).setBigUint64(0, BigInt(middle), true)
  const list = viewOf(host.frameBytes(host.domid, middle))
  p2m.forEach((pfn, i) => list.setBigUint64(i * 8, BigInt(frames[pfn]!), true))
  const page = viewOf(host.frameBytes(host.domid, host.sharedInfoFrame))
  SharedInfo.arch.layout.pfnToMfnFrameListList.set(page, SharedInfo.arch.at(0), BigInt(top))
}
