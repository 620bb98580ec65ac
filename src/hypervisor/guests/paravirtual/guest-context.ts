/**
 * The registers of a PV vCPU as builders, save, traces and crash reports ask for them, and what checks ask of its
 * processor. Setting and getting all of them at once is each kind's own.
 */
import type { CacheInspection, CodeInspection, ProcessorProfile, Registers, Trace, TraceHooks } from '../../../machine/index.ts'
import { ERRNO } from '../../../abi/index.ts'
import { bigFromParts } from '../../../util/index.ts'
import { type CpuidAnswer, PAGE_SHIFT, SEGMENT } from '../../../x86/index.ts'
import type { CpuidTable } from '../../domains/cpu-policy.ts'
import type { CrashRegisters, TrapNote, WalkStep } from '../../domains/crash-report.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { CompatEntries, GuestCaches, GuestContext, Leaf } from '../../domains/guest-vcpu.ts'
import type { VcpuContext } from '../../domains/vcpu-registers.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import type { TlbClock } from '../../frames/tlb-clock.ts'
import { isGuestAddress } from '../../memory/guest-address.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { giveExtendedState, takeExtendedState } from '../processors/extended-state.ts'
import { look } from '../direct-paging/look.ts'
import type { PrivilegedOperations } from './privileged.ts'
import { type EntryPoint, type ParavirtualVcpu, setEntry } from './paravirtual-vcpu.ts'
import { userRegisters } from './user-registers.ts'

/** A number that the machine-to-physical table does not have. */
const INVALID_PFN = 0xffff_ffff_ffff_ffffn

/** What contexts work on. */
export interface GuestContextParts {
  readonly memory: GuestMemory
  readonly machineToPhys: MachineToPhys
  /** Sets all state: 0, or a negative error number with nothing changed; gets it. */
  readonly contexts: { set(context: VcpuContext): number; get(): VcpuContext }
  readonly privileged: PrivilegedOperations
}

const putEntry = (point: EntryPoint, address: bigint): void => setEntry(point, Number(address & 0xffff_ffffn), Number(address >> 32n))

/** Registers of one PV vCPU. */
export class ParavirtualContext implements GuestContext {
  private readonly vcpu: Vcpu
  private readonly pv: ParavirtualVcpu
  private readonly parts: GuestContextParts

  constructor(vcpu: Vcpu, pv: ParavirtualVcpu, parts: GuestContextParts) {
    this.vcpu = vcpu
    this.pv = pv
    this.parts = parts
  }

  get registers(): Registers {
    return this.pv.processor.registers
  }

  get lastTrap(): Readonly<TrapNote> {
    return this.pv.lastTrap
  }

  set(context: VcpuContext): number {
    return this.parts.contexts.set(context)
  }

  get(): VcpuContext {
    return this.parts.contexts.get()
  }

  extendedState(): Uint8Array {
    return takeExtendedState(this.pv)
  }

  setExtendedState(bytes: Uint8Array): number {
    return giveExtendedState(this.pv, bytes, this.offeredState())
  }

  entries(): CompatEntries {
    const { syscall32Callback, sysenterCallback, syscall32Selector, sysenterSelector, syscall32MasksEvents, sysenterMasksEvents } = this.pv
    return {
      syscall32: { address: bigFromParts(syscall32Callback.low, syscall32Callback.high), selector: syscall32Selector, masksEvents: syscall32MasksEvents },
      sysenter: { address: bigFromParts(sysenterCallback.low, sysenterCallback.high), selector: sysenterSelector, masksEvents: sysenterMasksEvents },
    }
  }

