/**
 * A 32-bit PV guest whose code is bytes that a test gives, on the real processor under a real hypervisor. Its first frames are
 * mapped one to one at BASE for kernel and processes alike, its tables behind them read-only; each handler of its trap table is
 * a jump to itself, at which a test sees what came, and so are its callbacks.
 *
 *   frame 10 code   11 handlers, 16 bytes each   12 callbacks   20 data   30 user stack   31 kernel stack, from its end
 */
import { COMPAT_FLAT, HYPERVISOR, VGCF } from '../../src/abi/index.ts'
import { Hypervisor, VirtualClock, type VcpuContext, type VcpuUserRegisters } from '../../src/hypervisor/index.ts'
import { Machine, type Processor } from '../../src/machine/index.ts'
import { SeededRandom, type DomId, type Mfn } from '../../src/util/index.ts'
import { GPR, PTE, type GprName } from '../../src/x86/index.ts'
import { assemble } from './assembler.ts'
import { WRITE } from './hypervisor-host.ts'

/** First address that is mapped. */
export const BASE = 0x10_0000
const MAPPED = 32
/** Frame numbers (in the guest) of its tables: level 3, its four tables of level 2, the table of level 1. */
export const TABLES = { l3: 40, l2: 41, l2b: 42, l2c: 43, xen: 44, l1: 45 } as const
const TABLE_COUNT = 6

/** Virtual addresses of a guest's parts. */
export const PLACE = {
  CODE: BASE + 10 * 4096, HANDLERS: BASE + 11 * 4096, EVENT: BASE + 12 * 4096, FAILSAFE: BASE + 12 * 4096 + 16,
  SYSCALL32: BASE + 12 * 4096 + 32, DATA: BASE + 20 * 4096, USER_STACK: BASE + 30 * 4096 + 0x800, KERNEL_STACK: BASE + 32 * 4096,
} as const

/** Where the read-only machine-to-physical table begins. */
export const M2P = 0xf580_0000

const JUMP_TO_ITSELF = [0xeb, 0xfe]
const VECTORS = Array.from({ length: 32 }, (_, vector) => vector)
const ARGUMENTS = ['rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp'] as const

/** Registers that a guest begins with. */
export const REGISTERS: VcpuUserRegisters = {
  rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n, rsi: 0n, rdi: 0n, rbp: 0n, r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n,
  r15: 0n, rip: BigInt(PLACE.CODE), rsp: BigInt(PLACE.KERNEL_STACK), rflags: 0x202n, cs: COMPAT_FLAT.KERNEL_CS,
  ss: COMPAT_FLAT.KERNEL_SS, ds: COMPAT_FLAT.KERNEL_DS, es: COMPAT_FLAT.KERNEL_DS, fs: 0, gs: 0, savedUpcallMask: 0,
}

/** Machine and hypervisor with one 32-bit guest, or several. */
export class PaeHost {
  readonly machine: Machine
  readonly hypervisor: Hypervisor
  readonly freeAtBoot: number
  readonly processors: Processor[] = []

  constructor(options: { readonly portion?: number } = {}) {
    this.machine = new Machine({ memoryBytes: 16 << 20, processors: 4 })
    this.hypervisor = new Hypervisor({
      memory: this.machine.memory, clock: new VirtualClock(), random: new SeededRandom(1), ...options,
      createProcessor: (settings) => {
        const processor = this.machine.createProcessor({ ...settings, accounting: 'instructions', random: new SeededRandom(2) })
        this.processors.push(processor)
        return processor
      },
    })
    this.freeAtBoot = this.hypervisor.hostInfo().freeFrames
  }

  /** What does not add up; destroys all domains and counts again. */
  harm(): unknown[] {
    const found = [...this.hypervisor.checkInvariants()]
    for (const { domid } of this.hypervisor.listDomains()) this.hypervisor.destroyDomain(domid)
    found.push(...this.hypervisor.checkInvariants())
    const { freeFrames } = this.hypervisor.hostInfo()
    return freeFrames === this.freeAtBoot ? found : [...found, `${this.freeAtBoot - freeFrames} frames are lost`]
  }
}

/** How a guest begins. */
export interface PaeGuestOptions {
  readonly host?: PaeHost
  readonly context?: Partial<VcpuContext>
}

/** One domain of one vCPU. */
export class PaeGuest {
  readonly host: PaeHost
  readonly hypervisor: Hypervisor
  readonly domid: DomId
  readonly frames: readonly Mfn[]
  readonly processor: Processor

  constructor(options: PaeGuestOptions = {}) {
    this.host = options.host ?? new PaeHost()
    this.hypervisor = this.host.hypervisor
    this.domid = this.hypervisor.createDomain({ kind: 'pv32', vcpus: 2, maxPages: 80 })
    this.frames = this.hypervisor.populatePhysmap(this.domid, 64, 0)
    this.makeTables()
    for (const vector of VECTORS) this.write(PLACE.HANDLERS + vector * 16, JUMP_TO_ITSELF)
    for (const place of [PLACE.EVENT, PLACE.FAILSAFE, PLACE.SYSCALL32]) this.write(place, JUMP_TO_ITSELF)
    this.hypervisor.setVcpuContext(this.domid, 0, this.context(options.context))
    this.hypervisor.unpauseDomain(this.domid)
    this.processor = this.host.processors.at(-1)!
  }

