/**
 * The guests of a host, from the first thing that is known of one to the last: their handles, what is done to them by
 * operations, what follows their ends, and taking them apart. Whoever has a host sees them through it and through handles.
 */
import { SeededRandom, tryRead, XenError, type DomId, type EventHub, type Quiescible, type Stateful } from '../../util/index.ts'
import type { HostParts } from '../boot/boot-host.ts'
import { ineffectiveOption } from '../config/description-file.ts'
import { checkDomainName, type DomainConfig, type DomainOptions } from '../config/domain-config.ts'
import { deniedFileWarnings } from '../config/stream-trust.ts'
import type { ReportSource } from '../control/host-reports.ts'
import type { ControlSeat } from '../control/control-seat.ts'
import { coreDumper } from '../core-dump/core-dumper.ts'
import { CrashBook } from '../crash/crash-book.ts'
import type { SymbolTable } from '../symbols/symbol-table.ts'
import { createDomain, type CreatedDomain, type CreateProgress } from '../create/create-domain.ts'
import { capabilitiesOf } from '../create/capabilities.ts'
import { configure, type CreateOptions } from '../create/create-options.ts'
import type { CreateHost } from '../create/domain-shell.ts'
import { liveConfig } from '../create/live-config.ts'
import { SERVED_DISKS } from '../device-kinds/disk/disk-service.ts'
import { calendarTime } from '../devices/calendar.ts'
import { Devices } from '../devices/devices.ts'
import { openConsole, type ConsoleHost, type DomainConsole } from '../domains/domain-console.ts'
import { domainPath, moveVmNodes, removeDomainNodes } from '../domains/domain-nodes.ts'
import { loadSymbols, type KernelSource } from '../domains/kernel-source.ts'
import { NamesInUse } from '../domains/names-in-use.ts'
import { preservedIdentity } from '../domains/random-names.ts'
import type { DestructionReason } from '../domains/shutdown-reason.ts'
import { ShutdownRequests } from '../domains/shutdown-requests.ts'
import { balloonDom0 } from '../memory/memory-policy.ts'
import { alteredContext, type Operation, type OperationContext, type OperationOptions } from '../run/operation.ts'
import { goneError, Operations } from '../run/operations.ts'
import { turn } from '../run/run-loop.ts'
import { Wishes } from '../run/wishes.ts'
import { DomainMovement } from './domain-movement.ts'
import { DomainFate } from './domain-fate.ts'
import { openDomain, type Domain } from './domain.ts'
import type { DomainHost } from './domain-host.ts'
import type { HostEvent } from './host-events.ts'
import { Lifecycle } from './lifecycle.ts'
import { checkStartable, createStartable, notDestroyable } from './policy-checks.ts'
import { checkCall } from './call-options.ts'
import { diskHolds, domainOutputs, onUnpaused } from './domain-outputs.ts'
import type { MemoryBefore, MemoryHost } from './memory-target.ts'
import { softReset, type SoftResetProgress } from './soft-reset.ts'
import { domainUnderWay, rewindConsoles, statefulToolstack, type KnownDomain, type ToolstackState } from './toolstack-state.ts'
import type { Availability } from './vcpu-target.ts'
import type { Warnings } from './warnings.ts'

const USUAL_POLICY = /* @__PURE__ */ balloonDom0()

/** Keeps what is chosen for domains apart from what the seed is used for otherwise. */
const CHOICES_SEED = 0x70617261

/** What guests need of their host. */
export interface GuestsHost {
  readonly parts: HostParts
  readonly hub: EventHub<HostEvent>
  readonly warnings: Warnings
  /** Something may come from outside until the returned function is called. */
  expectInput(): () => void
  /** Finds a domain by number or name, dom0 as well. Throws DOMAIN_NOT_FOUND. */
  domidOf(reference: number | string): DomId
}

/** A domain that is being taken apart. */
interface Destruction {
  reason: DestructionReason
  done: Promise<DestructionReason>
}

/** A domain that was made, and is to get its handle. */
interface MadeDomain {
  readonly domid: DomId
  readonly uuid: string
  readonly symbols?: SymbolTable | undefined
}

