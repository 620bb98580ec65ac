/**
 * The devices of a host's domains: attaching and detaching as xl does, each taken back when it fails. A driver domain may
 * serve a device instead of dom0. What is particular about a kind of device is asked of its row in ../device-kinds.
 */
import { XENBUS_STATE } from '../../abi/index.ts'
import type { GuestKernel } from '../../guest/index.ts'
import { XenError, part, partTree, type DomId, type Part, type Random, type SavedTree, type Quiescible } from '../../util/index.ts'
import type { DeviceKinds, DomainDevices } from '../device-kinds/device-kinds.ts'
import type { DiskOpener } from '../device-kinds/device-sources.ts'
import type { DescribedDevice, DeviceConfiguration, WantedDevice } from '../device-kinds/described-device.ts'
import type { BackendHost, DeviceService, ServedDevice } from '../device-kinds/served-device.ts'
import type { TellFailure } from '../run/callback-failures.ts'
import type { Inputs } from '../run/inputs.ts'
import { called, type Attached, type DeviceInfo, type DeviceOptions, type WaitHost } from './attached.ts'
import { BackEnds } from './back-ends.ts'
import { readRow, rowsState, saveRow } from './device-state.ts'
import { backendState, frontendState, removeDeviceNodes, requestClose, withdrawClose, writeDeviceNodes } from './device-nodes.ts'
import { watchDeviceStates, type DeviceStateChange } from './device-states.ts'
import { ANSWER_TIME, answered, checkStays, reach } from './waits.ts'

/** What devices need of their host. */
export interface DeviceHost extends WaitHost {
  readonly kinds: DeviceKinds
  /** Who serves each of them. */
  readonly servedKinds: readonly ServedDevice[]
  /** Dom0's kernel, in which the back-ends run. */
  readonly kernel: GuestKernel
  readonly random: Random
  readonly openDisk: DiskOpener | undefined
  /** True while a domain is there and has not ended: its front-ends can still answer. */
  isAlive(domid: DomId): boolean
  /** A half of a device changed its state. */
  onState(domid: DomId, change: DeviceStateChange): void
  /** Code of the host's owner has failed: a port or tap of a bridge, a block store. */
  readonly onCallbackFailed: TellFailure
  readonly inputs: Inputs
  /** Finds a domain by number or name. Throws DOMAIN_NOT_FOUND. */
  domainId(reference: string): DomId
}

/** All split devices of a host. */
export class Devices implements Quiescible {
  readonly kinds: DeviceKinds
  private readonly host: DeviceHost
  private readonly backEnds: BackEnds
  private readonly attached: Attached[] = []

  constructor(host: DeviceHost) {
    this.host = host
    this.kinds = host.kinds
    this.backEnds = new BackEnds(host.servedKinds, host.kernel, (kind): BackendHost<DeviceConfiguration> => ({
      kernel: host.kernel, openDisk: host.openDisk, onCallbackFailed: host.onCallbackFailed, inputs: host.inputs,
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
        backendState: backendState(store, place), frontendState: frontendState(store, place), lastError,
        statistics: this.backEnds.statistics(place),
      }))
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
    const settled = kind.settle(config, { isFree, random, resource: options.store })
    const backend = this.host.domainId(config.backend)
    const device: Attached = {
      kind, config: settled.config, place: { kind: kind.name, domid, backend, id: settled.id }, resource: options.store,
      hasOwnResource: options.store !== undefined, origin: options.origin ?? 'attach', lastError: undefined, doing: 'being attached',
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
    const details = { domid, kind: device.kind.name, id: device.id }
    const known = this.known(details.kind, domid, device.id)
    if (known === undefined) {
      throw new XenError('DEVICE_NOT_FOUND', `domain ${domid} has no ${details.kind} ${device.id}`, { details })
    }
    const doing = known.leaving === undefined ? known.doing : 'being taken away'
    if (doing !== undefined) throw new XenError('BUSY', `${called(known.place)} is ${doing}`, { details: { ...details, doing } })
    known.doing = 'being taken away'
    const state = backendState(this.host.store, known.place)
    try {
      if (options.force !== true && !this.isQuiet(known)) await this.close(known, options)
    } catch (error) {
      if (known.leaving === undefined) withdrawClose(this.host.store, known.place, state)
      known.doing = undefined
      throw error
    }
    await this.takeAway(known)
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
    return partTree({ name: 'devices', version: 1 }, [this.rows(), this.backEnds.part()])
  }

  private rows(): Part {
    return part({ name: 'rows', version: 1, shape: rowsState }, {
      save: () => this.attached.map(saveRow),
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
      if (place.backend === 0) await this.backEnds.start()
      checkStays(device, options)
      this.watch(device)
      writeDeviceNodes(store, place, device.kind.rows(device.config, place.id))
      await answered(this.host, device, options)
      device.doing = undefined
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
    try {
      await reach(this.host, device, { ...options, isThere: () => this.isQuiet(device) })
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
    }
  }
}
