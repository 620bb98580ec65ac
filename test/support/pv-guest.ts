/**
 * A PV guest on a scripted processor: page tables that map its first frames one to one at a base address, registers, a
 * trap table, and hypercalls as its kernel makes them.
 */
import { FLAT, HYPERVISOR, VGCF } from '../../src/abi/index.ts'
import type { VcpuContext, VcpuUserRegisters } from '../../src/hypervisor/index.ts'
import { EXIT } from '../../src/machine/index.ts'
import { GPR, PTE } from '../../src/x86/index.ts'
import type { DomId, Mfn } from '../../src/util/index.ts'
import { TABLE, TestGuest, TestHost, WRITE } from './hypervisor-host.ts'
import { ScriptedProcessor, type Step } from '../../src/testing/index.ts'

/** Where the guest's frames are mapped: frame i of the guest at BASE + i * 4096. */
export const BASE = 0x10_0000
/** Pages that are mapped, before the tables themselves. */
export const MAPPED = 32
const KERNEL_STACK = BASE + 31 * 4096
/** Frame numbers (in the guest) of its four tables, and of the user's top-level table. */
const TABLES = { l4: 40, l3: 41, l2: 42, l1: 43, user: 44 } as const

const noRegisters: VcpuUserRegisters = {
  rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n, rsi: 0n, rdi: 0n, rbp: 0n, rsp: BigInt(KERNEL_STACK), r8: 0n, r9: 0n, r10: 0n,
  r11: 0n, r12: 0n, r13: 0n, r14: 0n, r15: 0n, rip: 0x1000n, rflags: 0x202n, cs: FLAT.KERNEL_CS64, ss: FLAT.KERNEL_SS,
  ds: 0, es: 0, fs: 0, gs: 0, savedUpcallMask: 0,
}

/** A PV domain with one scripted vCPU. */
export class PvGuest extends TestGuest {
  readonly processor: ScriptedProcessor
  /** Those of all vCPUs that have been given registers. */
  readonly processors: readonly ScriptedProcessor[]
  readonly l1: Mfn
  readonly l4: Mfn
  readonly user: Mfn

  private constructor(host: TestHost, domid: DomId, frames: readonly Mfn[], processors: readonly ScriptedProcessor[]) {
    super(host, domid, frames)
    this.processors = processors
    this.processor = processors[0]!
    this.l1 = frames[TABLES.l1]!
    this.l4 = frames[TABLES.l4]!
    this.user = frames[TABLES.user]!
  }

  /** A context for vCPU 0 in kernel mode; entries may be replaced. */
  static context(l4: number, changes: Partial<VcpuContext> = {}): VcpuContext {
    return {
      flags: VGCF.in_kernel | VGCF.online, user: noRegisters, fpu: new Uint8Array(512), traps: [], ldtBase: 0n, ldtEntries: 0,
      gdtFrames: [], gdtEntries: 0, kernelSs: FLAT.KERNEL_SS, kernelSp: BigInt(KERNEL_STACK), kernelTable: l4, userTable: 0,
      cr0: 0n, cr4: 0n, debug: [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n], eventCallback: 0x2000n, failsafeCallback: 0x2100n,
      syscallCallback: 0x2200n, vmAssist: 0n, fsBase: 0n, gsBaseKernel: 0x1111_0000n, gsBaseUser: 0x2222_0000n, ...changes,
    }
  }

