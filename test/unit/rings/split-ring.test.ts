import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { Sring } from '../../../src/abi/io/ring.ts'
import { BackRing, FrontRing, NO_ENTRY, SPLIT_ENTRY } from '../../../src/rings/index.ts'
import { buildNative } from '../../support/native-build.ts'
import { whyNoCompiler } from '../abi/c-program.ts'

const BASE = 8192
const place = (entrySize = 112) => ({ view: new DataView(new ArrayBuffer(3 * 4096)), base: BASE, entrySize })

/** A connected pair whose counters begin at `start`. */
function pair(start: number, entrySize?: number) {
  const where = place(entrySize)
  const front = FrontRing.create(where, start)
  const back = new BackRing(where, { produced: start, consumed: start })
  return { ...where, front, back }
}

test.each([[112, 32], [12, 256], [8, 256], [63, 64], [64, 32]])(
  'a page holds as many %i-byte entries as Xen computes: %i',
  (size, entries) => {
    expect(new BackRing(place(size)).entries).toBe(entries)
  },
)

test('the entries follow the 64 bytes of the header', () => {
  const { front } = pair(0)
  expect(front.nextRequest()).toBe(BASE + 64)
  expect(front.nextRequest()).toBe(BASE + 64 + 112)
})

test('an entry that does not fit into the ring at all is the caller\'s mistake', () => {
  expect(() => new BackRing({ ...place(5000) })).toThrow('too small')
})

test('a new ring asks both sides to be woken by the first message', () => {
  const { view } = pair(0)
  expect(Sring.decode(view, BASE)).toMatchObject({ reqProd: 0, reqEvent: 1, rspProd: 0, rspEvent: 1 })
})

describe.each([0, 100, 0x7ffffffe, 0xfffffff0, 0xffffffff])('with counters that begin at %i', (start) => {
  test('requests arrive in order, and responses go back into the same entries', () => {
    const { view, front, back } = pair(start)
    for (let i = 0; i < 300; i += 1) {
      const request = front.nextRequest()
      view.setUint32(request, i, true)
      expect(front.pushRequestsAndCheckNotify()).toBe(true)
      const copy = new Uint8Array(4)
      expect(back.copyRequest(copy)).toBe(true)
      expect(new DataView(copy.buffer).getUint32(0, true)).toBe(i)
      expect(back.finalCheckForRequests()).toBe(false)
      const response = back.nextResponse()
      expect(response).toBe(request)
      view.setUint32(response, i * 2, true)
      expect(back.pushResponsesAndCheckNotify()).toBe(true)
      const taken = front.takeResponse()
      expect(view.getUint32(taken, true)).toBe(i * 2)
      expect(front.finalCheckForResponses()).toBe(false)
    }
  })

  test('a full ring takes no further request until a response was taken', () => {
    const { front, back } = pair(start)
    for (let i = 0; i < 32; i += 1) expect(front.nextRequest()).not.toBe(NO_ENTRY)
    expect(front.freeRequests()).toBe(0)
    expect(front.nextRequest()).toBe(NO_ENTRY)
    front.pushRequestsAndCheckNotify()
    expect(back.unconsumedRequests()).toBe(32)
    back.takeRequest()
    back.nextResponse()
    back.pushResponsesAndCheckNotify()
    front.takeResponse()
    expect(front.freeRequests()).toBe(1)
  })

  test('a back end that is still working is not notified again', () => {
    const { front, back } = pair(start)
    front.nextRequest()
    expect(front.pushRequestsAndCheckNotify()).toBe(true)
    front.nextRequest()
    expect(front.pushRequestsAndCheckNotify()).toBe(false)
    expect(back.takeRequest()).not.toBe(NO_ENTRY)
    expect(back.finalCheckForRequests()).toBe(true)
    expect(back.takeRequest()).not.toBe(NO_ENTRY)
    expect(back.finalCheckForRequests()).toBe(false)
    front.nextRequest()
    expect(front.pushRequestsAndCheckNotify()).toBe(true)
  })

  test.each([33, 1000, 0x80000000])('a request counter %i ahead breaks the ring for good', (step) => {
    const { view, back } = pair(start)
    Sring.reqProd.set(view, BASE, (start + step) >>> 0)
    expect(back.unconsumedRequests()).toBe(0)
    expect(back.takeRequest()).toBe(NO_ENTRY)
    const produced = (start + step) >>> 0
    expect(back.overrun).toEqual({ index: 'req_prod', produced, consumed: start, entries: 32 })
    Sring.reqProd.set(view, BASE, (start + 1) >>> 0)
    expect(back.takeRequest()).toBe(NO_ENTRY)
  })

  test('a request counter that goes back behind what was taken breaks the ring', () => {
    const { view, front, back } = pair(start)
    front.nextRequest()
    front.nextRequest()
    front.pushRequestsAndCheckNotify()
    back.takeRequest()
    back.takeRequest()
    Sring.reqProd.set(view, BASE, (start + 1) >>> 0)
    expect(back.unconsumedRequests()).toBe(0)
    expect(back.broken).toBe(true)
  })

  test('a response to a request that was never made breaks the ring', () => {
    const { view, front } = pair(start)
    front.nextRequest()
    front.pushRequestsAndCheckNotify()
    Sring.rspProd.set(view, BASE, (start + 2) >>> 0)
    expect(front.takeResponse()).toBe(NO_ENTRY)
    expect(front.overrun?.index).toBe('rsp_prod')
    expect(front.freeRequests()).toBe(0)
    expect(front.nextRequest()).toBe(NO_ENTRY)
  })

  test('the back end cannot answer more than it was asked', () => {
    const { front, back } = pair(start)
    expect(back.nextResponse()).toBe(NO_ENTRY)
    front.nextRequest()
    front.pushRequestsAndCheckNotify()
    back.takeRequest()
    expect(back.owedResponses()).toBe(1)
    expect(back.nextResponse()).not.toBe(NO_ENTRY)
    expect(back.nextResponse()).toBe(NO_ENTRY)
  })

  test('a saved side goes on where it stopped', () => {
    const { front, back, ...where } = pair(start)
    for (let i = 0; i < 3; i += 1) front.nextRequest()
    front.pushRequestsAndCheckNotify()
    back.takeRequest()
    back.nextResponse()
    back.pushResponsesAndCheckNotify()
    const resumed = new BackRing(where, back.save())
    expect(resumed.unconsumedRequests()).toBe(2)
    const resumedFront = new FrontRing(where, front.save())
    expect(resumedFront.unconsumedResponses()).toBe(1)
    expect(resumedFront.copyResponse(new Uint8Array(200))).toBe(true)
  })
})

