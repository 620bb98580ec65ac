/**
 * A PV guest whose code is bytes that a test gives, on the real processor under a real hypervisor. Its first frames are
 * mapped one to one for kernel and user alike; each handler of its trap table is a jump to itself, at which a test sees
 * what came, and so are its callbacks.
 *
 *   frame 10 code   11 handlers, 16 bytes each   12 callbacks   20 data   30 user stack   31 kernel stack, from its end
 */
import { FLAT, VGCF } from '../../src/abi/index.ts'
import { Hypervisor, VirtualClock, type HypervisorOptions, type VcpuContext } from '../../src/hypervisor/index.ts'
import { Machine, type MachineOptions, type Processor } from '../../src/machine/index.ts'
import { SeededRandom, type DomId, type Mfn } from '../../src/util/index.ts'
import { GPR, PTE, type GprName } from '../../src/x86/index.ts'
import { assemble } from './assembler.ts'
import { TABLE, WRITE } from './hypervisor-host.ts'

const BASE = 0x10_0000
const MAPPED = 32
const TABLES = { l4: 40, l3: 41, l2: 42, l1: 43, user: 44 } as const

/** Virtual addresses of a guest's parts. */
export const PLACE = {
  CODE: BASE + 10 * 4096, HANDLERS: BASE + 11 * 4096, EVENT: BASE + 12 * 4096, SYSCALL: BASE + 12 * 4096 + 16,
  SYSCALL32: BASE + 12 * 4096 + 32, DATA: BASE + 20 * 4096, USER_STACK: BASE + 30 * 4096 + 0x800, KERNEL_STACK: BASE + 32 * 4096,
} as const

const JUMP_TO_ITSELF = [0xeb, 0xfe]
const VECTORS = Array.from({ length: 32 }, (_, vector) => vector)

/** How a guest begins. */
export interface CodeGuestOptions {
  /** Starts in user mode instead of kernel mode. */
  readonly mode?: 'kernel' | 'user'
  readonly context?: Partial<VcpuContext>
  readonly hypervisor?: Partial<HypervisorOptions>
  /** What its processors are. */
  readonly cpu?: MachineOptions['cpu']
}

/** Host and guest in one. */
export class CodeGuest {
  readonly machine: Machine
  readonly hypervisor: Hypervisor
  readonly domid: DomId
  readonly frames: readonly Mfn[]
  readonly processor: Processor

  constructor(options: CodeGuestOptions = {}) {
    this.machine = new Machine({ memoryBytes: 16 << 20, processors: 2, ...(options.cpu === undefined ? {} : { cpu: options.cpu }) })
    const processors: Processor[] = []
    this.hypervisor = new Hypervisor({
      memory: this.machine.memory, clock: new VirtualClock(), random: new SeededRandom(1),
      createProcessor: (settings) => {
        // Runs are measured out in instructions, whatever work they are.
        const processor = this.machine.createProcessor({ ...settings, accounting: 'instructions', random: new SeededRandom(2) })
        processors.push(processor)
        return processor
      },
      ...options.hypervisor,
    })
    this.domid = this.hypervisor.createDomain({ kind: 'pv', vcpus: 1, maxPages: 64 })
    this.frames = this.hypervisor.populatePhysmap(this.domid, 64, 0)
    this.makeTables()
    for (const vector of VECTORS) this.write(PLACE.HANDLERS + vector * 16, JUMP_TO_ITSELF)
    for (const place of [PLACE.EVENT, PLACE.SYSCALL, PLACE.SYSCALL32]) this.write(place, JUMP_TO_ITSELF)
    this.hypervisor.setVcpuContext(this.domid, 0, this.context(options))
    this.hypervisor.unpauseDomain(this.domid)
    this.processor = processors[0]!
  }

