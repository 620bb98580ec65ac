/**
 * A vCPU of a PV guest: makes the machine's processor look like one. It runs the processor until it needs the hypervisor,
 * and enters the guest's handlers by bounce frames. What an exit means is in pv-exits.ts.
 */
import type { Processor } from '../../../machine/index.ts'
import { EXIT } from '../processors/processor-exits.ts'
import { VMASST_TYPE, VcpuInfo } from '../../../abi/index.ts'
import { PAGE_FAULT, PAGE_SHIFT, RFLAGS, SEGMENT, VECTOR, hasErrorCode } from '../../../x86/index.ts'
import { type Part, part } from '../../../util/index.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { VirtualAccess } from '../../memory/virtual-access.ts'
import type { GuestCaches, GuestContext, GuestIoRights, GuestVcpu, FrameUse } from '../../domains/guest-vcpu.ts'
import type { PrivilegedOperation, VcpuEntry, VcpuExit } from '../../domains/vcpu-runner.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { VcpuExecution } from '../../execution/vcpu-execution.ts'
import { FRAME_TYPE } from '../../frames/frame-table.ts'
import { type BounceFrames, type BounceTarget, isCompatibilitySyscall } from './bounce.ts'
import { pvShape } from './pv-state.ts'
import { type EntryPoint, PvVcpu, setEntry } from './pv-vcpu.ts'

/** Where vcpu_info tells the address of the last page fault (arch.cr2). */
const FAULT_ADDRESS = /* @__PURE__ */ VcpuInfo.arch.at(0)

/** Bit of a trap's flags that masks events on entry. */
const TRAP_MASKS_EVENTS = 4

const BUDGET: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'budget' })
const STOPPED: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'stopped' })
const BLOCK: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'block' })
const SYSCALL: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'syscall' })

/** What a PV vCPU is built on. */
export interface PvGuestParts {
  readonly memory: GuestMemory
  readonly bounceFrames: BounceFrames
  readonly execution: VcpuExecution
  /** Gives exits their meaning. */
  readonly exits: { handle(vcpu: Vcpu, pv: PvVcpu, exit: VcpuExit): void }
  contextOf(vcpu: Vcpu, pv: PvVcpu): GuestContext
  cachesOf(pv: PvVcpu): GuestCaches
  /** Its tables, descriptor tables and processor are to be given back. */
  release(pv: PvVcpu): void
}

/** One PV vCPU. */
export class PvGuest extends PvVcpu implements GuestVcpu {
  readonly access: VirtualAccess
  readonly kernelAccess: VirtualAccess
  readonly context: GuestContext
  readonly caches: GuestCaches
  readonly ioRights: GuestIoRights = {
    setPrivilegeLevel: (level) => { this.iopl = level << 12 },
    setBitmap: (low, high, ports) => {
      setEntry(this.ioBitmap, low, high)
      this.ioBitmapLimit = ports
    },
  }
  readonly state: Part = part({ name: 'pv', version: 1, shape: pvShape }, this)
  private readonly vcpu: Vcpu
  private readonly parts: PvGuestParts
  private readonly trap: EntryPoint = { low: 0, high: 0 }
  private readonly exception = { kind: 'exception' as const, vector: 0, errorCode: 0, address: 0 }
  private readonly interrupt = { kind: 'interrupt' as const, vector: 0 }
  private readonly privileged: { kind: 'privileged'; request: PrivilegedOperation }

