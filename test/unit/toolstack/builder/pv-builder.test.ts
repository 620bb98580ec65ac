import { describe, expect, test } from 'vitest'
import { StartInfo } from '../../../../src/abi/index.ts'
import type { ControlInterface, VcpuContext } from '../../../../src/hypervisor/index.ts'
import type { DomId, EventPort, Mfn } from '../../../../src/util/index.ts'
import { buildPvDomain, type PvBuild } from '../../../../src/toolstack/builder/pv-builder.ts'
import { buildTypeScriptDomain } from '../../../../src/toolstack/builder/typescript-builder.ts'
import { parseKernelImage } from '../../../../src/toolstack/image/kernel-image.ts'
import { makeElf } from '../../../support/elf-image.ts'

/** What the builder asks of the hypervisor, recorded; frames come downwards, so that frame and page number differ. */
class RecordingControl {
  readonly calls: string[] = []
  readonly written = new Set<number>()
  context: VcpuContext | undefined
  private readonly memory = new Map<number, Uint8Array>()

  populatePhysmap(_domid: DomId, count: number, firstPfn?: number): Mfn[] {
    this.calls.push(`populate ${count} from ${firstPfn}`)
    return Array.from({ length: count }, (_, i) => 0x9000 - i) as Mfn[]
  }

  frameBytes(_domid: DomId, frame: Mfn): Uint8Array {
    const bytes = this.memory.get(frame) ?? new Uint8Array(4096)
    this.memory.set(frame, bytes)
    return bytes
  }

  markWritten(frame: Mfn): void { this.written.add(frame) }
  domainInfo(): object { return { sharedInfoFrame: 0x77 } }
  writeHypercallPage(_domid: DomId, frame: Mfn): void { this.calls.push(`hypercall page ${frame.toString(16)}`) }
  pinTable(_domid: DomId, frame: Mfn, level: number): void { this.calls.push(`pin L${level} ${frame.toString(16)}`) }
  seedGrant(_domid: DomId, ref: number, entry: { remote: number; frame: Mfn }): void {
    this.calls.push(`grant ${ref} of ${entry.frame.toString(16)} to ${entry.remote}`)
  }
  setVcpuContext(_domid: DomId, vcpu: number, context: VcpuContext): void {
    this.calls.push(`context of ${vcpu}`)
    this.context = context
  }

  page(pfn: number): { bytes: Uint8Array; view: DataView } {
    const bytes = this.frameBytes(1 as DomId, (0x9000 - pfn) as Mfn)
    return { bytes, view: new DataView(bytes.buffer) }
  }
}

const code = Uint8Array.from({ length: 0x2345 }, (_, i) => i * 7)
const elf = (over: object = {}): Uint8Array =>
  makeElf({
    entry: 0x100010n,
    segments: [
      { address: 0x100800, bytes: code, size: 0x4000 },
      { address: 0x100000, bytes: new Uint8Array(32).fill(1) },
    ],
    notes: [
      { type: 5, value: 'xen-3.0' },
      { type: 2, value: 0x103000n },
    ],
    ...over,
  })

function build(over: Partial<PvBuild> = {}): { control: RecordingControl; built: ReturnType<typeof buildPvDomain> } {
  const control = new RecordingControl()
  // The recorder has what the builder calls and nothing else.
  const built = buildPvDomain(control as unknown as ControlInterface, {
    domid: 1 as DomId, image: parseKernelImage(elf()), pages: 2048, commandLine: 'hello=world',
    storePort: 1 as EventPort, consolePort: 2 as EventPort, servedBy: 0 as DomId, ...over,
  })
  return { control, built }
}

