/**
 * A host: machine, hypervisor, dom0 with XenStore and consoles, and the guests. It composes the layers and offers what
 * xl and libxl offer; whoever needs one layer alone imports that.
 */
import type { Bridge, UserNetwork } from '../../drivers/index.ts'
import type { Hypervisor, HypervisorEvent } from '../../hypervisor/index.ts'
import { callable, checkArgument, readRecord, real, text, XenError, type DomId, type EventSource, tryRead, named } from '../../util/index.ts'
import type { LocalStore, XenStore } from '../../xenstore/index.ts'
import { bootHost, type HostParts } from '../boot/boot-host.ts'
import type { HostOptions } from '../boot/host-options.ts'
import type { ConfigWarning } from '../config/description-file.ts'
import type { DomainOptions } from '../config/domain-config.ts'
import type { HostFacts } from '../control/host-facts.ts'
import { HostReports } from '../control/host-reports.ts'
import type { HostStatistics, StatisticsOptions, WatchStatisticsOptions } from '../control/statistics.ts'
import { openCpuPools, type CpuPools } from '../control/cpu-pools.ts'
import { listVcpus, schedulingOf, setAffinity, setScheduling, type AffinityWish, type DomainScheduling, type VcpuSummary } from '../control/vcpu-control.ts'
import type { CreateProgress } from '../create/create-domain.ts'
import type { CreateOptions } from '../create/create-options.ts'
import { SERVED_NICS } from '../device-kinds/nic/nic-service.ts'
import type { Dom0 } from '../dom0/dom0.ts'
import { summarize, type DomainSummary } from '../domains/domain-list.ts'
import { PAGES_PER_MEBIBYTE } from '../domains/memory-settings.ts'
import type { DomainConsole } from '../domains/domain-console.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import type { BootDescription } from '../grub/boot-description.ts'
import type { BootWarning } from '../grub/xen-options.ts'
import type { ReceiveOptions, ReceiveProgress } from '../migrate/receive.ts'
import type { MigrationTransport } from '../migrate/transport.ts'
import { Family, type Brancher } from '../moments/family.ts'
import type { GroundImages } from '../moments/ground-images.ts'
import type { Moment } from '../moments/moment.ts'
import { storeDoor, type HostCall } from '../run/inputs.ts'
import type { Operation, OperationOptions } from '../run/operation.ts'
import type { UntilOptions } from '../run/run-loop.ts'
import { capabilitiesOf, type HostCapabilities } from '../create/capabilities.ts'
import type { StandByOptions, StandByProgress } from '../remus/stand-by.ts'
import type { RestoreProgress } from '../save/restore-domain.ts'
import type { ByteInput } from '../stream/index.ts'
import { checkCall, type RestoreDomainOptions } from './call-options.ts'
import { creation, limitsOf } from './call-inputs.ts'
import type { Domain } from './domain.ts'
import { bootHardwareDomain } from './boot-hardware-domain.ts'
import { Guests } from './guests.ts'
import type { HostInsides } from './host-state.ts'
import { profileHost, type HostProfile } from './host-profile.ts'
import { hold, type HeldHost } from './hold.ts'
import { followParts } from './follow-parts.ts'
import { hostEvents, type HostEvent } from './host-events.ts'
import { HostMoments, makeAhead, standUpBranch, type CheckpointOptions, type CheckpointProgress } from './host-moments.ts'
import { loadMoment, type LoadMomentOptions } from './load-moment.ts'
import {
  describeDom0Memory, mebibytesOf, memoryOf, setMemoryMaximum, setMemoryTarget, type DomainMemorySummary, type MaximumProgress, type MemoryAmount, type MemoryProgress,
} from './memory-target.ts'
import { Warnings, type WARNING_LIMIT } from './warnings.ts'

/** Names a domain: by its number, its name, or its handle. */
export type DomainReference = number | string | Domain

/** What saving and loading works on, and how a host is made of loaded parts; not published. */
export let insidesOf: (host: Host) => HostInsides
export let hostOf: (parts: HostParts, branched?: Branched) => Host

/** Where a branch comes from, and the ground that it was given. */
interface Branched {
  readonly family: Family<Host>
  readonly images: GroundImages
  readonly moment: Moment<Host>
}

/** Makes the hosts of branches. */
const BRANCHES: Brancher<Host> = {
  ahead: makeAhead,
  branch: async (moment, kept, options, family) => {
    const made: { host?: Host } = {}
    const goOn = await standUpBranch(kept, { family, options }, (parts, images) => insidesOf(made.host = hostOf(parts, { family, images, moment })).guests)
    goOn()
    return made.host!
  },
}

