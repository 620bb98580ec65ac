import { describe, expect, test } from 'vitest'
import { type FrameMap, type TablePlace, toMachine, toPseudoPhysical } from '../../../../src/toolstack/save/page-tables.ts'

const PRESENT = 0x63

/** A table with entries at some slots, each of a frame. */
function table(entries: Readonly<Record<number, number>>, flags = PRESENT): Uint8Array {
  const bytes = new Uint8Array(4096)
  const view = new DataView(bytes.buffer)
  for (const [slot, frame] of Object.entries(entries)) view.setBigUint64(Number(slot) * 8, (BigInt(frame) << 12n) | BigInt(flags), true)
  return bytes
}

/** Frames by slot. */
function framesOf(bytes: Uint8Array): Record<number, number> {
  const view = new DataView(bytes.buffer)
  const entries = Array.from({ length: 512 }, (_, slot) => [slot, Number(view.getBigUint64(slot * 8, true) >> 12n)] as const)
  return Object.fromEntries(entries.filter(([, frame]) => frame !== 0))
}

/** Frames from 1000 on are the domain's. */
const toPfn: FrameMap = (frames) => frames.map((frame) => (frame >= 1000 && frame < 2000 ? frame - 1000 : 0xffff_ffff))
const toMfn: FrameMap = (pfns) => pfns.map((pfn) => (pfn < 1000 ? pfn + 1000 : 0xffff_ffff))
const of = (level: number, levels: 3 | 4 = 4): TablePlace => ({ level, pfn: 9, levels })

describe('a table on its way into a stream', () => {
  test('holds pages in place of frames', () => {
    expect(framesOf(toPseudoPhysical(table({ 0: 1005, 511: 1006 }), of(1), { map: toPfn }))).toEqual({ 0: 5, 511: 6 })
  })

  test('loses the slots of Xen\'s in a 64-bit guest\'s top-level table', () => {
    expect(framesOf(toPseudoPhysical(table({ 3: 1005, 256: 7, 271: 8, 272: 1006 }), of(4), { map: toPfn }))).toEqual({ 3: 5, 272: 6 })
  })

  test('loses what is behind the four entries of a 32-bit guest\'s', () => {
    expect(framesOf(toPseudoPhysical(table({ 0: 1001, 3: 1002, 4: 7, 511: 8 }), of(3, 3), { map: toPfn }))).toEqual({ 0: 1, 3: 2 })
  })

  test('loses the hypervisor\'s hole in that level-2 table that has it, and in no other', () => {
    expect(framesOf(toPseudoPhysical(table({ 1: 1001, 427: 1003, 428: 7, 429: 8, 511: 9 }), of(2, 3), { map: toPfn }))).toEqual({ 1: 1, 427: 3 })
    expect(framesOf(toPseudoPhysical(table({ 1: 1001, 428: 1002, 511: 1003 }), of(2, 3), { map: toPfn }))).toEqual({ 1: 1, 428: 2, 511: 3 })
  })

  test.each([[2, 3, 429], [2, 4, 428], [1, 3, 428], [3, 4, 4]] as const)(
    'that maps a frame of somebody else\'s at level %i of %i, slot %i, is refused', (level, levels, slot) => {
      expect(() => toPseudoPhysical(table({ [slot]: 7 }), of(level, levels), { map: toPfn })).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
    },
  )
})

describe('a table that maps a number beyond 32 bits', () => {
  test.each([2 ** 32 + 1005, 2 ** 32 + 7, 2 ** 40 - 1])('is refused, whatever its lower bits name: %i', (frame) => {
    const wide = (first: number): Uint8Array => {
      const bytes = table({ 0: first })
      new DataView(bytes.buffer).setBigUint64(8, (BigInt(frame) << 12n) | 1n, true)
      return bytes
    }
    const details = expect.objectContaining({ slot: 1, frame }) as unknown
    expect(() => toPseudoPhysical(wide(1005), of(1), { map: toPfn })).toThrow(expect.objectContaining({ code: 'INVALID_STATE', details }))
    expect(() => toMachine(wide(5), of(1), { map: toMfn })).toThrow(expect.objectContaining({ code: 'INVALID_STREAM', details }))
  })
})

describe('a table on its way out of a stream', () => {
  test('gets this host\'s frames', () => {
    expect(framesOf(toMachine(table({ 2: 7, 428: 8 }), of(2, 3), { map: toMfn }))).toEqual({ 2: 1007, 428: 1008 })
  })

  test('gets them in place, and stays as it was where it is refused', () => {
    const sound = table({ 2: 7 })
    expect(toMachine(sound, of(1), { map: toMfn, into: sound })).toBe(sound)
    expect(framesOf(sound)).toEqual({ 2: 1007 })
    const unsound = table({ 2: 7, 300: 5000, 428: 8 })
    const before = unsound.slice()
    expect(() => toMachine(unsound, of(2, 3), { map: toMfn, into: unsound })).toThrow(expect.objectContaining({ code: 'INVALID_STREAM' }))
    expect(unsound).toEqual(before)
  })

  test('is refused where it maps what the stream does not hold, in the hypervisor\'s hole too', () => {
    expect(() => toMachine(table({ 428: 5000 }), of(2, 3), { map: toMfn })).toThrow(expect.objectContaining({ code: 'INVALID_STREAM' }))
  })
})