describe('a built PV domain', () => {
  test('is populated, written, pinned by the hypervisor, granted, and only then given its registers', () => {
    const { control, built } = build()
    const { layout } = built
    const frame = (pfn: number): string => (0x9000 - pfn).toString(16)
    expect(control.calls).toEqual([
      'populate 2048 from 0', `hypercall page ${frame(0x103)}`, `pin L4 ${frame(layout.pageTables.pfn)}`,
      `grant 0 of ${frame(layout.console.pfn)} to 0`, `grant 1 of ${frame(layout.store.pfn)} to 0`, 'context of 0',
    ])
    expect([built.storeFrame, built.consoleFrame]).toEqual([0x9000 - layout.store.pfn, 0x9000 - layout.console.pfn])
  })

  test('holds the kernel at its physical addresses, across pages', () => {
    const { control } = build()
    const memory = new Uint8Array(5 * 4096)
    for (let i = 0; i < 5; i += 1) memory.set(control.page(0x100 + i).bytes, i * 4096)
    expect(memory.subarray(0x800, 0x800 + code.length)).toEqual(code)
    expect(memory.subarray(0, 32)).toEqual(new Uint8Array(32).fill(1))
    expect(control.written.has(0x9000 - 0x102)).toBe(true)
  })

  test('lists its frames by page number', () => {
    const { control, built } = build()
    const list = Array.from({ length: 4 }, (_, i) => control.page(built.layout.p2m.pfn + i).view)
    for (const pfn of [0, 1, 511, 512, 2047])
      expect(list[pfn >> 9]!.getBigUint64((pfn & 511) * 8, true)).toBe(BigInt(0x9000 - pfn))
  })

  test('finds everything in start_info', () => {
    const { control, built } = build({ ramdisk: new Uint8Array(5000).fill(9) })
    const { layout } = built
    const info = StartInfo.decode(control.page(layout.startInfo.pfn).view, 0)
    const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1').replace(/\0.*$/s, '')
    expect(text(info.magic)).toBe('xen-3.0-x86_64')
    expect(text(info.cmdLine)).toBe('hello=world')
    expect(info).toMatchObject({
      nrPages: 2048n,
      sharedInfo: 0x77000n,
      flags: 0,
      storeMfn: BigInt(built.storeFrame),
      storeEvtchn: 1,
      consoleMfn: BigInt(built.consoleFrame),
      consoleEvtchn: 2,
      ptBase: BigInt(layout.pageTables.address),
      nrPtFrames: BigInt(layout.pageTables.pages),
      mfnList: BigInt(layout.p2m.address),
      modStart: BigInt(layout.ramdisk!.address),
      modLen: 5000n,
      firstP2mPfn: 0n,
      nrP2mFrames: 0n,
    })
    expect(control.page(layout.ramdisk!.pfn + 1).bytes.subarray(903, 906)).toEqual(new Uint8Array([9, 0, 0]))
  })

  test('gets ramdisk and frame list by page number when its kernel asks for that', () => {
    const image = parseKernelImage(
      elf({
        entry: 0xffffffff80100010n,
        notes: [
          { type: 5, value: 'xen-3.0' },
          { type: 3, value: 0xffffffff80000000n },
          { type: 1, value: 0xffffffff80100010n },
          { type: 16, value: 1n },
          { type: 15, value: 0x8000000000n },
        ],
      }),
    )
    const { control, built } = build({ image, ramdisk: new Uint8Array(10) })
    const { layout } = built
    expect(StartInfo.decode(control.page(layout.startInfo.pfn).view, 0)).toMatchObject({
      // MOD_START_PFN, and VIRT_P2M_4TOOLS: whoever saves it reads the list there.
      flags: 24,
      modStart: BigInt(layout.ramdisk!.pfn),
      modLen: 10n,
      mfnList: 0x8000000000n,
      firstP2mPfn: BigInt(layout.p2m.pfn),
      nrP2mFrames: BigInt(layout.p2m.pages),
      ptBase: BigInt.asUintN(64, BigInt(layout.pageTables.address)),
    })
  })

  test('starts in kernel mode on its boot stack with start_info in RSI', () => {
    const { control, built } = build()
    const { layout } = built
    expect(control.context).toMatchObject({
      flags: 0x24,
      kernelTable: 0x9000 - layout.pageTables.pfn,
      kernelSs: 0xe02b,
      kernelSp: BigInt(layout.bootStack.address + 4096),
      user: {
        rip: 0x100010n,
        rsi: BigInt(layout.startInfo.address),
        rsp: BigInt(layout.bootStack.address + 4096),
        rflags: 0x200n,
        cs: 0xe033,
        ss: 0xe02b,
        ds: 0,
        es: 0,
        fs: 0,
        gs: 0,
      },
    })
    expect(control.context?.debug.slice(6)).toEqual([0xffff0ff0n, 0x400n])
  })

  test('refuses a command line that start_info cannot hold', () => {
    expect(() => build({ commandLine: 'x'.repeat(1024) })).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
    expect(() => build({ commandLine: 'x'.repeat(1023) })).not.toThrow()
  })
})

test('a domain for a TypeScript guest has start_info, rings and grants like any other', () => {
  const control = new RecordingControl()
  const built = buildTypeScriptDomain(control as unknown as ControlInterface, {
    domid: 1 as DomId,
    pages: 16,
    commandLine: 'a=b',
    storePort: 1 as EventPort,
    consolePort: 2 as EventPort,
    servedBy: 0 as DomId,
  })
  expect(control.calls).toEqual(['populate 16 from 0', 'grant 0 of 8ffe to 0', 'grant 1 of 8fff to 0'])
  expect(built.boot).toMatchObject({
    sharedInfo: 0x77,
    startInfo: 0x9000,
    store: { frame: 0x8fff, port: 1 },
    console: { frame: 0x8ffe, port: 2 },
    commandLine: 'a=b',
  })
  expect(built.boot.frames).toHaveLength(16)
  expect(StartInfo.decode(control.page(0).view, 0)).toMatchObject({
    nrPages: 16n,
    sharedInfo: 0x77000n,
    storeMfn: 0x8fffn,
    consoleMfn: 0x8ffen,
  })
})
