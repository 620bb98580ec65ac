/**
 * Giving a PV vCPU all of its state at once, and reading it back: what builders, VCPUOP_initialise, save and restore
 * do.
 * What a hostile context could break is checked first; a refused one changes nothing.
 * Reference: xen/arch/x86/domain.c, arch_set_info_guest, arch_get_info_guest.
 */
import { ERRNO, VGCF } from '../../../abi/index.ts'
import { bigFromParts, isCanonical, signedFromParts } from '../../../util/index.ts'
import { CR0, GPR, RFLAGS, SEGMENT } from '../../../x86/index.ts'
import type { VcpuContext } from '../../domains/vcpu-registers.ts'
import { CALL_AGAIN } from '../../time/work-meter.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import type { MmuExtended } from '../direct-paging/mmu-extended.ts'
import type { PrivilegedOperations } from '../paravirtual/privileged.ts'
import { setDebugRegister, setTaskSwitched } from '../paravirtual/debug-registers.ts'
import { type EntryPoint, setEntry } from '../paravirtual/paravirtual-vcpu.ts'
import { setSegmentBase } from '../paravirtual/segment-registers.ts'
import { GENERAL, assistsFrom, assistsOf, debugRegisters, trapTable, userRegisters } from '../paravirtual/user-registers.ts'
import { FLAT_CODE_64, FLAT_DATA, type PvVcpu } from './pv-vcpu.ts'
import type { SegmentLoader } from './segments.ts'
import { isGuestAddress } from '../../memory/guest-address.ts'

/** What this part works on. */
export interface ContextParts {
  readonly mmu: MmuExtended
  readonly descriptorTables: DescriptorTables
  readonly segments: SegmentLoader
  readonly privileged: Pick<PrivilegedOperations, 'setCr4'>
}

const low = (value: bigint): number => Number(BigInt.asUintN(32, value))
const high = (value: bigint): number => Number(BigInt.asUintN(32, value >> 32n))
const address = (value: bigint): number => signedFromParts(low(value), high(value))

/** Sets and gets whole vCPUs. */
export class VcpuContexts {
  private readonly parts: ContextParts

  constructor(parts: ContextParts) {
    this.parts = parts
  }

  /** Gives a vCPU its state: 0, or a negative error number with nothing changed. */
  set(vcpu: Vcpu, pv: PvVcpu, context: VcpuContext): number {
    if (!isSound(context)) return -ERRNO.EINVAL
    const inKernel = (context.flags & VGCF.in_kernel) !== 0
    if (vcpu.initialised) {
      // Page tables and descriptor tables of a live vCPU change by hypercalls only.
      if (context.kernelTable !== pv.kernelTable || context.userTable !== pv.userTable) return -ERRNO.EOPNOTSUPP
    } else {
      if (!inKernel && context.userTable === 0) return -ERRNO.EINVAL
      const error = this.takeTables(vcpu, pv, context)
      if (error !== 0) return error
      if (vcpu.vcpu === 0) assistsFrom(vcpu, context.vmAssist)
    }
    pv.inKernel = inKernel
    this.setEntries(pv, context)
    this.setRegisters(vcpu, pv, context)
    pv.loadRoot()
    vcpu.initialised = true
    return 0
  }

  /** The vCPU's state as it stands; it should not run meanwhile. */
  get(vcpu: Vcpu, pv: PvVcpu): VcpuContext {
    const { registers } = pv.processor
    const fs = registers.segment(SEGMENT.fs)
    const gs = registers.segment(SEGMENT.gs)
    const active = bigFromParts(gs.baseLow, gs.baseHigh)
    const hidden = bigFromParts(registers.kernelGsBaseLow(), registers.kernelGsBaseHigh())
    const flags = VGCF.i387_valid | (pv.inKernel ? VGCF.in_kernel : 0) | (vcpu.online ? VGCF.online : 0)
      | (pv.failsafeMasksEvents ? VGCF.failsafe_disables_events : 0)
      | (pv.syscallMasksEvents ? VGCF.syscall_disables_events : 0)
    return {
      flags, user: userRegisters(pv), fpu: pv.processor.saveFpu(), traps: trapTable(pv),
      ldtBase: BigInt.asUintN(64, BigInt(pv.ldtBase)), ldtEntries: pv.ldtEntries,
      gdtFrames: Array.from(pv.gdtFrames), gdtEntries: pv.gdtEntries,
      kernelSs: pv.kernelSs, kernelSp: big(pv.kernelSp), kernelTable: pv.kernelTable, userTable: pv.userTable,
      cr0: pv.taskSwitched ? BigInt(CR0.TS) : 0n, cr4: big(pv.cr4),
      debug: debugRegisters(pv), eventCallback: big(pv.eventCallback), failsafeCallback: big(pv.failsafeCallback),
      syscallCallback: big(pv.syscallCallback),
      vmAssist: vcpu.vcpu === 0 ? assistsOf(vcpu) : 0n, fsBase: bigFromParts(fs.baseLow, fs.baseHigh),
      gsBaseKernel: pv.inKernel ? active : hidden, gsBaseUser: pv.inKernel ? hidden : active,
    }
  }

