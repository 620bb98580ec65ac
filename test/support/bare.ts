/**
 * A bare processor with a small kernel's tables around it, for tests that run a few bytes of machine code in any ring.
 * Memory is mapped one to one. Every vector has a handler of one HLT, which ends the run with interrupts off, so that a
 * test sees where it came to and what lies on the stack.
 *
 *   0x1000 page tables   0x6000 GDT   0x7000 IDT   0x8000 TSS   0x9000 LDT   0x10000 code   0x20000 handlers, 16 bytes each
 *   0x40000 data   0x50000 end of ring 0's stack   0x58000 end of IST 1's   0x60000 end of ring 3's
 */
import { Machine } from '../../src/machine/index.ts'
import type { BareProcessor, PhysicalMemory, ProcessorOptions } from '../../src/machine/index.ts'
import { GPR, PTE, SEGMENT } from '../../src/x86/index.ts'
import type { GprName } from '../../src/x86/index.ts'
import { highPart, lowPart } from '../../src/util/index.ts'
import { assemble } from './assembler.ts'

/** Where things lie. */
export const AT = {
  GDT: 0x6000, IDT: 0x7000, TSS: 0x8000, LDT: 0x9000, CODE: 0x1_0000, HANDLERS: 0x2_0000, DATA: 0x4_0000,
  STACK0: 0x5_0000, STACK_IST: 0x5_8000, STACK3: 0x6_0000,
} as const

/** Selectors of the GDT. */
export const SELECTOR = {
  CODE0: 0x08, DATA0: 0x10, CODE3_32: 0x1b, DATA3: 0x23, CODE3: 0x2b, TSS: 0x30, LDT: 0x40, CONFORMING: 0x50, GATE: 0x60,
  CODE0_32: 0x70,
} as const

/** Linear address of a vector's handler. */
export const handlerOf = (vector: number): number => AT.HANDLERS + vector * 16

const GATE = { INTERRUPT: 0x8e00, TRAP: 0x8f00 } as const

/** Writes at a physical address of a bare processor: 0 is the machine's first frame. */
export function writePhysical(memory: PhysicalMemory, address: number, bytes: ArrayLike<number>): void {
  const at = memory.firstFrame * 4096 + address
  memory.bytes.set(Array.from(bytes), at)
  for (let mfn = at >>> 12; mfn <= (at + bytes.length - 1) >>> 12; mfn += 1) memory.markWritten(mfn)
}

/** Machine, processor and tables. */
export class BareBench {
  /** Size of the code that it assembles. */
  protected readonly codeSize: 32 | 64 = 64
  readonly machine: Machine
  readonly cpu: BareProcessor
  private readonly base: number

  constructor(options: Partial<ProcessorOptions> = {}) {
    this.machine = new Machine({ memoryBytes: 4 << 20, processors: 2 })
    this.base = this.machine.memory.firstFrame * 4096
    this.cpu = this.machine.createProcessor({ ...options, mode: 'bare' })
    this.makePageTables()
    this.makeDescriptors()
    for (let vector = 0; vector < 256; vector += 1) {
      this.gate(vector, { target: handlerOf(vector) })
      this.write(handlerOf(vector), [0xf4])
    }
    this.set('rsp', AT.STACK0 - 0x800)
    this.jump(AT.CODE)
  }

  private makePageTables(): void {
    const flags = PTE.PRESENT | PTE.WRITABLE | PTE.USER
    this.write32(0x1000, 0x2000 | flags)
    this.write32(0x2000, 0x3000 | flags)
    this.write32(0x3000, 0x4000 | flags)
    for (let page = 0; page < 512; page += 1) this.map(page * 4096, flags)
    this.cpu.registers.setControl(3, 0x1000, 0)
  }

  /** Changes the flags of a page. */
  map(address: number, flags: number): void {
    this.write32(0x4000 + (address >>> 12) * 8, (address & ~0xfff) | flags)
    this.cpu.flushTlb()
  }

