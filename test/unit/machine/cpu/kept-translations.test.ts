/**
 * Translations and jumps that outlive a load of other page tables, on a processor whose host tells of changes: they come into force again with their
 * table, and never with anything that its entries do not give by then. Which frames a host lets anybody reach is the hypervisor's affair, and its fuzzer's.
 */
import { describe, expect, test } from 'vitest'
import { EXIT, type CacheInspection, type ProcessorOptions } from '../../../../src/machine/index.ts'
import { KEPT_TLB, TLB } from '../../../../src/machine/cpu/layout/state.ts'
import type { Core } from '../../../../src/machine/cpu/core/core.ts'
import { PTE, PTE_HIGH_NX, tableIndex } from '../../../../src/x86/index.ts'
import { assemble } from '../../../support/assembler.ts'
import { CODE, CpuBench, DATA as PAGES } from '../../../support/cpu.ts'

const ALL = PTE.PRESENT | PTE.WRITABLE | PTE.USER
/** Where code lies that is mapped once more than the rest. */
const OTHER = CODE + 0x3000
/** A page whose entry is at another index than those of code. */
const DATA = PAGES + 0x1000

/** A processor with several top-level tables over one set of lower ones. */
class Tables extends CpuBench {
  readonly roots: readonly number[]

  constructor(options: Partial<ProcessorOptions> = { keepsTranslations: true }) {
    super(options)
    const { words } = this.machine.memory
    this.roots = [this.root, ...Array.from({ length: 5 }, () => this.frame())]
    for (const root of this.roots.slice(1)) words.copyWithin(root * 1024, this.root * 1024, (this.root + 1) * 1024)
  }

  load(table: number): void {
    this.cpu.registers.setControl(3, this.roots[table]! * 4096, 0)
  }

  /** Writes the program once; it is run again without the host's writing to memory. */
  program(listing: string, at = CODE): void {
    this.write(at, assemble(listing, { origin: at }))
  }

  go(at = CODE): bigint {
    this.jump(at)
    expect(this.cpu.run(10_000)).toBe(EXIT.SYSCALL)
    return this.get('rax')
  }

  /** Lets an address lead to another frame, as a host does that tells of it, or does not. */
  change(address: number, frame: number, how: 'told' | 'untold' = 'told', rights: number = ALL): void {
    const at = this.entry(address)
    const { view } = this.machine.memory
    if (how === 'told') this.cpu.tables.entryChanged(tableIndex(address, 1), view.getUint32(at + 4, true))
    view.setUint32(at, frame * 4096 + rights, true)
  }

  /** A frame that begins with a number. */
  filled(value: number): number {
    const frame = this.frame()
    this.machine.memory.words[frame * 1024] = value
    return frame
  }
}

const pages = ({ translations }: Pick<CacheInspection, 'translations'>): number[] => translations.map(({ address }) => address)
const READ = `mov ${DATA},%eax; syscall`

/** A processor that has read from a page by the first table, and then runs by the second. */
function left(): Tables {
  const b = new Tables()
  b.program(READ)
  b.machine.memory.words[b.host(DATA) >>> 2] = 1
  b.load(0)
  b.go()
  b.load(1)
  return b
}

describe('translations of a table that is loaded again', () => {
  test('are there again, with its jumps, and those of the other are its own', () => {
    const b = left()
    expect(pages(b.cpu.inspect())).toEqual([])
    b.program('syscall', OTHER)
    b.go(OTHER)
    expect(pages(b.cpu.inspect())).toEqual([OTHER])
    b.load(0)
    const seen = b.cpu.inspect()
    expect(pages(seen)).toEqual([CODE, DATA])
    expect(seen.kept.map(({ root, translations }) => [root, pages({ translations })])).toEqual([[b.roots[0], [CODE, DATA]], [b.roots[1], [OTHER]]])
    expect(seen.faults).toEqual([])
  })

  test('are none where its host has not promised to tell of changes', () => {
    const b = new Tables({})
    b.program(READ)
    b.load(0)
    b.go()
    b.load(1)
    b.load(0)
    expect([pages(b.cpu.inspect()), b.cpu.inspect().kept]).toEqual([[], []])
  })

  test('are of the four tables that were in force last', () => {
    const b = left()
    for (const table of [1, 2, 0, 3, 4]) {
      b.load(table)
      b.go()
    }
    expect(b.cpu.inspect().kept.map(({ root }) => root).sort()).toEqual([0, 2, 3, 4].map((table) => b.roots[table]!).sort())
    b.load(1)
    expect(pages(b.cpu.inspect())).toEqual([])
  })
})

