/**
 * A host: machine, hypervisor, dom0 with XenStore and consoles, and the guests. It composes the layers and offers what
 * xl and libxl offer; whoever needs one layer alone imports that.
 */
import type { Bridge } from '../../drivers/index.ts'
import type { Hypervisor, HypervisorEvent } from '../../hypervisor/index.ts'
import { callable, checkArgument, EventHub, XenError, type DomId, type EventSource } from '../../util/index.ts'
import type { LocalStore, XenStore } from '../../xenstore/index.ts'
import { bootHost, type HostParts } from '../boot/boot-host.ts'
import type { HostOptions } from '../boot/host-options.ts'
import type { ConfigWarning } from '../config/description-file.ts'
import type { DomainOptions } from '../config/domain-config.ts'
import type { CreateProgress } from '../create/create-domain.ts'
import type { CreateOptions } from '../create/create-options.ts'
import { SERVED_NICS } from '../device-kinds/nic/nic-service.ts'
import type { Dom0 } from '../dom0/dom0.ts'
import { summarize, type DomainSummary } from '../domains/domain-list.ts'
import { domainPath } from '../domains/domain-nodes.ts'
import { idleDomains, idleError } from '../domains/idle-report.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import type { BootDescription } from '../grub/boot-description.ts'
import type { BootWarning } from '../grub/xen-options.ts'
import type { ReceiveOptions, ReceiveProgress } from '../migrate/receive.ts'
import type { MigrationTransport } from '../migrate/transport.ts'
import { Family, type Kept } from '../moments/family.ts'
import type { GroundImages } from '../moments/ground-images.ts'
import type { BranchOptions, Moment } from '../moments/moment.ts'
import { failureTeller } from '../run/callback-failures.ts'
import type { HostCall } from '../run/inputs.ts'
import type { Operation, OperationOptions } from '../run/operation.ts'
import type { UntilOptions } from '../run/run-loop.ts'
import { capabilitiesOf, type HostCapabilities } from '../create/capabilities.ts'
import type { RestoreProgress } from '../save/restore-domain.ts'
import type { ByteInput } from '../stream/index.ts'
import { checkCall, type RestoreDomainOptions } from './call-options.ts'
import { creation, limitsOf } from './call-inputs.ts'
import type { Domain } from './domain.ts'
import { Guests } from './guests.ts'
import type { HostInsides } from './host-state.ts'
import { profileHost, type HostProfile } from './host-profile.ts'
import { HOST_EVENTS, type HostEvent } from './host-events.ts'
import { HostMoments, standUpOn, type CheckpointOptions } from './host-moments.ts'
import { loadMoment, type LoadMomentOptions } from './load-moment.ts'
import { setMemoryMaximum, setMemoryTarget, type MaximumProgress, type MemoryProgress } from './memory-target.ts'
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

/** Makes the host of a branch. */
async function branchOf(moment: Moment<Host>, kept: Kept, { seed }: BranchOptions, family: Family<Host>): Promise<Host> {
  const images = family.takeGround(kept)
  const made: { host?: Host } = {}
  const goOn = await standUpOn(kept, { images, seed }, (parts) => insidesOf(made.host = hostOf(parts, { family, images, moment })).guests)
  goOn()
  // What was stood up was installed.
  return made.host!
}

