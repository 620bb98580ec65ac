/**
 * The devices of a host's domains: attaching and detaching as xl does, each taken back when it fails. A driver domain may
 * serve a device instead of dom0. What is particular about a kind of device is asked of its row in ../device-kinds.
 */
import { XENBUS_STATE } from '../../abi/index.ts'
import type { FileTime } from '../../drivers/index.ts'
import type { GuestKernel } from '../../guest/index.ts'
import { XenError, part, partTree, type DomId, type Part, type Random, type SavedTree, type Quiescible } from '../../util/index.ts'
import type { DeviceKinds, DomainDevices } from '../device-kinds/device-kinds.ts'
import type { DiskOpener, FolderOpener, Networks } from '../device-kinds/device-sources.ts'
import type { DescribedDevice, DeviceConfiguration, WantedDevice } from '../device-kinds/described-device.ts'
import type { BackendHost, DeviceService, ServedDevice } from '../device-kinds/served-device.ts'
import type { TellFailure } from '../run/callback-failures.ts'
import type { HostInterference } from '../run/host-interference.ts'
import type { Inputs } from '../run/inputs.ts'
import { called, type Attached, type DeviceCounters, type DeviceInfo, type DeviceOptions, type WaitHost } from './attached.ts'
import { BackEnds } from './back-ends.ts'
import { readRow, rowsState, saveRow } from './device-state.ts'
import { backendState, closeFrontend, frontendState, placeFacts, removeDeviceNodes, renewFrontend, requestClose, withdrawClose, writeDeviceNodes, type DevicePlace } from './device-nodes.ts'
import { watchDeviceStates, type DeviceStateChange } from './device-states.ts'
import { ANSWER_TIME, answered, checkStays, reach } from './waits.ts'

/** What devices need of their host. */
export interface DeviceHost extends WaitHost {
  readonly kinds: DeviceKinds
  /** Who serves each of them. */
  readonly servedKinds: readonly ServedDevice[]
  /** Dom0's kernel, in which the back-ends run. Throws NOT_SUPPORTED where it is none of this library. */
  kernel(): GuestKernel
  readonly random: Random
  readonly openDisk: DiskOpener | undefined
  readonly openFolder: FolderOpener | undefined
  /** Calendar time in UTC. */
  calendar(): FileTime
  readonly networks: Networks | undefined
  /** True while a domain is there and has not ended: its front-ends can still answer. */
  isAlive(domid: DomId): boolean
  /** A half of a device changed its state. */
  onState(domid: DomId, change: DeviceStateChange): void
  /** A device is served, or is there no longer. */
  onChange(change: 'device-added' | 'device-removed', domid: DomId, device: Pick<DeviceInfo, 'kind' | 'device' | 'name'>): void
  /** Code of the host's owner has failed: a port or tap of a bridge, a block store. */
  readonly onCallbackFailed: TellFailure
  readonly inputs: Inputs
  readonly interference?: HostInterference | undefined
  /** True for a domain in whose back-ends' hotplug scripts' place the toolstack stands. */
  isDriverDomain(domid: DomId): boolean
  /** Finds a domain by number or name. Throws DOMAIN_NOT_FOUND. */
  domidOf(reference: string): DomId
}

/** All split devices of a host. */
export class Devices implements Quiescible {
  readonly kinds: DeviceKinds
  private readonly host: DeviceHost
  private tree: Part | undefined
  private readonly backEnds: BackEnds
  private readonly attached: Attached[] = []

  constructor(host: DeviceHost) {
    this.host = host
    this.kinds = host.kinds
    this.backEnds = new BackEnds(host.servedKinds, () => host.kernel(), (kind): BackendHost<DeviceConfiguration> => ({
      kernel: host.kernel(), openDisk: host.openDisk, openFolder: host.openFolder, networks: host.networks, calendar: () => host.calendar(),
      onCallbackFailed: host.onCallbackFailed, inputs: host.inputs, interference: host.interference,
      find: (domid, id) => this.known(kind.name, domid, id),
    }))
  }

  /** Dom0's back-end of a kind. */
  service<S extends DeviceService>(kind: { readonly name: string; serve(host: never): S }): S {
    return this.backEnds.of(kind)
  }

  /** A domain's devices, in the order in which they were attached. */
  list(domid: DomId): readonly DeviceInfo[] {
    const { store } = this.host
    return this.attached.filter(({ place, leaving }) => place.domid === domid && leaving === undefined)
      .map(({ kind, place, config, lastError }) => ({
        kind: place.kind, device: place.id, name: kind.nameOf(config, place.id), backend: place.backend,
        ...placeFacts(store, place), facts: kind.facts?.(config, place.id) ?? {}, lastError,
        statistics: this.backEnds.statistics(place),
      }))
  }