describe('an entry that changes', () => {
  test('takes its translation from tables that are not in force, and no other', () => {
    const b = left()
    b.change(DATA, b.filled(2))
    expect(b.cpu.inspect().kept[0]!.translations.map(({ address }) => address)).toEqual([CODE])
    b.load(0)
    expect(b.go()).toBe(2n)
  })

  test('stays as it was for a table that is loaded again where nobody told: the host has to', () => {
    const b = left()
    b.change(DATA, b.filled(2), 'untold')
    b.load(0)
    expect(b.go()).toBe(1n)
  })

  test('stays as it was in the tables in force until they are left, or loaded anew', () => {
    const b = left()
    b.load(0)
    for (const [next, value] of [[1, 2], [0, 3]] as const) {
      b.change(DATA, b.filled(value))
      expect(b.go()).toBe(BigInt(value - 1))
      expect(pages({ translations: b.cpu.inspect().kept[0]!.translations })).not.toContain(DATA)
      b.load(next)
      b.load(0)
      expect(b.go()).toBe(BigInt(value))
    }
  })

  test.each([['in another half of the bank', DATA + 512 * 4096], ['in the first half', DATA]])('takes its translation %s', (_, address) => {
    const b = new Tables()
    b.map(address, ALL, b.filled(1))
    b.program(`mov ${address},%eax; syscall`)
    b.load(0)
    b.go()
    b.load(1)
    b.change(address, b.filled(2))
    b.load(0)
    expect(b.go()).toBe(2n)
  })

  test('of code takes the jumps to it, in force or not', () => {
    const b = new Tables()
    const [first, second] = [b.frame(), b.frame()]
    for (const [frame, value] of [[first, 1], [second, 2]] as const) b.machine.memory.bytes.set(assemble(`mov $${value},%eax; syscall`), frame * 4096)
    const show = (frame: number, told: 'told' | 'untold'): void => b.change(OTHER, frame, told)
    show(first, 'untold')
    b.load(0)
    expect(b.go(OTHER)).toBe(1n)
    show(second, 'told')
    b.load(0)
    expect(b.go(OTHER)).toBe(2n)
    b.load(1)
    show(first, 'told')
    b.load(0)
    expect(b.go(OTHER)).toBe(1n)
  })

  test('that could not be executed leaves jumps', () => {
    const b = left()
    b.map(DATA, ALL, b.filled(1), true)
    b.load(0)
    b.go()
    b.load(1)
    b.change(DATA, b.filled(2))
    expect(b.machine.memory.view.getUint32(b.entry(DATA) + 4, true)).toBe(PTE_HIGH_NX)
    b.load(0)
    expect(b.cpu.inspect().jumps.map(({ address }) => address)).toContain(CODE)
  })
})

describe('what has changed otherwise', () => {
  test('under one top-level table drops what is kept of that one', () => {
    const b = left()
    b.go()
    b.cpu.tables.tablesChanged(b.roots[0]! * 4096)
    expect(b.cpu.inspect().kept.map(({ root }) => root)).toEqual([b.roots[1]])
    b.cpu.tables.tablesChanged(b.roots[1]! * 4096)
    expect(b.cpu.inspect().kept.map(({ translations }) => translations)).toEqual([[]])
    b.load(0)
    b.load(1)
    expect(pages(b.cpu.inspect())).toEqual([])
  })

  test('anywhere drops all that is kept', () => {
    const b = left()
    b.go()
    b.cpu.tables.tablesChanged()
    for (const table of [0, 1]) {
      b.load(table)
      expect([pages(b.cpu.inspect()), b.cpu.inspect().jumps]).toEqual([[], []])
    }
  })

  test.each([
    ['a flush', (b: Tables) => b.cpu.flushTlb()], ['other rights', (b: Tables) => b.cpu.registers.setControl(0, b.cpu.registers.controlLow(0), 0)],
    ['a saved state', (b: Tables) => b.cpu.load(b.cpu.save())],
  ])('%s drops all that is kept', (_, happen) => {
    const b = left()
    happen(b)
    b.load(0)
    expect(pages(b.cpu.inspect())).toEqual([])
  })

  test('code that is decoded takes the right to write its frame from all tables', () => {
    const b = new Tables()
    b.program(`movl $0x9090,${OTHER + 64}; syscall`)
    b.program('mov $1,%eax; syscall', OTHER)
    b.load(0)
    b.go()
    expect(b.cpu.inspect().translations.find(({ address }) => address === OTHER)?.write).toBe(true)
    b.load(1)
    expect(b.go(OTHER)).toBe(1n)
    b.load(0)
    expect(b.cpu.inspect().translations.find(({ address }) => address === OTHER)?.write).toBe(false)
  })

  test('code that is written over is not jumped to by any of them', () => {
    const b = new Tables()
    // mov $2 in place of mov $1
    b.program(`movb $2,${OTHER + 1}; syscall`)
    b.program('mov $1,%eax; syscall', OTHER)
    b.load(0)
    expect(b.go(OTHER)).toBe(1n)
    b.load(1)
    b.go()
    b.load(0)
    expect(b.go(OTHER)).toBe(2n)
  })
})

test('a log that overflows while a table is in force is no reason to keep or to lose anything', () => {
  const b = left()
  b.load(0)
  // Every translation is made anew by a thousand reads of two pages that stand in one place.
  const far = DATA + TLB.entries * 4096
  b.map(far, ALL)
  b.program(`mov $1100,%ecx; 1: mov ${DATA},%eax; mov ${far},%edx; dec %ecx; jnz 1b; syscall`)
  b.load(0)
  b.go()
  b.load(1)
  b.load(0)
  expect(pages(b.cpu.inspect())).toContain(far)
  b.load(1)
  b.cpu.tables.tablesChanged()
  b.load(0)
  expect(pages(b.cpu.inspect())).toEqual([])
})

test('nothing of other tables is left in the area of a processor that is gone', () => {
  const b = left()
  b.go()
  const { base } = (b.cpu as unknown as { core: Core }).core.registers
  const kept = (): Uint8Array => b.machine.memory.bytes.subarray(base + KEPT_TLB.offset, base + KEPT_TLB.end)
  expect(kept().some((byte) => byte !== 0)).toBe(true)
  b.cpu.destroy()
  expect(kept().every((byte) => byte === 0)).toBe(true)
})
