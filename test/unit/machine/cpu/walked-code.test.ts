/**
 * Page tables that are executed: an entry is the immediate operand of an instruction around it, which shows what bits of it
 * the code has that runs.
 */
import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { PTE, VECTOR } from '../../../../src/x86/index.ts'
import { AT, VirtualBench } from '../../../support/virtualised.ts'
import { PLACE, ProtectedBench } from '../../../support/protected.ts'

const ALL = PTE.PRESENT | PTE.WRITABLE | PTE.USER
const [READ, WRITTEN] = [ALL | PTE.ACCESSED, ALL | PTE.ACCESSED | PTE.DIRTY]
/** A page that nothing else is in, and its address. */
const PAGE = 0x105
const D = PAGE * 4096
/** ret $0: its first byte makes the next entry an absent one. */
const RETURN = [0xc2, 0, 0]

describe.each([['two levels', PLACE.TABLES + PAGE * 4, 4], ['PAE', PLACE.TABLES + 0x1000 + PAGE * 8, 8]] as const)('code in a table of 32-bit paging, %s,', (paging, entry, size) => {
  test('has the bits that walks set', () => {
    const b = new ProtectedBench(paging)
    // mov $entry, ebx; what stands above it in an entry of 64 bits is add al, [eax], twice.
    b.write(entry - 1, [0xbb])
    b.write(entry + size, RETURN)
    b.cpu.flushTlb()
    const show = `mov $${PLACE.DATA},%eax; call *%esi;`
    expect(b.run(`mov $${entry - 1},%esi; ${show} mov %ebx,%ecx; mov ${D},%edi; ${show} mov %ebx,%edx; mov %edi,${D}; ${show} hlt`)).toBe(EXIT.HALT)
    expect([b.get('rcx'), b.get('rdx'), b.get('rbx')].map((word) => word & 4095)).toEqual([ALL, READ, WRITTEN])
  })
})

describe('code in a table of long mode', () => {
  const entry = AT.TABLE + PAGE * 8
  /** movabs $entry, rax; ret, and rsi to call it. */
  function bench(before: readonly number[] = []): VirtualBench {
    const b = new VirtualBench()
    b.write(entry - 2 - before.length, [...before, 0x48, 0xb8])
    b.write(entry + 8, RETURN)
    b.set('rsi', entry - 2 - before.length)
    return b
  }
  const shown = (b: VirtualBench): number[] => [b.get('rbx') & 4095, b.get('rax') & 4095]
  const around = (use: string): string => `call *%rsi; mov %rax,%rbx; ${use}; call *%rsi; hlt`

  const uses: readonly (readonly [string, string, number])[] = [
    ['a load', `mov ${D},%ecx`, READ], ['a store', `mov %ecx,${D}`, WRITTEN],
    ['a push', `mov $${D + 8},%esp; push %rcx; mov $${AT.STACK},%esp`, WRITTEN], ['a string', `mov $${D},%edi; mov $3,%ecx; rep stos %al,%es:(%rdi)`, WRITTEN],
    ['an instruction in TypeScript', `fxsave ${D}`, WRITTEN], ['a fetch', `call ${D + 16}`, READ],
  ]
  test.each(uses)('has the bits that the walk of %s has set', (_, use, bits) => {
    const b = bench()
    b.write(D + 16, [0xc3])
    expect(b.run(around(use))).toBe(EXIT.HALT)
    expect([b.handled, ...shown(b)]).toEqual([-1, ALL, bits])
  })

  test.each([['a store', 'mov %rcx,0x1ffffc', WRITTEN], ['a fetch', 'mov $0x1fffff,%edx; call *%rdx', READ]] as const)('may cross pages as %s that marks it does', (_, use, bits) => {
    const [upper, table] = [AT.ROOT + 0x2000 + 8, 0x9000]
    const b = new VirtualBench()
    b.write32(upper, table | ALL)
    b.write32(table, 0x20_0000 | ALL)
    b.write(table - 2, [0x48, 0xb8])
    b.write(table + 8, RETURN)
    b.write(0x1f_ffff, RETURN)
    b.set('rsi', table - 2)
    expect(b.run(around(use))).toBe(EXIT.HALT)
    expect([b.handled, ...shown(b)]).toEqual([-1, ALL, bits])
  })

  test('counts an instruction once that is begun anew', () => {
    const counts = [true, false].map((marks) => {
      const b = bench()
      if (!marks) b.write32(entry, D | READ)
      b.run(around(`mov ${D},%ecx`))
      return b.cpu.executed
    })
    expect(counts[0]).toBe(counts[1])
  })

  test('sees what an earlier instruction of its own block has marked', () => {
    // mov D, ecx
    const b = bench([0x8b, 0x0c, 0x25, 0, D >>> 8 & 0xff, D >>> 16, 0])
    expect(b.run('call *%rsi; hlt')).toBe(EXIT.HALT)
    expect(b.get('rax') & 4095).toBe(READ)
  })

  test('is marked when an exception is delivered', () => {
    const b = bench()
    b.run(`call *%rsi; mov %rax,%rbx; mov $${D + 0x100},%esp; int $3`)
    expect(b.handled).toBe(VECTOR.BP)
    b.run(`mov $${AT.STACK},%esp; call *%rsi; hlt`)
    expect(shown(b)).toEqual([ALL, WRITTEN])
  })

  test('is marked when the host looks at an instruction', () => {
    const b = bench()
    b.run('call *%rsi; mov %rax,%rbx; hlt')
    b.write(D, [0x90])
    b.cpu.registers.setRip(D, 0)
    expect(b.cpu.instruction()?.text).toBe('nop')
    b.run('call *%rsi; hlt')
    expect(shown(b)).toEqual([ALL, READ])
  })

  test('is marked by an instruction that a device takes part in, which is done once', () => {
    const b = bench()
    b.p2m[AT.DATA >>> 12] = 0
    b.run(`call *%rsi; mov %rax,%rbx; mov $${D + 8},%esp; push ${AT.DATA}; hlt`)
    const written: number[] = []
    expect(b.cpu.carryOut({ memory: { read: () => 0x1234, write: (_, __, value) => void written.push(value) } })).toBe(true)
    b.run(`mov (%rsp),%edx; mov $${AT.STACK},%esp; call *%rsi; hlt`)
    expect([...shown(b), b.get('rdx'), written]).toEqual([ALL, WRITTEN, 0x1234, []])
  })
})