  /** Changes what a device counts as attached by: what is saved with its domain, and what a restart gives it. */
  reconfigure<C extends DeviceConfiguration>({ kind, domid, id }: DevicePlace, change: (config: C) => C): void {
    const device = this.known(kind, domid, id)
    // Who names a kind knows its configuration.
    if (device !== undefined) device.config = change(device.config as C)
  }

  /**
   * Does something to a device that is just there, and lets nobody else do anything to it meanwhile. Throws BUSY where somebody does
   * already, DEVICE_NOT_FOUND.
   */
  async busyWith<C extends DeviceConfiguration>(
    place: DevicePlace, doing: NonNullable<Attached['doing']>, work: (device: Attached & { config: C }) => Promise<void>,
  ): Promise<void> {
    const known = this.free(place)
    known.doing = doing
    try {
      // Who names a kind knows its configuration.
      await work(known as Attached & { config: C })
    } finally {
      if (known.doing === doing) known.doing = undefined
    }
  }

  /** The device at a place, to which nothing is being done. */
  private free({ kind, domid, id }: Pick<DevicePlace, 'kind' | 'domid' | 'id'>): Attached {
    const details = { domid, kind, id }
    const known = this.known(kind, domid, id)
    if (known === undefined) throw new XenError('DEVICE_NOT_FOUND', `domain ${domid} has no ${kind} ${id}`, { details })
    const doing = known.leaving === undefined ? known.doing : 'being taken away'
    if (doing !== undefined) throw new XenError('BUSY', `${called(known.place)} is ${doing}`, { details: { ...details, doing } })
    return known
  }

  /** What has been done for the devices of all domains, by domain: one pass over all of them. */
  counters(): ReadonlyMap<DomId, readonly DeviceCounters[]> {
    const byDomain = new Map<DomId, DeviceCounters[]>()
    for (const { kind, place, config, leaving } of this.attached) {
      if (leaving !== undefined) continue
      const own = byDomain.get(place.domid) ?? []
      if (own.length === 0) byDomain.set(place.domid, own)
      own.push({ kind: place.kind, device: place.id, name: kind.nameOf(config, place.id), counters: this.backEnds.statistics(place) ?? {} })
    }
    return byDomain
  }

  /** Disks of a domain whose contents have failed. */
  diskErrors(domid: DomId): readonly { readonly disk: string; readonly error: unknown }[] {
    return this.list(domid).flatMap(({ name, lastError }) => (lastError === undefined ? [] : [{ disk: name, error: lastError }]))
  }

  /** A domain's device by its number or its name. Throws DEVICE_NOT_FOUND. */
  find(domid: DomId, kind: DescribedDevice, text: string): DeviceInfo {
    const [number, name] = [kind.numberOf(text), kind.spelled(text)]
    const own = this.list(domid).filter((device) => device.kind === kind.name)
    const found = own.find((device) => device.device === number || device.name === name)
    if (found !== undefined) return found
    const others = own.length === 0 ? 'it has none' : `it has ${own.map((device) => device.name).join(', ')}`
    throw new XenError('DEVICE_NOT_FOUND', `domain ${domid} has no ${kind.title} ${text}: ${others}`, {
      details: { domid, kind: kind.name, name: text, id: number },
    })
  }

  /** What a domain's devices were attached by; `reopenable` are those whose contents did not come with them. */
  configs(domid: DomId, which: 'all' | 'reopenable' = 'all'): DomainDevices {
    const isThere = ({ leaving, doing }: Attached): boolean => leaving === undefined && doing !== 'being attached'
    const own = this.attached.filter((device) => device.place.domid === domid && isThere(device))
    return this.kinds.collected(which === 'all' ? own : own.filter(({ hasOwnResource }) => !hasOwnResource))
  }

