/**
 * The life of domains: making one out of parts, and taking it apart again so that nothing of it is left. A frame that
 * another domain still maps keeps a dying domain until it is unmapped.
 * Reference: xen/common/domain.c, domain_create, domain_kill; xen/arch/x86/domain.c, domain_relinquish_resources.
 */
import { DOMID, ERRNO, NATIVE, VIRQ, type Width } from '../../../abi/index.ts'
import { type DomId, type EventHub, type StateOf, type Stateful, badState, shape } from '../../../util/index.ts'
import type { SavedDomainFacts } from '../../domains/domain-state.ts'
import type { RunnerFactory } from '../../domains/vcpu-runner.ts'
import type { HypervisorConsole } from '../../console/console.ts'
import type { DomainOrder } from './records.ts'
import { softReset } from './soft-reset.ts'
import { Domain, type DomainFacts, Vcpu } from '../../domains/domain.ts'
import type { EventChannels } from '../../events/index.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import { fillSharedInfo, writeWallClock } from '../../domains/shared-info.ts'
import { FrameAccess } from '../../frames/frame-access.ts'
import type { DomainMemory } from '../../frames/domain-memory.ts'
import { FRAME_FLAG, FRAME_TYPE, type FrameTable } from '../../frames/frame-table.ts'
import type { GrantDomain, GrantTables } from '../../grants/index.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { HostClock } from '../../time/host-clock.ts'
import type { GuestKind, GuestKinds } from '../../domains/guest-kind.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'
import { type RefusalFacts, because } from '../../domains/refusal-facts.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'
import type { PhysicalCpus } from '../../execution/physical-cpus.ts'
import type { VcpuScheduling } from '../../scheduler/index.ts'
import { DomainWatchdogs, type GuestTime, type TimeRecords, type TimerQueue, VcpuTimers, type WallClock } from '../../time/index.ts'
import type { VcpuExecution } from '../../execution/vcpu-execution.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../../time/work-meter.ts'

/** Most vCPUs of a domain: what one grows up with on x86 (MAX_VIRT_CPUS is larger, but nothing here needs more). */
const MAX_VCPUS = 128
/** Grant frames and maptrack frames of a domain that says nothing (Xen's defaults). */
const DEFAULT_GRANT_FRAMES = 64
const DEFAULT_MAPTRACK_FRAMES = 1024
/** Highest port number: the FIFO ABI's. */
const MAX_PORT = 0x1_ffff
/** Work of one portion of taking a domain apart: a few milliseconds. */
const DISMANTLING_PORTION = 2_000_000
/** Most seconds by which a wall clock may differ from the host's: as many as 32 bits hold. */
const MAX_TIME_OFFSET = 2 ** 31 - 1
/** Shutdown reason of an expired watchdog. */
const WATCHDOG = 4

/** What lives and dies with a domain. */
export interface LifecycleParts {
  readonly memory: GuestMemory
  readonly clock: HostClock
  readonly frames: FrameTable
  readonly domainMemory: DomainMemory
  readonly domains: DomainRegistry
  readonly pageTypes: FrameTypes
  readonly meter: WorkMeter
  readonly events: EventChannels
  readonly grants: GrantTables<Vcpu>
  readonly scheduler: VcpuScheduling<Vcpu>
  readonly timers: TimerQueue
  readonly timeRecords: TimeRecords
  readonly execution: VcpuExecution
  readonly cpus: PhysicalCpus
  readonly kinds: GuestKinds
  readonly console: HypervisorConsole
  readonly hub: EventHub<HypervisorEvent>
  readonly wallClock: WallClock
  /** Raises VIRQ_TIMER in a vCPU. */
  raiseTimer(vcpu: Vcpu): void
  /** What domains are shown as the time; absent where all are shown the host's. */
  readonly guestTime?: GuestTime | undefined
  /** The typed door of a domain, which gives back what the domain has mapped of others. */
  typedHypercallsOf(domain: Domain): { release(): void }
  /** A domain is gone. */
  gone(domain: Domain): void
}

