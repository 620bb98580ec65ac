import { expect, test } from 'vitest'
import { PendingEvents } from '../../../src/guest/pending-events.ts'
import type { Mfn } from '../../../src/util/index.ts'

const MASKED = 1 << 30
const PENDING = 1 << 31

/** A guest's half over bare memory, whose ports 1 to 4 are open. */
function setUp() {
  const buffer = new ArrayBuffer(16 * 4096)
  const memory = { bytes: new Uint8Array(buffer), words: new Uint32Array(buffer) }
  const pending = new PendingEvents(memory, 1 as Mfn)
  let next = 2
  const calls: string[] = []
  const room = {
    calls: {
      initControl: (vcpu: number, frame: Mfn, offset: number) => { calls.push(`control ${vcpu} ${frame} ${offset}`); return 0 },
      expandArray: (frame: Mfn) => { calls.push(`words ${frame}`); return 0 },
    },
    allocate: () => (next++) as Mfn, isOpen: (port: number) => port >= 1 && port <= 4,
  }
  return { memory, pending, calls, room }
}

test('up to 4096 ports nothing is asked for', () => {
  const { pending, calls, room } = setUp()
  expect(pending.cover(4095, room)).toBe(0)
  expect(calls).toEqual([])
})

test('above, words come page by page, masked but for open ports', () => {
  const { memory, pending, calls, room } = setUp()
  expect(pending.cover(4096, room)).toBe(0)
  expect(calls).toEqual(['control 0 2 0', 'words 3', 'words 4', 'words 5', 'words 6', 'words 7'])
  expect([...memory.words.subarray(3 * 1024, 3 * 1024 + 6)].map((word) => word >>> 0)).toEqual([MASKED, 0, 0, 0, 0, MASKED].map((word) => word >>> 0))
})

test('a queue is taken in its order, also by a guest that was saved in the middle of it; words that make no sense end it', () => {
  const { memory, pending, room } = setUp()
  pending.cover(4096, room)
  const word = (port: number): number => 3 * 1024 + port
  const [control, vcpuPending] = [2 * 1024, 4096]
  memory.words[word(1)] = (PENDING | (1 << 29) | 3) >>> 0
  memory.words[word(3)] = (PENDING | (1 << 29) | 2) >>> 0
  memory.words[word(2)] = (PENDING | (1 << 29)) >>> 0
  memory.words[control + 2 + 7] = 1
  memory.words[control] = 1 << 7
  memory.bytes[vcpuPending] = 1
  expect(pending.take()).toBe(1)
  const saved = pending.save()
  const other = new PendingEvents(memory, 1 as Mfn)
  other.load(saved)
  expect(other.save()).toEqual(saved)
  expect([other.take(), other.take(), other.take()]).toEqual([3, 2, 0])
  // A head far outside of all words.
  memory.words[control + 2 + 7] = 0x1_ffff
  memory.words[control] = 0xffff_ffff
  memory.bytes[vcpuPending] = 1
  expect(other.take()).toBe(0)
  expect(other.waiting()).toBe(false)
})