/** All guests of one host. */
export class Guests implements Quiescible {
  readonly operations: Operations
  readonly devices: Devices
  readonly movement: DomainMovement<Domain>
  readonly crashes: CrashBook
  readonly lifecycle: Lifecycle
  readonly memory: MemoryHost
  /** What calls on scheduling, pools of CPUs and the like work on. */
  readonly seat: ControlSeat
  private readonly host: GuestsHost
  private readonly parts: HostParts
  private readonly hub: EventHub<HostEvent>
  private readonly random: SeededRandom
  private readonly requests: ShutdownRequests
  private readonly vcpuWishes = new Wishes<Availability>('number of vCPUs')
  private readonly handles = new Map<DomId, Domain>()
  private readonly fates = new Map<DomId, DomainFate>()
  /** Names of domains that are on their way and have no handle yet. */
  private readonly shells = new Map<DomId, string>()
  /** Names of both. */
  private readonly names = new NamesInUse()
  private readonly destroying = new Map<DomId, Destruction>()
  private readonly domainHost: DomainHost<Domain>
  private leavesMemory = false
  private dom0Console: DomainConsole | undefined

  constructor(host: GuestsHost) {
    const { parts, hub } = host
    this.host = host
    this.parts = parts
    this.hub = hub
    this.random = new SeededRandom(parts.options.seed ^ CHOICES_SEED)
    this.requests = new ShutdownRequests(parts.store)
    this.crashes = new CrashBook(parts.control, {
      level: parts.options.cpu, now: () => parts.clock.now(),
      nameOf: (domid) => this.nameOf(domid), diskErrors: (domid) => this.devices.diskErrors(domid),
    })
    this.operations = new Operations({
      now: () => parts.clock.now(), inputs: parts.inputs,
      expectInput: () => host.expectInput(),
      explain: (domid, name, error) => this.crashes.explain(domid, name, error),
      gone: (id) => (parts.control.hasDomain(id) ? undefined : new XenError('DOMAIN_NOT_FOUND', `there is no domain ${id}`, { details: { id } })),
      onStep: parts.options.onOperationStep, events: hub,
    })
    this.memory = {
      control: parts.control, store: parts.store, loop: parts.loop, operations: this.operations,
      wishes: new Wishes<MemoryBefore>('memory target'),
      onTarget: (id, mebibytes) => hub.emit({ type: 'memory-target', domid: id, mebibytes }),
      onMaximum: (id, mebibytes) => hub.emit({ type: 'memory-maximum', domid: id, mebibytes }),
    }
    this.seat = {
      control: parts.control, store: parts.store, loop: parts.loop, random: this.random,
      nameOf: (domid) => this.nameOf(domid), emit: (event) => hub.emit(event),
      enter: (call, act) => parts.inputs.enter(() => ({ source: 'call', call: 'plain', ...structuredClone(call) }), act),
    }
    this.devices = this.createDevices()
    this.lifecycle = this.createLifecycle()
    this.movement = this.createMovement()
    this.domainHost = this.createDomainHost()
    parts.onGuestError.current = (domid, error) => {
      this.crashes.noteThrown(domid, error)
      hub.emit({ type: 'guest-error', domid, error })
    }
  }

  /** Handles by number. */
  list(): readonly Domain[] {
    return [...this.handles.values()].sort((a, b) => a.id - b.id)
  }

  /** A domain's name, whether there is a handle for it or not. */
  nameOf(domid: DomId): string {
    return domid === 0
      ? 'Domain-0'
      : (this.handles.get(domid)?.name ?? this.parts.store.tryRead(`${domainPath(domid)}/name`) ?? `(domain ${domid})`)
  }

  /** The console of a dom0 with a kernel of its own. Throws NOT_SUPPORTED. */
  get hostConsole(): DomainConsole {
    const { plan: { console }, loop, inputs } = this.parts
    return (this.dom0Console ??= openConsole(console, { loop, inputs, turn: () => undefined, crash: () => this.crashes.of(console.from) }))
  }

