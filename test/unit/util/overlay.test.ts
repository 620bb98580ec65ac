import { describe, expect, test } from 'vitest'
import { array, bytes, i32, nested, overlay, u16, u32, u64, u8 } from '../../../src/util/index.ts'

const Point = overlay(8, { x: u32(0), y: i32(4) })
const Shape = overlay(64, {
  tag: u8(0), count: u16(2), wide: u64(8), origin: nested(16, Point), corners: array(24, Point, 2),
  masks: array(40, u32, 3), name: bytes(52, 8),
})

const memory = (): DataView => new DataView(new ArrayBuffer(256))

describe('an overlay', () => {
  test('reads and writes little-endian in place, relative to its base', () => {
    const view = memory()
    Shape.count.set(view, 100, 0x1234)
    expect([view.getUint8(102), view.getUint8(103)]).toEqual([0x34, 0x12])
    expect(Shape.count.get(view, 100)).toBe(0x1234)
  })

  test.each([
    ['small', 5n, 5, 0],
    ['beyond 32 bits', 0x1_0000_0002n, 2, 1],
    ['all ones', 0xffff_ffff_ffff_ffffn, 0xffff_ffff, 0xffff_ffff],
  ])('a 64-bit field is one BigInt or two halves: %s', (_, value, low, high) => {
    const view = memory()
    Shape.wide.set(view, 0, value)
    expect([Shape.wide.low(view, 0), Shape.wide.high(view, 0)]).toEqual([low, high])
    Shape.wide.setParts(view, 64, low, high)
    expect(Shape.wide.get(view, 64)).toBe(value)
  })

  test('a 64-bit field takes whole numbers up to 2^53', () => {
    const view = memory()
    Shape.wide.setNumber(view, 0, 2 ** 53 - 1)
    expect(Shape.wide.number(view, 0)).toBe(2 ** 53 - 1)
    expect(Shape.wide.get(view, 0)).toBe(2n ** 53n - 1n)
  })

  test('decodes to a plain object and encodes it back, nested parts and arrays included', () => {
    const view = memory()
    const value = {
      tag: 7, count: 2, wide: 9n, origin: { x: 1, y: -1 }, corners: [{ x: 2, y: -2 }, { x: 3, y: -3 }],
      masks: [4, 5, 6], name: new TextEncoder().encode('corner\0\0'),
    }
    Shape.encode(view, 8, value)
    expect(Shape.decode(view, 8)).toEqual(value)
  })

  test('encoding some fields leaves the others alone', () => {
    const view = memory()
    Shape.encode(view, 0, { tag: 1, count: 2 })
    Shape.encode(view, 0, { count: 3 })
    expect(Shape.decode(view, 0)).toMatchObject({ tag: 1, count: 3 })
  })

  test('a shorter byte run is filled with zeros, a longer one is cut', () => {
    const view = memory()
    Shape.name.set(view, 0, new Uint8Array(12).fill(1))
    expect(view.getUint8(60)).toBe(0)
    Shape.name.set(view, 0, new Uint8Array([2]))
    expect([...Shape.name.get(view, 0)]).toEqual([2, 0, 0, 0, 0, 0, 0, 0])
  })

  test('a field whose name would hide an operation on the structure is refused', () => {
    expect(() => overlay(4, { size: u32(0) })).toThrow(/cannot be a field's name/)
  })

  test('a field beyond the structure and an unknown field are refused', () => {
    expect(() => overlay(4, { wide: u64(0) })).toThrow(/ends beyond/)
    expect(() => Point.encode(memory(), 0, { z: 1 } as never)).toThrow(/no field z/)
  })
})
