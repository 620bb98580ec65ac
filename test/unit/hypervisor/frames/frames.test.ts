import { describe, expect, test } from 'vitest'
import { FrameAllocator } from '../../../../src/hypervisor/frames/frame-allocator.ts'
import { FRAME_FLAG, FRAME_TYPE, FrameTable, OWNER_FREE } from '../../../../src/hypervisor/frames/frame-table.ts'
import { CompatMachineToPhys } from '../../../../src/hypervisor/frames/compat-machine-to-phys.ts'
import { MachineToPhys, machineToPhysFrames } from '../../../../src/hypervisor/frames/machine-to-phys.ts'
import { findLeaf } from '../../../../src/hypervisor/memory/virtual-access.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'
import { PTE } from '../../../../src/x86/index.ts'
import { PlainMemory } from '../../../support/hypervisor-host.ts'

describe('the allocator', () => {
  test('hands out the lowest frame first, each once, and takes them back', () => {
    const allocator = new FrameAllocator(4, 10)
    expect(Array.from({ length: 7 }, () => allocator.take())).toEqual([4, 5, 6, 7, 8, 9, -1])
    allocator.give(7)
    allocator.give(5)
    expect(allocator.free).toBe(2)
    expect([allocator.take(), allocator.take(), allocator.take()]).toEqual([5, 7, -1])
  })

  test('finds aligned runs around what is taken', () => {
    const allocator = new FrameAllocator(3, 64)
    expect(allocator.takeRun(3)).toBe(8)
    expect(allocator.takeRun(0)).toBe(3)
    expect(allocator.takeRun(2)).toBe(4)
    expect(allocator.takeRun(5)).toBe(32)
    expect(allocator.takeRun(5)).toBe(-1)
    expect(allocator.takeRun(3, 20)).toBe(-1)
    expect(allocator.takeRun(3)).toBe(16)
    expect(allocator.isFree(24)).toBe(true)
  })

  test('hands out neighbours as one after the other would have been, around what is taken', () => {
    const random = new SeededRandom(5)
    for (let round = 0; round < 50; round += 1) {
      const [single, together] = [new FrameAllocator(4, 200), new FrameAllocator(4, 200)]
      for (let i = 0; i < round; i += 1) {
        const order = below(random, 4)
        expect(together.takeRun(order)).toBe(single.takeRun(order))
      }
      for (const most of [1, 40, 64, 200]) {
        const run = together.takeNeighbours(most)
        if (run === undefined) {
          expect(single.take()).toBe(-1)
          continue
        }
        const frames = Array.from({ length: run.end - run.first }, (_, i) => run.first + i)
        expect(frames.map(() => single.take())).toEqual(frames)
        // It ends where it has to.
        expect(frames.length === most || run.end === 200 || !single.isFree(run.end)).toBe(true)
        expect([together.free, together.isFree(run.end)]).toEqual([single.free, single.isFree(run.end)])
      }
    }
  })

  test('has a run that was taken behind a save in the next one, also one of whole words', () => {
    const allocator = new FrameAllocator(4, 128)
    const before = allocator.save()
    expect(allocator.takeRun(5)).toBe(32)
    expect(allocator.isAsSaved(before)).toBe(false)
    const other = new FrameAllocator(4, 128)
    other.load(allocator.save())
    expect([other.isFree(31), other.isFree(32), other.isFree(63), other.isFree(64)]).toEqual([true, false, false, true])
  })
})

