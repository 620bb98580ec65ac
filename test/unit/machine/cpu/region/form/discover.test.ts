/** Regions found in decoded code. */
import { describe, expect, test } from 'vitest'
import type { Region } from '../../../../../../src/machine/cpu/region/form/region.ts'
import { assembleListing } from '../../../../../support/assembler.ts'
import { CODE } from '../../../../../support/cpu.ts'
import { decoded } from '../../../../../support/regions.ts'

/** The region at a label, its blocks by their labels; where decoded blocks were executed, by labels. */
function at(listing: string, label: string, limit?: number, trace: readonly string[] = []): Region | string {
  const { labels } = assembleListing(listing, { origin: CODE })
  return decoded(listing).discover(labels.get(label)!, limit, { trace: trace.map((name) => labels.get(name)!), traced: 100 })
}
const blocks = (listing: string, label: string, limit?: number, trace?: readonly string[]): string[] => {
  const { labels } = assembleListing(listing, { origin: CODE })
  const names = new Map([...labels].map(([name, address]) => [address, name]))
  const region = at(listing, label, limit, trace)
  if (typeof region === 'string') throw new Error(region)
  return region.blocks.map(({ rip, instructions, end }) => `${names.get(rip) ?? '?'} ${instructions.length} ${end}`).sort()
}

describe('a region', () => {
  test('is cut into basic blocks wherever a jump leads', () => {
    expect(blocks('main: mov $3,%ecx; mid: dec %ecx; jne mid; hlt', 'main')).toEqual(['main 1 next', 'mid 2 conditional'])
  })

  test('follows calls that are decoded, and goes on behind them', () => {
    expect(blocks('main: call f; back: nop; hlt; f: ret', 'main')).toEqual(['back 1 next', 'f 1 return', 'main 1 call'])
  })

  test('leaves out what has never been executed', () => {
    expect(blocks('main: test %eax,%eax; jne never; on: nop; hlt; never: inc %eax; hlt', 'main'))
      .toEqual(['main 2 conditional', 'on 1 next'])
  })

  test('ends before an instruction that is nothing for it, and at the limit', () => {
    expect(blocks('main: inc %eax; cpuid; inc %eax; hlt', 'main')).toEqual(['main 1 next'])
    expect(blocks('main: inc %eax; inc %eax; inc %eax; hlt', 'main', 2)).toEqual(['main 2 next'])
  })

  test('takes what was executed lately whatever the limit is, and of the rest what it leaves room for', () => {
    const listing = `
      main: test %eax,%eax; jne other; near: inc %ebx; jmp join
      other: inc %edx; inc %edx; inc %edx
      join: inc %eax; cmp $3,%eax; jne main; hlt`
    const trace = ['main', 'other', 'main', 'other', 'main']
    expect(blocks(listing, 'main', 1, trace)).toEqual(['main 2 conditional', 'other 6 conditional'])
    expect(blocks(listing, 'main', 10, trace)).toEqual(['join 3 conditional', 'main 2 conditional', 'near 2 branch', 'other 3 next'])
  })

  test('follows calls and jumps by registers, and returns, to where they led', () => {
    const listing = 'main: lea f(%rip),%rax; lea on(%rip),%rbx; call *%rax; back: jmp *%rbx; on: dec %ecx; hlt; f: ret'
    expect(blocks(listing, 'main')).toEqual(['main 3 indirect'])
    expect(blocks(listing, 'main', 1, ['main', 'f', 'back', 'on', 'main', 'f', 'back', 'on', 'main']))
      .toEqual(['back 1 indirect', 'f 1 return', 'main 3 indirect', 'on 1 next'])
  })

  test('is paid for as the decoded block at its entry is, and tells what it covers', () => {
    const region = at('main: inc %eax; inc %eax; hlt', 'main')
    expect(region).toMatchObject({ entry: CODE, entryCount: 3, instructions: 2, bytes: 4, pages: [{ linear: CODE }] })
  })

  test('is refused where nothing is decoded, or the first instruction is nothing for it', () => {
    expect(at('main: jmp on; .skip 64; never: nop; on: hlt', 'never')).toBe('not-decoded')
    expect(at('main: jmp on; on: hlt', 'on')).toBe('first-instruction')
  })
})