  /** Creates a domain from a description and starts it; the host's hardware domain where its number is given. */
  async create(config: string | DomainOptions<KernelSource>, options: CreateOptions & Pick<CreateHost, 'hardwareDomain'>, context: OperationContext<CreateProgress>): Promise<Domain> {
    const resolved = configure(config, options, {
      kinds: this.devices.kinds, offered: () => capabilitiesOf(this.parts.control, this.devices.kinds), warn: (warning) => this.host.warnings.add(warning),
    })
    const symbols = options.symbols === undefined ? undefined : await loadSymbols(options.symbols, this.parts.files)
    const created = await (options.paused === true ? createDomain : createStartable)({ ...this.createHost(), hardwareDomain: options.hardwareDomain }, resolved, context)
    const made = symbols === undefined ? created : { ...created, symbols }
    context.commit()
    return this.adopt(resolved, made, {
      paused: options.paused === true, onStarted: () => context.report({ type: 'started', domid: made.domid }),
    })
  }

  /** Ends a domain at once; resolves, when it is gone, with the reason: a request goes before what the guest has done. */
  destroy(domid: DomId, reason: DestructionReason): Promise<DestructionReason> {
    const domain = this.handles.get(domid)
    if (domain === undefined) return Promise.reject(new XenError('DOMAIN_NOT_FOUND', `there is no domain ${domid}`, { details: { id: domid } }))
    const known = this.destroying.get(domid)
    if (known !== undefined) {
      if (reason === 'destroyed' && (known.reason === 'shutdown' || known.reason === 'crashed')) known.reason = reason
      return known.done
    }
    const refusal = reason === 'host-shutdown' ? undefined : notDestroyable(this.parts.control, domid)
    if (refusal !== undefined) return Promise.reject(refusal)
    const destruction: Destruction = { reason, done: Promise.resolve(reason) }
    this.destroying.set(domid, destruction)
    return (destruction.done = this.tearDown(domain, destruction))
  }

  /**
   * Ends all guests; what is under way is undone and rejects with CLOSED. `leave-memory`: the machine goes to a host that brings all
   * of it to a moment, so nobody gives frames back one by one.
   */
  async close(how: 'give-back' | 'leave-memory'): Promise<void> {
    this.leavesMemory = how === 'leave-memory'
    await this.operations.close(new XenError('CLOSED', 'the host is shut down'))
    await this.lifecycle.close()
    // What was ending already may be gone behind those before it.
    for (const domain of this.list()) if (this.handles.has(domain.id)) await this.destroy(domain.id, 'host-shutdown')
    this.devices.closeOutside()
  }

  /** What reports on the host are read from. */
  get reportSource(): ReportSource {
    const { control, loop, options, bootDescription } = this.parts
    return {
      control, loop, seat: this.seat, cpu: options.cpu, commandLine: bootDescription?.hypervisor.commandLine ?? '',
      nameOf: (domid) => this.nameOf(domid), counters: () => this.devices.counters(),
    }
  }

  // State

  /** What keeps the guests from being saved with their host; undefined when nothing does. */
  underWay(): string | undefined {
    const wishes = this.memory.wishes.pending || this.vcpuWishes.pending ? 'a wish of a domain' : undefined
    const operation = this.operations.first ?? wishes
    if (operation !== undefined) return operation
    const going = this.lifecycle.acting ?? [...this.destroying.keys()][0]
    if (going !== undefined) return `the end of domain ${going}`
    return this.list().map(domainUnderWay).find((why) => why !== undefined)
  }

  /** What is known of the guests beside the hypervisor and XenStore. */
  get toolstack(): Stateful<ToolstackState> {
    return statefulToolstack({
      kinds: this.devices.kinds, random: this.random, connection: this.parts.store.connection, crashes: this.crashes,
      lifecycle: this.lifecycle, requests: this.requests, domains: () => this.list(), handle: (known) => this.handle(known),
      programOf: (domid) => this.parts.programs.programOf(domid), fate: (domid) => this.fates.get(domid),
    })
  }

  /** Everything was brought back in place to what this was saved with. */
  rewound(state: ToolstackState): void {
    rewindConsoles(state, (domid) => this.handles.get(domid)?.console)
  }

  // Parts