/** What there is to save of it: the number from which the next domain's is looked for. */
export const lifecycleShape = /* @__PURE__ */ shape.record({ nextId: /* @__PURE__ */ shape.whole(0, DOMID.FIRST_RESERVED) })

/** What a domain is made of. */
type NewDomain = Omit<DomainOrder, 'kind'> & { readonly vcpus: number; readonly kind: GuestKind }

/** Makes and unmakes domains. */
export class DomainLifecycle implements Stateful<StateOf<typeof lifecycleShape>> {
  private readonly parts: LifecycleParts
  private nextId = 0
  /** Domains that are being taken apart, with what is left of it. */
  private readonly dismantling = new Map<Domain, Iterator<void>>()

  constructor(parts: LifecycleParts) {
    this.parts = parts
    parts.domainMemory.connect({ lastFrameGone: (domid) => {
      const domain = parts.domains.get(domid)
      if (domain !== undefined) this.finish(domain)
    } })
  }

  /**
   * XEN_DOMCTL_createdomain: makes a paused domain without memory. Its number; -EINVAL, -EEXIST, or -ENOMEM when a frame, a
   * processor or a number is lacking. `facts` takes the cause.
   */
  create(options: DomainOrder, facts: RefusalFacts = {}): number {
    const { parts } = this
    const { vcpus = 1, createRunner } = options
    const kind = parts.kinds.get(options.kind)
    const isCount = Number.isInteger(vcpus) && vcpus >= 1 && vcpus <= MAX_VCPUS
    Object.assign(facts, { domid: options.domid, kind: options.kind, vcpus })
    if (!isCount) return because(facts, { cause: 'vcpus', most: MAX_VCPUS }, -ERRNO.EINVAL)
    if (kind === undefined) return because(facts, { cause: 'kind', kinds: parts.kinds.names() }, -ERRNO.EINVAL)
    const refused = kind.admit({ vcpus, createRunner }, facts)
    if (refused < 0) return refused
    const id = this.chooseId(options.domid, facts)
    if (id < 0) return id
    // A number that is free.
    return this.make(id as DomId, Object.assign({}, options, { vcpus, kind }), facts)
  }

  private make(id: DomId, options: NewDomain, facts: RefusalFacts): number {
    const { parts } = this
    const { maxGrantFrames = DEFAULT_GRANT_FRAMES, maxMaptrackFrames = DEFAULT_MAPTRACK_FRAMES, grantVersion: maxVersion = 2 } = options
    const sharedInfoFrame = parts.domainMemory.takeRaw()
    if (sharedInfoFrame < 0) return because(facts, { cause: 'shared_info', domid: id }, -ERRNO.ENOMEM)
    parts.frames.begin(id)
    parts.frames.assignShared(sharedInfoFrame, id)
    const { kind, createRunner, vcpus: vcpuCount } = options
    const domain = this.assemble({
      id, kind, privileged: options.privileged ?? false, handle: handleOf(options.handle), vcpuCount,
      maxPort: options.maxPorts === undefined ? MAX_PORT : options.maxPorts - 1, sharedInfoFrame, createRunner,
    })
    domain.sharedPages = 1
    domain.maxPages = options.maxPages ?? 0
    domain.tools.hasVcpus = options.withoutVcpus !== true
    domain.tools.isXenstore = options.isXenstore === true
    fillSharedInfo(this.parts, domain)
    const refused = parts.grants.addDomain({ id, maxGrantFrames, maxMaptrackFrames, maxVersion, ...mappingOf(domain) })
    if (refused < 0) {
      this.destroy(domain)
      return because(facts, { cause: 'grants', domid: id }, refused)
    }
    parts.hub.emit({ type: 'domain-created', domid: id })
    return id
  }

