/**
 * The registers of a PVH vCPU as tools, traces and crash reports ask for them, and what checks ask of its processor.
 * Reference: xen/arch/x86/domctl.c, arch_get_info_guest; xen/arch/x86/domain.c, arch_set_info_guest, of HVM domains.
 */
import type { CacheInspection, CodeInspection, ProcessorProfile, Registers, Trace, TraceHooks } from '../../../machine/index.ts'
import { ERRNO } from '../../../abi/index.ts'
import { bigFromParts } from '../../../util/index.ts'
import { type CpuidAnswer, GPR, type GprName, PAGE_SHIFT, PAGE_SIZE, SEGMENT } from '../../../x86/index.ts'
import type { CpuidTable } from '../../domains/cpu-policy.ts'
import type { CrashRegisters, TrapNote, WalkStep } from '../../domains/crash-report.ts'
import type { GuestCaches, GuestContext, Leaf } from '../../domains/guest-vcpu.ts'
import type { VcpuContext, VcpuUserRegisters } from '../../domains/vcpu-registers.ts'
import type { TlbClock } from '../../frames/tlb-clock.ts'
import { PLACE } from '../../frames/physical-map.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { giveExtendedState, takeExtendedState } from '../processors/extended-state.ts'
import { STATE_LEAF } from './cpuid.ts'
import { lookThrough, walkSteps } from './guest-walk.ts'
import type { PvhVcpu } from './pvh-vcpu.ts'

const GENERAL: readonly GprName[] = [
  'rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'rsp', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
]
/** The registers are those of a kernel. */
const IN_KERNEL = 4
const RING = 3

/** What contexts work on. */
export interface PvhContextParts {
  readonly memory: GuestMemory
  readonly tlb: TlbClock
  cpuid(pvh: PvhVcpu, leaf: number, question: { readonly subleaf: number; readonly own: CpuidTable | undefined }): CpuidAnswer
}

/** Registers of one PVH vCPU. */
export class PvhContext implements GuestContext {
  private readonly pvh: PvhVcpu
  private readonly parts: PvhContextParts

  constructor(pvh: PvhVcpu, parts: PvhContextParts) {
    this.pvh = pvh
    this.parts = parts
  }

  get registers(): Registers {
    return this.pvh.processor.registers
  }

  get lastTrap(): Readonly<TrapNote> {
    return this.pvh.lastTrap
  }

  /** General registers, flags and debug registers of a vCPU; segments and control registers are of an HVM context. */
  set(context: VcpuContext): number {
    const { registers, pvh } = this
    if (context.fpu.length !== 512) return -ERRNO.EINVAL
    for (const name of GENERAL) {
      const value = context.user[name]
      registers.set(GPR[name], Number(value & 0xffff_ffffn), Number(value >> 32n))
    }
    registers.setRip(lowOf(context.user.rip), highOf(context.user.rip))
    registers.setFlags(lowOf(context.user.rflags))
    pvh.processor.loadFpu(context.fpu)
    context.debug.forEach((value, i) => {
      if (i < 4 || i > 5) registers.setDebug(i, lowOf(value), highOf(value))
    })
    return 0
  }

  get(): VcpuContext {
    const { registers, pvh } = this
    const control = (index: number): bigint => bigFromParts(registers.controlLow(index), registers.controlHigh(index))
    const debug = (index: number): bigint => (index === 4 || index === 5 ? 0n : bigFromParts(registers.debugLow(index), registers.debugHigh(index)))
    return {
      flags: (this.isKernel ? IN_KERNEL : 0), user: this.userRegisters(), fpu: pvh.processor.saveFpu(), traps: [],
      ldtBase: 0n, ldtEntries: 0, gdtFrames: [], gdtEntries: 0, kernelSs: 0, kernelSp: 0n,
      kernelTable: Math.floor(Number(control(3)) / PAGE_SIZE), userTable: 0, cr0: control(0), cr4: control(4),
      debug: [0, 1, 2, 3, 4, 5, 6, 7].map(debug), eventCallback: 0n, failsafeCallback: 0n, syscallCallback: 0n, vmAssist: 0n,
      fsBase: this.base(SEGMENT.fs), gsBaseKernel: bigFromParts(registers.kernelGsBaseLow(), registers.kernelGsBaseHigh()), gsBaseUser: this.base(SEGMENT.gs),
    }
  }