  private createDevices(): Devices {
    const { parts, hub, host } = this
    return new Devices({
      kinds: parts.options.deviceKinds, servedKinds: parts.plan.serves ? parts.options.servedKinds : [],
      store: parts.store, loop: parts.loop, kernel: () => parts.plan.dom0.kernel, random: this.random, openDisk: parts.options.openDisk,
      openFolder: parts.options.openFolder, networks: parts.options.networks, calendar: () => calendarTime(parts.options.bootTime, parts.clock.now()),
      isDriverDomain: (id) => this.handles.get(id)?.config.driverDomain === true,
      isAlive: (id) => parts.control.hasDomain(id) && parts.control.domainInfo(id).shutdownReason === undefined,
      onState: (id, change) => hub.emit({ type: 'device-state', domid: id, ...change }),
      onChange: (type, domid, { kind, device, name }) => hub.emit({ type, domid, kind, device, name }),
      onCallbackFailed: (failure) => parts.onCallbackFailed.current(failure), inputs: parts.inputs, interference: parts.options.interference,
      domidOf: (reference) => host.domidOf(/^[0-9]+$/.test(reference) ? Number(reference) : reference),
    })
  }

  private createLifecycle(): Lifecycle {
    const { parts, hub, host, crashes, requests } = this
    const live = { control: parts.control, store: parts.store, deviceConfigs: (domid: DomId) => this.devices.configs(domid, 'reopenable') }
    return new Lifecycle({
      control: parts.control,
      crashOf: (domid) => crashes.of(domid), now: () => parts.clock.now(),
      domain: (domid) => this.handles.get(domid),
      emit: (event) => hub.emit(event),
      markCrashed: (domid, crash) => { this.fate(domid).crash = crash },
      markEnded: (domid, reason) => this.fate(domid).end(reason),
      warn: ({ name }, { action, instead, why }) => host.warnings.add(ineffectiveOption(`${action} of ${name}`, why), `${instead} instead`),
      pause: (timeout, signal) => parts.loop.until('a domain to start anew', () => false, { timeout, signal }).catch(() => undefined),
      wasAskedToReboot: (domid) => requests.wasAskedToReboot(domid),
      destroy: (domid, reason) => this.destroy(domid, reason),
      onDone: () => parts.loop.kick(),
      successorConfig: (domain) => liveConfig(live, domain),
      recreate: (config, symbols) => this.recreate(config, symbols),
      symbolsOf: (domid) => crashes.symbolsOf(domid),
      canSoftReset: (domid) => parts.control.domainInfo(domid).translated,
      softReset: (domain) => this.softReset(domain, {}),
      preserve: (domain) => this.preserve(domain),
      dumpCore: coreDumper(parts),
    })
  }

  private createMovement(): DomainMovement<Domain> {
    const { hub, parts: { control, store, loop, clock } } = this
    return new DomainMovement({
      control, store, loop, operations: this.operations, requests: this.requests,
      now: () => clock.now(),
      deviceKinds: this.devices.kinds, deviceConfigs: (domid) => this.devices.configs(domid),
      destroy: (domid, reason) => this.destroy(domid, reason),
      isGoing: (domid) => this.destroying.has(domid),
      rename: (domid, name) => this.rename(this.known(domid), name),
      onResumed: (domid) => {
        this.lifecycle.resumed(domid)
        hub.emit({ type: 'domain-resumed', domid })
      },
      create: () => this.createHost(),
      adopt: (config, made, options) => this.adopt(config, made, options),
      outputs: (domid) => domainOutputs(this.devices, domid),
      ...diskHolds(this.devices),
      onUnpaused: (domid, act) => onUnpaused(hub, domid, act),
      openDisk: (disk) => this.devices.service(SERVED_DISKS).openContents(0 as DomId, disk, undefined),
    })
  }

  private createDomainHost(): DomainHost<Domain> {
    const { parts, hub } = this
    return {
      control: parts.control, store: parts.store, loop: parts.loop, memory: this.memory, inputs: parts.inputs, seat: this.seat,
      movement: this.movement, devices: this.devices, operations: this.operations, requests: this.requests, vcpuWishes: this.vcpuWishes,
      destroy: async (domid) => void await this.destroy(domid, 'destroyed'),
      rename: (domid, name) => this.renameAnew(domid, name),
      softReset: (domain, options) => this.softReset(domain, options),
      wallSeconds: () => this.wallSeconds(),
      currentConfig: (domain) => liveConfig({ control: parts.control, store: parts.store, deviceConfigs: (domid) => this.devices.configs(domid) }, domain),
      onMedium: (domid, medium) => hub.emit({ type: 'disk-medium', domid, ...medium }),
      isActing: (domid) => this.lifecycle.isActing(domid),
      onVcpuTarget: (id, vcpus) => hub.emit({ type: 'vcpu-target', domid: id, vcpus }),
      consoleHost: (fate) => this.consoleHost(fate),
      emitPaused: (domid, paused) => hub.emit({ type: paused ? 'domain-paused' : 'domain-unpaused', domid }),
    }
  }

