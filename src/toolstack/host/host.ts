/**
 * A host: machine, hypervisor, dom0 with XenStore and consoles, and the guests. It composes the layers and offers what
 * xl and libxl offer; whoever needs one layer alone imports that.
 */
import type { Hypervisor, HypervisorEvent } from '../../hypervisor/index.ts'
import { callable, checkArgument, EventHub, SeededRandom, XenError, type DomId, type EventSource } from '../../util/index.ts'
import type { Bridge } from '../../drivers/index.ts'
import type { LocalStore, XenStore } from '../../xenstore/index.ts'
import { ineffectiveOption, type ConfigWarning } from '../config/description-file.ts'
import type { DomainConfig, DomainOptions } from '../config/domain-config.ts'
import { deniedFileWarnings } from '../config/stream-trust.ts'
import { CrashBook } from '../crash/crash-book.ts'
import type { SymbolTable } from '../crash/symbols.ts'
import { NIC } from '../device-kinds/nic/nic.ts'
import { Devices } from '../devices/devices.ts'
import { coreDumper } from '../core-dump/core-dumper.ts'
import type { BootDescription } from '../grub/boot-description.ts'
import type { BootWarning } from '../grub/xen-options.ts'
import type { ReceiveOptions, ReceiveProgress } from '../migrate/receive.ts'
import type { MigrationTransport } from '../migrate/transport.ts'
import type { RestoreProgress } from '../save/restore-domain.ts'
import type { ByteInput } from '../stream/index.ts'
import { bootHost, type HostParts } from '../boot/boot-host.ts'
import { failureTeller } from '../run/callback-failures.ts'
import { checkCall, type RestoreDomainOptions } from './call-options.ts'
import { createDomain, type CreatedDomain, type CreateProgress } from '../create/create-domain.ts'
import { configure, type CreateOptions } from '../create/create-options.ts'
import { DomainMovement } from './domain-movement.ts'
import type { Dom0 } from '../dom0/dom0.ts'
import { DomainConsole } from '../domains/domain-console.ts'
import { summarize, type DomainSummary } from '../domains/domain-list.ts'
import { domainPath, removeDomainNodes } from '../domains/domain-nodes.ts'
import { Domain, type DomainHost } from './domain.ts'
import { HOST_EVENTS, type HostEvent } from './host-events.ts'
import type { HostOptions } from '../boot/host-options.ts'
import { idleDomains, idleError } from '../domains/idle-report.ts'
import { loadSymbols, type KernelSource } from '../domains/kernel-source.ts'
import { liveConfig } from '../create/live-config.ts'
import { Lifecycle } from './lifecycle.ts'
import {
  setMemoryMaximum, setMemoryTarget, type MaximumProgress, type MemoryBefore, type MemoryHost, type MemoryProgress,
} from './memory-target.ts'
import type { Operation, OperationOptions } from '../run/operation.ts'
import { goneError, Operations } from '../run/operations.ts'
import { type UntilOptions, turn } from '../run/run-loop.ts'
import type { DestructionReason } from '../domains/shutdown-reason.ts'
import { ShutdownRequests } from '../domains/shutdown-requests.ts'
import type { Availability } from './vcpu-target.ts'
import { Wishes } from '../run/wishes.ts'

/** Warnings that a host keeps: a guest that ends again and again brings some about each time. */
export const WARNING_LIMIT = 1000

/** A domain that is being taken apart. */
interface Destruction {
  reason: DestructionReason
  done: Promise<DestructionReason>
}

/** Names a domain: by its number, its name, or its handle. */
export type DomainReference = number | string | Domain

