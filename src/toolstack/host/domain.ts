/**
 * A domain as users of the toolstack hold it. It is a handle: the domain's state is the hypervisor's and XenStore's.
 * After the domain is destroyed its calls throw DOMAIN_NOT_FOUND.
 */
import type { DomainInfo } from '../../hypervisor/index.ts'
import type { ProcessorProfile, Trace, TraceHooks } from '../../machine/index.ts'
import type { DomId } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import type { DomainCrash } from '../crash/domain-crash.ts'
import { DISK } from '../device-kinds/disk/disk.ts'
import { resolveDisk, type DiskDescription } from '../device-kinds/disk/disk-description.ts'
import { NIC } from '../device-kinds/nic/nic.ts'
import { resolveNic, type NicDescription } from '../device-kinds/nic/nic-description.ts'
import { type DescribedDevice, device } from '../device-kinds/described-device.ts'
import type { DeviceInfo, DeviceOptions, DeviceProgress } from '../devices/attached.ts'
import type { Devices } from '../devices/devices.ts'
import type { DomainConsole } from '../domains/domain-console.ts'
import { summarize, type DomainSummary } from '../domains/domain-list.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import type { ShutdownReasonName } from '../domains/shutdown-reason.ts'
import type { MigrateOptions, MigrateProgress, MigrationSummary } from '../migrate/send.ts'
import type { MigrationTransport } from '../migrate/transport.ts'
import type { HostCall, Inputs } from '../run/inputs.ts'
import type { Operation, OperationOptions } from '../run/operation.ts'
import type { UntilOptions } from '../run/run-loop.ts'
import type { Wishes } from '../run/wishes.ts'
import type { SaveOptions, SaveProgress } from '../save/save-domain.ts'
import type { ByteOutput } from '../stream/index.ts'
import { askToEnd, type AskHost, type ShutdownProgress } from './ask-to-end.ts'
import { limitsOf } from './call-inputs.ts'
import { checkCall, type AttachDiskOptions, type CallOptions, type DetachOptions, type SetVcpusOptions } from './call-options.ts'
import type { DomainEnd, DomainFate } from './domain-fate.ts'
import type { DomainMovement } from './domain-movement.ts'
import {
  setMemoryMaximum, setMemoryTarget, type MaximumProgress, type MemoryHost, type MemoryProgress,
} from './memory-target.ts'
import { profileOf } from './host-profile.ts'
import { traceVcpu, type TraceHost } from './trace-vcpu.ts'
import { setVcpuTarget, type Availability, type VcpuProgress } from './vcpu-target.ts'

/** What a handle needs of its host. */
export interface DomainHost extends AskHost, TraceHost {
  readonly devices: Devices
  readonly store: LocalStore
  readonly memory: MemoryHost
  destroy(domid: DomId): Promise<void>
  readonly vcpuWishes: Wishes<Availability>
  onVcpuTarget(domid: DomId, vcpus: number): void
  readonly movement: DomainMovement<Domain>
  readonly inputs: Inputs
}

/** Calls that change a domain's devices. */
type DeviceCall = 'attachDisk' | 'attachNic' | 'attachDevice' | 'detachDisk' | 'detachNic' | 'detachDevice'

/** Facts of a handle. */
export interface DomainIdentity {
  readonly fate: DomainFate
  readonly uuid: string
  readonly config: DomainConfig<KernelSource>
  readonly console: DomainConsole
}

/** Makes the handle of a domain; not published. */
export let openDomain: (host: DomainHost, identity: DomainIdentity) => Domain

/** One guest of a host. */
export class Domain {
  /** Its number; another one after a restart. */
  readonly id: DomId
  /** Stays the same for as long as the domain exists, wherever it is moved. */
  readonly uuid: string
  /** What it was created from. */
  readonly config: DomainConfig<KernelSource>
  /** Its console, output from the first line on. */
  readonly console: DomainConsole
  private readonly host: DomainHost
  private readonly fate: DomainFate

  static {
    openDomain = (host, identity) => new Domain(host, identity)
  }

