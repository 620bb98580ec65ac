import { expect, test } from 'vitest'
import { FRAME_QUEUE_BYTES, FRAME_QUEUE_LIMIT } from '../../../../src/drivers/index.ts'
import { FrameQueue } from '../../../../src/drivers/net/frame-queue.ts'

const numbered = (number: number, length = 4): Uint8Array => {
  const frame = new Uint8Array(length)
  new DataView(frame.buffer).setUint32(0, number)
  return frame
}
const numberOf = (frame: Uint8Array | undefined): number | undefined =>
  frame === undefined ? undefined : new DataView(frame.buffer).getUint32(0)

test('frames come in order, and the oldest are lost to a reader that is too slow', () => {
  const queue = new FrameQueue()
  for (let i = 0; i < FRAME_QUEUE_LIMIT + 5; i += 1) queue.push(numbered(i))
  expect([queue.length, queue.lost, numberOf(queue.shift()), numberOf(queue.shift())]).toEqual([FRAME_QUEUE_LIMIT, 5, 5, 6])
  expect(queue.drain().map(numberOf)).toEqual(Array.from({ length: FRAME_QUEUE_LIMIT - 2 }, (_, index) => index + 7))
  expect([queue.length, queue.shift()]).toEqual([0, undefined])
})

test('large frames are bounded by their bytes, and one frees as many small ones as it needs', () => {
  const queue = new FrameQueue()
  const large = 65_536
  const fit = FRAME_QUEUE_BYTES / large
  for (let i = 0; i < fit + 2; i += 1) queue.push(numbered(i, large))
  expect([queue.length, queue.lost]).toEqual([fit, 2])
  queue.drain()
  for (let i = 0; i < fit; i += 1) queue.push(numbered(i, large / 2))
  for (let i = 0; i < fit / 2; i += 1) queue.push(numbered(100 + i, large))
  expect([queue.length, queue.lost]).toEqual([fit + fit / 2, 2])
  queue.push(numbered(999, large))
  expect([queue.length, queue.lost, numberOf(queue.shift())]).toEqual([fit + fit / 2 - 1, 4, 2])
})

test('a limit of one keeps the newest, and of none keeps nothing', () => {
  const one = new FrameQueue(1)
  const none = new FrameQueue(0)
  for (let i = 0; i < 3; i += 1) for (const queue of [one, none]) queue.push(numbered(i))
  expect([one.length, one.lost, numberOf(one.shift())]).toEqual([1, 2, 2])
  expect([none.length, none.lost]).toEqual([0, 3])
})