/** A host and everything on it. */
export class Host {
  /** What happens to domains. */
  readonly events: EventSource<HostEvent>
  /** What was understood and has no effect, so far; of very many the last {@link WARNING_LIMIT}. */
  readonly warnings: (ConfigWarning | BootWarning)[]
  /** Pools of the host's CPUs, each with a scheduler of its own. */
  readonly cpupools: CpuPools = openCpuPools(() => this.guests.seat)
  private readonly reports = new HostReports(() => this.guests.reportSource)
  private readonly hub = hostEvents(() => this.parts.clock.now())
  private readonly noted = new Warnings((warning) => this.hub.emit({ type: 'warning', warning }))
  private readonly moments: HostMoments<Host>
  private parts: HostParts
  private guests: Guests
  private door: LocalStore
  private closing: Promise<void> | undefined

  private constructor(parts: HostParts, branched?: Branched) {
    this.events = this.hub
    this.warnings = this.noted.list
    this.parts = parts
    this.door = this.openDoor(parts)
    this.guests = this.install(parts)
    for (const warning of parts.warnings) this.noted.add(warning)
    const seat = { insides: () => insidesOf(this), install: (next: HostParts) => this.install(next) }
    this.moments = new HostMoments<Host>(seat, branched?.family ?? new Family(parts.options.moments, BRANCHES), branched)
  }

  /** Dom0's handle on XenStore, for code outside of the host. */
  private openDoor({ store, inputs }: HostParts): LocalStore {
    return store.through(storeDoor(inputs))
  }

  /** Goes on as what was booted or stood up. */
  private install(parts: HostParts): Guests {
    this.parts = parts
    this.door = this.openDoor(parts)
    const { hub, noted: warnings } = this
    const guests = this.guests = new Guests({
      parts, hub, warnings, expectInput: () => this.expectInput(), domidOf: (reference) => this.domidOf(reference),
    })
    followParts(hub, parts, guests)
    return guests
  }

  /** The privileged control interface, at libxc's level. Another one behind a {@link Host.reset}. */
  get hypervisor(): Hypervisor {
    return this.parts.control
  }

  /** The store itself, with its events. Another one behind a {@link Host.reset}. */
  get xenstore(): XenStore {
    return this.parts.xenstore
  }

  /** Dom0's handle on XenStore. Another one behind a {@link Host.reset}. */
  get store(): LocalStore {
    return this.door
  }

  /** The control domain: its kernel, the XenStore server and the console back-end. Another one behind a {@link Host.reset}. */
  get dom0(): Dom0 {
    return this.parts.plan.dom0
  }

  /**
   * The host's own console, as a serial line would show it: what a dom0 with a kernel of its own writes, and what is typed for it.
   * Throws NOT_SUPPORTED where dom0 is a kernel of this library, which reads none. Another one behind a {@link Host.reset}.
   */
  get console(): DomainConsole {
    return this.guests.hostConsole
  }

  /** What was booted, for a host that came from a grub.conf. */
  get bootDescription(): BootDescription | undefined {
    return this.parts.bootDescription
  }

  /**
   * Boots a host; resolves when dom0 serves.
   *
   * @example
   * const host = await Host.boot({ memory: 256 })
   * const domain = await host.createDomain({ name: 'hello', memory: 32 })
   * console.log(await domain.console.waitFor('ready'))
   * await host.shutdown()
   */
  static async boot(options: HostOptions = {}): Promise<Host> {
    const host = new Host(await bootHost(options))
    host.guests.devices.open()
    return bootHardwareDomain(insidesOf(host)).then(() => host, (error: unknown) => host.shutdown().then(() => { throw error }))
  }

  /** Boots a host from the text of a grub.conf or grub.cfg: the entry that loads Xen says how. */
  static async bootFromGrub(grubConf: string, options: HostOptions = {}): Promise<Host> {
    return Host.boot({ ...readRecord('the options of bootFromGrub', options), grubConf })
  }

  /**
   * A moment out of the file that `moment.save` has written, to branch from. The file may come from anywhere: what is no moment is
   * refused with INVALID_STREAM, what is no host with INVALID_STATE when it is first branched from.
   *
   * @example
   * const moment = await Host.loadMoment(createReadStream('shell.moment'))
   * const host = await moment.branch()
   */
  static loadMoment(input: ByteInput, options: LoadMomentOptions = {}): Promise<Moment<Host>> {
    return loadMoment<Host>(input, options, BRANCHES)
  }

