/**
 * A guest of machine-host.ts that changes its own page tables: registers by name, a few bytes of code, and where it has
 * come to. Pages by number: 10 code, 11 and further a handler for each vector, 30 below the top of the stack.
 */
import { FLAT } from '../../src/abi/index.ts'
import type { VcpuContext } from '../../src/hypervisor/index.ts'
import type { Processor } from '../../src/machine/index.ts'
import { highPart, lowPart, type DomId } from '../../src/util/index.ts'
import { GPR } from '../../src/x86/index.ts'
import type { GprName } from '../../src/x86/index.ts'
import { assemble } from './assembler.ts'
import { BASE, MachineGuest, MachineHost, TABLES } from './machine-host.ts'

/** Pages of code, of the first vector's handler, and the one below the top of the stack. */
export const PAGE = { code: 10, handlers: 11, stack: 30 } as const
/** Vectors that the guests handle, each in a page of its own that begins with a jump to itself. */
export const HANDLED = [14, 13, 1, 6, 16] as const
/** jmp self */
export const HALT = 'jmp .'

/** What a guest is made of besides the usual. */
export interface TableGuestOptions {
  readonly host?: MachineHost
  readonly vcpus?: number
  readonly domid?: DomId
  /** Goes into the context of vCPU 0. */
  readonly context?: Partial<VcpuContext>
  /** Writes more into the tables before they are checked. */
  readonly tables?: (guest: TableGuest) => void
}

/** A domain that runs what a test gives it. */
export class TableGuest extends MachineGuest {
  readonly processor: Processor

  constructor(options: TableGuestOptions = {}) {
    const { host = new MachineHost() } = options
    super(host, { vcpus: options.vcpus ?? 1, domid: options.domid })
    HANDLED.forEach((_, i) => this.write(PAGE.handlers + i, HALT))
    this.write(PAGE.code, HALT)
    options.tables?.(this)
    const context = this.context({ start: this.at(PAGE.code), trap: this.at(PAGE.handlers), stack: this.at(PAGE.stack + 1) })
    host.hypervisor.setVcpuContext(this.domid, 0, {
      ...context,
      traps: HANDLED.map((vector, i) => ({ vector, flags: 4, cs: FLAT.KERNEL_CS64, address: BigInt(this.at(PAGE.handlers + i)) })),
      ...options.context,
    })
    this.processor = host.processors.at(-1)!
    host.hypervisor.unpauseDomain(this.domid)
  }

  /** Address at which entry `slot` of the level-1 table is mapped read-only. */
  entryAt(slot: number): number {
    return this.at(TABLES.l1, slot * 8)
  }

  /** An entry of the level-1 table as one number. */
  entry(slot: number): bigint {
    return this.host.machine.memory.view.getBigUint64(this.place(TABLES.l1, slot * 8), true)
  }

  /** Writes an assembled listing into a frame, as a builder would. */
  write(page: number, listing: string, { offset = 0, codeSize = 64 }: { offset?: number; codeSize?: 32 | 64 } = {}): void {
    this.load(page, assemble(listing, { origin: this.at(page, offset), codeSize }), offset)
  }

  set(register: GprName, value: number | bigint): void {
    const word = BigInt.asUintN(64, BigInt(value))
    this.processor.registers.set(GPR[register], Number(word & 0xffff_ffffn), Number(word >> 32n))
  }

  get(register: GprName): bigint {
    const { registers } = this.processor
    return (BigInt(registers.high(GPR[register])) << 32n) | BigInt(registers.low(GPR[register]))
  }

  /** Runs a listing from the code page. */
  execute(listing: string, { instructions = 20_000, codeSize = 64 }: { instructions?: number; codeSize?: 32 | 64 } = {}): void {
    this.write(PAGE.code, listing, { codeSize })
    const code = this.at(PAGE.code)
    this.processor.registers.setRip(lowPart(code), highPart(code))
    this.run(instructions)
  }

  /** Where it is: an offset in the code page, a vector that is being handled, an address, or crashed. */
  get state(): string {
    if (this.host.hypervisor.domainInfo(this.domid).crashed) return 'crashed'
    const rip = this.processor.registers.rip()
    const page = Math.floor((rip - BASE) / 4096)
    const vector = HANDLED[page - PAGE.handlers]
    return vector !== undefined ? `#${vector}` : page === PAGE.code ? `+${rip % 4096}` : `0x${rip.toString(16)}`
  }
}
