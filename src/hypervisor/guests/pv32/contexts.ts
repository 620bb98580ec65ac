/**
 * Giving a 32-bit PV vCPU all of its state at once, and reading it back: what builders, VCPUOP_initialise, save and restore
 * do. What a hostile context could break is checked first; a refused one changes nothing.
 * Reference: xen/arch/x86/domain.c, arch_set_info_guest, arch_get_info_guest.
 */
import { ERRNO, VGCF } from '../../../abi/index.ts'
import { CR0, GPR, PAGE_SIZE, RFLAGS, SEGMENT } from '../../../x86/index.ts'
import type { VcpuContext } from '../../domains/vcpu-registers.ts'
import { CALL_AGAIN } from '../../time/work-meter.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import type { MmuExtended } from '../direct-paging/mmu-extended.ts'
import { setDebugRegister, setTaskSwitched } from '../paravirtual/debug-registers.ts'
import { setEntry } from '../paravirtual/paravirtual-vcpu.ts'
import type { PrivilegedOperations } from '../paravirtual/privileged.ts'
import { NULL_SEGMENT } from '../paravirtual/segment-registers.ts'
import { GENERAL, assistsFrom, assistsOf, debugRegisters, trapTable, userRegisters } from '../paravirtual/user-registers.ts'
import type { Pv32Vcpu } from './pv32-vcpu.ts'
import { type CompatSegments, FLAT_CODE, FLAT_STACK, dropInnerSegments, fixSelector } from './segments.ts'

/** What this part works on. */
export interface CompatContextParts {
  readonly mmu: MmuExtended
  readonly descriptorTables: DescriptorTables
  readonly segments: CompatSegments
  readonly privileged: Pick<PrivilegedOperations, 'setCr4'>
  /** Gives the vCPU its table of level 4, if it has none yet: 0, or -ENOMEM. */
  takeRoot(pv: Pv32Vcpu): number
}

const word = (value: bigint): number => Number(BigInt.asUintN(32, value))
const MOST_LDT_ENTRIES = 8192

/** Sets and gets whole vCPUs. */
export class CompatContexts {
  private readonly parts: CompatContextParts

  constructor(parts: CompatContextParts) {
    this.parts = parts
  }

  /** Gives a vCPU its state: 0, or a negative error number with nothing changed. */
  set(vcpu: Vcpu, pv: Pv32Vcpu, context: VcpuContext): number {
    if (!isSound(context)) return -ERRNO.EINVAL
    if (vcpu.initialised) {
      // Page tables and descriptor tables of a live vCPU change by hypercalls only.
      if (context.kernelTable !== pv.topTable) return -ERRNO.EOPNOTSUPP
    } else {
      const error = this.takeTables(vcpu, pv, context)
      if (error !== 0) return error
      if (vcpu.vcpu === 0) assistsFrom(vcpu, context.vmAssist)
    }
    setEntries(pv, context)
    this.setRegisters(vcpu, pv, context)
    pv.loadRoot()
    vcpu.initialised = true
    return 0
  }

  /** The vCPU's state as it stands; it should not run meanwhile. */
  get(vcpu: Vcpu, pv: Pv32Vcpu): VcpuContext {
    const flags = VGCF.i387_valid | (pv.inKernel ? VGCF.in_kernel : 0) | (vcpu.online ? VGCF.online : 0)
      | (pv.failsafeMasksEvents ? VGCF.failsafe_disables_events : 0)
    return {
      flags, user: userRegisters(pv), fpu: pv.processor.saveFpu(), traps: trapTable(pv),
      ldtBase: BigInt(pv.ldtBase), ldtEntries: pv.ldtEntries, gdtFrames: Array.from(pv.gdtFrames), gdtEntries: pv.gdtEntries,
      kernelSs: pv.kernelSs, kernelSp: BigInt(pv.kernelSp.low), kernelTable: pv.topTable, userTable: 0,
      cr0: pv.taskSwitched ? BigInt(CR0.TS) : 0n, cr4: BigInt(pv.cr4.low), debug: debugRegisters(pv),
      eventCallback: BigInt(pv.eventCallback.low), eventCallbackCs: pv.eventSelector,
      failsafeCallback: BigInt(pv.failsafeCallback.low), failsafeCallbackCs: pv.failsafeSelector, syscallCallback: 0n,
      vmAssist: vcpu.vcpu === 0 ? BigInt.asUintN(32, assistsOf(vcpu)) : 0n, fsBase: 0n, gsBaseKernel: 0n, gsBaseUser: 0n,
    }
  }