  constructor(vcpu: Vcpu, processor: Processor, parts: PvGuestParts) {
    super(processor)
    this.vcpu = vcpu
    this.parts = parts
    this.access = new VirtualAccess(parts.memory, () => this.root)
    this.kernelAccess = new VirtualAccess(parts.memory, () => this.kernelTable)
    this.privileged = { kind: 'privileged', request: processor.exit.request }
    this.context = parts.contextOf(vcpu, this)
    this.caches = parts.cachesOf(this)
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

  get hasPending(): boolean {
    return this.nmiPending
  }

  raiseNmi(): void {
    this.nmiPending = true
  }

  deliver(): boolean {
    if (this.nmiPending && !this.nmiMasked && !this.enterNmi()) return false
    return this.parts.execution.deliverUpcall(this.vcpu, this)
  }

  handle(exit: VcpuExit): void {
    this.parts.exits.handle(this.vcpu, this, exit)
  }

  drop(): void {
    this.parts.release(this)
  }

  *uses(): Iterable<FrameUse> {
    for (const frame of [this.kernelTable, this.userTable]) {
      if (frame !== 0) yield { frame, type: FRAME_TYPE.L4, what: `a root of vCPU ${this.vcpu.vcpu}` }
    }
    for (const frame of [...this.gdtFrames, ...this.ldtFrames]) {
      if (frame !== 0) yield { frame, type: FRAME_TYPE.SEGDESC, what: 'a descriptor table' }
    }
  }

  /** Takes the NMI that waits, where the guest has a handler for it. */
  private enterNmi(): boolean {
    this.nmiPending = false
    if (this.trapLow[VECTOR.NMI] === 0 && this.trapHigh[VECTOR.NMI] === 0) return true
    if (!this.enter({ kind: 'nmi' })) {
      this.parts.execution.crash(this.vcpu, 'no stack for an NMI')
      return false
    }
    this.nmiMasked = true
    return true
  }

  enter(entry: VcpuEntry): boolean {
    switch (entry.kind) {
      case 'event': return this.bounce(this.eventCallback, true, -1)
      case 'syscall': return this.enterSyscall()
      case 'nmi': return this.enterTrap(VECTOR.NMI, -1)
      case 'trap':
        if (entry.vector === VECTOR.PF) return this.enterPageFault(entry.errorCode, entry.address)
        return this.enterTrap(entry.vector, entry.errorCode)
    }
  }

  /** A trap through the guest's table; `errorCode` -1 for one that carries none. */
  private enterTrap(vector: number, errorCode: number): boolean {
    setEntry(this.trap, this.trapLow[vector]!, this.trapHigh[vector]!)
    const masks = (this.trapFlags[vector]! & TRAP_MASKS_EVENTS) !== 0
    return this.bounce(this.trap, masks, hasErrorCode(vector) && errorCode >= 0 ? errorCode : -1)
  }

  private enterPageFault(errorCode: number, address: number): boolean {
    const { vcpu } = this
    const { view } = this.parts.memory
    const high = Math.floor(address / 0x1_0000_0000) >>> 0
    setEntry(this.cr2, address >>> 0, high)
    if (vcpu.infoAddress >= 0) {
      view.setUint32(vcpu.infoAddress + FAULT_ADDRESS, address >>> 0, true)
      view.setUint32(vcpu.infoAddress + FAULT_ADDRESS + 4, high, true)
    }
    // To the processor both modes are user mode; the guest is told which of its own it was.
    const code = this.inKernel ? errorCode & ~PAGE_FAULT.USER : errorCode | PAGE_FAULT.USER
    return this.enterTrap(VECTOR.PF, code)
  }

  private enterSyscall(): boolean {
    const { registers } = this.processor
    const isCompatible = isCompatibilitySyscall(registers.segment(SEGMENT.cs).selector)
    const entry = isCompatible ? this.syscall32Callback : this.syscallCallback
    // Xen masks events for both as the 64-bit entry wishes.
    const entered = this.bounce(entry, this.syscallMasksEvents, -1)
    if (entered) registers.setFlags(registers.flags() & ~RFLAGS.DF)
    return entered
  }

  private bounce(entry: EntryPoint, masksEvents: boolean, errorCode: number): boolean {
    const { vcpu } = this
    const { memory, bounceFrames } = this.parts
    const target: BounceTarget = {
      pv: this, access: this.kernelAccess, view: memory.view, infoAddress: vcpu.infoAddress,
      showsIopl: vcpu.owner.hasAssist(VMASST_TYPE.architectural_iopl),
    }
    if (vcpu.infoAddress < 0) return false
    // The mask, and the address of a page fault, lie where the guest may execute them.
    memory.markWritten(vcpu.infoAddress >>> PAGE_SHIFT)
    return bounceFrames.enter(target, { entry, masksEvents, errorCode })
  }
}