  /**
   * Which guests and devices the host offers: what a domain's description is held against.
   *
   * @example
   * if (host.capabilities().types.pvh !== undefined) await host.createDomain({ name: 'web', type: 'pvh', kernel: 'vmlinuz' })
   */
  capabilities(): HostCapabilities {
    return capabilitiesOf(this.parts.control, this.parts.options.deviceKinds)
  }

  /** Facts about the host, as `xl info` tells them. */
  info(): HostFacts {
    return this.reports.facts()
  }

  /** What the hypervisor's console ring holds, as `xl dmesg` shows it; `clear` empties it. */
  dmesg(options: { readonly clear?: boolean | undefined } = {}): string {
    return this.reports.console(options)
  }

  /** Presses debug keys, as `xl debug-keys` does; what they have to say stands in {@link Host.dmesg}. `h` lists them. */
  debugKeys(keys: string): void {
    this.reports.debugKeys(keys)
  }

  /** What host and domains have used so far: xentop's columns and counters; `openMetrics` makes text of it. */
  statistics(options: StatisticsOptions = {}): HostStatistics {
    return this.reports.statistics(options)
  }

  /** Statistics at once, and after each interval of host time: `for await (const { domains } of host.watchStatistics({ interval: '5s' }))`. */
  watchStatistics(options: WatchStatisticsOptions = {}): AsyncGenerator<HostStatistics, void> {
    return this.reports.watch(options)
  }

  /** Nanoseconds of host time since boot. */
  now(): number {
    this.parts.loop.present()
    return this.parts.clock.now()
  }

  /** Events of the hypervisor: hypercalls, traps, scheduling. */
  get hypervisorEvents(): EventSource<HypervisorEvent> {
    return this.hypervisor.events
  }

  /**
   * The function of a guest's kernel that an address lies in, by the symbols that were given for it or those that Linux carries in its memory;
   * undefined where neither knows it.
   */
  symbolAt(reference: DomainReference, address: number): string | undefined {
    checkArgument('the address', address, real(-(2 ** 63), 2 ** 64))
    return this.guests.crashes.lookUp(this.domidOf(reference))?.find(address > 2 ** 63 ? address - 2 ** 64 : address)?.name
  }

  /** Guests by number; dom0 is not among them. */
  domains(): readonly Domain[] {
    return this.guests.list()
  }

  /** The guest with this number or name. Throws DOMAIN_NOT_FOUND. */
  domain(reference: DomainReference): Domain {
    const found = this.domains().find(
      (domain) => domain === reference || domain.id === reference || domain.name === reference,
    ) ?? this.domains().find(({ id }) => String(id) === reference)
    if (found !== undefined) return found
    const shown = tryRead(() => (typeof reference === 'object' ? reference?.name : undefined)) ?? named(reference)
    throw new XenError('DOMAIN_NOT_FOUND', `there is no domain ${shown}`, { details: { domain: shown } })
  }

  /** All domains with what `xl list` shows of them, dom0 first. */
  listDomains(): DomainSummary[] {
    return this.hypervisor.listDomains().map((info) => summarize(this.guests.nameOf(info.domid), info))
  }

  /** vCPUs of all domains, dom0's first, or of one, as `xl vcpu-list` shows them. */
  vcpus(reference?: DomainReference): readonly VcpuSummary[] {
    const domids = reference === undefined ? this.hypervisor.listDomains().map(({ domid }) => domid) : [this.domidOf(reference)]
    return domids.flatMap((domid) => listVcpus(this.guests.seat, domid))
  }

  /** What `domain.setAffinity` does, for dom0 as well. */
  setAffinity(reference: DomainReference, vcpu: number | 'all', affinity: AffinityWish): void {
    setAffinity(this.guests.seat, this.domidOf(reference), { vcpu, affinity })
  }

  /** What `domain.scheduling` does, for dom0 as well. */
  scheduling(reference: DomainReference, options: { readonly vcpu?: number | undefined } = {}): DomainScheduling {
    checkCall('scheduling', options)
    return schedulingOf(this.guests.seat, this.domidOf(reference), options.vcpu)
  }

  /** What `domain.setScheduling` does, for dom0 as well. */
  setScheduling(reference: DomainReference, parameters: Readonly<Record<string, number>>, options: { readonly vcpu?: number | undefined } = {}): void {
    checkCall('scheduling', options)
    setScheduling(this.guests.seat, this.domidOf(reference), { values: parameters, vcpu: options.vcpu })
  }

