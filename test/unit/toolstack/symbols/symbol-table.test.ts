/** Functions by address, out of symbol tables that are sound, odd, or hostile. */
import { describe, expect, test } from 'vitest'
import { SymbolTable, symbolText } from '../../../../src/toolstack/symbols/symbol-table.ts'
import { makeElf, type TestSymbol } from '../../../support/elf-image.ts'

const BASE = 0xffff_ffff_8000_0000n
const tableOf = (symbols: readonly TestSymbol[]): SymbolTable =>
  SymbolTable.required(makeElf({ segments: [{ address: 0x1000, bytes: new Uint8Array(64) }], symbols }))
const at = (table: SymbolTable, address: bigint): string | undefined => {
  const place = table.find(Number(BigInt.asIntN(64, address)))
  return place === undefined ? undefined : symbolText(place)
}

describe('a symbol table', () => {
  test('finds the function that holds an address, in whatever order they stand', () => {
    const table = tableOf([
      { name: 'second', value: BASE + 0x100n, size: 0x40n }, { name: 'first', value: BASE, size: 0x80n },
      { name: 'low', value: 0x1000n, size: 0x10n },
    ])
    expect(at(table, BASE)).toBe('first+0x0/0x80')
    expect(at(table, BASE + 0x7fn)).toBe('first+0x7f/0x80')
    expect(at(table, BASE + 0x80n)).toBeUndefined()
    expect(at(table, BASE + 0x13fn)).toBe('second+0x3f/0x40')
    expect(at(table, 0x100fn)).toBe('low+0xf/0x10')
    expect(at(table, 0n)).toBeUndefined()
    expect(at(table, 0xffff_ffff_ffff_ffffn)).toBeUndefined()
  })

  test('takes labels of assembler, which have no size, and of several names one with a size', () => {
    const table = tableOf([
      { name: 'sized', value: BASE, size: 0x20n }, { name: 'alias', value: BASE }, { name: 'label', value: BASE + 0x40n, type: 0 },
    ])
    expect(at(table, BASE + 4n)).toBe('sized+0x4/0x20')
    expect(at(table, BASE + 0x44n)).toBe('label+0x4')
    expect(at(table, BASE + 0x40n + 0x10000n)).toBeUndefined()
  })

  test('has nothing of data, of undefined symbols, and of sections that hold no code', () => {
    const table = tableOf([
      { name: 'data', value: BASE, size: 8n, type: 1 }, { name: 'undefined', value: BASE, size: 8n, section: 0 },
      { name: 'elsewhere', value: BASE, size: 8n, section: 0xfff1 },
    ])
    expect(at(table, BASE)).toBeUndefined()
  })

  test('of a huge file keeps a million symbols and 32 MiB of names, not the file twice', () => {
    const image = makeElf({ segments: [{ address: 0x1000, bytes: new Uint8Array(64) }], symbols: [{ name: 'a', value: BASE, size: 8n }] })
    const view = new DataView(image.buffer)
    const headers = Number(view.getBigUint64(40, true))
    const huge = new Uint8Array(48 << 20)
    const [symbols, strings] = [headers + 4 * 64, headers + view.getUint32(headers + 4 * 64 + 40, true) * 64]
    for (const section of [symbols, strings]) {
      view.setBigUint64(section + 24, 0n, true)
      view.setBigUint64(section + 32, BigInt(huge.length), true)
    }
    huge.set(image)
    expect(SymbolTable.required(huge).held).toBe((24 << 20) + (32 << 20))
  })

  test('of a hostile file is harmless: names without an end, beyond the strings, and of control characters', () => {
    const image = makeElf({
      segments: [{ address: 0x1000, bytes: new Uint8Array(64) }],
      symbols: [{ name: `x${'y'.repeat(5000)}`, value: BASE, size: 8n }, { name: 'a\u0007\u001b[2J', value: BASE + 8n, size: 8n }],
    })
    const table = SymbolTable.required(image)
    expect(at(table, BASE)?.length).toBeLessThan(140)
    expect(at(table, BASE + 8n)).toBe('a??[2J+0x0/0x8')
    const view = new DataView(image.buffer)
    const headers = Number(view.getBigUint64(40, true))
    const symbols = Number(view.getBigUint64(headers + 4 * 64 + 24, true))
    view.setUint32(symbols + 24, 0xffff_fff0, true)
    expect(at(SymbolTable.required(image), BASE)).toBe('?+0x0/0x8')
  })

  test('is absent from a stripped kernel; a file that is given for its symbols must have some', () => {
    const stripped = makeElf({ segments: [{ address: 0x1000, bytes: new Uint8Array(64) }] })
    expect(SymbolTable.of(stripped)).toBeUndefined()
    expect(() => SymbolTable.required(stripped)).toThrow(expect.objectContaining({ code: 'INVALID_IMAGE' }))
    expect(() => SymbolTable.required(new Uint8Array(100))).toThrow(expect.objectContaining({ code: 'INVALID_IMAGE' }))
  })
})
