/**
 * A virtualised processor whose guest-physical frames lie scattered over the machine's memory, for tests that run a few
 * bytes of machine code: 4 MiB, of which the first two are mapped one to one by the guest's own tables.
 *
 *   0x1000 page tables   0x6000 GDT   0x7000 IDT   0x10000 code   0x20000 handlers, 16 bytes each, of one HLT
 *   0x40000 data   0x50000 end of the stack
 */
import { EXIT, FRAME_RIGHT, Machine } from '../../src/machine/index.ts'
import type { MachineOptions, ProcessorOptions, VirtualisedProcessor } from '../../src/machine/index.ts'
import { GPR, PTE } from '../../src/x86/index.ts'
import type { GprName } from '../../src/x86/index.ts'
import { highPart, lowPart } from '../../src/util/index.ts'
import { assemble } from './assembler.ts'

/** Where things lie, guest-physical. */
export const AT = { ROOT: 0x1000, TABLE: 0x4000, GDT: 0x6000, IDT: 0x7000, CODE: 0x1_0000, HANDLERS: 0x2_0000, DATA: 0x4_0000, STACK: 0x5_0000 } as const
/** All rights of a frame. */
export const ALL_RIGHTS = FRAME_RIGHT.READ | FRAME_RIGHT.WRITE | FRAME_RIGHT.EXECUTE

const FRAMES = 1024
const ALL = PTE.PRESENT | PTE.WRITABLE | PTE.USER

/** Machine, processor, host's translation. */
export class VirtualBench {
  readonly machine: Machine
  readonly cpu: VirtualisedProcessor
  /** What the host answers by guest-physical frame. */
  readonly p2m = new Uint32Array(FRAMES)
  /** Guest-physical frames that the host was asked for. */
  readonly asked: number[] = []

  constructor(options: Partial<ProcessorOptions> & Pick<MachineOptions, 'compiler'> = {}) {
    const { compiler = 'off', ...processor } = options
    this.machine = new Machine({ memoryBytes: FRAMES * 4096, processors: 1, compiler })
    const { firstFrame } = this.machine.memory
    for (let gfn = 0; gfn < FRAMES; gfn += 1) this.p2m[gfn] = (firstFrame + ((gfn * 37) % FRAMES)) * 4096 + ALL_RIGHTS
    this.cpu = this.machine.createProcessor({
      ...processor, mode: 'virtualised',
      physical: {
        frame: (gfn) => {
          this.asked.push(gfn)
          return this.p2m[gfn] ?? 0
        },
      },
    })
    this.tables()
  }

  private tables(): void {
    for (let level = 0; level < 3; level += 1) this.write32(AT.ROOT + level * 4096, (AT.ROOT + (level + 1) * 4096) | ALL)
    for (let page = 0; page < 512; page += 1) this.write32(AT.TABLE + page * 8, (page * 4096) | ALL)
    this.write32(AT.GDT + 8, 0xffff)
    this.write32(AT.GDT + 12, 0x00af_9a00)
    for (let vector = 0; vector < 256; vector += 1) {
      const target = AT.HANDLERS + vector * 16
      this.write(target, [0xf4])
      this.write32(AT.IDT + vector * 16, (target & 0xffff) | 0x8_0000)
      this.write32(AT.IDT + vector * 16 + 4, (target & 0xffff_0000) | 0x8e00)
    }
    const { system, registers } = this.cpu
    system.gdt = { baseLow: AT.GDT, baseHigh: 0, limit: 15 }
    system.idt = { baseLow: AT.IDT, baseHigh: 0, limit: 0xfff }
    registers.setControl(3, AT.ROOT, 0)
    this.set('rsp', AT.STACK)
  }

  /** Byte offset in the machine's memory of a guest-physical address. */
  at(address: number): number {
    return (this.p2m[address >>> 12]! & -4096) + (address & 4095)
  }

  write(address: number, bytes: ArrayLike<number>): void {
    Array.from(bytes).forEach((byte, i) => {
      this.machine.memory.bytes[this.at(address + i)] = byte
    })
    for (let page = address >>> 12; page <= (address + bytes.length - 1) >>> 12; page += 1) this.machine.memory.markWritten(this.at(page * 4096) >>> 12)
  }

  write32(address: number, value: number): void {
    this.write(address, [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff))
  }

  read32(address: number): number {
    return this.machine.memory.view.getUint32(this.at(address), true)
  }

  set(name: GprName, value: number): void {
    this.cpu.registers.set(GPR[name], lowPart(value), highPart(value))
  }

  get(name: GprName): number {
    return this.cpu.registers.low(GPR[name])
  }

  /** Writes a listing and goes there. */
  load(listing: string, codeSize: 16 | 32 | 64 = 64): void {
    this.write(AT.CODE, assemble(listing, { origin: AT.CODE, codeSize }))
    this.cpu.registers.setRip(AT.CODE, 0)
  }

  /** Writes a listing and runs it up to an exit. */
  run(listing: string, budget = 10_000): number {
    this.load(listing)
    return this.cpu.run(budget)
  }

  /** Vector of the handler whose HLT has just been executed; -1 when execution is elsewhere. */
  get handled(): number {
    const rip = this.cpu.registers.rip() - 1 - AT.HANDLERS
    return this.cpu.exit.reason === EXIT.HALT && rip >= 0 && rip < 4096 && rip % 16 === 0 ? rip / 16 : -1
  }
}