  /** Sets an entry of a table that nobody watches. */
  poke(table: number, slot: number, target: number, flags: number): void {
    this.host.machine.memory.view.setBigUint64(table * 4096 + slot * 8, BigInt(target) * 4096n + BigInt(flags), true)
  }

  peek(table: number, slot: number): bigint {
    return this.host.machine.memory.view.getBigUint64(table * 4096 + slot * 8, true)
  }

  /** A tree of tables of its own, in frames from `first` on: level 3 with its four tables; none is checked. */
  tree(first: number): { readonly l3: Mfn; readonly l2s: readonly Mfn[] } {
    const [l3, ...l2s] = Array.from({ length: 5 }, (_, i) => this.frames[first + i]!)
    for (const mfn of [l3!, ...l2s]) this.host.machine.memory.bytes.fill(0, mfn * 4096, (mfn + 1) * 4096)
    l2s.forEach((l2, slot) => this.poke(l3!, slot, l2, PTE.PRESENT))
    return { l3: l3!, l2s }
  }

  private makeTables(): void {
    const frame = (index: number): Mfn => this.frames[index]!
    const l2s = [TABLES.l2, TABLES.l2b, TABLES.l2c, TABLES.xen]
    l2s.forEach((l2, slot) => this.poke(frame(TABLES.l3), slot, frame(l2), PTE.PRESENT))
    this.poke(frame(TABLES.l2), 0, frame(TABLES.l1), PTE.PRESENT | PTE.WRITABLE | PTE.USER)
    for (let i = 0; i < MAPPED; i += 1) this.poke(frame(TABLES.l1), (BASE >> 12) + i, frame(i), WRITE | PTE.USER)
    for (let i = 0; i < TABLE_COUNT; i += 1) this.poke(frame(TABLES.l1), (BASE >> 12) + MAPPED + i, frame(TABLES.l3 + i), PTE.PRESENT)
  }

  context(changes: Partial<VcpuContext> = {}): VcpuContext {
    return {
      flags: VGCF.online | VGCF.in_kernel, user: REGISTERS, fpu: new Uint8Array(512), ldtBase: 0n, ldtEntries: 0, gdtFrames: [], gdtEntries: 0,
      kernelSs: COMPAT_FLAT.KERNEL_SS, kernelSp: BigInt(PLACE.KERNEL_STACK), kernelTable: this.frames[TABLES.l3]!, userTable: 0, cr0: 0n,
      cr4: 0n, debug: [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n], eventCallback: BigInt(PLACE.EVENT), eventCallbackCs: COMPAT_FLAT.KERNEL_CS,
      failsafeCallback: BigInt(PLACE.FAILSAFE), failsafeCallbackCs: COMPAT_FLAT.KERNEL_CS, syscallCallback: 0n, vmAssist: 0n, fsBase: 0n,
      gsBaseKernel: 0n, gsBaseUser: 0n,
      traps: VECTORS.map((vector) => ({ vector, flags: 0, cs: COMPAT_FLAT.KERNEL_CS, address: BigInt(PLACE.HANDLERS + vector * 16) })),
      ...changes,
    }
  }

  /** Byte of memory behind a mapped address. */
  place(address: number): number {
    return this.frames[(address - BASE) >> 12]! * 4096 + (address & 0xfff)
  }

  /** Writes bytes within one page. */
  write(address: number, bytes: ArrayLike<number>): void {
    this.host.machine.memory.bytes.set(Array.from(bytes), this.place(address))
    this.host.machine.memory.markWritten(this.place(address) >>> 12)
  }

  /** Writes words of 32 bits within one page. */
  words(address: number, ...words: number[]): number {
    words.forEach((word, i) => this.host.machine.memory.view.setUint32(this.place(address) + i * 4, word >>> 0, true))
    return address
  }

  /** Words of 32 bits from an address on. */
  read(address: number, count: number): number[] {
    return Array.from({ length: count }, (_, i) => this.host.machine.memory.view.getUint32(this.place(address) + i * 4, true))
  }

  /** Runs a listing from its beginning until it has long come to a jump to itself. */
  run(listing: string): this {
    this.write(PLACE.CODE, [...assemble(listing, { origin: PLACE.CODE, codeSize: 32 }), ...JUMP_TO_ITSELF])
    this.processor.registers.setRip(PLACE.CODE, 0)
    this.hypervisor.run({ instructions: 2000 })
    return this
  }

  /** Makes a hypercall as its kernel does; what EAX holds afterwards as a signed number. */
  call(name: keyof typeof HYPERVISOR, ...args: number[]): number {
    ARGUMENTS.forEach((register, i) => { this.set(register, (args[i] ?? 0) >>> 0) })
    this.set('rax', HYPERVISOR[name])
    this.run('int $0x82')
    return this.get('rax') | 0
  }

  /** The vector whose handler was entered; -1 when none was. */
  get trapped(): number {
    const offset = this.processor.registers.rip() - PLACE.HANDLERS
    return offset >= 0 && offset < 512 && offset % 16 === 0 ? offset / 16 : -1
  }

  set(name: GprName, value: number): void {
    this.processor.registers.set(GPR[name], value >>> 0, 0)
  }

  get(name: GprName): number {
    return this.processor.registers.low(GPR[name])
  }

  /** Words of 32 bits on the stack, from ESP up. */
  stack(count: number): number[] {
    return this.read(this.get('rsp'), count)
  }
}
