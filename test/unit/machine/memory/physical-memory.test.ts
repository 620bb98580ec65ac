import { expect, test } from 'vitest'
import type { GuestMemory } from '../../../../src/hypervisor/memory/guest-memory.ts'
import { Machine } from '../../../../src/machine/index.ts'
import { XenError } from '../../../../src/util/index.ts'

test("a machine's memory is what the hypervisor expects of guest memory", () => {
  const memory: GuestMemory = new Machine({ memoryBytes: 1 << 20 }).memory
  expect(memory.endFrame - memory.firstFrame).toBe(256)
  expect(memory.firstFrame).toBeGreaterThan(0)
  memory.words[memory.firstFrame << 10] = 0x1234_5678
  expect(memory.view.getUint32(memory.firstFrame * 4096, true)).toBe(0x1234_5678)
  expect(memory.buffer.byteLength).toBeGreaterThanOrEqual(memory.endFrame * 4096)
})

test('more memory than a WebAssembly memory can hold is refused', () => {
  const attempt = (bytes: number) => () => new Machine({ memoryBytes: bytes })
  expect(attempt(4 * 2 ** 30)).toThrow(expect.objectContaining({ code: 'OUT_OF_MEMORY' }))
  expect(attempt(0)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  expect(XenError.is(new XenError('OUT_OF_MEMORY', ''))).toBe(true)
})

test('a watched frame is clean until somebody writes to it', () => {
  const { memory } = new Machine({ memoryBytes: 1 << 20 })
  const mfn = memory.firstFrame + 3
  memory.watchWrites(mfn)
  expect(memory.isClean(mfn)).toBe(true)
  memory.markWritten(mfn)
  expect(memory.isClean(mfn)).toBe(false)
})

test('a frame is told about only when it holds decoded code', () => {
  const { memory } = new Machine({ memoryBytes: 1 << 20 })
  const seen: number[] = []
  memory.setCodeWriteListener((mfn) => seen.push(mfn))
  const [plain, code] = [memory.firstFrame, memory.firstFrame + 1]
  memory.words[(memory.layout.codeLines >> 2) + code * 2 + 1] = 1
  memory.markWritten(plain)
  memory.markWritten(code)
  expect(seen).toEqual([code])
})

test('a frame is zero when it is cleared, the first time and after it was used', () => {
  const { memory } = new Machine({ memoryBytes: 1 << 20 })
  const mfn = memory.firstFrame + 5
  const words = memory.words.subarray(mfn << 10, (mfn + 1) << 10)
  for (const round of [1, 2, 3]) {
    memory.clearFrame(mfn)
    expect(words.every((word) => word === 0)).toBe(true)
    words.fill(round)
    expect(memory.words[(mfn - 1 << 10) + 1023]).toBe(0)
  }
})
