/**
 * One domain and its virtual CPUs: identity, limits, counts and state, whoever executes them. The two stand together, as
 * in Xen's sched.h, because each points to the other. Operations on them are in control/ and execution/; what a domain's
 * frames, ports and grants are is kept by the parts that own them.
 */
import type { CpuidTable } from './cpu-policy.ts'
import { type GuestAbi, LEGACY_MAX_VCPUS, NATIVE, SharedInfo, VcpuInfo, guestAbiOf } from '../../abi/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { type DomId, FRACTION, type Rewind, type Stateful, badState, sameState, sameEntries, sameFields, sameOptional } from '../../util/index.ts'
import type { CrashReport } from './crash-report.ts'
import type { DomainState, VcpuState } from './domain-state.ts'
import type { GuestAccess } from '../memory/guest-access.ts'
import { DomainTsc, type DomainWatchdogs, RunstateClock, type VcpuTimers } from '../time/index.ts'
import type { DomainKind } from './domain-kind.ts'
import type { GuestDomain } from './guest-domain.ts'
import type { GuestVcpu } from './guest-vcpu.ts'
import type { RunnerFactory } from './vcpu-runner.ts'

/** One range of a domain's memory map (e820): 64-bit values in halves. */
export interface MemoryMapEntry {
  readonly addressLow: number
  readonly addressHigh: number
  readonly sizeLow: number
  readonly sizeHigh: number
  readonly type: number
}

/** Facts that never change. */
export interface DomainFacts {
  readonly id: DomId
  readonly kind: DomainKind<Vcpu>
  readonly privileged: boolean
  readonly handle: Uint8Array
  readonly vcpuCount: number
  readonly maxPort: number
  readonly sharedInfoFrame: number
  readonly createRunner: RunnerFactory | undefined
}

/** What toolstacks set of a domain by domctl, and are told again. */
export interface ToolSettings {
  /** False from its making by domctl until its vCPUs are asked for: tools find none meanwhile. */
  hasVcpus: boolean
  isDebugged: boolean
  isXenstore: boolean
  /** What the hypervisor may spend on its physical map, where it has one: a wish, nothing is kept aside. */
  pagingBytes: number
  /** Which of the calendar clock's two ports it may reach: a bit each. */
  clockPorts: number
}


/** Both ports of the calendar clock. */
const BOTH_CLOCK_PORTS = 3
/** What of a saved domain, and of a saved vCPU, is no field as it lies. */
const DOMAIN_APART: ReadonlySet<string> = /* @__PURE__ */ new Set(['vcpus', 'watchdogs', 'cpuPolicy', 'abi', 'tsc'])
const VCPU_APART: ReadonlySet<string> = /* @__PURE__ */ new Set(['runstate', 'timers'])
/** What a state out of a file may lack. */
const DOMAIN_OPTIONAL = ['crashReport'] as const
const VCPU_OPTIONAL = ['polledPorts', 'pinnedFrom', 'runstateArea', 'timeArea'] as const

