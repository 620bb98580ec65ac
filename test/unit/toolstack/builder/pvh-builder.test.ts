/** What is built for a PVH guest, seen through a control interface that only keeps what it is given. */
import { describe, expect, test } from 'vitest'
import {
  HVM_PARAM, HVM_SAVE_CODE, HvmHwCpu, HvmHwMtrr, HvmMemmapTableEntry, HvmModlistEntry, HvmSaveHeader, HvmStartInfo,
} from '../../../../src/abi/index.ts'
import type { MemoryRange } from '../../../../src/hypervisor/index.ts'
import { makeAcpiTables } from '../../../../src/toolstack/acpi/tables.ts'
import { joinHvmContext, splitHvmContext } from '../../../../src/toolstack/builder/hvm-context.ts'
import { buildPvhDomain, type PvhControl } from '../../../../src/toolstack/builder/pvh-builder.ts'
import { planPvhLayout } from '../../../../src/toolstack/builder/pvh-layout.ts'
import { parsePvhImage } from '../../../../src/toolstack/image/pvh-image.ts'
import { XenError, type DomId, type EventPort, type Mfn } from '../../../../src/util/index.ts'
import { makeElf, type TestNote } from '../../../support/elf-image.ts'

const PAGE = 4096
const MIB = 2 ** 20
const code = new Uint8Array(0x1800).fill(0x90)
const ENTRY: TestNote = { type: 18, value: 0x100010n }
const imageOf = (...notes: TestNote[]) => parsePvhImage(makeElf({ segments: [{ address: 0x100000, bytes: code, size: 0x2800 }], notes: [ENTRY, ...notes] }))

/** A domain's memory by guest frame number, and all that was said about it. */
class Recorded {
  readonly pages = new Map<number, Uint8Array>()
  readonly parameters = new Map<number, bigint>()
  readonly grants: (readonly [number, number])[] = []
  readonly onDemand: (readonly [number, number])[] = []
  map: readonly MemoryRange[] = []
  context = new Uint8Array(0)
  target = -1

  /** Frames are numbered as their places, a million further on. */
  readonly control: PvhControl = {
    prepareVcpu: () => undefined,
    populatePhysmap: (_, count, first = 0) => Array.from({ length: count }, (_unused, i) => this.add(first + i)),
    populateOnDemand: (_, count, first) => { this.onDemand.push([first, count]) },
    setOnDemandTarget: (_, pages) => { this.target = pages },
    frameOfGfn: (_, gfn) => (this.pages.has(gfn) || this.onDemand.some(([first, count]) => gfn >= first && gfn < first + count) ? this.add(gfn) : undefined),
    frameBytes: (_, frame) => this.pages.get(frame - MIB)!,
    markWritten: () => undefined,
    setMemoryMap: (_, map) => { this.map = map },
    setHvmParam: (_, index, value) => { this.parameters.set(index, value) },
    getHvmContext: () => joinHvmContext([
      { type: HVM_SAVE_CODE.HEADER, instance: 0, body: new Uint8Array(HvmSaveHeader.size).fill(1) },
      { type: HVM_SAVE_CODE.CPU, instance: 0, body: new Uint8Array(HvmHwCpu.size).fill(2) },
      ...[0, 1].map((instance) => ({ type: HVM_SAVE_CODE.MTRR, instance, body: new Uint8Array(HvmHwMtrr.size).fill(3) })),
    ]),
    setHvmContext: (_, bytes) => { this.context = bytes.slice() },
    seedGrant: (_, ref, { frame }) => { this.grants.push([ref, frame]) },
  }

  private add(gfn: number): Mfn {
    if (!this.pages.has(gfn)) this.pages.set(gfn, new Uint8Array(PAGE))
    return gfn + MIB as Mfn
  }

  /** A view of a page. */
  view(address: number): DataView {
    const page = this.pages.get(Math.floor(address / PAGE))!
    return new DataView(page.buffer, page.byteOffset + address % PAGE)
  }

