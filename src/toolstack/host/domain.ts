/**
 * A domain as users of the toolstack hold it. It is a handle: the domain's state is the hypervisor's and XenStore's.
 * After the domain is destroyed its calls throw DOMAIN_NOT_FOUND.
 */
import type { DomainInfo } from '../../hypervisor/index.ts'
import type { ProcessorProfile, Trace, TraceHooks } from '../../machine/index.ts'
import { checkArgument, whole, type DomId, isInstance, named, tryRead } from '../../util/index.ts'
import type { DomainConfig, DomainOptions } from '../config/domain-config.ts'
import { MAX_MEMORY } from '../config/option-table.ts'
import type { DomainCrash } from '../crash/domain-crash.ts'
import { DISK } from '../device-kinds/disk/disk.ts'
import { resolveDisk, type DiskDescription } from '../device-kinds/disk/disk-description.ts'
import { NIC } from '../device-kinds/nic/nic.ts'
import { resolveNic, type NicDescription } from '../device-kinds/nic/nic-description.ts'
import { type DescribedDevice, device } from '../device-kinds/described-device.ts'
import type { DeviceInfo, DeviceOptions, DeviceProgress } from '../devices/attached.ts'
import type { DomainConsole } from '../domains/domain-console.ts'
import { summarize, type DomainSummary } from '../domains/domain-list.ts'
import { PAGES_PER_MEBIBYTE } from '../domains/memory-settings.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import type { ShutdownReasonName } from '../domains/shutdown-reason.ts'
import type { MigrateOptions, MigrateProgress, MigrationSummary } from '../migrate/send.ts'
import type { MigrationTransport } from '../migrate/transport.ts'
import type { ProtectOptions } from '../remus/protect-domain.ts'
import type { HostCall } from '../run/inputs.ts'
import type { Operation, OperationOptions } from '../run/operation.ts'
import type { UntilOptions } from '../run/run-loop.ts'
import type { SaveOptions, SaveProgress } from '../save/save-domain.ts'
import { byteOutput, type ByteOutput } from '../stream/index.ts'
import { askToEnd, type ShutdownProgress } from './ask-to-end.ts'
import { attaching, changeDevices, detaching, type ChangeSettings, type DeviceCall, type DeviceChange } from './change-devices.ts'
import { limitsOf } from './call-inputs.ts'
import { checkCall, type AttachDiskOptions, type DetachOptions, type SetVcpusOptions } from './call-options.ts'
import { capabilitiesOf } from '../create/capabilities.ts'
import { configure } from '../create/create-options.ts'
import { CpuPool, openCpuPool, type CpuPoolReference } from '../control/cpu-pools.ts'
import { listVcpus, moveToPool, schedulingOf, sendSysrq, sendTrigger, setAffinity, setScheduling, type AffinityWish, type DomainScheduling, type Trigger, type VcpuSummary } from '../control/vcpu-control.ts'
import { dumpCore, type DumpCoreOptions, type DumpCoreProgress } from '../core-dump/dump-operation.ts'
import { changeMedium, resizeDisk } from '../devices/disk-contents.ts'
import { setDiskLimits, setNicLink, setNicRate, type DiskLimits } from '../devices/device-limits.ts'
import { channelOf } from './channel.ts'
import { screenOf, type Screen } from './screen.ts'
import type { DomainEnd, DomainFate } from './domain-fate.ts'
import type { DomainHost, DomainIdentity } from './domain-host.ts'
import type { ProtectOperation } from './domain-movement.ts'
import { mebibytesOf, memoryOf, setMemoryMaximum, setMemoryTarget, type DomainMemorySummary, type MaximumProgress, type MemoryAmount, type MemoryProgress } from './memory-target.ts'
import { profileOf } from './host-profile.ts'
import type { SoftResetProgress } from './soft-reset.ts'
import { traceVcpu } from './trace-vcpu.ts'
import { setVcpuTarget, type VcpuProgress } from './vcpu-target.ts'

/** Makes the handle of a domain; not published. */
export let openDomain: (host: DomainHost<Domain>, identity: DomainIdentity) => Domain

/** One guest of a host. */
export class Domain {
  /** Its number; another one after a restart. */
  readonly id: DomId
  /** Its console, output from the first line on. */
  readonly console: DomainConsole
  private readonly host: DomainHost<Domain>
  private readonly fate: DomainFate
  private described: DomainConfig<KernelSource>

  static {
    openDomain = (host, identity) => new Domain(host, identity)
  }