  /** XEN_DOMCTL_settimeoffset: 0, or -EINVAL for what is no number of seconds. */
  setTimeOffset(domain: Domain, seconds: number): number {
    if (!Number.isInteger(seconds) || Math.abs(seconds) > MAX_TIME_OFFSET) return -ERRNO.EINVAL
    domain.timeOffset = seconds
    writeWallClock(this.parts, domain)
    return 0
  }

  /** XEN_DOMINF_dying: true of a domain that has been taken apart, but for frames that others hold. */
  isDead(domain: Domain): boolean {
    return domain.dying && !this.dismantling.has(domain)
  }

  /**
   * XEN_DOMCTL_set_address_size: makes it a guest of kernels of a width: 0; -EACCES once it has memory, -EINVAL where there is no such
   * kind.
   */
  setWidth(domain: Domain, width: Width): number {
    if ((domain.kind.abi ?? NATIVE).width === width) return 0
    const kind = this.kindOf({ translated: false, width })
    // A kernel of 64 bits is what a domain begins with.
    if (kind === undefined || width === 64) return -ERRNO.EINVAL
    if (domain.totalPages !== 0) return -ERRNO.EACCES
    domain.become(kind)
    fillSharedInfo(this.parts, domain)
    return 0
  }

  /** The kind of binary guests that have a physical map or not, and kernels of a width. */
  kindOf(wanted: { readonly translated: boolean; readonly width: Width }): GuestKind | undefined {
    return this.parts.kinds.all().find((kind) => kind.hasRegisters && (kind.createDomain !== undefined) === wanted.translated && (kind.abi ?? NATIVE).width === wanted.width)
  }

  /** What XEN_DOMCTL_soft_reset does before the domain goes on: 0; -EINVAL, -ENOMEM with nothing changed. `facts` takes the cause. */
  softReset(domain: Domain, facts: RefusalFacts = {}): number {
    return softReset(this.parts, domain, facts)
  }

  /** A domain that is being taken apart, which cannot be saved meanwhile; undefined when there is none. */
  underWay(): DomId | undefined {
    for (const { id } of this.dismantling.keys()) return id
    return undefined
  }

  save(): StateOf<typeof lifecycleShape> {
    return { nextId: this.nextId }
  }

  isAsSaved({ nextId }: StateOf<typeof lifecycleShape>): boolean {
    return this.nextId === nextId
  }

  load({ nextId }: StateOf<typeof lifecycleShape>): void {
    this.nextId = nextId
  }

  /** Makes a saved domain anew, without touching frames: those that it had are its own in the saved frame table. */
  restore(facts: SavedDomainFacts, createRunner: RunnerFactory | undefined): void {
    const { parts } = this
    const { domid, kind: name, maxGrantFrames, maxMaptrackFrames, maxVersion, vcpus: vcpuCount, ...same } = facts
    const kind = parts.kinds.get(name)
    if (kind === undefined) throw badState(`there is no kind of guest ${name}`)
    if (parts.domains.get(domid) !== undefined) throw badState(`domain ${domid} is there twice`)
    if (facts.sharedInfoFrame < parts.memory.firstFrame || facts.sharedInfoFrame >= parts.memory.endFrame) {
      throw badState(`the shared_info of domain ${domid} lies outside of memory`)
    }
    if (kind.admit({ vcpus: vcpuCount, createRunner }, {}) < 0) throw badState(`domain ${domid} cannot be of kind ${name} here`)
    const id = domid as DomId
    const domain = this.assemble({ ...same, id, kind, vcpuCount, createRunner })
    parts.grants.awaitDomain({ id, maxGrantFrames, maxMaptrackFrames, maxVersion: maxVersion === 1 ? 1 : 2, ...mappingOf(domain) })
  }

  /** Ends a domain, however long that takes; it is forgotten when its last frame is free. */
  destroy(domain: Domain): void {
    while (this.dismantle(domain) === CALL_AGAIN);
  }

