/**
 * The typed hypercall door of one domain: what a guest in TypeScript, back-ends and dom0 included, asks of the
 * hypervisor. Every call does what the ABI's hypercall does, with the same checks and the same results.
 */
import { DOMID, ERRNO, GNTMAP, GNTST } from '../../../abi/index.ts'
import type { GrantCopy, GrantCopySide, HypercallPort } from '../../../abi/index.ts'
import type { DomId, EventPort, GrantHandle, GrantRef, Mfn } from '../../../util/index.ts'
import { ForeignFrames } from '../../control/core/foreign-frames.ts'
import type { Reservation } from '../../control/core/reservation.ts'
import type { HypervisorConsole } from '../../console/console.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import type { EventChannels } from '../../events/index.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import type { GuestKinds } from '../../domains/guest-kind.ts'
import type { GrantTables } from '../../grants/index.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { HostClock } from '../../time/host-clock.ts'
import { HypercallArguments, type HypercallTable } from '../../domains/hypercall.ts'
import { CALL_AGAIN } from '../../time/work-meter.ts'
import { XEN_VERSION_NUMBER } from '../../identity.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'
import type { VcpuExecution } from '../../execution/vcpu-execution.ts'

/** What a port works on. */
export interface TypedHypercallParts {
  readonly memory: GuestMemory
  readonly clock: HostClock
  readonly reservation: Reservation
  readonly domains: DomainRegistry
  readonly pageTypes: FrameTypes
  readonly events: EventChannels
  readonly grants: GrantTables<Vcpu>
  readonly execution: VcpuExecution
  readonly console: HypervisorConsole
  readonly kinds: GuestKinds
}

/** One side of a copy as grant tables take it. */
interface PortSide {
  domid: number
  isGrant: boolean
  number: number
  offset: number
}

const emptySide = (): PortSide => ({ domid: DOMID.SELF, isGrant: false, number: 0, offset: 0 })

function fillSide(side: PortSide, given: GrantCopySide): void {
  const isGrant = 'ref' in given
  side.isGrant = isGrant
  side.domid = isGrant ? given.domid : DOMID.SELF
  side.number = isGrant ? given.ref >>> 0 : given.frame
  side.offset = given.offset
}

/** The hypercalls of one domain, those without a method of their own by their number. */
export interface DomainHypercalls extends HypercallPort {
  /**
   * Any hypercall by its number, as a binary guest makes it: arguments are numbers, and pointers are byte addresses
   * of host memory within frames of the domain's own. Goes on until the call has finished. vCPU `caller` makes it, the
   * first unless told otherwise; -ENOENT when there is no such one.
   */
  hypercall(number: number, args: readonly number[], caller?: number): number
}

/** The door of one domain. */
export class TypedHypercalls implements DomainHypercalls {
  readonly domid: DomId
  readonly memory: GuestMemory
  private readonly parts: TypedHypercallParts
  private readonly owner: Domain
  private readonly args = new HypercallArguments()
  /** The hypercalls of the domain's kind. */
  private readonly hypercalls: HypercallTable
  /** The copy in hand, filled anew for each of a batch. */
  private readonly copyRequest = { source: emptySide(), destination: emptySide(), length: 0 }
  /** What it has mapped of other domains without a grant. */
  readonly foreign: ForeignFrames

  constructor(parts: TypedHypercallParts, owner: Domain) {
    this.parts = parts
    this.owner = owner
    this.domid = owner.id
    this.memory = parts.memory
    this.hypercalls = parts.kinds.of(owner).hypercalls
    this.foreign = new ForeignFrames(parts)
  }

  now(): number {
    return this.parts.clock.now()
  }

  hypercall(number: number, args: readonly number[], caller = 0): number {
    for (let i = 0; i < 6; i += 1) this.args.set(i, args[i] ?? 0)
    const vcpu = this.owner.vcpus[caller]
    if (vcpu === undefined) return -ERRNO.ENOENT
    for (;;) {
      const result = this.hypercalls.call(vcpu, number, this.args)
      if (result !== CALL_AGAIN) return result
    }
  }

  allocUnbound(domid: DomId, remote: DomId): number {
    return this.parts.events.allocUnbound(this.domid, domid, remote)
  }

  bindInterdomain(remote: DomId, remotePort: EventPort): number {
    return this.parts.events.bindInterdomain(this.domid, remote, remotePort)
  }