/** A host and everything on it. */
export class Host {
  /** What happens to domains. */
  readonly events: EventSource<HostEvent>
  /** The privileged control interface, at libxc's level. */
  readonly hypervisor: Hypervisor
  /** The store itself, with its events. */
  readonly xenstore: XenStore
  /** Dom0's handle on XenStore. */
  readonly store: LocalStore
  /** The control domain: its kernel, the XenStore server and the console back-end. */
  readonly dom0: Dom0
  /** What was booted, for a host that came from a grub.conf. */
  readonly bootDescription: BootDescription | undefined
  /** What was understood and has no effect, so far; of very many the last {@link WARNING_LIMIT}. */
  readonly warnings: (ConfigWarning | BootWarning)[] = []
  private readonly parts: HostParts
  private readonly hub: EventHub<HostEvent>
  private readonly guests = new Map<DomId, Domain>()
  private readonly destroying = new Map<DomId, Destruction>()
  private readonly operations: Operations
  private readonly requests: ShutdownRequests
  private readonly memoryWishes = new Wishes<MemoryBefore>('memory target')
  private readonly lifecycle: Lifecycle
  private readonly random: SeededRandom
  private readonly domainHost: DomainHost
  private readonly movement: DomainMovement<Domain>
  private readonly devices: Devices
  private readonly crashes: CrashBook
  private closing: Promise<void> | undefined