  private constructor(host: DomainHost, identity: DomainIdentity) {
    this.host = host
    this.fate = identity.fate
    this.id = identity.fate.id
    this.uuid = identity.uuid
    this.config = identity.config
    this.console = identity.console
  }

  /** Unique on its host. */
  get name(): string {
    return this.fate.name
  }

  /** True until it has been destroyed. */
  get exists(): boolean {
    return this.fate.destroyed === undefined
  }

  /** How it has crashed: what happened where, registers, code, calls; undefined while it has not. */
  get crash(): DomainCrash | undefined {
    return this.fate.crash
  }

  /** What the hypervisor says about it. Throws DOMAIN_NOT_FOUND. */
  info(): DomainInfo {
    return this.host.control.domainInfo(this.id)
  }

  /** Its line of the domain list. */
  summary(): DomainSummary {
    return summarize(this.name, this.info())
  }

  /** Stops it until as many `unpause` calls follow. */
  pause(): void {
    this.call({ call: 'pause', domid: this.id }, () => {
      this.host.control.pauseDomain(this.id)
      this.host.emitPaused(this.id, true)
    })
  }

  /** Lets it run again. */
  unpause(): void {
    this.call({ call: 'unpause', domid: this.id }, () => {
      this.host.control.unpauseDomain(this.id)
      this.host.emitPaused(this.id, false)
      this.host.loop.kick()
    })
  }

  /** Asks the guest to power off and waits until it has. A guest that does not listen never does: give a timeout. */
  shutdown(options: UntilOptions = {}): Operation<ShutdownReasonName, ShutdownProgress> {
    return this.call({ call: 'shutdown', domid: this.id, ...limitsOf(options) }, () => askToEnd(this.host, this.fate, { what: 'poweroff', options }))
  }

  /** Asks the guest to reboot and waits until it has ended; the new domain is a new handle (see the host's events). */
  reboot(options: UntilOptions = {}): Operation<ShutdownReasonName, ShutdownProgress> {
    return this.call({ call: 'reboot', domid: this.id, ...limitsOf(options) }, () => askToEnd(this.host, this.fate, { what: 'reboot', options }))
  }

  /** Ends it at once, whatever it is doing. */
  destroy(): Promise<void> {
    return this.call({ call: 'destroy', domid: this.id }, () => this.host.destroy(this.id))
  }

  /** Sets how many MiB it is to have, and waits until its balloon has brought it there. */
  setMemTarget(mebibytes: number, options: UntilOptions = {}): Operation<void, MemoryProgress> {
    return this.call({ call: 'memory-target', domid: this.id, mebibytes, ...limitsOf(options) }, () =>
      setMemoryTarget(this.host.memory, this.id, mebibytes, options))
  }

  /** Sets how many MiB it may be given at most, at least its target; what it has does not change. */
  setMaxMem(mebibytes: number, options: OperationOptions = {}): Operation<void, MaximumProgress> {
    return this.call({ call: 'memory-maximum', domid: this.id, mebibytes, ...limitsOf(options) }, () =>
      setMemoryMaximum(this.host.memory, this.id, mebibytes, options))
  }

  /**
   * Says how many virtual CPUs it is to use, from 1 to `maxVcpus`, as `xl vcpu-set` does. The guest decides: Linux takes
   * CPUs down by itself, and makes more of them present for its own tools to bring up. `info().onlineVcpus` tells.
   */
  setVcpus(count: number, options: SetVcpusOptions = {}): Operation<void, VcpuProgress> {
    return this.call({ call: 'vcpus', domid: this.id, count, wait: options?.wait === true, ...limitsOf(options) }, () =>
      setVcpuTarget(this.host, this.id, count, options))
  }

  /**
   * Saves the domain in the format of `xl save`, and destroys it, unless told otherwise. A save that fails or is
   * aborted lets the domain go on as if nothing had happened.
   */
  save(target: ByteOutput, options: SaveOptions & OperationOptions = {}): Operation<void, SaveProgress> {
    return this.call({ call: 'other', name: 'save' }, () => this.host.movement.save(this, target, options))
  }