  bindVirq(virq: number, vcpu: number): number {
    return this.parts.events.bindVirq(this.domid, virq >>> 0, vcpu >>> 0)
  }

  bindIpi(vcpu: number): number {
    return this.parts.events.bindIpi(this.domid, vcpu >>> 0)
  }

  closePort(port: EventPort): number {
    return this.parts.events.close(this.domid, port)
  }

  sendEvent(port: EventPort): number {
    return this.parts.events.send(this.domid, port)
  }

  unmaskPort(port: EventPort): number {
    return this.parts.events.unmask(this.domid, port)
  }

  bindVcpu(port: EventPort, vcpu: number): number {
    return this.parts.events.bindVcpu(this.domid, port, vcpu >>> 0)
  }

  initControl(vcpu: number, frame: Mfn, offset: number): number {
    return this.parts.events.initControl(this.domid, vcpu >>> 0, frame, offset)
  }

  expandArray(frame: Mfn): number {
    return this.parts.events.expandArray(this.domid, frame)
  }

  setupGrantTable(frames: number): readonly Mfn[] | number {
    // The grant table names its frames by number; frames of the table are frames of the host.
    return this.parts.grants.setup(this.domid, DOMID.SELF, frames) as readonly Mfn[] | number
  }

  mapGrant(mapping: { readonly domid: DomId; readonly ref: GrantRef; readonly readOnly?: boolean }): {
    readonly status: number; readonly handle: GrantHandle; readonly frame: Mfn
  } {
    const flags = GNTMAP.host_map | (mapping.readOnly === true ? GNTMAP.readonly : 0)
    const request = { address: 0, flags, ref: mapping.ref >>> 0, domid: mapping.domid }
    const { status, handle, mfn } = this.parts.grants.map(this.owner.vcpus[0]!, request)
    return { status, handle: handle as GrantHandle, frame: mfn as Mfn }
  }

  unmapGrant(handle: GrantHandle): number {
    const status = this.parts.grants.unmap(this.owner.vcpus[0]!, { handle, address: 0, busAddress: 0, newAddress: 0 })
    if (status === GNTST.okay) this.parts.grants.flush(this.domid)
    return status
  }

  copyGrants(copies: readonly GrantCopy[]): readonly number[] {
    const { copyRequest } = this
    const statuses: number[] = []
    for (let index = 0; index < copies.length; index += 1) {
      const { source, destination, length } = copies[index]!
      fillSide(copyRequest.source, source)
      fillSide(copyRequest.destination, destination)
      copyRequest.length = length
      statuses.push(this.parts.grants.copy(this.domid, copyRequest))
    }
    return statuses
  }

  decreaseReservation(frames: readonly Mfn[]): number {
    return this.parts.reservation.shrink(this.owner, frames)
  }

  increaseReservation(count: number): readonly Mfn[] {
    const frames: Mfn[] = []
    this.parts.reservation.grow(this.owner, count, frames)
    return frames
  }

  currentReservation(): number {
    return this.owner.totalPages
  }

  maximumReservation(): number {
    return this.owner.maxPages
  }

  setTimer(deadline: number): number {
    return this.owner.vcpus[0]!.timers.setTimerOp(deadline, this.now())
  }

  watchdog(id: number, seconds: number): number {
    return this.owner.watchdogs.operate(id >>> 0, seconds >>> 0, this.now())
  }

  shutdown(reason: number): number {
    this.parts.execution.shutdown(this.owner, reason, this.owner.vcpus[0])
    return 0
  }

  consoleWrite(text: Uint8Array): number {
    this.parts.console.write(this.domid, text)
    return 0
  }

  version(): number {
    return XEN_VERSION_NUMBER
  }

  mapForeign(domid: DomId, frame: number): number {
    const { domains } = this.parts
    const owner = domains.get(domid)
    if (owner === undefined) return -ERRNO.ESRCH
    if (!domains.mayControl(this.domid, domid, 'mmu_update')) return -ERRNO.EPERM
    const own = owner.frameOf(frame)
    const result = own < 0 ? -ERRNO.EINVAL : this.foreign.map(domid, own)
    return result < 0 ? result : own
  }

  unmapForeign(_domain: DomId, frame: number): number {
    return this.foreign.unmap(frame)
  }

  /** Frames of others that the domain has mapped, once for each mapping. */
  foreignFrames(): IterableIterator<number> {
    return this.foreign.frames()
  }

  /** Gives all foreign frames back: the domain dies. */
  release(): void {
    this.foreign.release()
  }
}
