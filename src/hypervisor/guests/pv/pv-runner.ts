/**
 * The x86 runner: makes the machine's processor look like a virtual CPU of a PV guest. It runs the processor until it
 * needs the hypervisor, and enters the guest's handlers by bounce frames. What an exit means is in pv-exits.ts.
 */
import type { Processor } from '../../../machine/index.ts'
import { EXIT } from './processor-exits.ts'
import { VMASST_TYPE, VcpuInfo } from '../../../abi/index.ts'
import { PAGE_FAULT, VECTOR, hasErrorCode } from '../../../x86/index.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { PrivilegedOperation, VcpuEntry, VcpuExit, VcpuRunner } from '../../domains/vcpu-runner.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { BounceFrames, BounceTarget } from './bounce.ts'
import { type EntryPoint, type PvVcpu, setEntry } from './pv-vcpu.ts'
import { isCompatibilitySyscall } from './bounce.ts'
import { RFLAGS, SEGMENT } from '../../../x86/index.ts'

/** Where vcpu_info tells the address of the last page fault (arch.cr2). */
const FAULT_ADDRESS = /* @__PURE__ */ VcpuInfo.arch.at(0)

/** Bit of a trap's flags that masks events on entry. */
const TRAP_MASKS_EVENTS = 4

const BUDGET: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'budget' })
const STOPPED: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'stopped' })
const BLOCK: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'block' })
const SYSCALL: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'syscall' })

/** Runs one PV vCPU. */
export class PvRunner implements VcpuRunner {
  private readonly vcpu: Vcpu
  private readonly pv: PvVcpu
  private readonly processor: Processor
  private readonly frames: BounceFrames
  private readonly memory: GuestMemory
  private readonly trap: EntryPoint = { low: 0, high: 0 }
  private readonly exception = { kind: 'exception' as const, vector: 0, errorCode: 0, address: 0 }
  private readonly interrupt = { kind: 'interrupt' as const, vector: 0 }
  private readonly privileged: { kind: 'privileged'; request: PrivilegedOperation }

  constructor(vcpu: Vcpu, pv: PvVcpu, parts: { readonly frames: BounceFrames; readonly memory: GuestMemory }) {
    this.vcpu = vcpu
    this.pv = pv
    this.processor = pv.processor
    this.frames = parts.frames
    this.memory = parts.memory
    this.privileged = { kind: 'privileged', request: pv.processor.exit.request }
  }

  get executed(): number {
    return this.processor.executed
  }

  run(budget: number): VcpuExit {
    const { exit } = this.processor
    switch (this.processor.run(budget)) {
      case EXIT.BUDGET: return BUDGET
      case EXIT.SYSCALL: return SYSCALL
      case EXIT.EXCEPTION:
        this.exception.vector = exit.vector
        this.exception.errorCode = exit.errorCode
        this.exception.address = exit.address
        return this.exception
      case EXIT.INTERRUPT:
        this.interrupt.vector = exit.vector
        return this.interrupt
      case EXIT.PRIVILEGED:
        this.privileged.request = exit.request
        return this.privileged
      case EXIT.HALT: return BLOCK
      case EXIT.DEBUG: return STOPPED
      default: return BUDGET
    }
  }

  enter(entry: VcpuEntry): boolean {
    switch (entry.kind) {
      case 'event': return this.bounce(this.pv.eventCallback, true, -1)
      case 'syscall': return this.enterSyscall()
      case 'nmi': return this.enterTrap(VECTOR.NMI, -1)
      case 'trap':
        if (entry.vector === VECTOR.PF) return this.enterPageFault(entry.errorCode, entry.address)
        return this.enterTrap(entry.vector, entry.errorCode)
    }
  }

  /** A trap through the guest's table; `errorCode` -1 for one that carries none. */
  private enterTrap(vector: number, errorCode: number): boolean {
    const { pv } = this
    setEntry(this.trap, pv.trapLow[vector]!, pv.trapHigh[vector]!)
    const masks = (pv.trapFlags[vector]! & TRAP_MASKS_EVENTS) !== 0
    return this.bounce(this.trap, masks, hasErrorCode(vector) && errorCode >= 0 ? errorCode : -1)
  }

  private enterPageFault(errorCode: number, address: number): boolean {
    const { pv, vcpu } = this
    const high = Math.floor(address / 0x1_0000_0000) >>> 0
    setEntry(pv.cr2, address >>> 0, high)
    if (vcpu.infoAddress >= 0) {
      this.memory.view.setUint32(vcpu.infoAddress + FAULT_ADDRESS, address >>> 0, true)
      this.memory.view.setUint32(vcpu.infoAddress + FAULT_ADDRESS + 4, high, true)
    }
    // To the processor both modes are user mode; the guest is told which of its own it was.
    const code = pv.inKernel ? errorCode & ~PAGE_FAULT.USER : errorCode | PAGE_FAULT.USER
    return this.enterTrap(VECTOR.PF, code)
  }

  private enterSyscall(): boolean {
    const { pv } = this
    const { registers } = this.processor
    const isCompatible = isCompatibilitySyscall(registers.segment(SEGMENT.cs).selector)
    const entry = isCompatible ? pv.syscall32Callback : pv.syscallCallback
    // Xen masks events for both as the 64-bit entry wishes.
    const entered = this.bounce(entry, pv.syscallMasksEvents, -1)
    if (entered) registers.setFlags(registers.flags() & ~RFLAGS.DF)
    return entered
  }

  private bounce(entry: EntryPoint, masksEvents: boolean, errorCode: number): boolean {
    const { vcpu, pv } = this
    const target: BounceTarget = {
      pv, access: vcpu.kernelAccess, view: this.memory.view, infoAddress: vcpu.infoAddress,
      showsIopl: vcpu.owner.hasAssist(VMASST_TYPE.architectural_iopl),
    }
    if (vcpu.infoAddress < 0) return false
    // The mask, and the address of a page fault, lie where the guest may execute them.
    this.memory.markWritten(vcpu.infoAddress >>> 12)
    return this.frames.enter(target, { entry, masksEvents, errorCode })
  }
}
