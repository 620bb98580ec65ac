import { describe, expect, test } from 'vitest'
import { planLayout, type DomainLayout, type LayoutInput } from '../../../../src/toolstack/builder/layout.ts'
import { writePageTables } from '../../../../src/toolstack/builder/page-tables.ts'

/** The image of the golden capture: Debian's Linux 6.1, 128 MiB, a ramdisk of 0x21b210 bytes. */
const LINUX: LayoutInput = {
  image: {
    bits: 64, virtualBase: -0x80000000, start: -0x7f000000, end: -0x7b600000, initialP2m: 0x8000000000, moduleByFrame: true,
  },
  totalPages: 0x8000,
  ramdiskSize: 0x21b210,
}
const GRUB: LayoutInput = {
  image: { bits: 64, virtualBase: 0, start: 0, end: 0x9f000, initialP2m: undefined, moduleByFrame: false },
  totalPages: 0x2000,
}

const at = (segment: { pfn: number; pages: number; address: number } | undefined): readonly unknown[] =>
  [segment?.pfn, segment?.pages, BigInt.asUintN(64, BigInt(segment?.address ?? 0)).toString(16)]

describe('the layout of a domain', () => {
  test('is the one that real Xen chose for the same kernel, page by page', () => {
    const layout = planLayout(LINUX)
    expect(at(layout.kernel)).toEqual([0x1000, 0x3a00, 'ffffffff81000000'])
    expect(at(layout.startInfo)).toEqual([0x4a00, 1, 'ffffffff84a00000'])
    expect(at(layout.store)).toEqual([0x4a01, 1, 'ffffffff84a01000'])
    expect(at(layout.console)).toEqual([0x4a02, 1, 'ffffffff84a02000'])
    expect(at(layout.pageTables)).toEqual([0x4a03, 0x29, 'ffffffff84a03000'])
    expect(at(layout.bootStack)).toEqual([0x4a2c, 1, 'ffffffff84a2c000'])
    expect(at({ pfn: 0, pages: 0, address: layout.allocEnd })[2]).toBe('ffffffff84a2d000')
    expect(at({ pfn: 0, pages: 0, address: layout.virtualEnd })[2]).toBe('ffffffff84c00000')
    expect(at(layout.ramdisk)).toEqual([0x4c00, 0x21c, 'ffffffff84c00000'])
    expect(layout.ramdisk?.size).toBe(0x21b210)
    expect([layout.p2m.pfn, layout.p2m.pages, layout.p2m.address, layout.p2m.ownMapping]).toEqual([
      0x4e1c,
      0x43,
      0x8000000000,
      true,
    ])
  })

  test('counts the tables that real Xen counted', () => {
    const [initial, p2m] = planLayout(LINUX).mappings
    expect(initial?.levels.map(({ tables }) => tables)).toEqual([38, 1, 1, 1])
    expect(initial?.levels.map(({ from, to }) => [from.toString(16), to.toString(16)]).slice(0, 3)).toEqual([
      ['ffff80000000', 'ffff84bfffff'], ['ffff80000000', 'ffffbfffffff'], ['ff8000000000', 'ffffffffffff'],
    ])
    expect(p2m?.levels.map(({ from, to, tables }) => [from.toString(16), to.toString(16), tables]).slice(0, 3)).toEqual(
      [
        ['8000000000', '80001fffff', 1],
        ['8000000000', '803fffffff', 1],
        ['8000000000', 'ffffffffff', 1],
      ],
    )
    // The tables stand behind the 0x40 pages of the list.
    expect(p2m?.levels.map(({ pfn }) => pfn).slice(0, 3)).toEqual([0x4e1c + 0x42, 0x4e1c + 0x41, 0x4e1c + 0x40])
  })

  test('keeps ramdisk and frame list inside the mapping for a kernel that asks for nothing else', () => {
    const layout = planLayout({ ...GRUB, ramdiskSize: 5000 })
    expect(
      [
        layout.kernel,
        layout.ramdisk,
        layout.p2m,
        layout.startInfo,
        layout.store,
        layout.console,
        layout.pageTables,
      ].map((s) => [s?.pfn, s?.pages]),
    ).toEqual([
      [0, 0x9f],
      [0x9f, 2],
      [0xa1, 16],
      [0xb1, 1],
      [0xb2, 1],
      [0xb3, 1],
      [0xb4, 5],
    ])
    expect([layout.bootStack.pfn, layout.virtualEnd, layout.p2m.ownMapping]).toEqual([0xb9, 0x400000, false])
    expect(layout.mappings).toHaveLength(1)
  })

  test('of a small kernel with 32 MiB is the one that it printed on real Xen', () => {
    // test/golden/mini-console-xen-4.17.txt; the kernel took 0x1a000 bytes then.
    const image = {
      bits: 64 as const,
      virtualBase: -0x80000000,
      start: -0x80000000,
      end: -0x80000000 + 0x1a000,
      initialP2m: undefined,
      moduleByFrame: false,
    }
    const layout = planLayout({ image, totalPages: 8192 })
    expect(at(layout.pageTables)[2]).toBe('ffffffff8002d000')
    expect(layout.pageTables.pages).toBe(5)
    expect(at(layout.p2m)[2]).toBe('ffffffff8001a000')
  })

  test('leaves at least 512 KiB mapped behind the boot stack', () => {
    for (let end = 0x10000; end < 0x900000; end += 0x35000) {
      const layout = planLayout({ ...GRUB, image: { ...GRUB.image, end } })
      expect(layout.virtualEnd - layout.allocEnd).toBeGreaterThanOrEqual(512 * 1024)
      expect(layout.virtualEnd % 0x400000).toBe(0)
    }
  })

  test.each<[string, Partial<LayoutInput>, string, number]>([
    ['the kernel', { totalPages: 0x2000 }, 'kernel', 0x3a00],
    ['what lies below the kernel', { totalPages: 0x800 }, 'kernel', 0x1000],
    ['the initial mapping', { totalPages: 0x4a40 }, 'initial mapping', 0x1d3],
    ['the ramdisk', { totalPages: 0x4c10 }, 'ramdisk', 0x21c],
    ['the frame list', { totalPages: 0x4e20 }, 'phys2mach', 0x28 + 3],
  ])('too little memory for %s is told with the numbers', (_name, over, segment, pages) => {
    expect(() => planLayout({ ...LINUX, ...over })).toThrow(expect.objectContaining({
      code: 'OUT_OF_MEMORY', details: expect.objectContaining({ segment, neededPages: pages }),
    }))
  })
})