  private makeDescriptors(): void {
    const { system } = this.cpu
    const descriptors: readonly [number, number, number][] = [
      [SELECTOR.CODE0, 0xffff, 0x00af_9a00], [SELECTOR.DATA0, 0xffff, 0x00cf_9200], [SELECTOR.CODE3_32, 0xffff, 0x00cf_fa00],
      [SELECTOR.DATA3, 0xffff, 0x00cf_f200], [SELECTOR.CODE3, 0xffff, 0x00af_fa00],
      [SELECTOR.TSS, AT.TSS << 16 | 0x67, AT.TSS >>> 16 | 0x8900], [SELECTOR.LDT, AT.LDT << 16 | 0xff, AT.LDT >>> 16 | 0x8200],
      [SELECTOR.CONFORMING, 0xffff, 0x00af_9e00], [SELECTOR.CODE0_32, 0xffff, 0x00cf_9a00],
    ]
    for (const [selector, low, high] of descriptors) this.descriptor(selector, low, high)
    this.write32(AT.TSS + 4, AT.STACK0)
    this.write32(AT.TSS + 36, AT.STACK_IST)
    this.write(AT.TSS + 0x66, [0x68, 0])
    system.gdt = { baseLow: AT.GDT, baseHigh: 0, limit: 0x7f }
    system.idt = { baseLow: AT.IDT, baseHigh: 0, limit: 0xfff }
    system.tr = { selector: SELECTOR.TSS, baseLow: AT.TSS, baseHigh: 0, limit: 0x67, attributes: 0x8b }
  }

  /** Writes a descriptor of the GDT. */
  descriptor(selector: number, low: number, high: number): void {
    this.write32(AT.GDT + (selector & 0xfff8), low)
    this.write32(AT.GDT + (selector & 0xfff8) + 4, high)
  }

  /** Writes a gate of the IDT. */
  gate(
    vector: number,
    to: { target: number; selector?: number; kind?: keyof typeof GATE; dpl?: number; ist?: number; flags?: number },
  ): void {
    const at = AT.IDT + vector * 16
    const flags = to.flags ?? (GATE[to.kind ?? 'INTERRUPT'] | (to.dpl ?? 0) << 13)
    this.write32(at, (to.target & 0xffff) | (to.selector ?? SELECTOR.CODE0) << 16)
    this.write32(at + 4, (to.target & 0xffff_0000) | flags | (to.ist ?? 0))
    this.write32(at + 8, highPart(to.target))
    this.write32(at + 12, 0)
  }

  write(address: number, bytes: ArrayLike<number>): void {
    writePhysical(this.machine.memory, address, bytes)
  }

  write32(address: number, value: number): void {
    this.write(address, [value, value >>> 8, value >>> 16, value >>> 24].map((byte) => byte & 0xff))
  }

  read64(address: number): number {
    const { view } = this.machine.memory
    return Number(view.getBigUint64(this.base + address, true))
  }

  readByte(address: number): number {
    return this.machine.memory.bytes[this.base + address]!
  }

  set(name: GprName, value: number): void {
    this.cpu.registers.set(GPR[name], lowPart(value), highPart(value))
  }

  get(name: GprName): number {
    return this.cpu.registers.high(GPR[name]) * 2 ** 32 + this.cpu.registers.low(GPR[name])
  }

  jump(address: number): void {
    this.cpu.registers.setRip(lowPart(address), highPart(address))
  }

  /** Continues in ring 3, with its segments and stack. */
  enterRing3(): void {
    const { registers } = this.cpu
    const flat = { baseLow: 0, baseHigh: 0, limit: 0xffff_ffff }
    registers.setSegment(SEGMENT.ss, { ...flat, selector: SELECTOR.DATA3, attributes: 0xc0f3 })
    registers.setSegment(SEGMENT.cs, { ...flat, selector: SELECTOR.CODE3, attributes: 0xa0fb })
    this.set('rsp', AT.STACK3 - 0x100)
  }

  /** Writes code (hex) and runs it up to an exit. */
  run(listing: string, budget = 10_000): number {
    this.write(AT.CODE, assemble(listing, { origin: AT.CODE, codeSize: this.codeSize }))
    this.jump(AT.CODE)
    return this.cpu.run(budget)
  }

  /** Vector of the handler whose HLT has just been executed; -1 when execution is elsewhere. */
  get handled(): number {
    const rip = this.cpu.registers.rip() - 1
    return rip >= AT.HANDLERS && rip < AT.HANDLERS + 4096 && rip % 16 === 0 ? (rip - AT.HANDLERS) / 16 : -1
  }

  /** The frame on top of the stack, lowest address first: [error code], rip, cs, flags, rsp, ss. */
  frame(count: number): number[] {
    const top = this.get('rsp')
    return Array.from({ length: count }, (_, i) => this.read64(top + i * 8))
  }
}