/** Pages of a ring in an order of their own, with a page between each two that belongs to nobody. */
const scattered = (pages: number): readonly number[] => Array.from({ length: pages }, (_, page) => 8192 * (((page * 5) % pages) + 1))

const noCompiler = whyNoCompiler()
describe.skipIf(noCompiler !== undefined)(`rings of several pages${noCompiler === undefined ? '' : `: SKIPPED, ${noCompiler}`}`, () => {
  test.each([['64-bit', [], 112], ['32-bit', ['-DNARROW'], 108]] as const)('have as many entries as Xen\'s macros give them, for %s guests', (_guests, options, entrySize) => {
    const { path, reason } = buildNative(new URL('ring-sizes.c', import.meta.url).pathname, ['-w', ...options])
    expect(reason).toBeUndefined()
    const lines = execFileSync(path!, { encoding: 'utf8' }).trim().split('\n')
    const view = new DataView(new ArrayBuffer(17 * 8192))
    expect([0, 1, 2, 3, 4].map((order) => {
      const pages = scattered(2 ** order)
      const ring = new BackRing({ view, base: pages[0]!, pages, entrySize })
      return `${ring.entries} ${ring.entryAddress(0) - pages[0]!} ${entrySize}`
    })).toEqual(lines)
  })
})

test.each([[112, 1], [112, 2], [112, 4], [112, 16], [108, 2], [108, 8], [108, 16]])(
  'entries of %i bytes go through a ring of %i scattered pages whole, split ones too, and touch nothing else',
  (entrySize, count) => {
    const view = new DataView(new ArrayBuffer(8192 * (count + 2)))
    const bytes = new Uint8Array(view.buffer)
    const pages = scattered(count)
    bytes.fill(0xee)
    for (const page of pages) bytes.fill(0, page, page + 4096)
    const where = { view, base: pages[0]!, pages, entrySize }
    const [front, back] = [FrontRing.create(where), new BackRing(where)]
    let split = 0
    const fill = (ring: FrontRing | BackRing, address: number, value: number, length: number): void => {
      const target = address === SPLIT_ENTRY ? new Uint8Array(ring.staged.buffer) : bytes.subarray(address, address + entrySize)
      target.fill(value, 0, length)
      if (address === SPLIT_ENTRY) ring.writeStaged(length)
      split += address === SPLIT_ENTRY ? 1 : 0
    }
    const seen = (ring: FrontRing, address: number): number[] =>
      [...(address === SPLIT_ENTRY ? new Uint8Array(ring.staged.buffer) : bytes.subarray(address, address + entrySize)).subarray(0, 16)]
    for (let round = 0; round < 3; round += 1) {
      const value = (index: number): number => (index * 7 + round * 3 + 1) & 0xff
      for (let index = 0; index < front.entries; index += 1) fill(front, front.nextRequest(), value(index), entrySize)
      expect(front.nextRequest()).toBe(NO_ENTRY)
      front.pushRequestsAndCheckNotify()
      const copy = new Uint8Array(entrySize)
      for (let index = 0; back.copyRequest(copy); index += 1) expect(copy.every((byte) => byte === value(index))).toBe(true)
      for (let index = 0; index < front.entries; index += 1) fill(back, back.nextResponse(), value(index) ^ 0xff, 16)
      back.pushResponsesAndCheckNotify()
      for (let index = 0; index < front.entries; index += 1) expect(seen(front, front.takeResponse())).toEqual(Array.from({ length: 16 }, () => value(index) ^ 0xff))
    }
    expect(split > 0).toBe(count > 2 || (entrySize === 108 && count > 1))
    for (let page = 0; page * 4096 < bytes.length; page += 1) if (!pages.includes(page * 4096)) expect(bytes.subarray(page * 4096, (page + 1) * 4096).every((byte) => byte === 0xee)).toBe(true)
  },
)

test('pages that lie in a row are one piece, and no entry of theirs is split', () => {
  const view = new DataView(new ArrayBuffer(16 * 4096))
  const pages = Array.from({ length: 8 }, (_, page) => BASE + page * 4096)
  const ring = new BackRing({ view, base: BASE, pages, entrySize: 112 })
  expect(Array.from({ length: ring.entries }, (_, index) => ring.entryAddress(index))).toEqual(Array.from({ length: 256 }, (_, index) => BASE + 64 + index * 112))
})