describe('the frame table', () => {
  test('frees a frame with its last reference, and not before', () => {
    const table = new FrameTable(2, 8)
    const released: number[] = []
    table.connect({ released: (mfn) => void released.push(mfn) })
    table.assign(5, 3)
    expect(table.getPage(5, 3)).toBe(true)
    table.putPage(5)
    expect(released).toEqual([])
    table.putPage(5)
    expect(released).toEqual([5])
    expect(table.getPage(5, 3)).toBe(false)
  })

  test('gives references to the owner\'s frames only', () => {
    const table = new FrameTable(2, 8)
    table.assign(5, 3)
    expect([table.getPage(5, 4), table.getPage(1, 3), table.getPage(8, 3), table.getPage(-1, 3), table.getPage(5.5, 3)])
      .toEqual([false, false, false, false, false])
    expect(table.owner[6]).toBe(OWNER_FREE)
  })

  test('hands a run of frames over as each of them would have been, and marks the pages of its rows that it writes', () => {
    for (const [first, end] of [[2, 3], [1000, 4097], [2048, 4096], [4095, 9000]] as const) {
      const [single, together] = [new FrameTable(2, 10_000), new FrameTable(2, 10_000)]
      for (const table of [single, together]) table.rows.touched.fill(0)
      for (let mfn = first; mfn < end; mfn += 1) single.assign(mfn, 3)
      together.assignRun(first, end, 3)
      expect(Buffer.compare(new Uint8Array(together.rows.words.buffer), new Uint8Array(single.rows.words.buffer))).toBe(0)
      expect(together.rows.touched).toEqual(single.rows.touched)
      expect(together.framesOf(3, end - first)).toEqual(single.framesOf(3, end - first))
      expect(() => together.assignRun(end - 1, end + 1, 4)).toThrow(`frame ${end - 1} is in use`)
    }
  })

  test('refuses a reference that would overflow the count', () => {
    const table = new FrameTable(2, 8)
    table.assign(5, 3)
    table.rows.setReferences(5, 0xffff_fffd)
    expect(table.getPage(5, 3)).toBe(false)
    expect(table.references[5]).toBe(0xffff_fffd)
  })

  test('keeps what is shared writable for good', () => {
    const table = new FrameTable(2, 8)
    table.assignShared(5, 3)
    expect([table.type[5], table.typeCount[5], table.hasFlag(5, FRAME_FLAG.SHARED)]).toEqual([FRAME_TYPE.WRITABLE, 1, true])
  })
})

describe('the machine-to-physical table', () => {
  test('numbers a run of frames as each of them would have been', () => {
    const tableIn = (memory: PlainMemory): MachineToPhys =>
      new MachineToPhys(memory, { mapping: [8, 9, 10], table: 16 }, new CompatMachineToPhys(memory, { mapping: [40], table: 41 }))
    const [one, other] = [new PlainMemory(2048), new PlainMemory(2048)]
    const [single, together] = [tableIn(one), tableIn(other)]
    for (const memory of [one, other]) for (let mfn = 8; mfn < 100; mfn += 1) memory.watchWrites(mfn)
    const [first, end, pfn] = [500, 1100, 2 ** 32 - 50]
    for (let mfn = first; mfn < end; mfn += 1) single.setParts(mfn, (pfn + mfn - first) >>> 0, Math.floor((pfn + mfn - first) / 2 ** 32))
    together.setRun(first, end, pfn)
    expect(Buffer.compare(other.bytes, one.bytes)).toBe(0)
    for (let mfn = 8; mfn < 100; mfn += 1) expect(other.isClean(mfn)).toBe(one.isClean(mfn))
    const numbers = new Uint32Array(6)
    together.getAll(Uint32Array.of(499, 500, 549, 550, 2047, 5000), numbers, { first: 8, end: 2048 })
    expect([...numbers]).toEqual([0xffff_ffff, pfn, pfn + 49, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff])
  })

  test('is reached by a page walk, read-only, and reads back what was written', () => {
    const memory = new PlainMemory(2048)
    const { table, mapping } = machineToPhysFrames(memory.endFrame)
    const frames = Array.from({ length: mapping }, (_, i) => 8 + i)
    const m2p = new MachineToPhys(memory, { mapping: frames, table: 16 }, new CompatMachineToPhys(memory, { mapping: [40], table: 41 }))
    m2p.set(1000, 77)
    expect([m2p.get(1000), m2p.get(1001) > 0xffff_ffff]).toEqual([77, true])
    memory.words[100 * 1024 + 512] = m2p.entryLow
    const address = -0x8000_0000_0000 + 1000 * 8
    const leaf = findLeaf(memory, 100, address)
    expect(memory.words[leaf]! & (PTE.PRESENT | PTE.WRITABLE | PTE.USER)).toBe(PTE.PRESENT | PTE.USER)
    expect(memory.view.getUint32((memory.words[leaf]! >>> 12) * 4096 + ((1000 * 8) & 0xfff), true)).toBe(77)
    expect(table).toBe(4)
    expect([memory.words[41 * 1024 + 1000], memory.words[41 * 1024 + 1001], m2p.compat.slotLow(429)]).toEqual([77, 0xffff_ffff, 0])
    expect(memory.words[40 * 1024]! & (PTE.PRESENT | PTE.WRITABLE | PTE.USER)).toBe(PTE.PRESENT)
    expect([m2p.compat.slotLow(428) >>> 12, m2p.has(41), m2p.has(42), m2p.has(43), m2p.has(19)]).toEqual([40, true, true, false, true])
  })
})
