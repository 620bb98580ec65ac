/** Images of PVH domains: what is written comes back at its place, and what a hostile stream says is refused by name. */
import { describe, expect, test } from 'vitest'
import { HVM_PARAM, HVM_SAVE_CODE, HvmHwCpu } from '../../../../src/abi/index.ts'
import { joinHvmContext } from '../../../../src/toolstack/builder/hvm-context.ts'
import { HvmImageReader, type HvmRestoreControl } from '../../../../src/toolstack/save/hvm-image-reader.ts'
import { HvmImageWriter, type HvmSaveControl } from '../../../../src/toolstack/save/hvm-image-writer.ts'
import { PAGE_TYPE, SaveStreamReader, SaveStreamWriter, type ImageRecord } from '../../../../src/toolstack/stream/index.ts'
import { XenError, type DomId, type EventPort, type Mfn } from '../../../../src/util/index.ts'

const CONTEXT = joinHvmContext([{ type: HVM_SAVE_CODE.CPU, instance: 0, body: new Uint8Array(HvmHwCpu.size).fill(9) }])
const STORE = 0xfeffc
const CONSOLE = 0xfefff

/** One domain's frames by their places, and what was said about it. */
class Frames {
  readonly places = new Map<number, { gfn: number; bytes: Uint8Array }>()
  readonly params = new Map<number, bigint>([[HVM_PARAM.STORE_PFN, BigInt(STORE)], [HVM_PARAM.CONSOLE_PFN, BigInt(CONSOLE)], [HVM_PARAM.STORE_EVTCHN, 9n]])
  readonly grants: number[][] = []
  onDemand: number[] = []
  context = CONTEXT
  offered = 7
  tsc = { mode: 0, kilohertz: 1_000_000, nanoseconds: 5n, incarnation: 1 }
  private next = 100

  add(gfn: number, fill = 0): Mfn {
    this.next += 3
    this.places.set(this.next, { gfn, bytes: new Uint8Array(4096).fill(fill) })
    return this.next as Mfn
  }

  /** First byte of each page. */
  fills(): Record<number, number> {
    return Object.fromEntries([...this.places.values()].sort((a, b) => a.gfn - b.gfn).map(({ gfn, bytes }) => [gfn, bytes[0]!]))
  }

  private gfns(): Map<number, number> {
    return new Map([...this.places].map(([frame, { gfn }]) => [gfn, frame]))
  }

  drop(gfn: number): void {
    for (const [frame, place] of this.places) if (place.gfn === gfn) this.places.delete(frame)
  }

  readonly control: HvmSaveControl & HvmRestoreControl = {
    memoryGfns: () => Uint32Array.from([...this.gfns().keys(), ...this.onDemand]).sort(),
    memoryAt: (_, gfns) => {
      const places = this.gfns()
      return Int32Array.from(gfns, (gfn) => (this.onDemand.includes(gfn) ? -2 : places.get(gfn) ?? -1))
    },
    blankFrames: (_, frames) => new Uint8Array(frames.length),
    readFrames: (_, frames, into) => frames.forEach((frame, i) => into.set(this.places.get(frame)!.bytes, i * 4096)),
    writeFrames: (_, frames, from) => frames.forEach((frame, i) => this.places.get(frame)!.bytes.set(from.subarray(i * 4096, (i + 1) * 4096))),
    populatePhysmap: (_, count, first = 0) => Array.from({ length: count }, (_unused, i) => this.add(first + i)),
    releaseFrames: (_, frames) => frames.filter((frame) => this.places.delete(frame)).length,
    frameBytes: (_, frame) => this.places.get(frame)!.bytes,
    markWritten: () => undefined,
    getTscInfo: () => this.tsc,
    setTscInfo: (_, info) => { this.tsc = info },
    setVcpuEntries: () => undefined,
    getCpuPolicy: () => ({ cpuid: [], msrs: [] }),
    setCpuPolicy: () => [],
    setVcpuMsrs: () => undefined,
    setVcpuExtendedState: () => undefined,
    offeredState: () => this.offered,
    getHvmContext: () => this.context,
    setHvmContext: (_, bytes) => { this.context = bytes.slice() },
    getHvmParam: (_, index) => this.params.get(index) ?? 0n,
    setHvmParam: (_, index, value) => { this.params.set(index, value) },
    seedGrant: (_, ref, { frame }) => { this.grants.push([ref, frame]) },
  }
}

