import { describe, expect, test } from 'vitest'
import { SharedInfo, StartInfo } from '../../../src/abi/index.ts'
import { FrameAllocator } from '../../../src/guest/pages.ts'
import { readSuspendRecord, writeSuspendRecord } from '../../../src/guest/suspend-record.ts'
import type { Mfn } from '../../../src/util/index.ts'

const SHARED_INFO = 1 as Mfn
const START_INFO = 2 as Mfn

/** A guest of `count` pages whose first three are start_info and the rings, in frames that are not in order. */
function guest(count = 20) {
  const buffer = new ArrayBuffer(4096 * 256)
  const memory = {
    view: new DataView(buffer),
    bytes: new Uint8Array(buffer),
    words: new Uint32Array(buffer),
    markWritten: () => undefined,
  }
  const list = Array.from({ length: count }, (_, i) => (i < 3 ? START_INFO + i : 250 - i * 3) as Mfn)
  StartInfo.storeMfn.setNumber(memory.view, START_INFO * 4096, list[1]!)
  StartInfo.consoleMfn.setNumber(memory.view, START_INFO * 4096, list[2]!)
  const frames = new FrameAllocator(memory, list, list.slice(0, 3))
  return { memory, frames, list, facts: { memory, frames, sharedInfo: SHARED_INFO, startInfo: START_INFO } }
}

const maxPfn = (view: DataView): number =>
  SharedInfo.arch.layout.maxPfn.number(view, SharedInfo.arch.at(SHARED_INFO * 4096))
const rings = (view: DataView): number[] =>
  [StartInfo.storeMfn, StartInfo.consoleMfn].map((field) => field.number(view, START_INFO * 4096))

describe('what a guest leaves when it is suspended', () => {
  test.each([undefined, null, 'text', { deep: [1, { ä: 'ö' }], empty: {} }, 'x'.repeat(9000)])('holds %j', (state) => {
    const { memory, list, facts } = guest()
    writeSuspendRecord(facts, state)
    expect(readSuspendRecord(memory, START_INFO, list)).toEqual(state ?? null)
  })

  test('describes its frames by a tree, and its rings by page number', () => {
    const { memory, list, facts } = guest()
    writeSuspendRecord(facts, 1)
    expect([maxPfn(memory.view), rings(memory.view)]).toEqual([20, [1, 2]])
    const entry = (frame: number, index = 0): number => Number(memory.view.getBigUint64(frame * 4096 + index * 8, true))
    const root = SharedInfo.arch.layout.pfnToMfnFrameListList
    const p2m = entry(entry(root.number(memory.view, SharedInfo.arch.at(SHARED_INFO * 4096))))
    expect(list.map((_, pfn) => entry(p2m, pfn))).toEqual(list)
  })

  test('is gone without a trace when the suspend is cancelled', () => {
    const { memory, frames, list, facts } = guest()
    const free = frames.free
    writeSuspendRecord(facts, 'x'.repeat(5000)).release()
    expect(frames.free).toBe(free)
    expect([maxPfn(memory.view), rings(memory.view)]).toEqual([0, [list[1], list[2]]])
  })

  test('is not left by halves when there is no room', () => {
    const { memory, frames, list, facts } = guest(6)
    expect(() => writeSuspendRecord(facts, 'x'.repeat(9000))).toThrow(
      expect.objectContaining({ code: 'OUT_OF_MEMORY' }),
    )
    expect(() => writeSuspendRecord(facts, 'x'.repeat(3e6))).toThrow(
      expect.objectContaining({ code: 'OUT_OF_RESOURCES' }),
    )
    expect([frames.free, maxPfn(memory.view), rings(memory.view)]).toEqual([3, 0, [list[1], list[2]]])
  })

  test('is refused when it was damaged', () => {
    const { memory, list, facts } = guest()
    writeSuspendRecord(facts, 'state')
    for (const [offset, value] of [[2048, 0], [2056, 2], [2060, 0xff_ffff], [2064, 999]] as const) {
      const before = memory.view.getUint32(START_INFO * 4096 + offset, true)
      memory.view.setUint32(START_INFO * 4096 + offset, value, true)
      expect(() => readSuspendRecord(memory, START_INFO, list)).toThrow(
        expect.objectContaining({ code: 'INVALID_STATE' }),
      )
      memory.view.setUint32(START_INFO * 4096 + offset, before, true)
    }
  })
})