  private takeTables(vcpu: Vcpu, pv: Pv32Vcpu, context: VcpuContext): number {
    const { descriptorTables, mmu } = this.parts
    const lack = this.parts.takeRoot(pv)
    if (lack !== 0) return lack
    if (context.gdtEntries > 0) {
      const error = descriptorTables.setGdt(vcpu.owner, pv, context.gdtFrames, context.gdtEntries)
      if (error !== 0) return error
    }
    const error = mmu.setKernelTable(vcpu, context.kernelTable)
    // Paused: what has been taken stays, and is not taken again by the call that goes on.
    if (error === CALL_AGAIN) return error
    if (error !== 0) {
      descriptorTables.dropGdt(pv)
      return error
    }
    pv.ldtEntries = context.ldtEntries
    pv.ldtBase = context.ldtEntries === 0 ? 0 : word(context.ldtBase)
    return 0
  }

  private setRegisters(vcpu: Vcpu, pv: Pv32Vcpu, context: VcpuContext): void {
    const { privileged } = this.parts
    const { registers } = pv.processor
    const { user } = context
    for (const name of GENERAL) registers.set(GPR[name], word(user[name]), 0)
    const flags = word(user.rflags)
    pv.iopl = flags & RFLAGS.IOPL
    registers.setFlags(((flags & ~RFLAGS.IOPL) | RFLAGS.IF) >>> 0)
    this.setSegments(vcpu, pv, context)
    registers.setRip(word(user.rip), 0)
    setTaskSwitched(pv, (word(context.cr0) & CR0.TS) !== 0)
    privileged.setCr4(vcpu, pv, word(context.cr4))
    // What the old registers' last instruction holds back is not the new ones'.
    pv.processor.takeDebugTrap()
    context.debug.forEach((value, i) => setDebugRegister(pv, i, word(value), 0))
    if ((context.flags & VGCF.i387_valid) !== 0) pv.processor.loadFpu(context.fpu)
  }

  /** A data segment that cannot be loaded is told to the guest by its failsafe callback. */
  private setSegments(vcpu: Vcpu, pv: Pv32Vcpu, { user }: VcpuContext): void {
    const { segments } = this.parts
    const { registers } = pv.processor
    const { owner } = vcpu
    const code = segments.code(owner, pv, fixSelector(user.cs)) ?? FLAT_CODE
    const ring = code.selector & 3
    // A stack of another ring than the code's no processor would have.
    const stack = segments.stack(owner, pv, fixSelector(user.ss), ring)
    registers.setSegment(SEGMENT.ss, stack ?? FLAT_STACK)
    registers.setSegment(SEGMENT.cs, stack === undefined ? FLAT_CODE : code)
    let isComplete = true
    for (const name of ['ds', 'es', 'fs', 'gs'] as const) {
      const segment = segments.data(owner, pv, user[name])
      isComplete &&= segment !== undefined
      registers.setSegment(SEGMENT[name], segment ?? NULL_SEGMENT)
    }
    dropInnerSegments(registers, registers.selector(SEGMENT.ss) & 3)
    pv.failsafePending = !isComplete
  }
}

/** Tables beyond what a guest may have, and a mode that there is not. */
function isSound(context: VcpuContext): boolean {
  return word(context.ldtBase) % PAGE_SIZE === 0 && context.ldtEntries <= MOST_LDT_ENTRIES && (word(context.user.rflags) & RFLAGS.VM) === 0
    && context.gdtEntries <= MOST_LDT_ENTRIES && context.fpu.length === 512
    && context.traps.every(({ vector }) => vector >= 0 && vector < 256)
}

function setEntries(pv: Pv32Vcpu, context: VcpuContext): void {
  for (let vector = 0; vector < 256; vector += 1) pv.setTrap(vector, { flags: 0, cs: 0, low: 0, high: 0 })
  for (const { vector, flags, cs, address } of context.traps) {
    pv.setTrap(vector, { flags, cs: fixSelector(cs), low: word(address), high: 0 })
  }
  pv.kernelSs = fixSelector(context.kernelSs)
  setEntry(pv.kernelSp, word(context.kernelSp), 0)
  setEntry(pv.eventCallback, word(context.eventCallback), 0)
  setEntry(pv.failsafeCallback, word(context.failsafeCallback), 0)
  pv.eventSelector = fixSelector(context.eventCallbackCs ?? 0)
  pv.failsafeSelector = fixSelector(context.failsafeCallbackCs ?? 0)
  pv.failsafeMasksEvents = (context.flags & VGCF.failsafe_disables_events) !== 0
}
