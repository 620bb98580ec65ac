import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { CR4, PTE, VECTOR } from '../../../../src/x86/index.ts'
import { PLACE, ProtectedBench } from '../../../support/protected.ts'

const ALL = PTE.PRESENT | PTE.WRITABLE | PTE.USER
const HLT = 'hlt'
const load = (address: number): string => `mov ${address},%eax;`
const store = (address: number): string => `mov %eax,${address};`

describe('protected mode without paging', () => {
  test('linear addresses are physical ones', () => {
    const b = new ProtectedBench()
    b.write32(PLACE.DATA, 0x1234_5678)
    expect(b.run(load(PLACE.DATA) + 'inc %eax;' + store(PLACE.DATA + 8) + HLT)).toBe(EXIT.HALT)
    expect([b.handled, b.get('rax'), b.read32(PLACE.DATA + 8)]).toEqual([-1, 0x1234_5679, 0x1234_5679])
  })
})

describe('two levels of page tables', () => {
  const paged = (cr4 = 0): ProtectedBench => new ProtectedBench('two levels', { cr4 })
  /** Level 2 entry of 4 MiB upwards, level 1 entries of a table for it. */
  const HIGH = 0x40_0000
  const DIRECTORY = PLACE.ROOT + 4
  const TABLE = 0x3000

  test('an address goes through directory and table, which are marked accessed, the page dirty when written', () => {
    const b = paged()
    b.write32(DIRECTORY, TABLE | ALL)
    b.write32(TABLE + 5 * 4, PLACE.DATA | ALL)
    b.write32(PLACE.DATA + 0x10, 77)
    expect(b.run(load(HIGH + 0x5010) + HLT)).toBe(EXIT.HALT)
    expect([b.get('rax'), b.read32(DIRECTORY), b.read32(TABLE + 20)])
      .toEqual([77, TABLE | ALL | PTE.ACCESSED, PLACE.DATA | ALL | PTE.ACCESSED])
    b.run(store(HIGH + 0x5014) + HLT)
    expect([b.read32(PLACE.DATA + 0x14), b.read32(TABLE + 20)])
      .toEqual([77, PLACE.DATA | ALL | PTE.ACCESSED | PTE.DIRTY])
  })

  const rights: readonly [string, 0 | 3, number, number, (address: number) => string, readonly [number, number] | undefined][] = [
    ['a page that is not there', 0, ALL, 0, load, [0, 0]],
    ['a write to one that is not there, in ring 3', 3, ALL, 0, store, [6, 0]],
    ['ring 3 on a page of the kernel', 3, ALL, PTE.PRESENT | PTE.WRITABLE, load, [5, 0]],
    ['ring 3 through a directory entry of the kernel', 3, PTE.PRESENT | PTE.WRITABLE, ALL, load, [5, 0]],
    ['a write to a read-only page, also in ring 0 under CR0.WP', 0, ALL, PTE.PRESENT | PTE.USER, store, [3, 0]],
    ['bits 11 to 9, which are free', 0, ALL | 0xe00, ALL | 0xe00, load, undefined],
    ['the PAT bit of a page', 0, ALL, ALL | 0x80, load, undefined],
    ['bit 7 of a directory entry without CR4.PSE', 0, ALL | 0x80, ALL, load, undefined],
  ]
  test.each(rights)('%s', (_, ring, directory, page, access, error) => {
    const b = paged()
    b.write32(DIRECTORY, TABLE | directory)
    b.write32(TABLE, PLACE.DATA | page)
    b.ring(ring)
    b.run(access(HIGH + 4) + (ring === 0 ? HLT : 'int $3'))
    if (error === undefined) expect(b.handled).toBe(-1)
    else expect(b.fault).toEqual([VECTOR.PF, error[0], HIGH + 4])
  })

  test('a page of 4 MiB is one entry, which is marked accessed and dirty', () => {
    const b = paged(CR4.PSE)
    b.write32(DIRECTORY, 0x80_0000 | ALL | PTE.LARGE)
    expect(b.run(store(HIGH + 0x12_3450) + HLT)).toBe(EXIT.HALT)
    expect(b.handled).toBe(-1)
    expect(b.read32(DIRECTORY)).toBe(0x80_0000 | ALL | PTE.LARGE | PTE.ACCESSED | PTE.DIRTY)
    b.write32(0x92_3450, 0xabcd)
    b.run(load(HIGH + 0x12_3450) + HLT)
    expect(b.get('rax')).toBe(0xabcd)
  })

  const largeBits: readonly [string, number, boolean][] = [
    ['its PAT bit', 1 << 12, false], ['bit 21', 1 << 21, true], ['bits 39 to 32 of its address', 1 << 13, true],
  ]
  test.each(largeBits)(
    'of a page of 4 MiB, %s', (_, bit, faults) => {
      const b = paged(CR4.PSE)
      b.write32(DIRECTORY, 0x80_0000 | ALL | PTE.LARGE | bit)
      b.run(load(HIGH) + HLT)
      if (faults) expect(b.fault).toEqual([VECTOR.PF, 9, HIGH])
      else expect(b.handled).toBe(-1)
    })

  test('a fetch is not told from a read, as there is no NX', () => {
    const b = paged()
    b.run(`jmp ${HIGH}`)
    expect(b.fault).toEqual([VECTOR.PF, 0, HIGH])
  })

  test('CR3 does not keep translations, INVLPG drops one', () => {
    const b = paged()
    b.write32(DIRECTORY, TABLE | ALL)
    b.write32(TABLE, PLACE.DATA | ALL)
    b.write32(PLACE.DATA, 1)
    b.write32(PLACE.DATA + 0x1000, 2)
    b.run(`mov ${HIGH},%eax; movl $${(PLACE.DATA + 0x1000) | ALL},${TABLE}; mov ${HIGH},%ebx; invlpg ${HIGH}; mov ${HIGH},%ecx; hlt`)
    expect([b.get('rax'), b.get('rbx'), b.get('rcx')]).toEqual([1, 1, 2])
  })
})