  setEntries({ syscall32, sysenter }: CompatEntries): number {
    const isSound = (address: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, address)) === address
    if (!isSound(syscall32.address) || !isSound(sysenter.address)) return -ERRNO.EINVAL
    const { pv } = this
    // A kernel runs in the ring that its selectors cannot leave.
    const selectorOf = (selector: number): number => (selector === 0 ? 0 : selector | (this.vcpu.owner.hasPae ? 1 : 3))
    putEntry(pv.syscall32Callback, syscall32.address)
    pv.syscall32Selector = selectorOf(syscall32.selector)
    pv.syscall32MasksEvents = syscall32.masksEvents
    putEntry(pv.sysenterCallback, sysenter.address)
    pv.sysenterSelector = selectorOf(sysenter.selector)
    pv.sysenterMasksEvents = sysenter.masksEvents
    return 0
  }

  offeredState(): number {
    return this.parts.privileged.offeredState(this.vcpu, this.pv)
  }

  cpuid(leaf: number, subleaf: number, own: CpuidTable | undefined): CpuidAnswer {
    return this.parts.privileged.query(this.pv, { leaf, subleaf, own, time: this.vcpu.owner.tsc.facts })
  }

  trace(hooks: TraceHooks): Trace {
    return this.pv.processor.trace(hooks)
  }

  profile(): ProcessorProfile {
    return this.pv.processor.profile()
  }

  crashRegisters(): CrashRegisters {
    const { pv, registers } = this
    const control = (index: number): bigint => bigFromParts(registers.controlLow(index), registers.controlHigh(index))
    const base = (index: number): bigint => {
      const { baseLow, baseHigh } = registers.segment(index)
      return bigFromParts(baseLow, baseHigh)
    }
    return {
      registers: userRegisters(pv), cr0: control(0), cr2: bigFromParts(pv.cr2.low, pv.cr2.high), cr3: control(3),
      cr4: control(4), fsBase: base(SEGMENT.fs), gsBase: base(SEGMENT.gs),
      gsShadow: bigFromParts(registers.kernelGsBaseLow(), registers.kernelGsBaseHigh()),
      inKernel: pv.inKernel, instruction: pv.processor.instruction()?.text,
    }
  }

  walk(address: number): WalkStep[] {
    const { memory, machineToPhys } = this.parts
    const steps: WalkStep[] = []
    let table = this.pv.root
    for (let level = 4; level >= 1 && isGuestAddress(address) && table !== 0; level -= 1) {
      const index = Math.floor(address / 2 ** (12 + 9 * (level - 1))) & 0x1ff
      const at = table * 1024 + index * 2
      const low = memory.words[at] ?? 0
      const frame = low >>> PAGE_SHIFT
      const pfn = frame < memory.endFrame ? BigInt(machineToPhys.get(frame)) : INVALID_PFN
      steps.push({ level, index, entry: bigFromParts(low, memory.words[at + 1] ?? 0), pfn })
      if ((low & 1) === 0 || frame >= memory.endFrame) break
      table = frame
    }
    return steps
  }
}

/** What caches are held against. */
export interface CacheParts {
  readonly memory: GuestMemory
  readonly tlb: TlbClock
}

/** What one PV vCPU's processor has remembered. */
export class ParavirtualCaches implements GuestCaches {
  private readonly pv: ParavirtualVcpu
  private readonly parts: CacheParts

  constructor(pv: ParavirtualVcpu, parts: CacheParts) {
    this.pv = pv
    this.parts = parts
  }

  get root(): number {
    return this.pv.root
  }

  get isUser(): boolean {
    return this.pv.isUser
  }

  inspect(): CacheInspection {
    return this.pv.processor.inspect()
  }

  inspectCode(): CodeInspection {
    return this.pv.processor.inspectCode()
  }

  isDue(stamp = this.parts.tlb.now()): boolean {
    return this.parts.tlb.isDue(this.pv, stamp)
  }

  look(address: number): Leaf | undefined {
    return look(this.parts.memory.words, this.pv.root, address)
  }

  lookFrom(root: number, address: number): Leaf | undefined {
    return look(this.parts.memory.words, root, address)
  }

  lookAsKernel(address: number): Leaf | undefined {
    return this.pv.kernelTable === 0 ? undefined : look(this.parts.memory.words, this.pv.kernelTable, address)
  }
}