/** Writes the tables into an array of pages and walks them like a processor. */
function walker(layout: DomainLayout, levels = 4n): (address: bigint) => { pfn: number; flags: number } | undefined {
  const frameBase = 0x1234
  const tables = new Map<number, Uint32Array>()
  writePageTables(layout.mappings, {
    frameOf: (pfn) => pfn + frameBase,
    writeEntry: (pfn, index, low) => {
      const table = tables.get(pfn) ?? new Uint32Array(512)
      tables.set(pfn, table)
      table[index] = low
    },
  })
  return (address) => {
    let pfn = layout.pageTables.pfn
    for (let level = levels - 1n; ; level -= 1n) {
      const entry = tables.get(pfn)?.[Number((address >> (12n + 9n * level)) & 511n)] ?? 0
      if ((entry & 1) === 0) return undefined
      pfn = (entry >>> 12) - frameBase
      if (level === 0n) return { pfn, flags: entry & 0xfff }
    }
  }
}

describe('the page tables of a 32-bit domain', () => {
  const images: [string, number, number][] = [['at 0, with a table for the last entry all the same', 0, 4], ['at 3 GiB', 0xc000_0000, 1]]
  test.each(images)('have three levels and map a kernel %s', (_name, virtualBase, seconds) => {
    const layout = planLayout({ totalPages: 2048, image: { bits: 32, virtualBase, start: virtualBase, end: virtualBase + 0x20_0000, initialP2m: undefined, moduleByFrame: false } })
    const [mapping] = layout.mappings
    expect(mapping!.levels.map(({ tables }) => tables)).toEqual([(layout.virtualEnd - virtualBase) / 2 ** 21, seconds, 1])
    expect(layout.p2m.size).toBe(2048 * 4)
    const walk = walker(layout, 3n)
    const isTable = (pfn: number): boolean => pfn >= layout.pageTables.pfn && pfn < layout.pageTables.pfn + layout.pageTables.pages
    for (let pfn = 0; pfn < (layout.virtualEnd - virtualBase) / 4096; pfn += 1) {
      expect(walk(BigInt(virtualBase + pfn * 4096))).toEqual({ pfn, flags: isTable(pfn) ? 0x21 : 0x23 })
    }
    const top = new Map<number, number>()
    writePageTables(layout.mappings, { frameOf: (pfn) => pfn, writeEntry: (pfn, index, low) => { if (pfn === layout.pageTables.pfn) top.set(index, low & 0xfff) } })
    expect([...top.entries()].sort(([a], [b]) => a - b)).toEqual(seconds === 4 ? [[0, 1], [1, 1], [2, 1], [3, 1]] : [[3, 1]])
  })
})

describe('the page tables of a domain', () => {
  test.each<[string, LayoutInput]>([
    ['Linux', LINUX],
    ['GRUB', GRUB],
  ])('map every page of %s where it belongs, tables read-only', (_name, input) => {
    const layout = planLayout(input)
    const walk = walker(layout)
    const base = BigInt.asUintN(64, BigInt(input.image.virtualBase))
    const pages = (layout.virtualEnd - input.image.virtualBase) / 4096
    const first = layout.pageTables.pfn
    for (let pfn = 0; pfn < pages; pfn += 1) {
      const isTable = pfn >= first && pfn < first + layout.pageTables.pages
      expect(walk(base + BigInt(pfn) * 4096n)).toEqual({ pfn, flags: isTable ? 0x21 : 0x23 })
    }
    expect(walk(base + BigInt(pages) * 4096n)).toBeUndefined()
    expect(walk(base - 4096n)).toBeUndefined()
  })

  test('map the frame list at its own address', () => {
    const layout = planLayout(LINUX)
    const walk = walker(layout)
    for (let page = 0; page < 0x40; page += 1) {
      expect(walk(0x8000000000n + BigInt(page) * 4096n)).toEqual({ pfn: layout.p2m.pfn + page, flags: 0x23 })
    }
    expect(walk(0x8000040000n)).toBeUndefined()
  })
})