  private constructor(host: DomainHost<Domain>, identity: DomainIdentity) {
    this.host = host
    this.fate = identity.fate
    this.id = identity.fate.id
    this.described = identity.config
    this.console = identity.console
  }

  /** What it was created from, or {@link Domain.updateConfig} has put in the place of that. */
  get config(): DomainConfig<KernelSource> {
    return this.described
  }

  /** The same as it is now: with the memory, vCPUs, scheduling and devices that it has been given since. What it starts anew from. */
  currentConfig(): DomainConfig<KernelSource> {
    return this.host.currentConfig(this)
  }

  /** Changes what it starts anew from; nothing happens at once, as by `xl config-update`. Its name and UUID stay. Throws INVALID_CONFIG. */
  updateConfig(config: string | DomainOptions<KernelSource>): void {
    this.call({ call: 'other', name: 'updateConfig' }, () => {
      this.info()
      this.described = { ...configure(config, {}, { kinds: this.host.devices.kinds, offered: () => capabilitiesOf(this.host.control, this.host.devices.kinds), warn: () => undefined }), name: this.name, uuid: this.uuid }
    })
  }

  /** Unique on its host. */
  get name(): string {
    return this.fate.name
  }

  /** Stays the same wherever it is moved; what `rename-restart` leaves behind gets another one. */
  get uuid(): string {
    return this.fate.uuid
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
      this.host.operations.checkFree(this.id, 'pausing', `pausing domain ${this.id}`)
      this.host.control.pauseDomain(this.id)
      this.host.emitPaused(this.id, true)
    })
  }

  /** Lets it run again. */
  unpause(): void {
    this.call({ call: 'unpause', domid: this.id }, () => {
      this.host.operations.checkFree(this.id, 'pausing', `unpausing domain ${this.id}`)
      this.host.control.unpauseDomain(this.id)
      this.host.emitPaused(this.id, false)
      this.host.loop.kick()
    })
  }

  /** Gives it another name, which the guest and every tool see at once. Throws DOMAIN_EXISTS, INVALID_ARGUMENT, BUSY while it moves. */
  rename(name: string): void {
    this.host.seat.enter({ name: 'rename', arguments: [this.id, name] }, () => this.host.rename(this.id, name))
  }

  /** Seconds for which it has been there, on this host. */
  uptime(): number {
    this.info()
    const started = Number(this.host.store.tryRead(`/vm/${this.uuid}/start_time`) ?? NaN)
    return Math.max(0, this.host.wallSeconds() - started)
  }

  /** Its vCPUs, as `xl vcpu-list` shows them. */
  vcpus(): readonly VcpuSummary[] {
    return listVcpus(this.host.seat, this.id)
  }

  /**
   * Says on which physical CPUs a vCPU, or all of them, may run (`hard`) and should run while they can (`soft`). Throws
   * INVALID_ARGUMENT for CPUs that there are not, or that are in another pool.
   *
   * @example
   * domain.setAffinity('all', { hard: '0-3,^1' })
   */
  setAffinity(vcpu: number | 'all', affinity: AffinityWish): void {
    setAffinity(this.host.seat, this.id, { vcpu, affinity })
  }

  /** How it is scheduled: its pool, the scheduler there, weight and cap or what else that one has; of one vCPU where it has such. */
  scheduling(options: { readonly vcpu?: number | undefined } = {}): DomainScheduling {
    checkCall('scheduling', options)
    return schedulingOf(this.host.seat, this.id, options.vcpu)
  }

  /** Changes parameters of its scheduler: `{ weight: 512 }`. Throws INVALID_ARGUMENT for what the scheduler does not take. */
  setScheduling(parameters: Readonly<Record<string, number>>, options: { readonly vcpu?: number | undefined } = {}): void {
    checkCall('scheduling', options)
    setScheduling(this.host.seat, this.id, { values: parameters, vcpu: options.vcpu })
  }

  /** The pool of CPUs on which it runs. */
  get pool(): CpuPool {
    return openCpuPool(this.host.seat, schedulingOf(this.host.seat, this.id).pool)
  }

  /** Has it run on the CPUs of another pool. Throws POOL_NOT_FOUND, INVALID_STATE for a pool without CPUs. */
  moveToPool(pool: CpuPoolReference): void {
    moveToPool(this.host.seat, this.id, isInstance(pool, CpuPool) ? pool.id : pool)
  }

  /** Sends a vCPU an NMI. Other triggers are for machines that no guest has here: they are refused with NOT_SUPPORTED. */
  trigger(trigger: Trigger, options: { readonly vcpu?: number | undefined } = {}): void {
    checkCall('trigger', options)
    sendTrigger(this.host.seat, this.id, { trigger, vcpu: options.vcpu ?? 0 })
  }

  /** Sends Linux's magic SysRq key, as `xl sysrq` does: what the guest makes of it stands on its console. */
  sysrq(letter: string): void {
    sendSysrq(this.host.seat, this.id, letter)
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

  /** How much memory it has, is to have and may have, in MiB. */
  memory(): DomainMemorySummary {
    return memoryOf(this.host.memory, this.id)
  }

  /**
   * Keeps memory aside until it has so many MiB, whoever else asks for some: for a target that it is to reach later. 0 gives up what is
   * left of a claim. Throws OUT_OF_MEMORY, INVALID_ARGUMENT for a second claim and for what it has or may not have.
   */
  claimMemory(mebibytes: number): void {
    checkArgument('a claim in MiB', mebibytes, whole(0, MAX_MEMORY))
    this.host.seat.enter({ name: 'claimMemory', arguments: [this.id, mebibytes] }, () =>
      this.host.control.claimPages(this.id, mebibytes * PAGES_PER_MEBIBYTE))
  }

  /** Sets how many MiB it is to have, and waits until its balloon has brought it there: `64`, `'1G'`, or `'+16'` for 16 more than it is to have now. */
  setMemTarget(amount: MemoryAmount, options: UntilOptions = {}): Operation<void, MemoryProgress> {
    const mebibytes = mebibytesOf(amount, () => this.memory().target ?? this.memory().current)
    return this.call({ call: 'memory-target', domid: this.id, mebibytes, ...limitsOf(options) }, () =>
      setMemoryTarget(this.host.memory, this.id, mebibytes, options))
  }

  /** Sets how many MiB it may be given at most, at least its target; what it has does not change. The amount is written alike. */
  setMaxMem(amount: MemoryAmount, options: OperationOptions = {}): Operation<void, MaximumProgress> {
    const mebibytes = mebibytesOf(amount, () => this.memory().maximum ?? this.memory().current)
    return this.call({ call: 'memory-maximum', domid: this.id, mebibytes, ...limitsOf(options) }, () =>
      setMemoryMaximum(this.host.memory, this.id, mebibytes, options))
  }

  /**
   * Says how many virtual CPUs it is to use, from 1 to `maxVcpus`, as `xl vcpu-set` does. The guest decides: Linux takes
   * CPUs down by itself, and makes more of them present for its own tools to bring up. `info().onlineVcpus` tells.
   */
  setVcpus(count: number, options: SetVcpusOptions = {}): Operation<void, VcpuProgress> {
    return this.call({ call: 'vcpus', domid: this.id, count, wait: tryRead(() => options?.wait) === true, ...limitsOf(options) }, () =>
      setVcpuTarget(this.host, this.id, count, options))
  }

  /**
   * Writes its memory and registers as an ELF core, in the form of `xl dump-core`, which gdb opens as well. It stands still meanwhile,
   * unless `live`. Aborted or failed, the target is given up and the domain goes on.
   *
   * @example
   * await domain.dumpCore(fileSink('fc4.core'))
   */
  dumpCore(target: ByteOutput, options: DumpCoreOptions = {}): Operation<void, DumpCoreProgress> {
    return this.call({ call: 'other', name: 'dumpCore' }, () => dumpCore(this.host, this.id, {
      target, options, check: () => {
        checkArgument('the target of dumpCore', target, byteOutput)
        checkCall('dumpCore', options)
      },
    }))
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
  migrate(transport: MigrationTransport, options: MigrateOptions & OperationOptions = {}): Operation<MigrationSummary, MigrateProgress> {
    return this.call({ call: 'other', name: 'migrate' }, () => this.host.movement.migrate(this, transport, options))
  }

  /** Keeps a standby, which waits at the other end by `standBy`, in step with it: see docs/fault-tolerance.md. Resolves when that has ended. */
  protect(transport: MigrationTransport, options: ProtectOptions & OperationOptions = {}): ProtectOperation {
    return this.call({ call: 'other', name: 'protect' }, () => this.host.movement.protect(this, transport, options))
  }

  /**
   * Lets a domain that has shut down go on with its memory, and with ports, rings and devices as at its beginning: its kernel has put
   * another one into memory (kexec) and has ended for the reason `soft-reset`; `on_soft_reset` does this by itself unless it says
   * otherwise. A reset that fails on its way ends the domain. Throws NOT_SUPPORTED for kinds of guests that have none, as PV guests,
   * INVALID_STATE for one that has not shut down.
   */
  softReset(options: OperationOptions = {}): Operation<void, SoftResetProgress> {
    return this.call({ call: 'other', name: 'softReset' }, () => this.host.softReset(this, options))
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
  trace(hooks: TraceHooks, options: { readonly vcpu?: number } = {}): Trace {
    checkCall('the hooks of trace', hooks)
    checkCall('trace', options)
    return traceVcpu(this.host, this.id, { hooks, vcpu: options.vcpu ?? 0 })
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
    const call: HostCall = tryRead(() => options?.store) === undefined ? attaching(this.id, DISK, { description: disk, options }) : { call: 'other', name: 'attachDisk with contents' }
    return this.change(call, { name: 'attachDisk', doing: 'attaching a disk', options }, async (settings) => {
      await this.host.devices.attach(this.id, device(DISK, resolveDisk(disk)), { ...settings, store: options.store })
    })
  }

  /** Gives it a network interface, described alike; resolves with its number. */
  attachNic(nic: string | NicDescription = '', options: OperationOptions = {}): Operation<number, DeviceProgress> {
    return this.change(attaching(this.id, NIC, { description: nic, options }), { name: 'attachNic', doing: 'attaching a network interface', options }, (settings) =>
      this.host.devices.attach(this.id, device(NIC, resolveNic(nic)), settings))
  }

  /**
   * Gives it a device of any kind of its host, by the kind's name in XenStore; resolves with the device's number. Throws
   * INVALID_ARGUMENT for a kind that the host does not know.
   */
  attachDevice(kind: string, description: string | object, options: OperationOptions = {}): Operation<number, DeviceProgress> {
    return this.change(attaching(this.id, { name: kind }, { description, options }), { name: 'attachDevice', doing: `attaching a ${named(kind)}`, options }, async (settings) => {
      const known = this.host.devices.kinds.named(kind)
      return this.host.devices.attach(this.id, device(known, known.resolve(description)), settings)
    })
  }

  /**
   * Takes a disk away by its name, such as `xvda`, or its number; resolves when both halves have closed. A guest that keeps it for ten
   * seconds of host time makes it reject with TIMED_OUT, and has it still; with `force` it is not asked.
   */
  detachDisk(vdev: string | number, options: DetachOptions = {}): Operation<void, DeviceProgress> {
    return this.change(detaching(this.id, DISK, { name: vdev, options }), { name: 'detachDisk', doing: `detaching disk ${named(vdev)}`, options }, async (settings) =>
      this.detach(DISK, vdev, settings))
  }

  /** Takes a network interface away by its number or address; after ten seconds also from a guest that keeps it. */
  detachNic(nic: number | string, options: DetachOptions = {}): Operation<void, DeviceProgress> {
    return this.change(detaching(this.id, NIC, { name: nic, options }), { name: 'detachNic', doing: `detaching network interface ${named(nic)}`, options }, async (settings) =>
      this.detach(NIC, nic, settings))
  }

  /** Takes a device of any kind away, by its name or number. */
  detachDevice(kind: string, name: string | number, options: DetachOptions = {}): Operation<void, DeviceProgress> {
    return this.change(detaching(this.id, { name: kind }, { name, options }), { name: 'detachDevice', doing: `detaching ${named(kind)} ${named(name)}`, options }, async (settings) =>
      this.detach(this.host.devices.kinds.named(kind), name, settings))
  }

  /**
   * Puts a medium into a removable disk's drive, one whose specification says `cdrom`, in the place of the one that is there. It is
   * opened as `attachDisk` opens a disk; the guest sees another size, and reads the new medium from then on. Throws INVALID_STATE for a
   * disk that is not removable, NOT_SUPPORTED for one that a driver domain serves.
   */
  insertMedium(disk: string | number, target: string, options: AttachDiskOptions = {}): Operation<void, DeviceProgress> {
    const call = { call: 'other', name: 'insertMedium' } as const
    return this.change(call, { name: 'insertMedium', doing: `changing the medium of disk ${named(disk)}`, options }, (settings) =>
      changeMedium(this.host, this.id, { disk, target, store: options.store }, settings))
  }

  /** Takes the medium out of a removable disk's drive: the guest sees a disk of no size. Throws as `insertMedium`. */
  ejectMedium(disk: string | number, options: OperationOptions = {}): Operation<void, DeviceProgress> {
    const call = { call: 'other', name: 'ejectMedium' } as const
    return this.change(call, { name: 'ejectMedium', doing: `taking the medium out of disk ${named(disk)}`, options }, (settings) =>
      changeMedium(this.host, this.id, { disk, target: undefined }, settings))
  }

  /**
   * Gives a disk another size in bytes while the guest uses it; the guest is told as by a real back-end. What lies beyond a smaller size
   * is lost. Throws NOT_SUPPORTED for contents whose store has no `resize`, and for a disk that a driver domain serves.
   */
  resizeDisk(disk: string | number, bytes: number, options: OperationOptions = {}): Operation<void, DeviceProgress> {
    const call = { call: 'other', name: 'resizeDisk' } as const
    return this.change(call, { name: 'resizeDisk', doing: `resizing disk ${named(disk)}`, options }, (settings) =>
      resizeDisk(this.host, this.id, { disk, bytes }, settings))
  }

  /**
   * Limits what the guest may send by a network interface while it runs: `10Mb/s`, or `1MB/s@20ms` with the interval in which as much
   * may be sent; undefined for no limit. A driver domain that serves it is told in XenStore. Throws DEVICE_NOT_FOUND, INVALID_ARGUMENT.
   */
  setNicRate(nic: number | string, rate: string | undefined): void {
    this.host.seat.enter({ name: 'setNicRate', arguments: [this.id, nic, rate] }, () => setNicRate(this.host, this.id, { nic, rate }))
  }

  /** Pulls the cable of a network interface (`'down'`), or plugs it in again: while it is pulled nothing passes. Throws as `setNicRate`, NOT_SUPPORTED where a driver domain serves it. */
  setNicLink(nic: number | string, state: 'up' | 'down'): void {
    this.host.seat.enter({ name: 'setNicLink', arguments: [this.id, nic, state] }, () => setNicLink(this.host, this.id, { nic, state }))
  }

  /** Limits what the guest may ask of a disk while it runs; what is left out is unlimited, requests above a limit wait. Throws as `setNicLink`. */
  setDiskLimits(disk: number | string, limits: DiskLimits): void {
    this.host.seat.enter({ name: 'setDiskLimits', arguments: [this.id, disk, limits] }, () => setDiskLimits(this.host, this.id, { disk, limits }))
  }

  /** The channel of a name or number, as a console. It is there as soon as the domain has its device. Throws DEVICE_NOT_FOUND, INVALID_ARGUMENT, NOT_SUPPORTED where a driver domain serves it. */
  channel(name: string | number): DomainConsole {
    this.info()
    return channelOf(this.host, this.fate, name)
  }

  /** The screen of a number: pictures, a keyboard, a pointer. It is there as soon as the domain has its framebuffer. Throws DEVICE_NOT_FOUND, INVALID_ARGUMENT. */
  screen(number = 0): Screen {
    this.info()
    return screenOf(this.host, this.fate, number)
  }

  /** The disk of a name in any spelling (`xvda`, `d0`, 51712). Throws DEVICE_NOT_FOUND, INVALID_CONFIG for no name at all. */
  disk(vdev: string | number): DeviceInfo {
    this.info()
    return this.host.devices.find(this.id, DISK, named(vdev))
  }

  /** The network interface of a number or an address. Throws DEVICE_NOT_FOUND. */
  nic(nic: number | string): DeviceInfo {
    this.info()
    return this.host.devices.find(this.id, NIC, named(nic))
  }

  /** Its devices, of all kinds. */
  devices(): readonly DeviceInfo[] {
    return this.host.devices.list(this.id)
  }

  /** Lets a call in by the host's door. */
  private call<T>(call: HostCall, act: () => T): T {
    return this.host.inputs.enter(() => ({ source: 'call', ...call }), act)
  }

  /** Lets a change of devices in. */
  private change<C extends DeviceCall, T>(
    call: HostCall, { name, doing, options }: DeviceChange<C>, change: (settings: DeviceOptions & Pick<ChangeSettings, 'onOpened'>) => Promise<T>,
  ): Operation<T, DeviceProgress> {
    return this.call(call, () => changeDevices({ host: this.host, fate: this.fate }, { name, doing, options }, change))
  }

  private detach(kind: DescribedDevice, name: string | number, options: DeviceOptions): Promise<void> {
    const { devices } = this.host
    return devices.detach(this.id, { kind, id: devices.find(this.id, kind, named(name)).device }, options)
  }
}