  extendedState(): Uint8Array {
    return this.offeredState() === 0 ? new Uint8Array(0) : takeExtendedState(this.pvh)
  }

  setExtendedState(bytes: Uint8Array): number {
    return giveExtendedState(this.pvh, bytes, this.offeredState())
  }

  offeredState(): number {
    return this.cpuid(STATE_LEAF, 0, this.pvh.vcpu.owner.cpuPolicy)[0]
  }

  cpuid(leaf: number, subleaf: number, own: CpuidTable | undefined): CpuidAnswer {
    return this.parts.cpuid(this.pvh, leaf, { subleaf, own })
  }

  trace(hooks: TraceHooks): Trace {
    return this.pvh.processor.trace(hooks)
  }

  profile(): ProcessorProfile {
    return this.pvh.processor.profile()
  }

  crashRegisters(): CrashRegisters {
    const { registers, pvh } = this
    const control = (index: number): bigint => bigFromParts(registers.controlLow(index), registers.controlHigh(index))
    return {
      registers: this.userRegisters(), cr0: control(0), cr2: control(2), cr3: control(3), cr4: control(4), fsBase: this.base(SEGMENT.fs),
      gsBase: this.base(SEGMENT.gs), gsShadow: bigFromParts(registers.kernelGsBaseLow(), registers.kernelGsBaseHigh()),
      inKernel: this.isKernel, instruction: pvh.processor.instruction()?.text,
    }
  }

  walk(address: number): WalkStep[] {
    return walkSteps(this.parts.memory, this.pvh, address)
  }

  private get isKernel(): boolean {
    return (this.registers.selector(SEGMENT.cs) & RING) === 0
  }

  private base(index: number): bigint {
    const { baseLow, baseHigh } = this.registers.segment(index)
    return bigFromParts(baseLow, baseHigh)
  }

  private userRegisters(): VcpuUserRegisters {
    const { registers } = this
    const general = Object.fromEntries(GENERAL.map((name) => [name, bigFromParts(registers.low(GPR[name]), registers.high(GPR[name]))]))
    const selector = (index: number): number => registers.selector(index)
    return {
      // GENERAL names every general register.
      ...(general as Record<GprName, bigint>),
      rip: BigInt.asUintN(64, BigInt(registers.rip())), rflags: BigInt(registers.flags() >>> 0),
      cs: selector(SEGMENT.cs), ss: selector(SEGMENT.ss), ds: selector(SEGMENT.ds), es: selector(SEGMENT.es), fs: selector(SEGMENT.fs),
      gs: selector(SEGMENT.gs), savedUpcallMask: 0,
    }
  }
}

const lowOf = (value: bigint): number => Number(value & 0xffff_ffffn)
const highOf = (value: bigint): number => Number(BigInt.asUintN(64, value) >> 32n)

/** What one PVH vCPU's processor has remembered. */
export class PvhCaches implements GuestCaches {
  private readonly pvh: PvhVcpu
  private readonly parts: Pick<PvhContextParts, 'memory' | 'tlb'>

  constructor(pvh: PvhVcpu, parts: Pick<PvhContextParts, 'memory' | 'tlb'>) {
    this.pvh = pvh
    this.parts = parts
  }

  /** Guest-physical: where the guest has its top table is its own affair. */
  get root(): number {
    return this.pvh.processor.registers.controlLow(3) >>> PAGE_SHIFT
  }

  /** Every kernel here has ring 0, within what its physical map gives it. */
  readonly isUser = false

  /** What is taken out of the physical map is forgotten at once: nothing stale may lead to it. A frame of others' may lie at several places. */
  reaches(frame: number, isWrite: boolean): boolean {
    const { physmap } = this.pvh.domain
    if (physmap.placeOf(frame) >= 0) return true
    for (const { mfn, kind } of physmap.places()) if (mfn === frame && !(isWrite && kind === PLACE.GRANTED_READONLY)) return true
    return false
  }

  inspect(): CacheInspection {
    return this.pvh.processor.inspect()
  }

  inspectCode(): CodeInspection {
    return this.pvh.processor.inspectCode()
  }

  isDue(stamp = this.parts.tlb.now()): boolean {
    return this.parts.tlb.isDue(this.pvh, stamp)
  }

  look(address: number): Leaf | undefined {
    return lookThrough(this.parts.memory, this.pvh, address)
  }

  lookAsKernel(address: number): Leaf | undefined {
    return this.look(address)
  }
}
