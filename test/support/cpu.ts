/**
 * A hosted processor with a small address space, for tests that run a few bytes of machine code.
 *
 *   0x400000 code (writable, executable)   0x600000 data   0x7ff000 end of the stack
 */
import { Machine } from '../../src/machine/index.ts'
import type { ProcessorLevel, ProcessorOptions } from '../../src/machine/index.ts'
import { GPR, PTE, PTE_HIGH_NX, tableIndex } from '../../src/x86/index.ts'
import type { GprName } from '../../src/x86/index.ts'
import { highPart, lowPart } from '../../src/util/index.ts'
import { assemble } from './assembler.ts'

/** Where code, data and stack lie. */
export const CODE = 0x40_0000
/** First byte of the data pages. */
export const DATA = 0x60_0000
/** First byte behind the stack. */
export const STACK_END = 0x7f_f000

type BenchOptions = Partial<ProcessorOptions> & { readonly memoryBytes?: number; readonly level?: ProcessorLevel; readonly library?: { readonly Machine: typeof Machine } }

/** Machine, processor and the tables that map them. */
export class CpuBench {
  readonly machine: Machine
  readonly cpu: ReturnType<Machine['createProcessor']>
  readonly root: number
  private nextFrame: number

  /** `library`: the machine layer that it is of; another build of the same source, say (mutants.ts). */
  constructor({ library = { Machine }, memoryBytes = 16 << 20, level, ...rest }: BenchOptions = {}) {
    this.machine = new library.Machine({ memoryBytes, processors: 4, ...(level === undefined ? {} : { cpu: level }) })
    this.nextFrame = this.machine.memory.firstFrame
    this.root = this.frame()
    this.cpu = this.machine.createProcessor({ mode: 'hosted', ...rest })
    this.cpu.registers.setControl(3, this.root * 4096, 0)
    for (let i = 0; i < 8; i += 1) this.map(CODE + i * 4096)
    for (let i = 0; i < 8; i += 1) this.map(DATA + i * 4096)
    for (let i = 1; i <= 4; i += 1) this.map(STACK_END - i * 4096)
    this.set('rsp', STACK_END - 256)
    this.jump(CODE)
  }

  /** Takes an unused frame. */
  frame(): number {
    return this.nextFrame++
  }

  /** Offset of the level-1 entry for an address, making tables as needed. */
  entry(address: number): number {
    const { view } = this.machine.memory
    let table = this.root
    for (let level = 4; level > 1; level -= 1) {
      const at = table * 4096 + tableIndex(address, level) * 8
      if ((view.getUint32(at, true) & PTE.PRESENT) === 0) {
        view.setUint32(at, this.frame() * 4096 + (PTE.PRESENT | PTE.WRITABLE | PTE.USER), true)
      }
      table = view.getUint32(at, true) >>> 12
    }
    return table * 4096 + tableIndex(address, 1) * 8
  }

  /** Maps a page; returns its frame. */
  map(address: number, flags: number = PTE.PRESENT | PTE.WRITABLE | PTE.USER, frame = this.frame(), nx = false): number {
    const at = this.entry(address)
    this.machine.memory.view.setUint32(at, frame * 4096 + flags, true)
    this.machine.memory.view.setUint32(at + 4, nx ? PTE_HIGH_NX : 0, true)
    this.cpu.flushTlb()
    return frame
  }

  /** Byte offset in memory of a mapped address. */
  host(address: number): number {
    const low = this.machine.memory.view.getUint32(this.entry(address), true)
    return (low >>> 12) * 4096 + (address % 4096)
  }

  /** Writes bytes at a linear address, as the host would. */
  write(address: number, bytes: ArrayLike<number>): void {
    for (let i = 0; i < bytes.length; i += 1) {
      const at = this.host(address + i)
      this.machine.memory.bytes[at] = bytes[i]!
      this.machine.memory.markWritten(at >>> 12)
    }
  }

  read(address: number, count: number): Uint8Array {
    return Uint8Array.from({ length: count }, (_, i) => this.machine.memory.bytes[this.host(address + i)]!)
  }

  set(name: GprName, value: number | bigint): void {
    if (typeof value === 'bigint') {
      const word = BigInt.asUintN(64, value)
      this.cpu.registers.set(GPR[name], Number(word & 0xffff_ffffn), Number(word >> 32n))
    } else this.cpu.registers.set(GPR[name], lowPart(value), highPart(value))
  }

  get(name: GprName): bigint {
    return (BigInt(this.cpu.registers.high(GPR[name])) << 32n) | BigInt(this.cpu.registers.low(GPR[name]))
  }

  jump(address: number): void {
    this.cpu.registers.setRip(lowPart(address), highPart(address))
  }

  /** Assembles a listing at CODE and runs it up to an exit. */
  run(listing: string, budget = 1_000_000): number {
    this.write(CODE, assemble(listing, { origin: CODE }))
    this.jump(CODE)
    return this.cpu.run(budget)
  }
}

/** Bytes of a hex text; blanks are ignored. */
export const hexBytes = (hex: string): number[] =>
  (hex.replace(/\s+/g, '').match(/../g) ?? []).map((pair) => parseInt(pair, 16))