  /**
   * XEN_DOMCTL_destroydomain: one portion of ending a domain, which never runs again from the first one on. 0, or CALL_AGAIN
   * while there is more to do.
   */
  dismantle(domain: Domain): number {
    const { parts } = this
    const known = this.dismantling.get(domain)
    if (known === undefined && domain.dying) return 0
    const work = known ?? this.takeApart(domain)
    this.dismantling.set(domain, work)
    domain.dying = true
    return parts.meter.within(DISMANTLING_PORTION, () => {
      while (work.next().done !== true) {
        // Nobody finds a domain that is gone: what is left of its end comes at once.
        if (parts.meter.isSpent && parts.domains.get(domain.id) === domain) return CALL_AGAIN
      }
      this.dismantling.delete(domain)
      return 0
    })
  }

  /** Takes a domain apart, step by step. */
  private *takeApart(domain: Domain): Generator<void> {
    const { parts } = this
    parts.execution.updateDomain(domain)
    yield* parts.events.closing(domain.id)
    parts.typedHypercallsOf(domain).release()
    domain.watchdogs.stopAll()
    parts.domainMemory.keepAside(domain, 0)
    for (const vcpu of domain.vcpus) {
      this.dropVcpu(vcpu)
      yield
    }
    yield* parts.grants.retiring(domain.id)
    parts.scheduler.removeDomain(domain.id)
    if (domain.eoiFrame >= 0) parts.pageTypes.putPageAndType(domain.eoiFrame)
    yield* this.relinquish(domain)
    this.announceEnd(domain)
    if (domain.totalPages + domain.sharedPages === 0) this.finish(domain)
  }

  /** The last frame of a dying domain is free. */
  finish(domain: Domain): void {
    const { parts } = this
    if (parts.domains.get(domain.id) !== domain) return
    parts.domains.remove(domain)
    parts.events.removeDomain(domain.id)
    parts.grants.removeDomain(domain.id)
    parts.console.forget(domain.id)
    this.announceEnd(domain)
    parts.gone(domain)
  }

  /** Whoever serves domains hears when one has been taken apart, and again when nothing keeps it any more, as in Xen. */
  private announceEnd(domain: Domain): void {
    if (domain.id !== 0) this.parts.events.raiseGlobalVirq(VIRQ.DOM_EXC, 0 as DomId)
  }

  /** The number that is asked for, or the next free one; -EINVAL, -EEXIST, -ENOMEM. */
  private chooseId(wanted: DomId | undefined, facts: RefusalFacts): number {
    const { domains } = this.parts
    if (wanted !== undefined) {
      if (!(Number.isInteger(wanted) && wanted >= 0)) return because(facts, { cause: 'number' }, -ERRNO.EINVAL)
      if (domains.get(wanted) !== undefined) return -ERRNO.EEXIST
    }
    const id = wanted ?? domains.freeId(this.nextId)
    if (id === undefined || id >= DOMID.FIRST_RESERVED) return because(facts, { cause: 'numbers', domid: id }, -ERRNO.ENOMEM)
    // One that was asked for leaves the others' turn as it is.
    if (wanted === undefined) this.nextId = id + 1
    return id
  }

  /** A domain without frames, in the hands of every part that keeps something for it. */
  private assemble(facts: DomainFacts): Domain {
    const { parts } = this
    const { id, vcpuCount } = facts
    const domain = new Domain(facts)
    domain.watchdogs = new DomainWatchdogs(parts.timers, () => parts.execution.shutdown(domain, WATCHDOG))
    parts.domains.add(domain)
    parts.scheduler.addDomain(id)
    for (let vcpu = 0; vcpu < vcpuCount; vcpu += 1) this.addVcpu(domain, vcpu)
    const { vcpus } = domain
    parts.events.addDomain(domain, {
      wake: (vcpu) => {
        const woken = vcpus[vcpu]
        if (woken !== undefined) parts.execution.wake(woken)
      },
      raised: (vcpu) => {
        const told = vcpus[vcpu]
        if (told === undefined) return
        told.guest?.raised?.()
        parts.execution.wake(told)
      },
    })
    return domain
  }

