import { describe, expect, test } from 'vitest'
import type { GuestMemory } from '../../../../src/hypervisor/memory/guest-memory.ts'
import { Machine, memoryShape } from '../../../../src/machine/index.ts'
import { MachineMemory } from '../../../../src/machine/memory/machine-memory.ts'
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

test('finds the next frame that is not clean as one by one would', () => {
  const { memory } = new Machine({ memoryBytes: 1 << 20 })
  const { firstFrame: first, endFrame: end } = memory
  for (let mfn = first; mfn < end; mfn += 1) memory.watchWrites(mfn)
  expect(memory.firstNotClean(first, end)).toBe(end)
  const written = [first, first + 1, first + 6, first + 8, first + 15, end - 1]
  for (const mfn of written) memory.markWritten(mfn)
  for (let mfn = first; mfn < end; mfn += 1) {
    for (const limit of [mfn, mfn + 1, mfn + 2, end - 1, end]) expect(memory.firstNotClean(mfn, limit)).toBe(written.find((each) => each >= mfn && each < limit) ?? limit)
  }
})

test('a frame is told about only when it holds decoded code', () => {
  const memory = new MachineMemory(1 << 20, 1)
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
    memory.clearFrames(mfn, mfn + 1)
    expect(words.every((word) => word === 0)).toBe(true)
    words.fill(round)
    expect(memory.words[(mfn - 1 << 10) + 1023]).toBe(0)
  }
})

test('frames that are handed out together are zero, blank and told of as written, and their neighbours are not', () => {
  const { memory } = new Machine({ memoryBytes: 1 << 20 })
  const [first, end] = [memory.firstFrame + 3, memory.firstFrame + 9]
  for (let mfn = first - 1; mfn <= end; mfn += 1) {
    if (mfn !== first) memory.clearFrames(mfn, mfn + 1)
    memory.words.fill(mfn === first ? 0 : 7, mfn << 10, (mfn + 1) << 10)
    memory.markWritten(mfn)
    memory.watchWrites(mfn)
  }
  memory.clearFrames(first, end)
  for (let mfn = first - 1; mfn <= end; mfn += 1) {
    const isIn = mfn >= first && mfn < end
    expect([memory.isBlank(mfn), memory.isClean(mfn), memory.words.subarray(mfn << 10, (mfn + 1) << 10).every((word) => word === 0)]).toEqual([isIn, !isIn, isIn])
  }
})

test('a frame that was handed out counts as zero until somebody writes there, and tells of it', () => {
  const { memory } = new Machine({ memoryBytes: 1 << 20 })
  const mfn = memory.firstFrame + 5
  expect(memory.isBlank(mfn)).toBe(false)
  for (const end of [() => memory.markWritten(mfn), () => memory.load(memory.save())]) {
    memory.clearFrames(mfn, mfn + 1)
    memory.watchWrites(mfn)
    memory.ignoreWrites(mfn)
    expect([memory.isBlank(mfn), memory.isBlank(mfn + 1)]).toEqual([true, false])
    end()
    expect(memory.isBlank(mfn)).toBe(false)
  }
})

describe('a saved memory', () => {
  function used() {
    const { memory } = new Machine({ memoryBytes: 1 << 20 })
    const first = memory.firstFrame
    for (const mfn of [first, first + 1, first + 5]) memory.clearFrames(mfn, mfn + 1)
    memory.bytes.set([1, 2, 3], (first + 1) * 4096 + 4093)
    memory.words[(first + 9) << 10] = 7
    for (const mfn of [first + 1, first + 5]) memory.watchWrites(mfn)
    memory.markWritten(first + 5)
    return memory
  }

  test('comes back whole into one of the same size that was used for something else', () => {
    const memory = used()
    const state = structuredClone(memory.save())
    expect(memoryShape(state)).toBeUndefined()
    expect([...state.frames].map((mfn) => mfn - memory.firstFrame)).toEqual([1, 9])
    const { memory: other } = new Machine({ memoryBytes: 1 << 20 })
    other.bytes.fill(0xee, other.firstFrame * 4096, other.endFrame * 4096)
    other.watchWrites(other.firstFrame)
    other.load(state)
    expect(other.save()).toEqual(state)
    expect(Buffer.compare(other.bytes.subarray(other.firstFrame * 4096), memory.bytes.subarray(memory.firstFrame * 4096))).toBe(0)
  })

  test('remembers which frames have been handed out: they are zeroed before they are again', () => {
    const { memory: other } = new Machine({ memoryBytes: 1 << 20 })
    other.load(used().save())
    other.words[other.firstFrame << 10] = 99
    other.clearFrames(other.firstFrame, other.firstFrame + 1)
    expect(other.words[other.firstFrame << 10]).toBe(0)
  })

  test.each([
    ['of another size', { endFrame: 9 }], ['with too few bytes', { bytes: new Uint8Array(4096) }],
    ['with a frame of the machine\'s own', { used: Uint32Array.of(1) }], ['with a frame twice', { clean: Uint32Array.of(40_000, 40_000) }],
    ['with lines of code in no frame', { codeLines: Uint32Array.of(1, 0) }],
  ])('%s is refused, and nothing changes', (_, change) => {
    const { memory: other } = new Machine({ memoryBytes: 1 << 20 })
    const before = other.save()
    expect(() => other.load({ ...used().save(), ...change })).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
    expect(other.save()).toEqual(before)
  })
})