const reading = (target: Frames, maxPages = 100): HvmImageReader => new HvmImageReader(target.control, {
  domid: 2 as DomId, maxPages, xenstorePort: 3 as EventPort, consolePort: 4 as EventPort,
})

interface Stream {
  readonly writer: SaveStreamWriter
  reader(): SaveStreamReader
}

function stream(): Stream {
  const chunks: Uint8Array[] = []
  return { writer: new SaveStreamWriter({ write: (chunk) => void chunks.push(chunk.slice()) }), reader: () => new SaveStreamReader(chunks) }
}

/** A domain with pages here and there. */
function source(): Frames {
  const frames = new Frames()
  for (const [gfn, fill] of [[0, 1], [1, 0], [5, 2], [CONSOLE, 3], [STORE, 4]] as const) frames.add(gfn, fill)
  return frames
}

describe('the image of a PVH domain', () => {
  test('has every page at its place, the rings empty, its vCPUs and its parameters', async () => {
    const { writer, reader } = stream()
    const image = new HvmImageWriter(source().control, 1 as DomId, writer)
    await image.writeStart()
    expect([...image.pages()]).toEqual([0, 1, 5, STORE, CONSOLE])
    await image.writePages(image.pages())
    await image.writeEnd()
    await image.writeFinish()
    const target = new Frames()
    target.params.clear()
    target.context = new Uint8Array()
    target.tsc = { mode: 1, kilohertz: 7, nanoseconds: 0n, incarnation: 0 }
    const read = reading(target)
    const input = reader()
    expect(await input.readImageHeader()).toMatchObject({ kind: 'hvm', version: 3 })
    expect(await read.read(input)).toBe('end')
    expect(read.finish()).toEqual({ xenstoreFrame: STORE, consoleFrame: CONSOLE })
    expect(target.fills()).toEqual({ 0: 1, 1: 0, 5: 2, [STORE]: 0, [CONSOLE]: 0 })
    expect(target.context).toEqual(CONTEXT)
    expect(target.tsc).toEqual({ mode: 0, kilohertz: 1_000_000, nanoseconds: 5n, incarnation: 1 })
    expect(Object.fromEntries(target.params)).toEqual({
      [HVM_PARAM.STORE_PFN]: BigInt(STORE), [HVM_PARAM.CONSOLE_PFN]: BigInt(CONSOLE), [HVM_PARAM.STORE_EVTCHN]: 3n, [HVM_PARAM.CONSOLE_EVTCHN]: 4n,
    })
    expect(target.grants).toEqual([[0, CONSOLE], [1, STORE]])
  })

  test('holds what is still to come on demand as pages of zeros, between others too', async () => {
    const frames = source()
    frames.onDemand = [2, 3, 6]
    const { writer, reader } = stream()
    const image = new HvmImageWriter(frames.control, 1 as DomId, writer)
    await image.writeStart()
    expect([...image.pages()]).toEqual([0, 1, 2, 3, 5, 6, STORE, CONSOLE])
    await image.writePages(image.pages())
    await image.writeEnd()
    await image.writeFinish()
    const target = new Frames()
    const input = reader()
    await input.readImageHeader()
    await reading(target).read(input)
    expect(target.fills()).toEqual({ 0: 1, 1: 0, 2: 0, 3: 0, 5: 2, 6: 0, [STORE]: 4, [CONSOLE]: 3 })
  })

  test('follows pages that go and come while it is copied', async () => {
    const frames = source()
    const { writer, reader } = stream()
    const image = new HvmImageWriter(frames.control, 1 as DomId, writer)
    await image.writeStart()
    await image.writePages(image.pages(), { live: true })
    frames.drop(5)
    frames.add(7, 6)
    expect(image.retyped()).toEqual([5, 7])
    await image.writePages([5, 7], { live: true })
    expect(image.retyped()).toEqual([])
    await image.writeEnd()
    await image.writeFinish()
    const target = new Frames()
    const input = reader()
    await input.readImageHeader()
    await reading(target).read(input)
    expect(target.fills()).toEqual({ 0: 1, 1: 0, 7: 6, [STORE]: 4, [CONSOLE]: 3 })
  })
})