  private constructor(parts: HostParts) {
    this.parts = parts
    this.hypervisor = parts.control
    this.xenstore = parts.xenstore
    this.store = parts.store
    this.dom0 = parts.dom0
    this.bootDescription = parts.bootDescription
    this.random = new SeededRandom(parts.options.seed ^ 0x70617261)
    this.hub = new EventHub<HostEvent>(() => this.now(), undefined, HOST_EVENTS)
    this.events = this.hub
    this.crashes = new CrashBook(parts.control, {
      nameOf: (domid) => this.nameOf(domid), diskErrors: (domid) => this.devices.diskErrors(domid),
    })
    parts.loop.belongTo({
      idlePatience: parts.options.idle,
      checkDomain: (domid, what) => this.crashes.check(domid, what),
      idleError: (waits) => idleError(waits, idleDomains(parts.control, ({ domid }) => this.nameOf(domid))),
    })
    this.operations = new Operations({
      now: () => this.now(),
      expectInput: () => this.expectInput(),
      explain: (domid, name, error) => this.crashes.explain(domid, name, error),
    })
    this.requests = new ShutdownRequests(parts.store)
    this.lifecycle = new Lifecycle({
      control: parts.control,
      crashOf: (domid) => this.crashes.of(domid),
      now: () => this.now(),
      domains: () => this.domains(),
      emit: (event) => this.hub.emit(event),
      warn: ({ name }, { action, instead, why }) => this.warn(ineffectiveOption(`${action} of ${name}`, why), `${instead} instead`),
      pause: (timeout, signal) => parts.loop.until('a domain to start anew', () => false, { timeout, signal }).catch(() => undefined),
      wasAskedToReboot: (domid) => this.requests.wasAskedToReboot(domid),
      destroy: (domid, reason) => this.destroy(domid, reason),
      onDone: () => parts.loop.kick(),
      successorConfig: (domain) =>
        liveConfig({ store: this.store, deviceConfigs: (domid) => this.devices.configs(domid, 'reopenable') }, domain),
      recreate: (config, symbols) => this.create(config, symbols),
      symbolsOf: (domid) => this.crashes.symbolsOf(domid),
      rename: (domain) => this.rename(domain, `${domain.name}-${domain.id}`),
      dumpCore: coreDumper(parts),
    })
    this.devices = new Devices({
      kinds: parts.options.deviceKinds,
      store: parts.store, loop: parts.loop, kernel: parts.dom0.kernel, random: this.random, openDisk: parts.options.openDisk,
      isAlive: (id) => parts.control.hasDomain(id) && parts.control.domainInfo(id).shutdownReason === undefined,
      onState: (id, change) => this.hub.emit({ type: 'device-state', id, ...change }),
      onCallbackFailed: (failure) => parts.onCallbackFailed.current(failure),
      domainId: (reference) => this.domainId(/^[0-9]+$/.test(reference) ? Number(reference) : reference),
    })
    this.movement = this.createMovement()
    this.domainHost = {
      movement: this.movement,
      devices: this.devices,
      control: parts.control, store: parts.store, loop: parts.loop, operations: this.operations, requests: this.requests,
      now: () => this.now(),
      destroy: async (domid) => void await this.destroy(domid, 'destroyed'),
      isActing: (domid) => this.lifecycle.isActing(domid),
      setMemTarget: (domid, mebibytes, options) => setMemoryTarget(this.memoryHost(), domid, mebibytes, options),
      setMaxMem: (domid, mebibytes, options) => setMemoryMaximum(this.memoryHost(), domid, mebibytes, options),
      vcpuWishes: new Wishes<Availability>('number of vCPUs'),
      onVcpuTarget: (id, vcpus) => this.hub.emit({ type: 'vcpu-target', id, vcpus }),
      emitPaused: (domid, paused) => this.hub.emit({ type: paused ? 'domain-paused' : 'domain-unpaused', id: domid }),
    }
    parts.onDomainException.current = () => this.lifecycle.check()
    parts.onCallbackFailed.current = failureTeller(
      (failure) => this.hub.emit({ type: 'callback-failed', ...failure }), () => this.hub.wants('callback-failed'))
    for (const warning of parts.warnings) this.warn(warning)
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

  /** Nanoseconds of host time since boot. */
  now(): number {
    return this.parts.clock.now()
  }

  /** Events of the hypervisor: hypercalls, traps, scheduling. */
  get hypervisorEvents(): EventSource<HypervisorEvent> {
    return this.hypervisor.events
  }

  /** Guests by number; dom0 is not among them. */
  domains(): readonly Domain[] {
    return [...this.guests.values()].sort((a, b) => a.id - b.id)
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
    return this.hypervisor.listDomains().map((info) => summarize(this.nameOf(info.domid), info))
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
    return this.operations.start<Domain, CreateProgress>(settings, async (context) => {
      const resolved = configure(config, options, { kinds: this.devices.kinds, warn: (warning) => this.warn(warning) })
      const symbols = options.symbols === undefined ? undefined : await loadSymbols(options.symbols, this.parts.files)
      const created = await createDomain(this.createHost(), resolved, context)
      const made = symbols === undefined ? created : { ...created, symbols }
      return this.adopt(resolved, made, options, () => context.report({ type: 'started', id: made.domid }))
    })
  }

  /**
   * Restores a domain from what `domain.save` or `xl save` wrote, and starts it. A restore that fails or is aborted
   * leaves the host as it was.
   */
  restore(source: ByteInput, options: RestoreDomainOptions = {}): Operation<Domain, RestoreProgress> {
    return this.movement.restore(source, options)
  }

  /** Waits for a domain that another host sends by `domain.migrate`, and runs it from then on. */
  receiveMigration(
    transport: MigrationTransport,
    options: ReceiveOptions & OperationOptions = {},
  ): Operation<Domain, ReceiveProgress> {
    return this.movement.receive(transport, options)
  }

  /** Sets how many MiB dom0 or a guest is to have, and waits until its balloon has brought it there. */
  setMemTarget(
    reference: DomainReference,
    mebibytes: number,
    options: UntilOptions = {},
  ): Operation<void, MemoryProgress> {
    const domid = this.domainId(reference)
    if (domid === 0) this.describeDom0Memory()
    return setMemoryTarget(this.memoryHost(), domid, mebibytes, options)
  }

  /** Sets how many MiB dom0 or a guest may be given at most, at least its target; what it has does not change. */
  setMaxMem(
    reference: DomainReference,
    mebibytes: number,
    options: OperationOptions = {},
  ): Operation<void, MaximumProgress> {
    const domid = this.domainId(reference)
    if (domid === 0) this.describeDom0Memory()
    return setMemoryMaximum(this.memoryHost(), domid, mebibytes, options)
  }

  /** Resolves when nothing can run at the present host time, promises have had their turn, and actions are done. */
  async settled(): Promise<void> {
    await this.parts.loop.settled()
    await this.lifecycle.finished()
    await this.parts.loop.settled()
  }

  /** Waits until a condition holds, asked whenever guests have run for a while. */
  async until(what: string, met: () => boolean, options: UntilOptions = {}): Promise<void> {
    checkArgument('the condition of until', met, callable)
    checkCall('until', options)
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
    await this.operations.close(new XenError('CLOSED', 'the host is shut down'))
    await this.lifecycle.close()
    for (const domain of this.domains()) await this.destroy(domain.id, 'host-shutdown')
    this.parts.loop.stop()
  }

  /** What is shown where a host is printed: its domains. */
  toJSON(): readonly DomainSummary[] {
    return this.listDomains()
  }

  /** The same for Node's `console.log`. @internal */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `Host ${JSON.stringify(this)}`
  }