  /**
   * Gives a domain a device; resolves with its number when its back-end is ready for the guest. What its configuration
   * leaves open is chosen here. Throws DEVICE_EXISTS, IO, NOT_SUPPORTED.
   */
  async attach(domid: DomId, { kind, config }: WantedDevice, options: DeviceOptions = {}): Promise<number> {
    const { random } = this.host
    const isFree = (id: number): boolean => this.known(kind.name, domid, id) === undefined
    const hasName = (name: string): boolean =>
      this.attached.some(({ place, config: own }) => place.kind === kind.name && place.domid === domid && kind.nameOf(own, place.id) === name)
    const settled = kind.settle(config, { isFree, hasName, random, resource: options.store })
    const backend = this.host.domidOf(config.backend)
    const device: Attached = {
      kind, config: settled.config, place: { kind: kind.name, domid, backend, id: settled.id }, resource: options.store ?? options.opened,
      hasOwnResource: options.store !== undefined, origin: options.origin ?? 'attach', lastError: undefined, doing: 'being attached',
      hotplugged: this.host.isDriverDomain(backend) ? kind.hotplugged?.(settled.config) : undefined,
    }
    if (!isFree(settled.id)) {
      throw new XenError('DEVICE_EXISTS', `domain ${domid} has a ${kind.name} ${settled.id} already`, {
        details: { domid, kind: kind.name, id: settled.id },
      })
    }
    this.attached.push(device)
    await this.connect(device, options)
    return settled.id
  }

  /**
   * Takes a device away; resolves when its back-end has let it go. Throws DEVICE_NOT_FOUND, BUSY while something else is
   * being done to it, and TIMED_OUT for one that its front-end keeps for ten seconds: then it is as it was. Devices of
   * some kinds are taken away even so.
   */
  async detach(domid: DomId, device: { readonly kind: DescribedDevice; readonly id: number }, options: DeviceOptions = {}): Promise<void> {
    const known = this.free({ domid, kind: device.kind.name, id: device.id })
    known.doing = 'being taken away'
    const state = backendState(this.host.store, known.place)
    try {
      if (options.force !== true && !this.isQuiet(known)) await this.close(known, options)
    } catch (error) {
      if (known.leaving === undefined) withdrawClose(this.host.store, known.place, state)
      known.doing = undefined
      throw error
    }
    options.onReleased?.()
    await this.takeAway(known)
  }

  /**
   * Has all devices of a domain begin their handshakes anew: the domain stands, and has been reset. Their contents and interfaces stay.
   * Throws TIMED_OUT where a back-end does not let a device go, or does not take it up again.
   */
  async renewAll(domid: DomId, options: DeviceOptions): Promise<void> {
    const { store, loop } = this.host
    for (const device of this.attached.filter(({ place, leaving }) => place.domid === domid && leaving === undefined)) {
      const { place, kind, config } = device
      const state = frontendState(store, place)
      if (state === undefined || state === XENBUS_STATE.Initialising) continue
      closeFrontend(store, place)
      await loop.until(`${called(place)} to be let go`, () => (backendState(store, place) ?? XENBUS_STATE.Closed) === XENBUS_STATE.Closed, { signal: options.signal, timeout: ANSWER_TIME })
      renewFrontend(store, place, kind.rows(config, place.id))
      await answered(this.host, device, options)
    }
  }

  /** Takes all devices of a domain away that is about to go, and those that it served; one that hangs stops no other. */
  async detachAll(domid: DomId): Promise<void> {
    const devices = this.attached.filter(({ place }) => place.domid === domid || place.backend === domid)
    await Promise.allSettled(devices.map((device) => this.takeAway(device)))
  }

  // State

  /** What keeps the devices from being saved; undefined when nothing does. */
  underWay(): string | undefined {
    for (const { kind, place, doing, leaving } of this.attached) {
      if (doing !== undefined || leaving !== undefined) return `${called(place)}, which is ${doing ?? 'being taken away'}`
      if (place.backend === 0 && !this.backEnds.hasState(kind)) return `${called(place)}, whose kind cannot be saved`
    }
    return this.backEnds.underWay((kind, domid, id) => this.known(kind, domid, id)?.hasOwnResource === true)
  }

  /** Opens what stands from the boot of a host on. */
  open(): void {
    this.backEnds.open()
  }

  /** Lets go of what lies outside of the host, which is at its end. */
  closeOutside(): void {
    this.backEnds.close()
  }

  /** True while somebody outside may say something in his own time. */
  isPaced(): boolean {
    return this.backEnds.isPaced()
  }

  /** What from outside has not answered; undefined when nothing is awaited. */
  awaited(): string | undefined {
    return this.backEnds.awaited()
  }

  /** What lies outside of the host stays as it is from now on: changes are kept above it. */
  holdOutside(): void {
    this.backEnds.holdOutside()
  }

  /** What lies outside of the host. */
  outside(): ReadonlySet<unknown> {
    return this.backEnds.outside()
  }

  /** What contents that lie outside are known by now, by how each is opened. */
  stamps(): ReadonlyMap<string, string> {
    return this.backEnds.stamps()
  }

  /** Lets go of what lies outside of the host and is not `inUse`: it was opened anew. */
  releaseOutside(inUse: ReadonlySet<unknown>): Promise<void> {
    return this.backEnds.releaseOutside(inUse)
  }