/** A host and everything on it. */
export class Host {
  /** What happens to domains. */
  readonly events: EventSource<HostEvent>
  /** What was understood and has no effect, so far; of very many the last {@link WARNING_LIMIT}. */
  readonly warnings: (ConfigWarning | BootWarning)[]
  private readonly hub = new EventHub<HostEvent>(() => this.now(), undefined, HOST_EVENTS)
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
    this.moments = new HostMoments<Host>(seat, branched?.family ?? new Family(parts.options.moments, branchOf), branched)
  }

  /** Dom0's handle on XenStore, for code outside of the host. */
  private openDoor({ store, inputs }: HostParts): LocalStore {
    return store.through((changes, act) => inputs.enter(() => ({ source: 'store', ...changes() }), act))
  }

  /** Goes on as what was booted or stood up. */
  private install(parts: HostParts): Guests {
    this.parts = parts
    this.door = this.openDoor(parts)
    const { hub, noted: warnings } = this
    const guests = this.guests = new Guests({
      parts, hub, warnings, expectInput: () => this.expectInput(), domainId: (reference) => this.domainId(reference),
    })
    const { crashes, lifecycle } = guests
    parts.loop.belongTo({
      idlePatience: parts.options.idle, wall: parts.wall,
      checkDomain: (domid, what) => crashes.check(domid, what),
      idleError: (waits) => idleError(waits, idleDomains(parts.control, ({ domid }) => guests.nameOf(domid))),
    })
    parts.onDomainException.current = () => lifecycle.check()
    parts.onCallbackFailed.current = failureTeller(
      (failure) => hub.emit({ type: 'callback-failed', ...failure }), () => hub.wants('callback-failed'))
    parts.inputs.onArrival(() => parts.loop.present())
    parts.wall?.follow()
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
    return this.parts.dom0
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
    return new Host(await bootHost(options))
  }

  /** Boots a host from the text of a grub.conf or grub.cfg: the entry that loads Xen says how. */
  static bootFromGrub(grubConf: string, options: HostOptions = {}): Promise<Host> {
    return Host.boot({ ...options, grubConf })
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
    return loadMoment<Host>(input, options, branchOf)
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

  /** Nanoseconds of host time since boot. */
  now(): number {
    this.parts.loop.present()
    return this.parts.clock.now()
  }

  /** Events of the hypervisor: hypercalls, traps, scheduling. */
  get hypervisorEvents(): EventSource<HypervisorEvent> {
    return this.hypervisor.events
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
    const shown = typeof reference === 'object' ? reference.name : reference
    throw new XenError('DOMAIN_NOT_FOUND', `there is no domain ${shown}`, { details: { domain: shown } })
  }

  /** All domains with what `xl list` shows of them, dom0 first. */
  listDomains(): DomainSummary[] {
    return this.hypervisor.listDomains().map((info) => summarize(this.guests.nameOf(info.domid), info))
  }

  /**
   * Creates a domain from the text of a description file in either spelling, or from an object, and starts it. A
   * creation that fails or is aborted leaves the host as it was.
   */
  createDomain(
    config: string | DomainOptions<KernelSource>,
    options: CreateOptions = {},
  ): Operation<Domain, CreateProgress> {
    // Files are read meanwhile.
    const check = (): void => checkCall('createDomain', options)
    const settings = { name: 'creating a domain', signal: options?.signal, isOutside: true, check }
    return this.parts.inputs.enter(() => ({ source: 'call', ...creation(config, options) }), () =>
      this.guests.operations.start<Domain, CreateProgress>(settings, (context) => this.guests.create(config, options, context)))
  }

  /**
   * Restores a domain from what `domain.save` or `xl save` wrote, and starts it. A restore that fails or is aborted
   * leaves the host as it was.
   */
  restore(source: ByteInput, options: RestoreDomainOptions = {}): Operation<Domain, RestoreProgress> {
    return this.call({ call: 'other', name: 'restore' }, () => this.guests.movement.restore(source, options))
  }

  /** Waits for a domain that another host sends by `domain.migrate`, and runs it from then on. */
  receiveMigration(
    transport: MigrationTransport,
    options: ReceiveOptions & OperationOptions = {},
  ): Operation<Domain, ReceiveProgress> {
    return this.call({ call: 'other', name: 'receiveMigration' }, () => this.guests.movement.receive(transport, options))
  }

  /** Sets how many MiB dom0 or a guest is to have, and waits until its balloon has brought it there. */
  setMemTarget(
    reference: DomainReference,
    mebibytes: number,
    options: UntilOptions = {},
  ): Operation<void, MemoryProgress> {
    const domid = this.domainId(reference)
    return this.call({ call: 'memory-target', domid, mebibytes, ...limitsOf(options) }, () => {
      if (domid === 0) this.describeDom0Memory()
      return setMemoryTarget(this.guests.memory, domid, mebibytes, options)
    })
  }

  /** Sets how many MiB dom0 or a guest may be given at most, at least its target; what it has does not change. */
  setMaxMem(
    reference: DomainReference,
    mebibytes: number,
    options: OperationOptions = {},
  ): Operation<void, MaximumProgress> {
    const domid = this.domainId(reference)
    return this.call({ call: 'memory-maximum', domid, mebibytes, ...limitsOf(options) }, () => {
      if (domid === 0) this.describeDom0Memory()
      return setMemoryMaximum(this.guests.memory, domid, mebibytes, options)
    })
  }

  /** Resolves when nothing can run at the present host time, promises have had their turn, and actions are done. */
  async settled(): Promise<void> {
    await this.parts.loop.settled()
    await this.guests.lifecycle.finished()
    await this.parts.loop.settled()
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

  private async close(): Promise<void> {
    await this.guests.close()
    this.parts.loop.stop()
    this.moments.end()
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
  checkpoint(options: CheckpointOptions = {}): Promise<Moment<Host>> {
    return this.moments.checkpoint(options)
  }

  /**
   * Brings the host back to a moment of it, or of a host that it shares moments with, in place: only what differs is copied. The
   * host itself and its `events` stay. What was held of it before - domains, consoles, ports, the store - is closed and says
   * CLOSED; so is what was awaited. Rejects with BUSY while an operation is under way, CLOSED for a moment that is gone, and
   * INVALID_ARGUMENT for one of other hosts; then nothing has changed.
   */
  reset(moment: Moment<Host>): Promise<void> {
    return this.moments.reset(moment)
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
   * any of it.
   *
   * @example
   * writeFileSync('host.speedscope.json', JSON.stringify(speedscopeProfile(host.profile().domains)))
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
    return this.guests.devices.service(SERVED_NICS).bridge(name)
  }

  /** Lets a call in by the host's door. */
  private call<T>(call: HostCall, act: () => T): T {
    return this.parts.inputs.enter(() => ({ source: 'call', ...call }), act)
  }

  static {
    hostOf = (parts, branched) => new Host(parts, branched)
    insidesOf = (host) => ({ parts: host.parts, guests: host.guests })
  }

  private domainId(reference: DomainReference): DomId {
    return reference === 0 || reference === 'Domain-0' ? (0 as DomId) : this.domain(reference).id
  }

  /** Says in XenStore how much dom0 may have; libxl does so when its target is first set. */
  private describeDom0Memory(): void {
    const node = `${domainPath(0)}/memory/static-max`
    const { store, dom0MaxMebibytes } = this.parts
    if (!store.exists(node)) store.write(node, String(dom0MaxMebibytes * 1024))
  }
}
