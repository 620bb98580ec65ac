/**
 * A vCPU of a PV guest as the hypervisor runs it: makes the machine's processor look like one. It runs the processor until
 * it needs the hypervisor, and enters the guest's handlers by bounce frames, which each kind builds its own way.
 */
import type { Processor } from '../../../machine/index.ts'
import { EXIT } from '../processors/processor-exits.ts'
import { VcpuInfo } from '../../../abi/index.ts'
import { PAGE_FAULT, PAGE_SHIFT, VECTOR, hasErrorCode } from '../../../x86/index.ts'
import { FRACTION, type Part } from '../../../util/index.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { GuestAccess } from '../../memory/guest-access.ts'
import type { GuestCaches, GuestContext, GuestIoRights, GuestVcpu, FrameUse } from '../../domains/guest-vcpu.ts'
import type { PrivilegedOperation, VcpuEntry, VcpuExit } from '../../domains/vcpu-runner.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { VcpuExecution } from '../../execution/vcpu-execution.ts'
import type { RecordedTime } from '../../time/index.ts'
import { FRAME_TYPE } from '../../frames/frame-table.ts'
import { type EntryPoint, ParavirtualVcpu, setEntry } from './paravirtual-vcpu.ts'

/** Bit of a trap's flags that masks events on entry. */
const TRAP_MASKS_EVENTS = 4

const BUDGET: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'budget' })
const STOPPED: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'stopped' })
const BLOCK: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'block' })
const SYSCALL: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'syscall' })

/** What such a vCPU is built on. */
export interface ParavirtualParts {
  readonly memory: GuestMemory
  readonly execution: VcpuExecution
}

/** Where the guest is to be entered. */
export interface Entry {
  readonly point: EntryPoint
  /** Code selector, where the guest chooses one. */
  readonly selector: number
  /** Mask events on entry. */
  readonly masksEvents: boolean
  /** Error code, or -1 for none. */
  readonly errorCode: number
}

/** One such vCPU. */
export abstract class ParavirtualGuest extends ParavirtualVcpu implements GuestVcpu {
  abstract readonly access: GuestAccess
  abstract readonly kernelAccess: GuestAccess
  abstract readonly context: GuestContext
  abstract readonly caches: GuestCaches
  abstract readonly state: Part
  /** Selector of the event callback, where the guest chooses one. */
  abstract readonly eventSelector: number
  readonly ioRights: GuestIoRights = {
    setPrivilegeLevel: (level) => { this.iopl = level << 12 },
    setBitmap: (low, high, ports) => {
      setEntry(this.ioBitmap, low, high)
      this.ioBitmapLimit = ports
    },
  }
  protected readonly vcpu: Vcpu
  private readonly parts: ParavirtualParts
  /** Where vcpu_info tells the address of the last page fault (arch.cr2), as its guest lays it out. */
  private readonly faultAddress: number
  private readonly isLong: boolean
  private readonly trap: EntryPoint = { low: 0, high: 0 }
  private readonly exception = { kind: 'exception' as const, vector: 0, errorCode: 0, address: FRACTION }
  private readonly interrupt = { kind: 'interrupt' as const, vector: 0 }
  private readonly privileged: { kind: 'privileged'; request: PrivilegedOperation }

  constructor(vcpu: Vcpu, processor: Processor, parts: ParavirtualParts) {
    super(processor)
    this.vcpu = vcpu
    this.parts = parts
    const { abi } = vcpu.owner
    this.faultAddress = abi.of(VcpuInfo).arch.at(0)
    this.isLong = abi.width === 64
    this.privileged = { kind: 'privileged', request: processor.exit.request }
  }

  get counter(): RecordedTime['counter'] {
    return this.vcpu.owner.tsc.counter
  }

  abstract handle(exit: VcpuExit): void
  abstract drop(): void
  /** A `syscall` of the guest's user mode, to its own handler. */
  protected abstract enterSyscall(): boolean
  /** Enters the guest's kernel; false when it has no such entry or no stack. */
  protected abstract bounce(entry: Entry): boolean

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

  *uses(): Iterable<FrameUse> {
    yield* this.topTables()
    for (const frame of [...this.gdtFrames, ...this.ldtFrames]) {
      if (frame !== 0) yield { frame, type: FRAME_TYPE.SEGDESC, what: 'a descriptor table' }
    }
  }

  /** The top-level tables that it holds itself. */
  protected abstract topTables(): Iterable<FrameUse>

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
      case 'event': return this.bounceTo({ point: this.eventCallback, selector: this.eventSelector, masksEvents: true, errorCode: -1 })
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
    const masksEvents = (this.trapFlags[vector]! & TRAP_MASKS_EVENTS) !== 0
    return this.bounceTo({
      point: this.trap, selector: this.trapSelector[vector]!, masksEvents,
      errorCode: hasErrorCode(vector) && errorCode >= 0 ? errorCode : -1,
    })
  }

  private enterPageFault(errorCode: number, address: number): boolean {
    const { vcpu } = this
    const { view } = this.parts.memory
    const high = Math.floor(address / 0x1_0000_0000) >>> 0
    setEntry(this.cr2, address >>> 0, high)
    if (vcpu.infoAddress >= 0) {
      view.setUint32(vcpu.infoAddress + this.faultAddress, address >>> 0, true)
      if (this.isLong) view.setUint32(vcpu.infoAddress + this.faultAddress + 4, high, true)
    }
    // The guest is told which of its own modes it was, whatever that was to the processor.
    const code = this.inKernel ? errorCode & ~PAGE_FAULT.USER : errorCode | PAGE_FAULT.USER
    return this.enterTrap(VECTOR.PF, code)
  }

  /** Enters the guest's kernel where it has a vcpu_info, which every frame shows a part of. */
  protected bounceTo(entry: Entry): boolean {
    const { vcpu } = this
    if (vcpu.infoAddress < 0) return false
    // The mask, and the address of a page fault, lie where the guest may execute them.
    this.parts.memory.markWritten(vcpu.infoAddress >>> PAGE_SHIFT)
    return this.bounce(entry)
  }
}
