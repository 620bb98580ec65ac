/**
 * A bare processor in legacy protected mode, for tests that run a few bytes of 32-bit code: flat segments in ring 0 or
 * 3, paging off or on, every exception with a handler of one HLT that ends the run. Physical memory has 16 MiB; its first
 * two are mapped one to one where paging is on.
 *
 *   0x1000 page tables   0x6000 GDT   0x7000 IDT   0x8000 TSS   0x10000 code   0x20000 handlers, 16 bytes each
 *   0x40000 data   0x50000 end of ring 0's stack   0x60000 end of ring 3's
 */
import { Machine } from '../../src/machine/index.ts'
import type { BareProcessor } from '../../src/machine/index.ts'
import { CR0, CR4, GPR, MSR, PTE, SEGMENT } from '../../src/x86/index.ts'
import type { GprName } from '../../src/x86/index.ts'
import { writePhysical } from './bare.ts'
import { assemble } from './assembler.ts'

/** Where things lie. */
export const PLACE = {
  ROOT: 0x1000, TABLES: 0x2000, GDT: 0x6000, IDT: 0x7000, TSS: 0x8000, CODE: 0x1_0000, HANDLERS: 0x2_0000,
  DATA: 0x4_0000, STACK0: 0x5_0000, STACK3: 0x6_0000,
} as const

/** How linear addresses are translated. */
export type Paging = 'off' | 'two levels' | 'PAE'

const ALL = PTE.PRESENT | PTE.WRITABLE | PTE.USER
const FLAT = { baseLow: 0, baseHigh: 0, limit: 0xffff_ffff }
const NXE = 0x800

/** Machine, processor and tables. */
export class ProtectedBench {
  readonly machine = new Machine({ memoryBytes: 16 << 20, processors: 1 })
  readonly cpu: BareProcessor = this.machine.createProcessor({ mode: 'bare' })
  readonly base = this.machine.memory.firstFrame * 4096

  constructor(paging: Paging = 'off', options: { cr4?: number; nx?: boolean } = {}) {
    const { registers, system } = this.cpu
    registers.setControl(0, (CR0.PE | CR0.ET | CR0.NE | CR0.WP) >>> 0, 0)
    system.setMsr(MSR.EFER, options.nx === true ? NXE : 0, 0)
    registers.setControl(4, (options.cr4 ?? 0) | CR4.OSFXSR | (paging === 'PAE' ? CR4.PAE : 0), 0)
    this.descriptors()
    if (paging === 'two levels') this.twoLevels()
    if (paging === 'PAE') this.pae()
    registers.setControl(3, PLACE.ROOT, 0)
    if (paging !== 'off') registers.setControl(0, (CR0.PE | CR0.ET | CR0.NE | CR0.WP | CR0.PG) >>> 0, 0)
    this.ring(0)
  }

  private twoLevels(): void {
    this.write32(PLACE.ROOT, PLACE.TABLES | ALL)
    for (let page = 0; page < 512; page += 1) this.write32(PLACE.TABLES + page * 4, (page << 12) | ALL)
  }

  private pae(): void {
    this.write64(PLACE.ROOT, PLACE.TABLES | PTE.PRESENT)
    this.write64(PLACE.TABLES, (PLACE.TABLES + 0x1000) | ALL)
    for (let page = 0; page < 512; page += 1) this.write64(PLACE.TABLES + 0x1000 + page * 8, (page << 12) | ALL)
  }

  private descriptors(): void {
    const high = [0, 0x00cf_9a00, 0x00cf_9200, 0x00cf_fa00, 0x00cf_f200, 0x8900]
    high.forEach((word, index) => {
      this.write32(PLACE.GDT + index * 8, index === 0 ? 0 : index === 5 ? (PLACE.TSS << 16) | 0x67 : 0xffff)
      this.write32(PLACE.GDT + index * 8 + 4, word)
    })
    for (let vector = 0; vector < 32; vector += 1) {
      const target = PLACE.HANDLERS + vector * 16
      this.write(target, [0xf4])
      this.write32(PLACE.IDT + vector * 8, (target & 0xffff) | (8 << 16))
      this.write32(PLACE.IDT + vector * 8 + 4, (target & 0xffff_0000) | 0x8e00)
    }
    this.write32(PLACE.TSS + 4, PLACE.STACK0)
    this.write32(PLACE.TSS + 8, 0x10)
    const { system } = this.cpu
    system.gdt = { baseLow: PLACE.GDT, baseHigh: 0, limit: 0x7f }
    system.idt = { baseLow: PLACE.IDT, baseHigh: 0, limit: 0xff }
    system.tr = { selector: 0x28, baseLow: PLACE.TSS, baseHigh: 0, limit: 0x67, attributes: 0x8b }
  }

  /** Continues with the flat segments and the stack of a ring. */
  ring(ring: 0 | 3): void {
    const { registers } = this.cpu
    const [code, data] = ring === 0 ? [0x08, 0x10] : [0x1b, 0x23]
    const dpl = ring << 5
    registers.setSegment(SEGMENT.cs, { ...FLAT, selector: code, attributes: 0xc09b | dpl })
    for (const index of [SEGMENT.ss, SEGMENT.ds, SEGMENT.es]) {
      registers.setSegment(index, { ...FLAT, selector: data, attributes: 0xc093 | dpl })
    }
    this.set('rsp', (ring === 0 ? PLACE.STACK0 : PLACE.STACK3) - 0x100)
  }

  write(address: number, bytes: ArrayLike<number>): void {
    writePhysical(this.machine.memory, address, bytes)
  }

  /** Writes a word of physical memory; translations may be stale behind it. */
  write32(address: number, value: number): void {
    this.write(address, [value, value >>> 8, value >>> 16, value >>> 24].map((byte) => byte & 0xff))
    this.cpu.flushTlb()
  }

  write64(address: number, low: number, high = 0): void {
    this.write32(address, low)
    this.write32(address + 4, high)
  }

  read32(address: number): number {
    return this.machine.memory.view.getUint32(this.base + address, true)
  }

  set(name: GprName, value: number): void {
    this.cpu.registers.set(GPR[name], value >>> 0, 0)
  }

  get(name: GprName): number {
    return this.cpu.registers.low(GPR[name])
  }

  /** Writes code (hex) and runs it up to an exit. */
  run(listing: string, budget = 10_000): number {
    this.write(PLACE.CODE, assemble(listing, { origin: PLACE.CODE, codeSize: 32 }))
    this.cpu.registers.setRip(PLACE.CODE, 0)
    return this.cpu.run(budget)
  }

  /** Vector of the handler that ended the run, or -1. */
  get handled(): number {
    const rip = this.cpu.registers.rip() - 1 - PLACE.HANDLERS
    return rip >= 0 && rip < 32 * 16 && rip % 16 === 0 ? rip / 16 : -1
  }

  /** What the handler of an exception found: vector, error code, CR2. */
  get fault(): readonly [vector: number, errorCode: number, address: number] {
    return [this.handled, this.read32(this.get('rsp')), this.cpu.registers.controlLow(2)]
  }
}