  /**
   * Creates a domain from the text of a description file in either spelling, or from an object, and starts it. A
   * creation that fails or is aborted leaves the host as it was.
   */
  createDomain(config: string | DomainOptions<KernelSource>, options: CreateOptions = {}): Operation<Domain, CreateProgress> {
    // Files are read meanwhile.
    const settings = { name: 'creating a domain', signal: tryRead(() => options?.signal), isOutside: true, check: () => checkCall('createDomain', options) }
    return this.parts.inputs.enter(() => ({ source: 'call', ...creation(config, options) }), () =>
      this.guests.operations.start<Domain, CreateProgress>(settings, (context) => this.guests.create(config, options, context)))
  }

  /**
   * Restores a domain from what `domain.save` or `xl save` wrote, and starts it. One that fails or is aborted leaves the host as it was.
   */
  restore(source: ByteInput, options: RestoreDomainOptions = {}): Operation<Domain, RestoreProgress> {
    return this.call({ call: 'other', name: 'restore' }, () => this.guests.movement.restore(source, options))
  }

  /** Waits for a domain that another host sends by `domain.migrate`, and runs it from then on. */
  receiveMigration(transport: MigrationTransport, options: ReceiveOptions & OperationOptions = {}): Operation<Domain, ReceiveProgress> {
    return this.call({ call: 'other', name: 'receiveMigration' }, () => this.guests.movement.receive(transport, options))
  }

  /** Stands by for a domain that another host protects by `domain.protect`; resolves with it when it has taken over, else with undefined. */
  standBy(transport: MigrationTransport, options: StandByOptions & OperationOptions = {}): Operation<Domain | undefined, StandByProgress> {
    return this.call({ call: 'other', name: 'standBy' }, () => this.guests.movement.standBy(transport, options))
  }

  /** What `domain.memory` tells, for dom0 as well. */
  memory(reference: DomainReference): DomainMemorySummary {
    return memoryOf(this.guests.memory, this.domidOf(reference))
  }

  /** Domains that have claimed memory which they have not been given yet, with the MiB of each, as `xl claims` shows them. */
  claims(): readonly (DomainSummary & { readonly claimed: number })[] {
    return this.hypervisor.listDomains().filter(({ outstandingPages }) => outstandingPages > 0).map((info) =>
      ({ ...summarize(this.guests.nameOf(info.domid), info), claimed: info.outstandingPages / PAGES_PER_MEBIBYTE }))
  }

  /** Sets how many MiB dom0 or a guest is to have, as `domain.setMemTarget` does. */
  setMemTarget(
    reference: DomainReference,
    amount: MemoryAmount,
    options: UntilOptions = {},
  ): Operation<void, MemoryProgress> {
    const domid = this.domidOf(reference)
    const mebibytes = mebibytesOf(amount, () => this.memory(domid).target ?? this.memory(domid).current)
    return this.call({ call: 'memory-target', domid, mebibytes, ...limitsOf(options) }, () => {
      if (domid === 0) describeDom0Memory(this.parts)
      return setMemoryTarget(this.guests.memory, domid, mebibytes, options)
    })
  }

  /** Sets how many MiB dom0 or a guest may be given at most, at least its target; what it has does not change. */
  setMaxMem(
    reference: DomainReference,
    amount: MemoryAmount,
    options: OperationOptions = {},
  ): Operation<void, MaximumProgress> {
    const domid = this.domidOf(reference)
    const mebibytes = mebibytesOf(amount, () => this.memory(domid).maximum ?? this.memory(domid).current)
    return this.call({ call: 'memory-maximum', domid, mebibytes, ...limitsOf(options) }, () => {
      if (domid === 0) describeDom0Memory(this.parts)
      return setMemoryMaximum(this.guests.memory, domid, mebibytes, options)
    })
  }

  /** Resolves when nothing can run at the present host time, promises have had their turn, and actions are done. */
  async settled(): Promise<void> {
    await this.parts.loop.settled()
    await this.guests.lifecycle.finished()
    await this.parts.loop.settled()
  }

  /**
   * Keeps the guests from running but for what its holder asks for: for several hosts on one clock, or a look between two instants.
   * Rejects with NOT_SUPPORTED for a host that follows the wall.
   *
   * @example
   * using held = await host.hold()
   * await held.runTo(held.now + 1_000_000)
   */
  async hold(): Promise<HeldHost> {
    this.checkOpen('hold')
    return hold({ ...this.parts, hashes: () => this.moments.hashes() })
  }

  /** Waits until a condition holds, asked whenever guests have run for a while. */
  async until(what: string, met: () => boolean, options: UntilOptions = {}): Promise<void> {
    checkArgument('the condition of until', met, callable)
    checkCall('until', options)
    this.parts.loop.present()
    return this.parts.loop.until(what, met, options)
  }