  private addVcpu(domain: Domain, index: number): void {
    const { parts } = this
    const now = parts.clock.now()
    const { guestTime } = parts
    const vcpu = new Vcpu(domain, index, {
      access: new FrameAccess(parts.memory, parts.frames, domain.id), infoAddress: domain.defaultVcpuInfo(index), now,
    })
    vcpu.timers = new VcpuTimers(parts.timers, {
      raiseTimer: () => parts.raiseTimer(vcpu),
      pollTimedOut: () => parts.execution.wake(vcpu),
      ...(guestTime === undefined ? {} : { hostTime: (shown: number) => guestTime.hostTime(domain.id, shown) }),
    })
    domain.vcpus.push(vcpu)
    domain.kind.added?.(vcpu)
    parts.scheduler.addVcpu(vcpu, now)
  }

  private dropVcpu(vcpu: Vcpu): void {
    const { parts } = this
    vcpu.timers.stopAll()
    parts.cpus.forget(vcpu)
    parts.cpus.reschedule(parts.scheduler.removeVcpu(vcpu, parts.clock.now()))
    vcpu.queued = false
    if (vcpu.infoFrame >= 0) parts.pageTypes.putPageAndType(vcpu.infoFrame)
    vcpu.infoFrame = -1
    vcpu.infoAddress = -1
    vcpu.unequip()
    vcpu.owner.kind.removed?.(vcpu)
  }

  /** Gives back every frame of a dying domain: pins, its own references, and recursive page tables by force. */
  private *relinquish(domain: Domain): Generator<void> {
    const { frames, domainMemory } = this.parts
    const own = frames.framesOf(domain.id, domain.totalPages + domain.sharedPages)
    yield* this.eachFrame(domain, own, (mfn) => this.unpin(mfn))
    yield* this.eachFrame(domain, own, (mfn) => void domainMemory.giveBack(mfn))
    // Most are free by now; tables that name themselves are not.
    const left = own.filter((mfn) => frames.owner[mfn] === domain.id)
    for (const level of [FRAME_TYPE.L4, FRAME_TYPE.L3, FRAME_TYPE.L2, FRAME_TYPE.L1]) {
      yield* this.eachFrame(domain, left, (mfn) => {
        if (frames.type[mfn] === level && frames.typeCount[mfn] !== 0) this.parts.pageTypes.invalidate(mfn)
      })
    }
  }

  /** Does something with each frame that is the domain's still, and with the tables that fall of it. */
  private *eachFrame(domain: Domain, own: readonly number[], action: (mfn: number) => void): Generator<void> {
    const { frames, pageTypes, meter } = this.parts
    // By number: within a generator an iterator makes an object for each.
    for (let at = 0; at < own.length; at += 1) {
      const mfn = own[at]!
      if (frames.owner[mfn] !== domain.id) continue
      action(mfn)
      meter.charge(WORK.frame)
      while (!pageTypes.settle(domain.id)) yield
      if (meter.isSpent) yield
    }
  }

  private unpin(mfn: number): void {
    const { frames, pageTypes } = this.parts
    pageTypes.abandon(mfn)
    if (!frames.hasFlag(mfn, FRAME_FLAG.PINNED)) return
    frames.rows.setFlags(mfn, frames.flags[mfn]! & ~FRAME_FLAG.PINNED)
    pageTypes.putPageAndType(mfn)
  }
}

/** How a domain maps grants, and where its own frames lie. */
const mappingOf = ({ kind, guest }: Domain): Pick<GrantDomain, 'mapsBy' | 'physmap'> => ({
  mapsBy: guest !== undefined ? 'place' : kind.grants === undefined ? 'direct' : 'table', physmap: guest?.physmap,
})

/** A domain's handle: 16 bytes, zeros unless given. */
function handleOf(given: Uint8Array | undefined): Uint8Array {
  const handle = new Uint8Array(16)
  if (given !== undefined) handle.set(given.subarray(0, 16))
  return handle
}