  /** Host and guest; `changes` go into the context. */
  static boot(changes: Partial<VcpuContext> = {}, options: { maxPages?: number; physicalCpus?: number; portion?: number; frames?: number } = {}): PvGuest {
    const processors: ScriptedProcessor[] = []
    const host = new TestHost({
      physicalCpus: options.physicalCpus ?? 1,
      ...(options.frames === undefined ? {} : { frames: options.frames }),
      ...(options.portion === undefined ? {} : { portion: options.portion }),
      createProcessor: () => {
        const processor = new ScriptedProcessor()
        processors.push(processor)
        return processor
      },
    })
    const { hypervisor } = host
    const domid = hypervisor.createDomain({ kind: 'pv', vcpus: 2, maxPages: options.maxPages ?? 64 })
    const frames = hypervisor.populatePhysmap(domid, 64, 0)
    const builder = new TestGuest(host, domid, frames)
    const [l4, l3, l2, l1, user] = [TABLES.l4, TABLES.l3, TABLES.l2, TABLES.l1, TABLES.user].map((i) => frames[i]!)
    for (const top of [l4!, user!]) builder.poke(top, 0, l3!, TABLE)
    builder.poke(l3!, 0, l2!, TABLE)
    builder.poke(l2!, 0, l1!, TABLE)
    for (let i = 0; i < MAPPED; i += 1) builder.poke(l1!, (BASE >> 12) + i, frames[i]!, WRITE)
    // The tables themselves, read-only, behind the data.
    for (let i = 0; i < 5; i += 1) builder.poke(l1!, (BASE >> 12) + MAPPED + i, frames[TABLES.l4 + i]!, PTE.PRESENT)
    hypervisor.setVcpuContext(domid, 0, PvGuest.context(l4!, changes))
    hypervisor.unpauseDomain(domid)
    return new PvGuest(host, domid, frames, processors)
  }

  /** Virtual address of a byte in one of the mapped frames. */
  at(frame: number, offset = 0): number {
    return BASE + frame * 4096 + offset
  }

  /** Virtual address at which a table is mapped read-only; 0 to 4: L4, L3, L2, L1, user L4. */
  tableAt(index: number): number {
    return BASE + (MAPPED + index) * 4096
  }

  /** Host byte address of a mapped frame. */
  place(frame: number, offset = 0): number {
    return this.frames[frame]! * 4096 + offset
  }

  /** Runs `steps` on the processor, and then a few instructions of nothing. */
  run(...steps: Step[]): void {
    this.processor.script.push(...steps)
    // What a step asks for may be so much work that the turn is over before the next one.
    for (let turn = 0; turn <= steps.length; turn += 1) {
      if (this.host.hypervisor.run({ instructions: 2000 }).kind !== 'limit' || this.processor.script.length === 0) return
    }
  }

  /** Makes a hypercall as the guest's kernel does; what RAX holds afterwards as a signed number. */
  hypercall(name: keyof typeof HYPERVISOR, ...args: number[]): number {
    const order = [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10, GPR.r8, GPR.r9]
    let result = Number.NaN
    this.run(
      (registers) => {
        order.forEach((register, i) => registers.set(register, (args[i] ?? 0) >>> 0, Math.floor((args[i] ?? 0) / 2 ** 32) >>> 0))
        registers.set(GPR.rax, HYPERVISOR[name], 0)
        return { reason: EXIT.SYSCALL }
      },
      (registers) => {
        result = (registers.high(GPR.rax) | 0) * 2 ** 32 + registers.low(GPR.rax)
        return undefined
      },
    )
    return result
  }

  /**
   * Makes a hypercall and goes on with it for as often as it pauses; `between` looks at the host after each portion. Gives
   * what RAX holds in the end, and in how many portions it was reached.
   */
  inPortions(
    name: keyof typeof HYPERVISOR, args: readonly number[], between: () => void = () => undefined,
  ): { result: number; portions: number } {
    const order = [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10, GPR.r8, GPR.r9]
    const behind = 0x1000
    let [portions, result] = [0, Number.NaN]
    const step: Step = (registers) => {
      if (portions === 0) {
        order.forEach((register, i) => registers.set(register, (args[i] ?? 0) >>> 0, Math.floor((args[i] ?? 0) / 2 ** 32) >>> 0))
        registers.set(GPR.rax, HYPERVISOR[name], 0)
      } else {
        between()
        if (registers.rip() === behind) {
          result = (registers.high(GPR.rax) | 0) * 2 ** 32 + registers.low(GPR.rax)
          return undefined
        }
      }
      portions += 1
      registers.setRip(behind, 0)
      this.processor.script.unshift(step)
      return { reason: EXIT.SYSCALL }
    }
    this.processor.script.push(step)
    while (this.processor.script.length > 0) this.host.hypervisor.run({ instructions: 2000 })
    return { result, portions }
  }

  /** Words of 64 bits on the guest's stack, from RSP up. */
  stack(count: number): bigint[] {
    const rsp = this.processor.registers.low(GPR.rsp)
    const host = this.place((rsp - BASE) >> 12, rsp & 0xfff)
    return Array.from({ length: count }, (_, i) => this.view.getBigUint64(host + i * 8, true))
  }
}