  /**
   * Says that something may come from outside until the returned function is called: a socket is open, a person types.
   * Meanwhile nothing that is awaited is rejected with IDLE.
   */
  expectInput(): () => void {
    return this.parts.loop.expectInput()
  }

  /** Ends all guests and the host; what is under way is undone and rejects with CLOSED. */
  shutdown(): Promise<void> {
    this.closing ??= this.close()
    return this.closing
  }

  private checkOpen(call: string): void {
    if (this.closing !== undefined) throw new XenError('CLOSED', `${call} of a host that is shut down`, { details: { call } })
  }

  private async close(): Promise<void> {
    await this.guests.close(this.moments.isRecycled ? 'leave-memory' : 'give-back')
    this.parts.loop.stop()
    this.moments.end()
    this.hub.emit({ type: 'host-shutdown' })
    this.hub.endFeeds()
  }

  /**
   * The whole host as it stands at the next instruction at which nothing is under way in it: a moment, to which it can be brought
   * back, and from which others can branch. It goes on as if nothing had been. Rejects with BUSY, naming what is under way, with
   * NOT_SUPPORTED, naming what cannot be kept, and with OUT_OF_MEMORY.
   *
   * @example
   * const ready = await host.checkpoint({ label: 'at the shell' })
   * for (const input of inputs) {
   *   await host.domain('linux').console.write(input)
   *   await host.reset(ready)
   * }
   */
  checkpoint(options: CheckpointOptions & OperationOptions = {}): Operation<Moment<Host>, CheckpointProgress> {
    return this.moments.checkpoint(options, ({ label }) => this.hub.emit({ type: 'host-checkpoint', label }))
  }

  /**
   * Brings the host back to a moment of it, or of a host that it shares moments with: only what differs is copied or loaded. Guests
   * run on after JavaScript has had its turn, so what is done right behind it happens at the very moment. The host itself and its
   * `events` stay. What was awaited rejects with CLOSED. What was held of it - domains, consoles, ports, the store - is the moment's
   * where the same domains, devices and connections are there; where not, it is closed and says CLOSED: whoever asks the host anew
   * is always right. Rejects with BUSY while an operation is under way, CLOSED for a moment that is gone, and INVALID_ARGUMENT for one
   * of other hosts; then nothing has changed.
   */
  async reset(moment: Moment<Host>): Promise<void> {
    this.checkOpen('reset')
    await this.moments.reset(moment)
    this.hub.emit({ type: 'host-reset', label: moment.label })
  }

  /**
   * A hash of each part of the host - guests' memory, processors, XenStore, dom0, disks in memory - by the part's path. Two
   * hosts with equal hashes are the same to their guests. Of memory only those pages are looked at that were written since the last
   * hash or moment; the first takes a copy of it. Rejects with BUSY while an operation is under way, and with
   * NOT_SUPPORTED for a host that cannot be saved.
   */
  stateHash(): Promise<Readonly<Record<string, string>>> {
    return this.moments.hashes()
  }

  /**
   * Where guests spend their instructions, by samples, and what of their code has been compiled. Nothing that guests see depends on
   * any of it. `speedscopeProfile(host.profile().domains)` is a file for speedscope.
   */
  profile(): HostProfile {
    return profileHost(this.parts, this.domains())
  }

  /** What is shown where a host is printed: its domains. */
  toJSON(): readonly DomainSummary[] {
    return this.listDomains()
  }

  /** The same for Node's `console.log`. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `Host ${JSON.stringify(this)}`
  }

  /** The same as `shutdown`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown()
  }

  /** The bridge of a name in dom0, where guests' interfaces and user code meet; it is made when first asked for. */
  bridge(name = 'xenbr0'): Bridge {
    this.checkOpen('bridge')
    return this.guests.devices.service(SERVED_NICS).bridge(name)
  }

  /** The user-mode network at a bridge, one of the option `networks`. Throws INVALID_ARGUMENT where there is none. */
  network(bridge = 'xenbr0'): UserNetwork {
    this.checkOpen('network')
    checkArgument('the bridge', bridge, text)
    return this.guests.devices.service(SERVED_NICS).network(bridge)
  }

  /** Lets a call in by the host's door. */
  private call<T>(call: HostCall, act: () => T): T {
    return this.parts.inputs.enter(() => ({ source: 'call', ...call }), act)
  }

  static {
    hostOf = (parts, branched) => new Host(parts, branched)
    insidesOf = (host) => ({ parts: host.parts, guests: host.guests })
  }

  private domidOf(reference: DomainReference): DomId {
    return reference === 0 || reference === '0' || reference === 'Domain-0' ? (0 as DomId) : this.domain(reference).id
  }
}
