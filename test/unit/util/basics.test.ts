import { describe, expect, test } from 'vitest'
import {
  Bitmap, ByteReader, ByteWriter, ManualClock, SeededRandom, XenError, below, bigFromParts, domId, eventPort, highPart,
  invariant, isCanonical, lowPart, signedFromParts, unsignedFromParts,
} from '../../../src/util/index.ts'

describe('XenError', () => {
  test('is matched by its code, whichever copy of the package made it', () => {
    const error = new XenError('DOMAIN_NOT_FOUND', 'no domain 7', { details: { domid: 7 }, cause: 'why' })
    expect(XenError.is(error)).toBe(true)
    expect(XenError.is(error, 'DOMAIN_NOT_FOUND')).toBe(true)
    expect(XenError.is(error, 'ABORTED')).toBe(false)
    expect(error).toMatchObject({ details: { domid: 7 }, cause: 'why' })
  })

  test.each([[new Error('x')], ['text'], [null], [{ code: 'ABORTED' }]])('nothing else is one: %s', (value) => {
    expect(XenError.is(value)).toBe(false)
  })

  test('an invariant that holds is silent, a broken one is a plain Error', () => {
    invariant(true, 'fine')
    expect(() => invariant(false, 'frames add up')).toThrow(/invariant violated: frames add up/)
  })
})

describe('checked identifiers', () => {
  test.each([[-1], [0.5], [Number.NaN], [0x10000]])('refuse %s as a domid', (value) => {
    expect(() => domId(value)).toThrow(/domid must be a whole number/)
  })

  test('let valid numbers through unchanged', () => {
    expect(domId(0x7ff0)).toBe(0x7ff0)
    expect(eventPort(131071)).toBe(131071)
  })
})

describe('64-bit values in halves', () => {
  test.each([
    [0x0000_0000, 0xffff_8000, -0x8000_0000_0000, true],
    [0xffff_ffff, 0x0000_7fff, 0x7fff_ffff_ffff, true],
    [0, 0x0000_8000, 0x8000_0000_0000, false],
    [0xffff_ffff, 0xffff_ffff, -1, true],
    [0, 0x8000_0000, -(2 ** 63), false],
  ])('halves %i and %i are the address %i', (low, high, address, canonical) => {
    expect(signedFromParts(low, high)).toBe(address)
    expect(isCanonical(address)).toBe(canonical)
    expect([lowPart(address), highPart(address)]).toEqual([low, high])
  })

  test('are joined unsigned, and as BigInt', () => {
    expect(unsignedFromParts(1, 2)).toBe(0x2_0000_0001)
    expect(bigFromParts(-1, -1)).toBe(0xffff_ffff_ffff_ffffn)
  })
})

describe('a bitmap', () => {
  test('adds, finds, counts and removes', () => {
    const map = new Bitmap(70)
    expect([map.add(0), map.add(31), map.add(69), map.add(69), map.add(70)]).toEqual([true, true, true, false, false])
    expect([...map]).toEqual([0, 31, 69])
    expect(map.count).toBe(3)
    expect([map.delete(31), map.delete(31), map.has(31)]).toEqual([true, false, false])
    map.clear()
    expect([map.count, map.has(0)]).toEqual([0, false])
  })

  test.each([[0, 70], [3, 4], [30, 34], [0, 32], [31, 65], [5, 5], [-3, 1000], [40, 20]])('adds all from %i to %i', (from, end) => {
    const [map, one] = [new Bitmap(70), new Bitmap(70)]
    for (const each of [map, one]) for (const index of [2, 33, 69]) each.add(index)
    map.addRange(from, end)
    for (let index = from; index < end; index += 1) one.add(index)
    expect([[...map], map.count]).toEqual([[...one], one.count])
    const again = new Bitmap(70)
    again.restore(map.save())
    expect(again.count).toBe(one.count)
  })

  test.each([[0, 70], [3, 4], [30, 34], [0, 32], [3, 33], [34, 65], [34, 70], [5, 5], [64, 69]])('tells of %i to %i which is set first, and which are set below', (from, end) => {
    const map = new Bitmap(70)
    for (const index of [2, 33, 69]) map.add(index)
    expect(map.endOfClear(from, end)).toBe([2, 33, 69].find((index) => index >= from && index < end) ?? end)
    expect(map.listBelow(end)).toEqual([2, 33, 69].filter((index) => index < end))
  })

  test('finds the first clear bit, and none when full', () => {
    const map = new Bitmap(33)
    for (let i = 0; i < 33; i += 1) if (i !== 5 && i !== 32) map.add(i)
    expect([map.firstClear(), map.firstClear(6)]).toEqual([5, 32])
    map.add(5)
    map.add(32)
    expect(map.firstClear()).toBe(-1)
  })
})

describe('byte cursors', () => {
  test('write and read the same record', () => {
    const written = new ByteWriter(2).u8(1).u16(2).u32(3).u64(4n).bytes(new Uint8Array([5, 6])).pad(8).finish()
    expect(written.length).toBe(24)
    const reader = new ByteReader(written, 'record')
    expect([reader.u8(), reader.u16(), reader.u32(), reader.u64(), ...reader.bytes(2)]).toEqual([1, 2, 3, 4n, 5, 6])
    reader.skip(7)
    expect(reader.remaining).toBe(0)
  })

  test.each([[4, 'u64'], [0, 'u8']] as const)('running out of %i bytes names the structure and the offset', (size, read) => {
    const reader = new ByteReader(new Uint8Array(size), 'header', 'INVALID_IMAGE')
    expect(() => reader[read]()).toThrow(/header: \d bytes wanted at offset 0/)
    expect(reader.offset).toBe(0)
  })
})

describe('time and chance', () => {
  test('a manual clock moves only forward', () => {
    const clock = new ManualClock(10)
    clock.advance(5)
    expect(clock.now()).toBe(15)
    expect(() => clock.advance(-1)).toThrow(/cannot move/)
  })

  test('the same seed gives the same numbers, and a saved generator goes on where it was', () => {
    const first = new SeededRandom(42)
    const second = new SeededRandom(42)
    expect(Array.from({ length: 5 }, () => first.next())).toEqual(Array.from({ length: 5 }, () => second.next()))
    second.load(new SeededRandom(7).save())
    second.load(first.save())
    expect(second.next()).toBe(first.next())
  })

  test('numbers below a limit spread over all of it', () => {
    const random = new SeededRandom(1)
    const counts = new Array<number>(10).fill(0)
    for (let i = 0; i < 10_000; i += 1) counts[below(random, 10)]! += 1
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150)
  })
})