describe('a hostile image of a PVH domain', () => {
  const page = (pfn: number, type: number = PAGE_TYPE.NORMAL): ImageRecord =>
    ({ type: 'page-data', pages: [{ pfn, type, contents: type < PAGE_TYPE.BROKEN ? new Uint8Array(4096) : undefined }] })
  const params = (...list: [number, number][]): ImageRecord => ({ type: 'hvm-params', params: list.map(([index, value]) => ({ index, value: BigInt(value) })) })
  const RINGS: ImageRecord = params([HVM_PARAM.STORE_PFN, 1], [HVM_PARAM.CONSOLE_PFN, 2])
  const STATE: ImageRecord = { type: 'hvm-context', context: CONTEXT }
  const xsave = new Uint8Array(600)
  new DataView(xsave.buffer).setBigUint64(16, 1n << 9n, true)
  const used = joinHvmContext([
    { type: HVM_SAVE_CODE.CPU, instance: 0, body: new Uint8Array(HvmHwCpu.size) }, { type: HVM_SAVE_CODE.CPU_XSAVE, instance: 0, body: xsave },
  ])

  test.each<[string, readonly ImageRecord[], RegExp]>([
    ['a page beyond the first 4 GiB', [page(2 ** 20)], /record page-data .* page 1048576 lies beyond the last one/],
    ['a page that is a page table', [page(1, PAGE_TYPE.PINNED_L4)], /page 1 of a PVH domain is a page table \(type 12\)/],
    ['more pages than the domain may own', [page(1), page(2), page(3), page(4)], /more pages than the domain may own \(3\)/],
    ['a record of PV domains', [{ type: 'pv-info', guestWidth: 8, pageTableLevels: 4 }], /pv-info .* not for a PVH domain/],
    ['the registers of a PV vCPU', [{ type: 'vcpu-basic', vcpu: 0, blob: new Uint8Array(8) }], /not for a PVH domain/],
    ['a parameter that no domain is saved with', [params([HVM_PARAM.CALLBACK_IRQ, 1])], /parameter 0 is none that a domain is saved with/],
    ['a parameter that there is not', [params([4096, 1])], /parameter 4096 is none/],
    ['a parameter twice', [params([HVM_PARAM.STORE_PFN, 1], [HVM_PARAM.STORE_PFN, 1])], /a parameter is there twice/],
    ['no state of vCPUs', [page(1), page(2), RINGS], /has no HVM_CONTEXT/],
    ['no parameters', [page(1), page(2), STATE], /has no HVM_PARAMS/],
    ['no ring', [page(1), STATE, params([HVM_PARAM.STORE_PFN, 1])], /lack 17, the page of a ring/],
    ['a ring that it does not hold', [page(1), STATE, RINGS], /parameter 17 names page 2, which the image does not hold/],
    ['a context without vCPU 0', [page(1), page(2), { type: 'hvm-context', context: joinHvmContext([]) }, RINGS], /has no vCPU 0/],
    ['a context of more than all vCPUs', [{ type: 'hvm-context', context: new Uint8Array((1 << 20) + 1) }], /1048577 bytes/],
    ['extended state that is not offered', [page(1), page(2), { type: 'hvm-context', context: used }, RINGS], /vCPU 0 has used extended state.*pku/],
  ])('with %s is refused', async (_name, records, message) => {
    const { writer, reader } = stream()
    for (const record of [...records, { type: 'end' } as const]) await writer.writeImageRecord(record)
    const image = reading(new Frames(), 3)
    const error = await image.read(reader()).then(() => image.finish()).then(() => undefined, (thrown: unknown) => thrown)
    expect(XenError.is(error) && `${error.code}: ${error.message}`).toMatch(message)
    expect(XenError.is(error, 'INVALID_STREAM') || XenError.is(error, 'NOT_SUPPORTED')).toBe(true)
  })
})