  text(address: number): string {
    const page = this.pages.get(Math.floor(address / PAGE))!.subarray(address % PAGE)
    return new TextDecoder().decode(page.subarray(0, page.indexOf(0)))
  }
}

interface Wanted {
  readonly notes?: readonly TestNote[]
  readonly ramdisk?: Uint8Array
  readonly maxPages?: number
}

function build({ notes = [], ramdisk, maxPages = 2048 }: Wanted = {}): { readonly domain: Recorded; readonly startInfo: number } {
  const domain = new Recorded()
  const { layout } = buildPvhDomain(domain.control, {
    domid: 1 as DomId, image: imageOf(...notes), ramdisk, pages: 2048, maxPages, vcpus: 1, maxVcpus: 2, commandLine: 'console=hvc0',
    storePort: 5 as EventPort, consolePort: 6 as EventPort, servedBy: 0 as DomId,
  })
  return { domain, startInfo: layout.startInfo.address }
}

describe('a PVH domain', () => {
  test('finds its kernel, start info and ramdisk one behind the other', () => {
    const { domain, startInfo } = build({ ramdisk: new Uint8Array(5000).fill(7) })
    expect([domain.view(0x100000).getUint8(0), domain.view(0x101800).getUint8(0)]).toEqual([0x90, 0])
    expect(startInfo).toBe(0x103000)
    const view = domain.view(startInfo)
    const info = HvmStartInfo.decode(view, 0)
    expect(info).toMatchObject({ magic: 0x336ec578, version: 1, flags: 0, nrModules: 1, rsdpPaddr: 0xfc008000n, memmapEntries: 5 })
    expect(domain.text(Number(info.cmdlinePaddr))).toBe('console=hvc0')
    expect(HvmModlistEntry.decode(domain.view(Number(info.modlistPaddr)), 0)).toEqual({ paddr: 0x104000n, bytes: 5000n, cmdlinePaddr: 0n, reserved: 0n })
    expect([domain.view(0x104000).getUint8(0), domain.view(0x105000 + 903).getUint8(0), domain.view(0x105000 + 904).getUint8(0)]).toEqual([7, 7, 0])
  })

  test('has start info as large as libxl makes it', () => {
    const acpi = makeAcpiTables({ maxVcpus: 2, vcpus: 2 })
    const line = 'console=hvc0 panic=-1 rdinit=/sbin/init\0'
    const { startInfo } = planPvhLayout({ image: imageOf(), maxPages: 0xc000, commandLineSize: line.length, acpi })
    expect(startInfo.size).toBe(0x918)
  })

  test('is told the same memory map in both ways, and has memory where it says', () => {
    const { domain, startInfo } = build()
    expect(domain.map).toEqual([
      { address: 0, size: 8 * MIB, type: 1 },
      { address: 0xfeff8000, size: 0x8000, type: 2 },
      { address: 0xfc008000, size: 0x40, type: 3 },
      { address: 0xfc000000, size: 0x1000, type: 3 },
      { address: 0xfc001000, size: 0x7000, type: 3 },
    ])
    const info = HvmStartInfo.decode(domain.view(startInfo), 0)
    const entries = Array.from({ length: info.memmapEntries }, (_, i) => HvmMemmapTableEntry.decode(domain.view(Number(info.memmapPaddr)), i * 24))
    expect(entries.map(({ addr, bytes, type }) => ({ address: Number(addr), size: Number(bytes), type }))).toEqual(domain.map)
    // As many as on real Xen: 17 beside the memory.
    expect(domain.pages.size).toBe(2048 + 17)
    expect(domain.text(0xfc008000)).toMatch(/^RSD PTR /)
    expect(domain.view(0xfeffe000).getUint32(4, true)).toBe(0x004000e7)
  })

  test('gets its memory as it touches it where it may have more than it starts with', () => {
    const { domain } = build({ maxPages: 4096 })
    expect([domain.target, domain.onDemand, domain.map[0]!.size]).toEqual([2048, [[0, 4096]], 16 * MIB])
    // Kernel, start info, and what lies beside the memory.
    expect(domain.pages.size).toBe(2 + 1 + 17)
  })

  test('finds the RSDP among the BIOS where an older Linux looks for it', () => {
    const linux: TestNote = { type: 6, value: 'linux' }
    const anywhere: TestNote = { type: 17, value: new Uint8Array([0x01, 0x88, 0, 0]) }
    const rsdpOf = (notes: readonly TestNote[]): bigint => {
      const { domain, startInfo } = build({ notes })
      const { rsdpPaddr } = HvmStartInfo.decode(domain.view(startInfo), 0)
      expect(domain.text(Number(rsdpPaddr))).toMatch(/^RSD PTR /)
      return rsdpPaddr
    }
    expect([rsdpOf([linux]), rsdpOf([linux, anywhere])]).toEqual([0xfffc0n, 0xfc008000n])
  })

  test('begins in 32-bit protected mode with start info in EBX, its memory write-back', () => {
    const { domain, startInfo } = build()
    const records = splitHvmContext(domain.context)
    expect(records.map(({ type, instance }) => [type, instance])).toEqual([[1, 0], [2, 0], [14, 0], [14, 1]])
    const viewOf = (body: Uint8Array): DataView => new DataView(body.buffer, body.byteOffset, body.byteLength)
    const cpu = HvmHwCpu.decode(viewOf(records[1]!.body), 0)
    expect(cpu).toMatchObject({
      rip: 0x100010n, rbx: BigInt(startInfo), cr0: 0x11n, cr4: 0n, msrEfer: 0n, csArbytes: 0xc9b, csLimit: 0xffffffff, dsArbytes: 0xc93,
      esArbytes: 0xc93, ssArbytes: 0xc93, trArbytes: 0x8b, trLimit: 0x67, csBase: 0n, dr6: 0xffff0ff0n, dr7: 0x400n,
    })
    expect(records.slice(2).map(({ body }) => HvmHwMtrr.decode(viewOf(body), 0).msrMtrrDefType)).toEqual([0x806n, 0x806n])
    expect(HvmHwMtrr.decode(viewOf(records[2]!.body), 0).msrMtrrCap).toBe(0x0303030303030303n)
  })

  test('is told where its rings are, which its daemons find by grants', () => {
    const { domain } = build()
    expect(Object.fromEntries(domain.parameters)).toMatchObject({
      [HVM_PARAM.STORE_PFN]: 0xfeffcn, [HVM_PARAM.STORE_EVTCHN]: 5n, [HVM_PARAM.CONSOLE_PFN]: 0xfefffn, [HVM_PARAM.CONSOLE_EVTCHN]: 6n,
      [HVM_PARAM.IDENT_PT]: 0xfeffe000n, [HVM_PARAM.IOREQ_PFN]: 0xfeffdn, [HVM_PARAM.BUFIOREQ_PFN]: 0xfeffbn,
    })
    expect(domain.grants).toEqual([[0, 0xfefff], [1, 0xfeffc]])
  })
})

describe('memory that is too small', () => {
  const refusal = (maxPages: number, ramdiskSize?: number): XenError => {
    try {
      planPvhLayout({ image: imageOf(), maxPages, ramdiskSize, commandLineSize: 1, acpi: makeAcpiTables({ maxVcpus: 1, vcpus: 1 }) })
    } catch (error) {
      if (XenError.is(error)) return error
    }
    throw new Error('accepted')
  }

  test.each<[number, number | undefined, string]>([[0x101, undefined, 'kernel'], [0x103, undefined, 'start info'], [0x104, 1, 'ramdisk']])(
    'for a domain of %i pages names the part that does not fit', (pages, ramdisk, segment) => {
      const { code: found, details, message } = refusal(pages, ramdisk)
      expect([found, details['segment']]).toEqual(['OUT_OF_MEMORY', segment])
      expect(message).toMatch(new RegExp(`${segment} needs 0x.* bytes at 0x.*, memory ends at`))
    })

  test('is told apart from memory that reaches into the addresses of devices', () => {
    expect(refusal(0xf0001)).toMatchObject({ code: 'INVALID_CONFIG', details: { key: 'maxMemory', limit: 3840 } })
  })
})