/** A domain of the host. */
export class Domain implements DomainFacts, Stateful<DomainState> {
  readonly id: DomId
  /** It may become another one while the domain has no memory: {@link Domain.become}. */
  kind: DomainKind<Vcpu>
  readonly privileged: boolean
  readonly handle: Uint8Array
  readonly vcpuCount: number
  readonly maxPort: number
  readonly sharedInfoFrame: number
  readonly createRunner: RunnerFactory | undefined
  /** Byte address of shared_info. */
  readonly sharedInfo: number
  /** Its page tables have three levels, where it has some: those of a 32-bit kernel. */
  hasPae: boolean
  readonly vcpus: Vcpu[] = []
  /** How shared_info, the vCPUs' vcpu_info and their registered run states are laid out. Its kind may change it. */
  abi: GuestAbi
  /** Its kind's half, where the domain is translated. */
  readonly guest: GuestDomain | undefined
  watchdogs!: DomainWatchdogs
  /** Hears when it has ended, begins to be taken apart, or goes on after all. */
  onEnd: (() => void) | undefined
  maxPages = 0
  /** Frames of its reservation, and frames that the hypervisor shares with it. */
  totalPages = 0
  sharedPages = 0
  /** Seconds by which its wall clock is ahead of the host's. */
  timeOffset = 0
  /** Frames that are kept aside for it: what it has claimed and not been given yet. */
  outstandingPages = 0
  /** A new domain is paused once. */
  pauseCount = 1
  shutdownReason = 0
  /** Reason set by SCHEDOP_shutdown_code for a later crash, or -1. */
  shutdownCode = -1
  /** How it crashed; undefined while it has not. */
  crashReport: CrashReport | undefined
  /** Frame of the start_info that a suspend hypercall named; -1 for none. */
  suspendFrame = -1
  /** vm_assist types in force, one bit each; type 32 apart. */
  assists = 0
  hidesMachineToPhys = false
  memoryMap: readonly MemoryMapEntry[] = []
  /** Frame of the bitmap of interrupts that want an end-of-interrupt call, or -1. */
  eoiFrame = -1
  /** What CPUID tells it, where it has come with a policy of its own. */
  cpuPolicy: CpuidTable | undefined = undefined
  /** Frames are watched for writes. */
  logDirty = false
  /** What toolstacks have set of it. */
  readonly tools: ToolSettings
  /** How it sees the time-stamp counter. */
  readonly tsc = new DomainTsc()
  private isDying = false
  private isDown = false

  constructor(facts: DomainFacts) {
    this.id = facts.id
    this.kind = facts.kind
    this.hasPae = facts.kind.pageTableLevels === 3
    this.privileged = facts.privileged
    this.tools = { hasVcpus: true, isDebugged: false, isXenstore: false, pagingBytes: 0, clockPorts: facts.privileged ? BOTH_CLOCK_PORTS : 0 }
    this.handle = facts.handle
    this.vcpuCount = facts.vcpuCount
    this.maxPort = facts.maxPort
    this.sharedInfoFrame = facts.sharedInfoFrame
    this.createRunner = facts.createRunner
    this.sharedInfo = facts.sharedInfoFrame * PAGE_SIZE
    this.abi = facts.kind.abi ?? NATIVE
    this.guest = facts.kind.createDomain?.(this)
  }

  /** Makes it one of another kind, which sees its frames as its own one did. It has no memory, and none of its vCPUs has run. */
  become(kind: DomainKind<Vcpu>): void {
    for (const vcpu of this.vcpus) {
      vcpu.unequip()
      this.kind.removed?.(vcpu)
      kind.added?.(vcpu)
    }
    this.kind = kind
    this.hasPae = kind.pageTableLevels === 3
    this.abi = kind.abi ?? NATIVE
  }

  /** The domain's own frame of the host that a frame number of the guest's names; -1 for none. */
  frameOf(gfn: number): number {
    return this.guest === undefined ? gfn : this.guest.physmap.frame(gfn)
  }

  /** Whether a vCPU would be interrupted now; undefined where its vcpu_info tells. */
  interrupted(vcpu: number): boolean | undefined {
    return this.vcpus[vcpu]?.guest?.interrupted?.()
  }

  /** True while it is being taken apart. */
  get dying(): boolean {
    return this.isDying
  }

  set dying(is: boolean) {
    this.isDying = is
    this.onEnd?.()
  }

  /** True while it has shut down. */
  get isShutDown(): boolean {
    return this.isDown
  }

  set isShutDown(is: boolean) {
    this.isDown = is
    this.onEnd?.()
  }

  /** True while its vCPUs may run. */
  get isActive(): boolean {
    return this.pauseCount === 0 && !this.isDown && !this.isDying
  }

  /** Byte address of the vCPU's vcpu_info, or -1. */
  vcpuInfo(vcpu: number): number {
    return this.vcpus[vcpu]?.infoAddress ?? this.defaultVcpuInfo(vcpu)
  }

  /** Where the vCPU's vcpu_info is before it registers one elsewhere, or -1. */
  defaultVcpuInfo(vcpu: number): number {
    return vcpu < LEGACY_MAX_VCPUS ? this.sharedInfo + SharedInfo.vcpuInfo.offset + vcpu * VcpuInfo.size : -1
  }