  /** The same as `shutdown`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown()
  }

  /** The bridge of a name in dom0, where guests' interfaces and user code meet; it is made when first asked for. */
  bridge(name = 'xenbr0'): Bridge {
    return this.devices.service(NIC).bridge(name)
  }

  private domainId(reference: DomainReference): DomId {
    return reference === 0 || reference === 'Domain-0' ? (0 as DomId) : this.domain(reference).id
  }

  private warn(warning: ConfigWarning | BootWarning, addition?: string): void {
    const shown = addition === undefined ? warning : { ...warning, message: `${warning.message}; ${addition}` }
    if (this.warnings.length >= WARNING_LIMIT) this.warnings.shift()
    this.warnings.push(shown)
    this.hub.emit({ type: 'warning', warning: shown })
  }

  private nameOf(domid: DomId): string {
    return domid === 0
      ? 'Domain-0'
      : (this.guests.get(domid)?.name ?? this.store.tryRead(`${domainPath(domid)}/name`) ?? `(domain ${domid})`)
  }

  private memoryHost(): MemoryHost {
    return {
      control: this.hypervisor, store: this.store, loop: this.parts.loop, operations: this.operations, wishes: this.memoryWishes,
      onTarget: (id, mebibytes) => this.hub.emit({ type: 'memory-target', id, mebibytes }),
      onMaximum: (id, mebibytes) => this.hub.emit({ type: 'memory-maximum', id, mebibytes }),
    }
  }

  private createHost(): Parameters<typeof createDomain>[0] {
    const { control, dom0, store, files, loop, options } = this.parts
    return {
      control, dom0, store, files, loop, random: this.random, decompress: options.decompress, devices: this.devices,
      wallSeconds: () => options.bootTime.getTime() / 1000 + this.now() / 1e9,
      claimName: (name) => {
        // XenStore knows a domain's name before there is a handle for it.
        const taken = this.store
          .list('/local/domain')
          .some((id) => this.store.tryRead(`${domainPath(Number(id))}/name`) === name)
        if (!taken) return
        throw new XenError('DOMAIN_EXISTS', `a domain named ${name} exists already`, { details: { name } })
      },
      onGuestError: (domid, error) => {
        this.crashes.noteThrown(domid, error)
        this.hub.emit({ type: 'guest-error', id: domid, error })
      },
      onFailed: (id, name, error) => this.hub.emit({ type: 'domain-destroyed', id, name, reason: 'failed', error }),
    }
  }

  private createMovement(): DomainMovement<Domain> {
    const { control, store, loop } = this.parts
    return new DomainMovement({
      control, store, loop, operations: this.operations, requests: this.requests,
      now: () => this.now(),
      deviceKinds: this.devices.kinds, deviceConfigs: (domid) => this.devices.configs(domid),
      destroy: (domid, reason) => this.destroy(domid, reason),
      isGoing: (domid) => this.destroying.has(domid),
      rename: (domid, name) => this.rename(this.domain(domid), name),
      onResumed: (domid) => this.lifecycle.resumed(domid),
      create: () => this.createHost(),
      adopt: (config, made, options) => this.adopt(config, made, options, () => undefined),
    })
  }