  /**
   * Moves the domain to the host at the other end of `transport`, which waits for it by `receiveMigration`. At every
   * instant at most one of the two may run it; a migration that fails before the handover lets it go on here.
   */
  migrate(
    transport: MigrationTransport,
    options: MigrateOptions & OperationOptions = {},
  ): Operation<MigrationSummary, MigrateProgress> {
    return this.call({ call: 'other', name: 'migrate' }, () => this.host.movement.migrate(this, transport, options))
  }

  /** Lets a suspended domain go on where it is: one whose migration was undecided, and that does not run elsewhere. */
  resume(): void {
    this.call({ call: 'other', name: 'resume' }, () => this.host.movement.resume(this))
  }

  /**
   * Watches a vCPU at work: each instruction, its accesses to memory, its exceptions. A hook that answers 'stop' pauses
   * the domain; `unpause` lets it go on. While a trace is active the vCPU is a hundred times slower, and what the guest
   * sees is the same. Throws INVALID_STATE for a guest written in TypeScript.
   *
   * @example
   * const trace = domain.trace({ instruction: ({ address, instruction }) => console.log(address, instruction?.text) })
   */
  trace(hooks: TraceHooks, { vcpu = 0 }: { readonly vcpu?: number } = {}): Trace {
    checkCall('the hooks of trace', hooks)
    checkCall('trace', { vcpu })
    return traceVcpu(this.host, this.id, { hooks, vcpu })
  }

  /**
   * Where the vCPUs have spent their instructions, by samples, and why they came back to the hypervisor; or one of them. Throws
   * INVALID_STATE for a guest written in TypeScript.
   *
   * @example
   * const { name } = domain
   * const file = speedscopeProfile([{ name, profile: domain.profile(), symbol: nameOf }])
   * writeFileSync('guest.speedscope.json', JSON.stringify(file))
   */
  profile(options: { readonly vcpu?: number } = {}): ProcessorProfile {
    checkCall('profile', options)
    return profileOf(this.host.control, this.id, options.vcpu)
  }

  /** Resolves when the guest has ended, with the reason; at once when it has. */
  async waitForShutdown(options: UntilOptions = {}): Promise<DomainEnd> {
    checkCall('waitForShutdown', options)
    const { fate, host } = this
    host.loop.present()
    if (fate.ended === undefined) await host.loop.until(`the end of domain ${this.id}`, () => fate.ended !== undefined, options)
    return fate.ended!
  }

  /** What is shown where a handle is printed: not the whole host behind it. */
  toJSON(): { readonly id: number; readonly name: string; readonly uuid: string } {
    return { id: this.id, name: this.name, uuid: this.uuid }
  }

  /** The same for Node's `console.log`. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `Domain ${JSON.stringify(this)}`
  }

  /**
   * Gives it a disk, described as in a description file or as an object; resolves when the back-end serves it. The
   * contents come from `store`, or from what the host's `openDisk` finds for the target.
   */
  attachDisk(disk: string | DiskDescription, options: AttachDiskOptions = {}): Operation<void, DeviceProgress> {
    const call: HostCall = options?.store === undefined ? this.attaching(DISK, disk, options) : { call: 'other', name: 'attachDisk with contents' }
    return this.call(call, () => this.changeDevices('attachDisk', 'attaching a disk', options, async (settings) => {
      await this.host.devices.attach(this.id, device(DISK, resolveDisk(disk)), { ...settings, store: options.store })
    }))
  }

  /** Gives it a network interface, described alike; resolves with its number. */
  attachNic(nic: string | NicDescription = '', options: OperationOptions = {}): Operation<number, DeviceProgress> {
    return this.call(this.attaching(NIC, nic, options), () => this.changeDevices('attachNic', 'attaching a network interface', options, (settings) =>
      this.host.devices.attach(this.id, device(NIC, resolveNic(nic)), settings)))
  }