  /** What making a domain needs. */
  private createHost(): CreateHost {
    const { control, plan: { dom0 }, store, files, loop, options, programs, bootDescription } = this.parts
    const isDom0Said = options.dom0Memory !== undefined || bootDescription?.xen.dom0Memory !== undefined
    return {
      control, dom0, store, files, loop, programs, random: this.random, decompress: options.decompress, kernels: options.kernels, devices: this.devices,
      nameOf: (domid) => this.nameOf(domid),
      memoryPolicy: options.autoballoon ?? !isDom0Said ? options.memoryPolicy ?? USUAL_POLICY : undefined,
      wallSeconds: () => this.wallSeconds(), timeZoneOffset: options.timeZoneOffset,
      claimName: (name) => this.names.claim(name),
      onShell: (domid, name) => {
        this.shells.set(domid, name)
        this.names.add(name)
      },
      onFailed: (id, name, error) => {
        this.forgetShell(id)
        this.hub.emit({ type: 'domain-destroyed', domid: id, name, reason: 'failed', error })
      },
    }
  }

  /** Seconds since 1970. */
  private wallSeconds(): number {
    return this.parts.options.bootTime.getTime() / 1000 + this.parts.clock.now() / 1e9
  }

  /** Gives a running domain another name, as `xl rename` does. */
  private renameAnew(domid: DomId, name: string): void {
    const domain = this.known(domid)
    const before = domain.name
    this.operations.checkFree(domid, 'naming', `renaming domain ${domid}`)
    checkDomainName(name)
    this.names.claim(name)
    this.rename(domain, name)
    this.hub.emit({ type: 'domain-renamed', domid, name, before })
  }

  /** Gives a domain that has ended and stays another name and UUID, so that its successor can have its own. */
  private preserve(domain: Domain): void {
    const { id: domid, name: before } = domain
    const { name, uuid } = preservedIdentity(domain, this.random, (taken) => this.names.has(taken))
    moveVmNodes(this.parts.store, domid, { from: domain.uuid, to: uuid })
    this.fate(domid).uuid = uuid
    this.rename(domain, name)
    this.hub.emit({ type: 'domain-renamed', domid, name, before })
  }

  /** Resets a domain that has shut down; what fails on the way ends it. */
  private softReset(domain: Domain, options: OperationOptions): Operation<void, SoftResetProgress> {
    const { operations, devices, requests, parts: { control, plan: { dom0 }, store, loop } } = this
    const { id } = domain
    const activity = { kind: 'movement', doing: 'being reset' } as const
    // Whether it can be is asked when nothing else is under way.
    const settings = { name: `resetting domain ${id}`, domid: id, activity, signal: tryRead(() => options?.signal), check: () => checkCall('softReset', options) }
    return operations.start<void, SoftResetProgress>(settings, async (context) => {
      let isBegun = false
      try {
        await softReset({ control, dom0, store, loop, devices, requests }, id, alteredContext(context, { commit: () => {
          isBegun = true
          context.commit()
        } }))
      } catch (error) {
        if (isBegun && this.handles.get(id) === domain) void this.destroy(id, 'crashed')
        throw error
      }
      this.fate(id).revive()
      this.lifecycle.resumed(id)
      this.hub.emit({ type: 'domain-reset', domid: id })
    })
  }

  /** Creates and starts what takes the place of a domain that has ended. */
  private async recreate(config: DomainConfig<KernelSource>, symbols: SymbolTable | undefined): Promise<Domain> {
    const settings = { name: 'creating a domain', isOutside: true }
    const made = await this.operations.start<CreatedDomain, CreateProgress>(settings, (context) =>
      createStartable(this.createHost(), config, context))
    return this.adopt(config, { ...made, symbols: symbols ?? made.symbols }, { paused: false })
  }