describe('PAE paging', () => {
  const paged = (nx = false): ProtectedBench => new ProtectedBench('PAE', { nx })
  /** The third gigabyte: pointer entry 2, its directory and table. */
  const HIGH = 0x8000_0000
  const POINTER = PLACE.ROOT + 16
  const [DIRECTORY, TABLE] = [0x4000, 0x5000]
  const NX = 0x8000_0000
  const mapped = (nx = false): ProtectedBench => {
    const b = paged(nx)
    b.write64(POINTER, DIRECTORY | PTE.PRESENT)
    b.write64(DIRECTORY, TABLE | ALL)
    b.write64(TABLE + 3 * 8, PLACE.DATA | ALL)
    return b
  }

  test('three levels, of which the first has neither rights nor an accessed bit', () => {
    const b = mapped()
    b.write32(PLACE.DATA + 8, 99)
    b.ring(3)
    b.run(load(HIGH + 0x3008) + store(HIGH + 0x300c) + 'ud2')
    expect([b.handled, b.read32(PLACE.DATA + 12)]).toEqual([VECTOR.UD, 99])
    expect([b.read32(POINTER), b.read32(DIRECTORY), b.read32(TABLE + 24)]).toEqual([
      DIRECTORY | PTE.PRESENT, TABLE | ALL | PTE.ACCESSED, PLACE.DATA | ALL | PTE.ACCESSED | PTE.DIRTY,
    ])
  })

  test.each([['1', 0x02, 0], ['2', 0x04, 0], ['5', 0x20, 0], ['8', 0x100, 0], ['63', 0, NX], ['40', 0, 0x100]])(
    'bit %s of a pointer is reserved', (_, low, high) => {
      const b = mapped(true)
      b.write64(POINTER, DIRECTORY | PTE.PRESENT | low, high)
      b.run(load(HIGH + 0x3000) + HLT)
      expect(b.fault).toEqual([VECTOR.PF, 9, HIGH + 0x3000])
    })

  test('address bits beyond the machine are reserved in every entry', () => {
    for (const [place, low] of [[DIRECTORY, TABLE | ALL], [TABLE + 24, PLACE.DATA | ALL]] as const) {
      const b = mapped()
      b.write64(place, low, 0x10)
      b.run(load(HIGH + 0x3000) + HLT)
      expect(b.fault).toEqual([VECTOR.PF, 9, HIGH + 0x3000])
    }
  })

  test('NX keeps from fetching where EFER has it, and is reserved elsewhere', () => {
    const b = mapped(true)
    b.write64(TABLE + 24, PLACE.DATA | ALL, NX)
    b.run(load(HIGH + 0x3000) + HLT)
    expect(b.handled).toBe(-1)
    b.run(`jmp ${HIGH + 0x3000}`)
    expect(b.fault).toEqual([VECTOR.PF, 17, HIGH + 0x3000])
    const without = mapped()
    without.write64(TABLE + 24, PLACE.DATA | ALL, NX)
    without.run(load(HIGH + 0x3000) + HLT)
    expect(without.fault).toEqual([VECTOR.PF, 9, HIGH + 0x3000])
  })

  const largeBits: readonly [string, number, boolean][] = [
    ['plain', 0, false], ['with its PAT bit', 1 << 12, false], ['with bit 13', 1 << 13, true],
    ['with bit 20', 1 << 20, true],
  ]
  test.each(largeBits)(
    'a page of 2 MiB, %s', (_, bit, faults) => {
      const b = mapped()
      b.write64(DIRECTORY, 0x80_0000 | ALL | PTE.LARGE | bit)
      b.write32(0x81_2340, 5)
      b.run(load(HIGH + 0x1_2340) + store(HIGH + 0x1_2344) + HLT)
      if (faults) return expect(b.fault).toEqual([VECTOR.PF, 9, HIGH + 0x1_2340])
      expect([b.handled, b.read32(0x81_2344)]).toEqual([-1, 5])
      expect(b.read32(DIRECTORY)).toBe(0x80_0000 | ALL | PTE.LARGE | bit | PTE.ACCESSED | PTE.DIRTY)
    })

  test('paging is switched on by code that is mapped one to one, and off again', () => {
    const b = new ProtectedBench()
    b.write64(PLACE.ROOT, PLACE.TABLES | PTE.PRESENT)
    b.write64(PLACE.TABLES, ALL | PTE.LARGE)
    b.write64(PLACE.TABLES + 8, 0x80_0000 | ALL | PTE.LARGE)
    b.write32(0x80_0000, 0x55)
    b.write32(0x20_0000, 0x66)
    b.run(`
      mov %cr4,%eax; or $0x20,%al; mov %eax,%cr4; mov %cr0,%eax; or $0x80000000,%eax; mov %eax,%cr0; mov 0x200000,%ebx
      and $0x7fffffff,%eax; mov %eax,%cr0; mov 0x200000,%ecx; hlt`)
    expect([b.handled, b.get('rbx'), b.get('rcx')]).toEqual([-1, 0x55, 0x66])
  })
})