  /**
   * Gives it a device of any kind of its host, by the kind's name in XenStore; resolves with the device's number. Throws
   * INVALID_ARGUMENT for a kind that the host does not know.
   */
  attachDevice(kind: string, description: string | object, options: OperationOptions = {}): Operation<number, DeviceProgress> {
    return this.call(this.attaching({ name: kind }, description, options), () => this.changeDevices('attachDevice', `attaching a ${kind}`, options, async (settings) => {
      const known = this.host.devices.kinds.named(kind)
      return this.host.devices.attach(this.id, device(known, known.resolve(description)), settings)
    }))
  }

  /**
   * Takes a disk away by its name, such as `xvda`, or its number; resolves when both halves have closed. A guest that keeps it for ten
   * seconds of host time makes it reject with TIMED_OUT, and has it still; with `force` it is not asked.
   */
  detachDisk(vdev: string | number, options: DetachOptions = {}): Operation<void, DeviceProgress> {
    return this.call(this.detaching(DISK, vdev, options), () =>
      this.changeDevices('detachDisk', `detaching disk ${vdev}`, options, (settings) => this.detach(DISK, vdev, settings)))
  }

  /** Takes a network interface away by its number or address; after ten seconds also from a guest that keeps it. */
  detachNic(nic: number | string, options: DetachOptions = {}): Operation<void, DeviceProgress> {
    return this.call(this.detaching(NIC, nic, options), () =>
      this.changeDevices('detachNic', `detaching network interface ${nic}`, options, (settings) => this.detach(NIC, nic, settings)))
  }

  /** Takes a device of any kind away, by its name or number. */
  detachDevice(kind: string, name: string | number, options: DetachOptions = {}): Operation<void, DeviceProgress> {
    return this.call(this.detaching({ name: kind }, name, options), () =>
      this.changeDevices('detachDevice', `detaching ${kind} ${name}`, options, async (settings) =>
        this.detach(this.host.devices.kinds.named(kind), name, settings)))
  }

  /** The disk of a name in any spelling (`xvda`, `d0`, 51712). Throws DEVICE_NOT_FOUND, INVALID_CONFIG for no name at all. */
  disk(vdev: string | number): DeviceInfo {
    return this.host.devices.find(this.id, DISK, String(vdev))
  }

  /** The network interface of a number or an address. Throws DEVICE_NOT_FOUND. */
  nic(nic: number | string): DeviceInfo {
    return this.host.devices.find(this.id, NIC, String(nic))
  }

  /** Its devices, of all kinds. */
  devices(): readonly DeviceInfo[] {
    return this.host.devices.list(this.id)
  }

  /** Lets a call in by the host's door. */
  private call<T>(call: HostCall, act: () => T): T {
    return this.host.inputs.enter(() => ({ source: 'call', ...call }), act)
  }

  private attaching({ name: kind }: Pick<DescribedDevice, 'name'>, description: unknown, options: OperationOptions | undefined): HostCall {
    return { call: 'attach', domid: this.id, kind, description, ...limitsOf(options) }
  }

  private detaching({ name: kind }: Pick<DescribedDevice, 'name'>, name: string | number, options: DetachOptions | undefined): HostCall {
    return { call: 'detach', domid: this.id, kind, name, force: options?.force === true, ...limitsOf(options) }
  }

  private detach(kind: DescribedDevice, name: string | number, options: DeviceOptions): Promise<void> {
    const { devices } = this.host
    return devices.detach(this.id, { kind, id: devices.find(this.id, kind, String(name)).device }, options)
  }

  private changeDevices<C extends DeviceCall, T>(
    call: C,
    name: string,
    options: CallOptions[C],
    change: (settings: DeviceOptions) => Promise<T>,
  ): Operation<T, DeviceProgress> {
    const check = (): void => checkCall(call, options)
    const settings = { name: `${name} of domain ${this.id}`, domid: this.id, signal: options?.signal, check }
    return this.host.operations.start<T, DeviceProgress>(settings, async (context) => {
      if (this.fate.destroyed !== undefined) throw this.fate.gone()
      const { force }: DetachOptions = options
      return change({ signal: context.signal, onProgress: context.report, force })
    })
  }
}