  /** Makes the handle of a domain that was created, and starts it. */
  private adopt(config: DomainConfig<KernelSource>, made: MadeDomain, options: { readonly paused: boolean, readonly onStarted?: () => void }): Domain {
    const { control, loop } = this.parts
    if (!options.paused) checkStartable(control, made.domid)
    const domain = this.handle({ id: made.domid, name: config.name, uuid: made.uuid, config })
    for (const { option, message } of deniedFileWarnings(config)) this.host.warnings.add({ option, reason: 'ignored', message })
    this.crashes.know(domain.id, made.symbols)
    this.lifecycle.watch(domain)
    if (!options.paused) control.unpauseDomain(domain.id)
    loop.kick()
    options.onStarted?.()
    this.hub.emit({ type: 'domain-created', domid: domain.id, name: domain.name })
    this.hub.emit({ type: 'console-available', domid: domain.id, tty: this.parts.store.tryRead(`${domainPath(domain.id)}/console/tty`) ?? '' })
    if (!options.paused) this.hub.emit({ type: 'domain-started', domid: domain.id })
    return domain
  }

  /** What a console of a domain needs. */
  private consoleHost(fate: DomainFate): ConsoleHost {
    const { plan: { dom0 }, loop, inputs } = this.parts
    return { loop, inputs, turn: () => dom0.kernel.turn(), crash: () => fate.crash }
  }

  private handle({ id, name, uuid, config }: KnownDomain): Domain {
    const { plan: { dom0 } } = this.parts
    const stream = dom0.consoles.open(id)
    const fate = new DomainFate({ id, name, uuid })
    const domain = openDomain(this.domainHost, { fate, config, console: openConsole(stream, this.consoleHost(fate)) })
    this.handles.set(domain.id, domain)
    this.forgetShell(domain.id)
    this.fates.set(domain.id, fate)
    this.names.add(name)
    return domain
  }

  private forgetShell(domid: DomId): void {
    const name = this.shells.get(domid)
    if (name === undefined) return
    this.shells.delete(domid)
    this.names.remove(name)
  }

  private known(domid: DomId): Domain {
    const found = this.handles.get(domid)
    if (found !== undefined) return found
    throw new XenError('DOMAIN_NOT_FOUND', `there is no domain ${domid}`, { details: { domid } })
  }

  private fate(domid: DomId): DomainFate {
    // Whoever has a handle has it from `adopt`.
    return this.fates.get(domid)!
  }

  private async tearDown(domain: Domain, destruction: Destruction): Promise<DestructionReason> {
    const { id } = domain
    const { operations, parts: { control, plan: { dom0 }, loop, store, programs } } = this
    const ended = operations.endDomain(id, () => goneError(domain, 'was destroyed'))
    // Not from within a run of the hypervisor, where this may have been called.
    await Promise.resolve()
    // With its host it goes whatever the policy says.
    const isLeft = destruction.reason === 'host-shutdown' && notDestroyable(control, id) !== undefined
    if (!isLeft && control.hasDomain(id)) control.pauseDomain(id)
    await ended
    // On a host that stands nobody answers.
    const closing = (loop.isStopped ? Promise.resolve() : this.devices.detachAll(id)).then(() => dom0.consoles.close(id))
    if (!loop.isStopped) await closing
    // First its nodes, as libxl does: what XenStore finds of a domain that is gone it takes away one by one.
    removeDomainNodes(store, id, domain.uuid)
    dom0.disconnectStore(id)
    while (!isLeft && !this.leavesMemory && control.hasDomain(id) && !control.dismantleDomain(id)) await turn()
    const fate = this.fate(id)
    this.handles.delete(id)
    this.fates.delete(id)
    this.names.remove(fate.name)
    this.destroying.delete(id)
    for (const part of [this.lifecycle, this.requests, operations, this.crashes, programs]) part.forget(id)
    const { reason } = destruction
    fate.destroy(reason)
    this.hub.emit({ type: 'domain-destroyed', domid: id, name: domain.name, reason })
    loop.kick()
    return reason
  }

  private rename(domain: Domain, name: string): void {
    const { store } = this.parts
    const fate = this.fate(domain.id)
    this.names.remove(fate.name)
    this.names.add(name)
    fate.name = name
    store.write(`${domainPath(domain.id)}/name`, name)
    store.write(`/vm/${domain.uuid}/name`, name)
  }
}