  /** True while a vm_assist type is in force. */
  hasAssist(type: number): boolean {
    return (this.assists & (1 << type)) !== 0
  }

  save(): DomainState {
    const {
      maxPages, totalPages, sharedPages, outstandingPages, timeOffset, pauseCount, dying, isShutDown, shutdownReason, shutdownCode, crashReport, suspendFrame,
      assists, hidesMachineToPhys, memoryMap, eoiFrame, cpuPolicy, logDirty, abi, tools,
    } = this
    return {
      maxPages, totalPages, sharedPages, outstandingPages, timeOffset, pauseCount, dying, isShutDown, shutdownReason, shutdownCode, suspendFrame, assists,
      hidesMachineToPhys, eoiFrame, logDirty, abi: abi.width, tools: { ...tools }, tsc: this.tsc.save(), crashReport: structuredClone(crashReport), memoryMap: memoryMap.map((range) => ({ ...range })),
      cpuPolicy: cpuPolicy === undefined ? undefined : [...cpuPolicy].map(([key, answer]) => [key, [...answer]] as const),
      watchdogs: this.watchdogs.save(), vcpus: this.vcpus.map((vcpu) => vcpu.save()),
    }
  }

  isAsSaved(state: DomainState): boolean {
    const { vcpus, watchdogs, cpuPolicy, abi } = state
    return this.abi.width === abi && vcpus.length === this.vcpus.length && sameFields(this, state, DOMAIN_APART) && sameState(this.tsc.facts, state.tsc)
      && sameOptional(this, state, DOMAIN_OPTIONAL)
      && (this.cpuPolicy === undefined ? cpuPolicy === undefined : cpuPolicy !== undefined && sameEntries(this.cpuPolicy, cpuPolicy))
      && this.watchdogs.isAsSaved(watchdogs) && this.vcpus.every((vcpu, i) => vcpu.isAsSaved(vcpus[i]!))
  }

  load(state: DomainState): void {
    const { vcpus, watchdogs, cpuPolicy, abi, tools, tsc, ...own } = state
    if (vcpus.length !== this.vcpus.length) throw badState(`it has ${vcpus.length} vCPUs`)
    vcpus.forEach((saved, i) => this.vcpus[i]!.checkInfo(saved, state.dying))
    // What it had not is not in a state that has been in a file.
    Object.assign(this, { crashReport: undefined }, own)
    Object.assign(this.tools, tools)
    this.tsc.load(tsc)
    this.abi = guestAbiOf(abi)
    this.cpuPolicy = cpuPolicy === undefined ? undefined : new Map(cpuPolicy)
    this.watchdogs.load(watchdogs)
    vcpus.forEach((saved, i) => this.vcpus[i]!.load(saved))
  }

  /** In place where it lives, and where what others have made of these facts is the same. */
  rewind(state: DomainState, now: DomainState): Rewind | undefined {
    const facts = ({ dying, abi, cpuPolicy, logDirty, vcpus }: DomainState): unknown =>
      [dying, abi, cpuPolicy, logDirty, vcpus.map(({ online, initialised }) => [online, initialised])]
    return state.dying || !sameState(facts(state), facts(now)) ? undefined : () => this.load(state)
  }
}

/** What a vCPU may be without: in a state that has been in a file it is not named. */
const WITHOUT = /* @__PURE__ */ Object.freeze({ polledPorts: undefined, pinnedFrom: undefined, runstateArea: undefined, timeArea: undefined })