  private makeTables(): void {
    const frame = (index: number): Mfn => this.frames[index]!
    const poke = (table: number, slot: number, target: number, flags: number): void => {
      this.machine.memory.view.setBigUint64(table * 4096 + slot * 8, BigInt(target) * 4096n + BigInt(flags), true)
    }
    for (const top of [TABLES.l4, TABLES.user]) poke(frame(top), 0, frame(TABLES.l3), TABLE)
    poke(frame(TABLES.l3), 0, frame(TABLES.l2), TABLE)
    poke(frame(TABLES.l2), 0, frame(TABLES.l1), TABLE)
    for (let i = 0; i < MAPPED; i += 1) poke(frame(TABLES.l1), (BASE >> 12) + i, frame(i), WRITE | PTE.USER)
  }

  private context({ mode = 'kernel', context }: CodeGuestOptions): VcpuContext {
    const isUser = mode === 'user'
    const user = {
      rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n, rsi: 0n, rdi: 0n, rbp: 0n, r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n,
      r15: 0n, rip: BigInt(PLACE.CODE), rsp: BigInt(isUser ? PLACE.USER_STACK : PLACE.KERNEL_STACK), rflags: 0x202n,
      cs: FLAT.KERNEL_CS64, ss: FLAT.KERNEL_SS, ds: 0, es: 0, fs: 0, gs: 0, savedUpcallMask: 0,
    }
    return {
      flags: VGCF.online | (isUser ? 0 : VGCF.in_kernel), user, fpu: new Uint8Array(512), ldtBase: 0n, ldtEntries: 0, gdtFrames: [],
      gdtEntries: 0, kernelSs: FLAT.KERNEL_SS, kernelSp: BigInt(PLACE.KERNEL_STACK), kernelTable: this.frames[TABLES.l4]!,
      userTable: this.frames[TABLES.user]!, cr0: 0n, cr4: 0n, debug: [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n],
      eventCallback: BigInt(PLACE.EVENT), failsafeCallback: 0n, syscallCallback: BigInt(PLACE.SYSCALL), vmAssist: 0n, fsBase: 0n,
      gsBaseKernel: 0n, gsBaseUser: 0n,
      traps: VECTORS.map((vector) => ({ vector, flags: 0, cs: FLAT.KERNEL_CS64, address: BigInt(PLACE.HANDLERS + vector * 16) })),
      ...context,
    }
  }

  /** Byte of memory behind a mapped address. */
  host(address: number): number {
    return this.frames[(address - BASE) >> 12]! * 4096 + (address & 0xfff)
  }

  /** Writes bytes within one page. */
  write(address: number, bytes: ArrayLike<number>): void {
    this.machine.memory.bytes.set(Array.from(bytes), this.host(address))
    this.machine.memory.markWritten(this.host(address) >>> 12)
  }

  /** Runs a listing from its beginning until it has long come to a jump to itself. */
  run(listing: string): this {
    this.write(PLACE.CODE, [...assemble(listing, { origin: PLACE.CODE }), ...JUMP_TO_ITSELF])
    this.processor.registers.setRip(PLACE.CODE, 0)
    this.hypervisor.run({ instructions: 2000 })
    return this
  }

  /** Offset in the code of the jump to itself; negative when it is elsewhere. */
  get ended(): number {
    return this.processor.registers.rip() - PLACE.CODE
  }

  /** The vector whose handler was entered; -1 when none was. */
  get trapped(): number {
    const offset = this.processor.registers.rip() - PLACE.HANDLERS
    return offset >= 0 && offset < 512 && offset % 16 === 0 ? offset / 16 : -1
  }

  set(name: GprName, value: bigint | number): void {
    const word = BigInt.asUintN(64, BigInt(value))
    this.processor.registers.set(GPR[name], Number(word & 0xffff_ffffn), Number(word >> 32n))
  }

  get(name: GprName): bigint {
    const { registers } = this.processor
    return BigInt(registers.high(GPR[name])) << 32n | BigInt(registers.low(GPR[name]))
  }

  /** Words of 64 bits on the stack, from RSP up. */
  stack(count: number): bigint[] {
    const at = this.host(Number(this.get('rsp')))
    return Array.from({ length: count }, (_, i) => this.machine.memory.view.getBigUint64(at + i * 8, true))
  }
}
