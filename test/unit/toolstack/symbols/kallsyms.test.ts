import { describe, expect, test } from 'vitest'
import { Kallsyms } from '../../../../src/toolstack/symbols/kallsyms.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'
import { BASE, COUNT, kallsymsTokens, kallsymsTables as tables, type Layout } from '../../../support/kallsyms.ts'

describe.each<Layout>(['to 6.1', 'to 6.4', 'from 6.4'])('the tables of Linux %s', (layout) => {
  test.each([8, 1000, 65_536])('are found behind %i bytes, and name functions', (before) => {
    const kallsyms = Kallsyms.find(tables(layout, before))!
    expect(kallsyms.count).toBe(COUNT)
    const address = BASE + 301 * 32
    expect(kallsyms.find(address)).toEqual({ name: 'name_301', offset: 0, size: 32 })
    expect(kallsyms.find(address + 31)).toEqual({ name: 'name_301', offset: 31, size: 32 })
    expect(kallsyms.addressOf('name_302')).toBe(BASE + 302 * 32)
    expect(kallsyms.find(BASE + 500 * 32)?.name).toBe('name_500')
    // Data, areas of processors and what lies outside name nothing.
    for (const other of [BASE + 303 * 32, 64, BASE, BASE + 5 * 32 - 1, BASE + COUNT * 32, 0, NaN]) expect([other, kallsyms.find(other)]).toEqual([other, undefined])
    expect(kallsyms.addressOf('name_303')).toBeUndefined()
    // Of data there is what every third symbol is, but for areas of processors.
    expect(kallsyms.objects().map(({ name }) => name)).toEqual(Array.from({ length: COUNT }, (_, i) => i).filter((i) => i >= 5 && i % 3 === 0 && i !== 300).map((i) => `name_${i}`))
    expect(kallsyms.objects().find(({ name }) => name === 'name_303')).toEqual({ address: BASE + 303 * 32, name: 'name_303', size: 32 })
  })

  test('are found nowhere, or in part, and nothing is thrown, whatever is changed', () => {
    const whole = tables(layout)
    const random = new SeededRandom(7)
    for (let round = 0; round < 300; round += 1) {
      const bytes = whole.slice(0, round % 3 === 0 ? below(random, whole.length) : whole.length)
      for (let change = below(random, 4); change > 0 && bytes.length > 0; change -= 1) bytes[below(random, bytes.length)] = below(random, 256)
      const kallsyms = Kallsyms.find(bytes)
      for (let i = 0; i < COUNT; i += 37) expect(kallsyms?.find(BASE + i * 32)?.name ?? '').toMatch(/^[!-~]{0,120}$/)
    }
  })
})

test('a name whose length takes two bytes is cut', () => {
  expect(Kallsyms.find(tables('to 6.1'))!.find(BASE + 300 * 32)?.name).toBe('long'.repeat(30))
})

test('tables that only look like some cost little', () => {
  const bytes = new Uint8Array(4 << 20)
  const tokens = kallsymsTokens()
  // Many tables of tokens with lists in front of them that ascend, and no names.
  for (let at = 200_000; at + 8192 < bytes.length; at += 65_536) {
    for (let i = 0; i < 1024; i += 1) new DataView(bytes.buffer).setUint32(at - 4096 + i * 4, i * 1024, true)
    bytes.set(tokens, at)
  }
  expect(Kallsyms.find(bytes)).toBeUndefined()
  expect(Kallsyms.find(new Uint8Array(0))).toBeUndefined()
})
