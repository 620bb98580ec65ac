/**
 * A vCPU of a 64-bit PV guest: how its handlers are entered. What an exit means is in pv-exits.ts.
 */
import type { Processor } from '../../../machine/index.ts'
import { VMASST_TYPE } from '../../../abi/index.ts'
import { RFLAGS, SEGMENT } from '../../../x86/index.ts'
import { type Part, inPlace, part } from '../../../util/index.ts'
import { VirtualAccess } from '../../memory/virtual-access.ts'
import type { GuestCaches, GuestContext } from '../../domains/guest-vcpu.ts'
import type { VcpuExit } from '../../domains/vcpu-runner.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { Entry, ParavirtualParts } from '../paravirtual/paravirtual-guest.ts'
import { type BounceFrames, isCompatibilitySyscall } from './bounce.ts'
import { PvVcpu, pvShape } from './pv-vcpu.ts'

/** What a PV vCPU is built on. */
export interface PvGuestParts extends ParavirtualParts {
  readonly bounceFrames: BounceFrames
  /** Gives exits their meaning. */
  readonly exits: { handle(vcpu: Vcpu, pv: PvVcpu, exit: VcpuExit): void }
  contextOf(vcpu: Vcpu, pv: PvVcpu): GuestContext
  cachesOf(pv: PvVcpu): GuestCaches
  /** Its tables, descriptor tables and processor are to be given back. */
  release(pv: PvVcpu): void
}

/** One PV vCPU. */
export class PvGuest extends PvVcpu {
  readonly access: VirtualAccess
  readonly kernelAccess: VirtualAccess
  readonly context: GuestContext
  readonly caches: GuestCaches
  readonly state: Part = part({ name: 'pv', version: 2, shape: pvShape }, inPlace(this))
  private readonly own: PvGuestParts

  constructor(vcpu: Vcpu, processor: Processor, parts: PvGuestParts) {
    super(vcpu, processor, parts)
    this.own = parts
    this.access = new VirtualAccess(parts.memory, () => this.root)
    this.kernelAccess = new VirtualAccess(parts.memory, () => this.kernelTable)
    this.context = parts.contextOf(vcpu, this)
    this.caches = parts.cachesOf(this)
  }

  handle(exit: VcpuExit): void {
    this.own.exits.handle(this.vcpu, this, exit)
  }

  drop(): void {
    this.own.release(this)
  }

  protected enterSyscall(): boolean {
    const { registers } = this.processor
    const isCompatible = isCompatibilitySyscall(registers.segment(SEGMENT.cs).selector)
    const point = isCompatible ? this.syscall32Callback : this.syscallCallback
    // Xen masks events for both as the 64-bit entry wishes.
    const entered = this.bounceTo({ point, selector: this.eventSelector, masksEvents: this.syscallMasksEvents, errorCode: -1 })
    if (entered) registers.setFlags(registers.flags() & ~RFLAGS.DF)
    return entered
  }

  protected bounce(entry: Entry): boolean {
    const { vcpu } = this
    const { memory, bounceFrames } = this.own
    return bounceFrames.enter({
      pv: this, access: this.kernelAccess, view: memory.view, infoAddress: vcpu.infoAddress,
      showsIopl: vcpu.owner.hasAssist(VMASST_TYPE.architectural_iopl),
    }, entry)
  }
}
