/** A vCPU of a 32-bit PV guest: how its handlers are entered. What an exit means is in pv32-exits.ts. */
import type { Processor } from '../../../machine/index.ts'
import { COMPAT } from '../../../abi/index.ts'
import { SEGMENT } from '../../../x86/index.ts'
import { type Part, inPlace, part } from '../../../util/index.ts'
import { VirtualAccess } from '../../memory/virtual-access.ts'
import type { GuestCaches, GuestContext } from '../../domains/guest-vcpu.ts'
import type { VcpuExit } from '../../domains/vcpu-runner.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { VcpuExecution } from '../../execution/vcpu-execution.ts'
import type { Entry, ParavirtualParts } from '../paravirtual/paravirtual-guest.ts'
import type { CompatBounce } from './bounce.ts'
import { Pv32Vcpu, pv32Shape } from './pv32-vcpu.ts'
import { FLAT_CODE } from './segments.ts'

/** What a 32-bit PV vCPU is built on. */
export interface Pv32GuestParts extends ParavirtualParts {
  readonly execution: VcpuExecution
  readonly bounces: CompatBounce
  /** Gives exits their meaning. */
  readonly exits: { handle(vcpu: Vcpu, pv: Pv32Vcpu, exit: VcpuExit): void }
  contextOf(vcpu: Vcpu, pv: Pv32Vcpu): GuestContext
  cachesOf(pv: Pv32Vcpu): GuestCaches
  /** Its tables, descriptor tables and processor are to be given back. */
  release(pv: Pv32Vcpu): void
}

/** One 32-bit PV vCPU. */
export class Pv32Guest extends Pv32Vcpu {
  readonly access: VirtualAccess
  readonly kernelAccess: VirtualAccess
  readonly context: GuestContext
  readonly caches: GuestCaches
  readonly state: Part = part({ name: 'pv32', version: 1, shape: pv32Shape }, inPlace(this))
  private readonly own: Pv32GuestParts

  constructor(vcpu: Vcpu, processor: Processor, parts: Pv32GuestParts) {
    super(vcpu, processor, parts)
    this.own = parts
    this.access = new VirtualAccess(parts.memory, () => this.kernelTable, COMPAT.hypervisorStart)
    this.kernelAccess = this.access
    this.context = parts.contextOf(vcpu, this)
    this.caches = parts.cachesOf(this)
  }

  handle(exit: VcpuExit): void {
    this.own.exits.handle(this.vcpu, this, exit)
  }

  drop(): void {
    this.own.release(this)
  }

  override get hasPending(): boolean {
    return super.hasPending || this.failsafePending
  }

  override deliver(): boolean {
    if (this.failsafePending && !this.enterFailsafe()) {
      this.own.execution.crash(this.vcpu, 'no stack for the failsafe callback')
      return false
    }
    return super.deliver()
  }

  protected enterSyscall(): boolean {
    return this.bounceTo({
      point: this.syscall32Callback, selector: this.syscall32Selector, masksEvents: this.syscall32MasksEvents, errorCode: -1,
    })
  }

  protected bounce(entry: Entry): boolean {
    return this.own.bounces.enter(this.vcpu, this, entry)
  }

  /** Tells that a segment register could not be loaded, which is empty now: the flat segments of the kernel are in force. */
  private enterFailsafe(): boolean {
    this.failsafePending = false
    const { vcpu, failsafeCallback, processor: { registers } } = this
    if (vcpu.infoAddress < 0) return false
    const words = [SEGMENT.ds, SEGMENT.es, SEGMENT.fs, SEGMENT.gs].map((index) => registers.selector(index))
    const entry = { point: failsafeCallback, selector: FLAT_CODE.selector, masksEvents: this.failsafeMasksEvents, errorCode: -1 }
    return this.own.bounces.frame(vcpu, this, { entry, code: FLAT_CODE, words })
  }
}