/** A virtual CPU of a domain. */
export class Vcpu implements Stateful<VcpuState> {
  /** The schedulers' names of it. */
  readonly domid: DomId
  readonly vcpu: number
  readonly owner: Domain
  /** Its kind's half, which executes it; absent until it is first needed. */
  guest: GuestVcpu | undefined
  /** The memory that its hypercalls' pointers point into. */
  access: GuestAccess
  /** The guest kernel's memory, whichever mode is in force. */
  kernelAccess: GuestAccess
  /** Byte address of its vcpu_info, or -1 while it has none. */
  infoAddress: number
  /** Frame of a vcpu_info that it has registered elsewhere, or -1. */
  infoFrame = -1
  /** It has been given registers, and may be brought up. */
  initialised = false
  online = false
  blocked = false
  polling = false
  /** Ports that it polls, for whoever asks what it is waiting for. */
  polledPorts: readonly number[] | undefined
  pauseCount = 0
  /** Physical CPUs that it may use once SCHEDOP_pin_override is taken back; undefined while that is not in force. */
  pinnedFrom: readonly number[] | undefined
  /** The scheduler knows it as runnable. */
  queued = false
  /** Physical CPU that it runs on now, or -1. */
  runningOn = -1
  readonly runstate: RunstateClock
  timers!: VcpuTimers
  /** Guest addresses of registered run state and time records; undefined for none. */
  runstateArea: number | undefined
  timeArea: number | undefined
  /** Host time at which it stopped running last, and the physical CPU it ran on. */
  lastRun = FRACTION
  lastCpu = 0
  /** Host time at which its time record was written last. */
  timeWritten = -Infinity

  constructor(
    owner: Domain,
    id: number,
    options: { readonly access: GuestAccess; readonly infoAddress: number; readonly now: number },
  ) {
    this.owner = owner
    this.domid = owner.id
    this.vcpu = id
    this.access = options.access
    this.kernelAccess = options.access
    this.infoAddress = options.infoAddress
    this.lastRun = 0
    this.runstate = new RunstateClock(options.now)
  }

  /**
   * Makes its kind's half, if it is not there yet: 0, -EOPNOTSUPP on a host without processors for it, -ENOMEM when all are
   * in use.
   */
  equip(): number {
    if (this.guest !== undefined) return 0
    const guest = this.owner.kind.createVcpu(this)
    if (typeof guest === 'number') return guest
    this.guest = guest
    this.access = guest.access
    this.kernelAccess = guest.kernelAccess
    return 0
  }

  /** Gives its kind's half back: it never runs again. */
  unequip(): void {
    this.guest?.drop()
    this.guest = undefined
  }

  save(): VcpuState {
    const {
      infoAddress, infoFrame, initialised, online, blocked, polling, polledPorts, pauseCount, pinnedFrom, queued, runstateArea, timeArea,
      lastRun, lastCpu, timeWritten,
    } = this
    return {
      infoAddress, infoFrame, initialised, online, blocked, polling, pauseCount, queued, runstateArea, timeArea, lastRun, lastCpu, timeWritten,
      polledPorts: polledPorts === undefined ? undefined : [...polledPorts],
      pinnedFrom: pinnedFrom === undefined ? undefined : [...pinnedFrom],
      runstate: this.runstate.save(), timers: this.timers.save(),
    }
  }

  isAsSaved(state: VcpuState): boolean {
    return sameFields(this, state, VCPU_APART) && sameOptional(this, state, VCPU_OPTIONAL) && this.runstate.isAsSaved(state.runstate) && this.timers.isAsSaved(state.timers)
  }

  /** Where it runs, its run loop says. */
  load({ runstate, timers, ...own }: VcpuState): void {
    this.checkInfo(own, this.owner.dying)
    Object.assign(this, WITHOUT, own)
    this.runstate.load(runstate)
    this.timers.load(timers)
  }

  /** A vcpu_info lies in shared_info, in the frame that the guest has registered, or, of a dying domain, nowhere. */
  checkInfo({ infoAddress, infoFrame }: Pick<VcpuState, 'infoAddress' | 'infoFrame'>, dying: boolean): void {
    const offset = infoAddress - infoFrame * PAGE_SIZE
    const isSound = infoFrame < 0
      ? infoAddress === this.owner.defaultVcpuInfo(this.vcpu) || (infoAddress === -1 && dying)
      : offset >= 0 && offset % 8 === 0 && offset <= PAGE_SIZE - VcpuInfo.size
    if (!isSound) throw badState(`the vcpu_info of vCPU ${this.vcpu} lies where none may`)
  }

  /** True when nothing keeps it from running. */
  get isRunnable(): boolean {
    return this.online && !this.blocked && this.pauseCount === 0 && this.owner.isActive
  }
}
