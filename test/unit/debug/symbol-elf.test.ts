import { expect, test } from 'vitest'
import { symbolElf } from '../../../src/debug/symbol-elf.ts'
import { findSymbol } from '../../../src/toolstack/index.ts'

test('a file of symbols names what lies in each function', () => {
  const find = findSymbol(symbolElf([{ address: -4096, name: 'first', size: 16 }, { address: -4000, name: 'second', size: 8 }]))
  expect([-4096, -4081, -4080, -4000, -3992].map(find)).toEqual(['first+0x0/0x10', 'first+0xf/0x10', undefined, 'second+0x0/0x8', undefined])
})