  /** Opens what saved devices need from outside, before they are loaded. */
  async reopen(saved: unknown): Promise<void> {
    const { parts } = saved as Partial<SavedTree>
    this.rows().load(parts?.['rows'])
    const backEnds = parts?.['back-ends'] as Partial<SavedTree> | undefined
    await this.backEnds.reopen((kind) => backEnds?.parts?.[kind])
  }

  /** The devices as the toolstack knows them, and dom0's back-ends. */
  part(): Part {
    this.tree ??= partTree({ name: 'devices', version: 1 }, [this.rows(), this.backEnds.part()])
    return this.tree
  }

  private rows(): Part {
    return part({ name: 'rows', version: 1, shape: rowsState }, {
      save: () => this.attached.map(saveRow),
      isAsSaved: (rows) => rows.length === 0 && this.attached.length === 0,
      load: (rows) => { this.attached.splice(0, this.attached.length, ...rows.map((row) => readRow(this.kinds, row))) },
    })
  }

  /** Tells states again, once all is loaded. Throws INVALID_STATE when something that was loaded is nobody's. */
  begin(): void {
    this.backEnds.checkAttached()
    for (const device of this.attached) this.watch(device)
  }

  private watch(device: Attached): void {
    const { place } = device
    device.unwatch = watchDeviceStates(this.host.store, place, (change) => this.host.onState(place.domid, change))
  }

  // Attaching

  private known(kind: string, domid: DomId, id: number): Attached | undefined {
    return this.attached.find(({ place }) => place.kind === kind && place.domid === domid && place.id === id)
  }

  /** Writes a device's nodes and waits for its back-end. */
  private async connect(device: Attached, options: DeviceOptions): Promise<void> {
    const { store } = this.host
    const { place } = device
    try {
      options.check?.()
      if (place.backend === 0) await this.backEnds.start()
      checkStays(device, options)
      this.watch(device)
      writeDeviceNodes(store, place, device.kind.rows(device.config, place.id))
      options.check?.()
      await answered(this.host, device, options)
      options.check?.()
      device.doing = undefined
      this.tell('device-added', device)
    } catch (error) {
      // What went wrong first is told; one that does not go is nobody's news.
      await this.takeAway(device).catch(() => undefined)
      throw error
    } finally {
      device.resource = undefined
    }
  }

  /**
   * True when there is nobody to be asked: the front-end never began or is gone, the back-end has closed with it, or the
   * domain has ended.
   */
  private isQuiet({ place }: Attached): boolean {
    const { store } = this.host
    const [front, back] = [frontendState(store, place), backendState(store, place)]
    return front === undefined || front === XENBUS_STATE.Initialising || back === undefined || back === XENBUS_STATE.Closed
      || (place.backend === 0 && !this.backEnds.isServed(place)) || !this.host.isAlive(place.domid)
  }

  /** Asks both halves to close, and waits until they have. */
  private async close(device: Attached, options: DeviceOptions): Promise<void> {
    requestClose(this.host.store, device.place)
    options.check?.()
    let released = false
    try {
      await reach(this.host, device, {
        ...options, isThere: () => this.isQuiet(device),
        onState: () => {
          if (released || (frontendState(this.host.store, device.place) ?? XENBUS_STATE.Closed) < XENBUS_STATE.Closing) return
          released = true
          options.onReleased?.()
        },
      })
    } catch (error) {
      if (!device.kind.leavesAnyway || !XenError.is(error, 'TIMED_OUT')) throw error
    }
  }

  /** Removes a device's nodes and waits until dom0 has let it go; a driver domain lets go by itself. */
  private takeAway(device: Attached): Promise<void> {
    device.leaving ??= this.remove(device)
    return device.leaving
  }

  private async remove(device: Attached): Promise<void> {
    const { loop, store } = this.host
    const { place } = device
    removeDeviceNodes(store, place)
    try {
      if (place.backend === 0) {
        await loop.until(`${called(place)} to go`, () => !this.backEnds.isServed(place), { timeout: ANSWER_TIME })
      }
    } finally {
      // A back-end that was in the middle of something may have written since.
      removeDeviceNodes(store, place)
      device.unwatch?.()
      const index = this.attached.indexOf(device)
      if (index >= 0) this.attached.splice(index, 1)
      if (device.doing !== 'being attached') this.tell('device-removed', device)
    }
  }

  private tell(change: 'device-added' | 'device-removed', { kind, place, config }: Attached): void {
    this.host.onChange(change, place.domid, { kind: place.kind, device: place.id, name: kind.nameOf(config, place.id) })
  }
}