  private takeTables(vcpu: Vcpu, pv: PvVcpu, context: VcpuContext): number {
    const { descriptorTables, mmu } = this.parts
    if (context.gdtEntries > 0) {
      const error = descriptorTables.setGdt(vcpu.owner, pv, context.gdtFrames, context.gdtEntries)
      if (error !== 0) return error
    }
    const error = mmu.setKernelTable(vcpu, context.kernelTable) || mmu.setUserTable(vcpu, context.userTable)
    // Paused: what has been taken stays, and is not taken again by the call that goes on.
    if (error === CALL_AGAIN) return error
    if (error !== 0) {
      mmu.dropTables(pv)
      descriptorTables.dropGdt(pv)
      return error
    }
    pv.ldtEntries = context.ldtEntries
    pv.ldtBase = context.ldtEntries === 0 ? 0 : address(context.ldtBase)
    return 0
  }

  private setEntries(pv: PvVcpu, context: VcpuContext): void {
    for (let vector = 0; vector < 256; vector += 1) pv.setTrap(vector, { flags: 0, cs: 0, low: 0, high: 0 })
    for (const trap of context.traps) {
      pv.setTrap(trap.vector, { flags: trap.flags, cs: trap.cs | 3, low: low(trap.address), high: high(trap.address) })
    }
    pv.kernelSs = (context.kernelSs | 3) & 0xffff
    put(pv.kernelSp, context.kernelSp)
    put(pv.eventCallback, context.eventCallback)
    put(pv.failsafeCallback, context.failsafeCallback)
    put(pv.syscallCallback, context.syscallCallback)
    pv.failsafeMasksEvents = (context.flags & VGCF.failsafe_disables_events) !== 0
    pv.syscallMasksEvents = (context.flags & VGCF.syscall_disables_events) !== 0
  }

  private setRegisters(vcpu: Vcpu, pv: PvVcpu, context: VcpuContext): void {
    const { privileged } = this.parts
    const { registers } = pv.processor
    const { user } = context
    for (const name of GENERAL) registers.set(GPR[name], low(user[name]), high(user[name]))
    registers.setRip(low(user.rip), high(user.rip))
    const flags = low(user.rflags)
    pv.iopl = flags & RFLAGS.IOPL
    registers.setFlags(((flags & ~(RFLAGS.IOPL | RFLAGS.VM)) | RFLAGS.IF) >>> 0)
    this.setSegments(vcpu, pv, context)
    setTaskSwitched(pv, (low(context.cr0) & CR0.TS) !== 0)
    privileged.setCr4(vcpu, pv, low(context.cr4))
    // What the old registers' last instruction holds back is not the new ones'.
    pv.processor.takeDebugTrap()
    context.debug.forEach((value, i) => setDebugRegister(pv, i, low(value), high(value)))
    if ((context.flags & VGCF.i387_valid) !== 0) pv.processor.loadFpu(context.fpu)
  }

  private setSegments(vcpu: Vcpu, pv: PvVcpu, context: VcpuContext): void {
    const { segments } = this.parts
    const { registers } = pv.processor
    const { user } = context
    const domain = vcpu.owner
    registers.setSegment(SEGMENT.cs, segments.code(domain, pv, (user.cs | 3) & 0xffff) ?? FLAT_CODE_64)
    registers.setSegment(SEGMENT.ss, segments.stack(domain, pv, (user.ss | 3) & 0xffff) ?? FLAT_DATA)
    registers.setSegment(SEGMENT.ds, segments.data(domain, pv, user.ds))
    registers.setSegment(SEGMENT.es, segments.data(domain, pv, user.es))
    registers.setSegment(SEGMENT.fs, segments.data(domain, pv, user.fs))
    registers.setSegment(SEGMENT.gs, segments.data(domain, pv, user.gs))
    setSegmentBase(registers, SEGMENT.fs, { low: low(context.fsBase), high: high(context.fsBase) })
    const [active, hidden] = pv.inKernel
      ? [context.gsBaseKernel, context.gsBaseUser]
      : [context.gsBaseUser, context.gsBaseKernel]
    setSegmentBase(registers, SEGMENT.gs, { low: low(active), high: high(active) })
    registers.setKernelGsBase(low(hidden), high(hidden))
  }
}

/** Addresses that the processor would later choke on, and tables beyond what a guest may have. */
function isSound(context: VcpuContext): boolean {
  const addresses = [
    context.user.rip, context.eventCallback, context.failsafeCallback, context.syscallCallback, context.fsBase,
    context.gsBaseKernel, context.gsBaseUser, ...context.traps.map((trap) => trap.address),
  ]
  return addresses.every((value) => isCanonical(address(value)))
    && (context.ldtEntries === 0 || isGuestAddress(address(context.ldtBase))) && context.ldtEntries <= 8192
    && context.traps.every((trap) => trap.vector >= 0 && trap.vector < 256) && context.fpu.length === 512
}

function put(entry: EntryPoint, value: bigint): void {
  setEntry(entry, low(value), high(value))
}

const big = (entry: EntryPoint): bigint => bigFromParts(entry.low, entry.high)