  private async create(config: DomainConfig<KernelSource>, symbols: SymbolTable | undefined): Promise<Domain> {
    const settings = { name: 'creating a domain', isOutside: true }
    const made = await this.operations.start<CreatedDomain, CreateProgress>(settings, (context) =>
      createDomain(this.createHost(), config, context))
    return this.adopt(config, { ...made, symbols: symbols ?? made.symbols }, {}, () => undefined)
  }

  /** Makes the handle of a domain that was created, and starts it. */
  private adopt(
    config: DomainConfig<KernelSource>,
    made: { readonly domid: DomId; readonly uuid: string; readonly symbols?: SymbolTable | undefined },
    options: CreateOptions,
    onStarted: () => void,
  ): Domain {
    const stream = this.dom0.consoles.open(made.domid)
    const domain: Domain = new Domain(this.domainHost, {
      id: made.domid, name: config.name, uuid: made.uuid, config,
      console: new DomainConsole(stream, {
        loop: this.parts.loop, turn: () => this.dom0.kernel.turn(), crash: () => domain.crash,
      }),
    })
    this.guests.set(domain.id, domain)
    for (const { option, message } of deniedFileWarnings(config)) this.warn({ option, reason: 'ignored', message })
    this.crashes.know(domain.id, made.symbols)
    this.lifecycle.watch(domain)
    if (options.paused !== true) this.hypervisor.unpauseDomain(domain.id)
    this.parts.loop.kick()
    onStarted()
    this.hub.emit({ type: 'domain-created', id: domain.id, name: domain.name })
    return domain
  }

  /** Ends a domain at once; resolves, when it is gone, with the reason: a request goes before what the guest has done. */
  private destroy(domid: DomId, reason: DestructionReason): Promise<DestructionReason> {
    const domain = this.guests.get(domid)
    if (domain === undefined) {
      return Promise.reject(new XenError('DOMAIN_NOT_FOUND', `there is no domain ${domid}`, { details: { id: domid } }))
    }
    const known = this.destroying.get(domid)
    if (known !== undefined) {
      if (reason === 'destroyed' && (known.reason === 'shutdown' || known.reason === 'crashed')) known.reason = reason
      return known.done
    }
    const destruction: Destruction = { reason, done: Promise.resolve(reason) }
    this.destroying.set(domid, destruction)
    destruction.done = this.tearDown(domain, destruction)
    return destruction.done
  }

  private async tearDown(domain: Domain, destruction: Destruction): Promise<DestructionReason> {
    const { id } = domain
    const { hypervisor, operations } = this
    const ended = operations.endDomain(id, goneError(domain, 'was destroyed'))
    // Not from within a run of the hypervisor, where this may have been called.
    await Promise.resolve()
    if (hypervisor.hasDomain(id)) hypervisor.pauseDomain(id)
    await ended
    await this.devices.detachAll(id)
    await this.dom0.consoles.close(id)
    this.dom0.disconnectStore(id)
    while (hypervisor.hasDomain(id) && !hypervisor.dismantleDomain(id)) await turn()
    removeDomainNodes(this.store, id, domain.uuid)
    this.guests.delete(id)
    this.destroying.delete(id)
    for (const part of [this.lifecycle, this.requests, operations, this.crashes]) part.forget(id)
    const { reason } = destruction
    domain.markDestroyed(reason)
    this.hub.emit({ type: 'domain-destroyed', id, name: domain.name, reason })
    this.parts.loop.kick()
    return reason
  }

  private rename(domain: Domain, name: string): void {
    domain.rename(name)
    this.store.write(`${domainPath(domain.id)}/name`, name)
    this.store.write(`/vm/${domain.uuid}/name`, name)
  }

  /** Says in XenStore how much dom0 may have; libxl does so when its target is first set. */
  private describeDom0Memory(): void {
    const node = `${domainPath(0)}/memory/static-max`
    if (!this.store.exists(node)) this.store.write(node, String(this.parts.dom0MaxMebibytes * 1024))
  }
}
