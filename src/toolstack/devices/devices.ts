/**
 * Disks and networks of a host's domains: dom0's back-ends with the stores and bridges behind them, and attaching and
 * detaching as xl does, each taken back when it fails. A driver domain may serve a device instead of dom0.
 */
import { XENBUS_STATE } from '../../abi/index.ts'
import { BlockBackend, Bridge, NetBackend, parseVirtualDevice, type BlockStore, type DiskRequest } from '../../drivers/index.ts'
import { BackendBus, type GuestKernel } from '../../guest/index.ts'
import { XenError, below, type DomId, type Random } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import type { DiskConfig } from '../config/disk-specification.ts'
import type { NicConfig } from '../config/nic-specification.ts'
import type { TellFailure } from '../run/callback-failures.ts'
import { abortedError } from '../run/operation.ts'
import type { RunLoop } from '../run/run-loop.ts'
import {
  backendState, devicePaths, frontendState, removeDeviceNodes, requestClose, withdrawClose, writeDeviceNodes, type DeviceKind, type DevicePlace, type DeviceRows,
} from './device-nodes.ts'
import { diskRows, nicRows } from './device-rows.ts'
import { watchDeviceStates, type DeviceStateChange } from './device-states.ts'

/**
 * Who asks for a disk: the description that a domain was created from, `attachDisk` while it runs, or a stream that it came
 * by, which somebody else may have written. A domain that came by a stream counts as such also when it starts anew.
 */
export type DiskOrigin = 'configuration' | 'attach' | 'stream'

/** A disk that is to be opened. */
export interface DiskOpenRequest extends DiskRequest {
  readonly origin: DiskOrigin
}

/** Opens what a disk's specification names as its target. A rejection makes attaching the disk fail. */
export type DiskOpener = (request: DiskOpenRequest) => BlockStore | Promise<BlockStore>

/** Progress of attaching or detaching a device. */
export interface DeviceProgress {
  readonly type: 'device-state'
  readonly kind: DeviceKind
  readonly device: number
  /** XENBUS_STATE of the back-end. */
  readonly state: number
}

/** A device as `xl block-list` and `xl network-list` show it. */
export interface DeviceInfo {
  readonly kind: DeviceKind
  /** Number of the device in its domain. */
  readonly device: number
  /** Name of a disk as it was given (`xvda`), address of a network interface. */
  readonly name: string
  readonly backend: DomId
  /** XENBUS_STATE of the back-end, and of the front-end; undefined when a half is gone. */
  readonly backendState: number | undefined
  readonly frontendState: number | undefined
  /** What the contents of a disk have failed with last: the error of their own behind a request that the guest saw fail. */
  readonly lastError: unknown
}

/** What attaching and detaching need besides the device. */
export interface DeviceOptions {
  /** Contents of a disk; without it the host's opener is asked for the target. */
  readonly store?: BlockStore | undefined
  /** Who asks; default: `attach`. */
  readonly origin?: DiskOrigin | undefined
  readonly signal?: AbortSignal | undefined
  /** Takes a device away whose front-end does not let it go; what the guest is doing with it fails then. */
  readonly force?: boolean | undefined
  readonly onProgress?: ((event: DeviceProgress) => void) | undefined
}

/** What devices need of their host. */
export interface DeviceHost {
  readonly store: LocalStore
  readonly loop: RunLoop
  /** Dom0's kernel, in which the back-ends run. */
  readonly kernel: GuestKernel
  readonly random: Random
  readonly openDisk: DiskOpener | undefined
  /** True while a domain is there and has not ended: its front-ends can still answer. */
  isAlive(domain: DomId): boolean
  /** A half of a device changed its state. */
  onState(domain: DomId, change: DeviceStateChange): void
  /** Code of the host's owner has failed: a port or tap of a bridge, a block store. */
  readonly onCallbackFailed: TellFailure
  /** Finds a domain by number or name. Throws DOMAIN_NOT_FOUND. */
  domainId(reference: string): DomId
}

/** How long a back-end may take to answer, in host time: what libxl gives it. */
const ANSWER_TIME = 10e9
/** Prefix of addresses that belong to Xen's guests. */
const MAC_PREFIX = '00:16:3e'

/** What devices of a domain were attached by, with the choices that were left open. */
export interface DeviceConfigs {
  readonly disks: readonly DiskConfig[]
  readonly nics: readonly NicConfig[]
}

/** A device with one of its configurations. */
interface Attached extends DevicePlace {
  readonly disk?: DiskConfig
  readonly nic?: NicConfig
  /** Its contents came with it: they cannot be opened again by its target. */
  readonly hasOwnStore?: boolean
  readonly origin?: DiskOrigin
  /** What is being done to it; undefined while it is just there. */
  doing?: 'being attached' | 'being taken away' | undefined
  /** What opening its contents, or a request to them, has failed with last. */
  lastError?: unknown
  /** Ends telling its states. */
  unwatch?: () => void
  /** Done when nothing is left of it. */
  leaving?: Promise<void>
}

const same = (a: DevicePlace, b: DevicePlace): boolean => a.kind === b.kind && a.domain === b.domain && a.id === b.id

/** All split devices of a host. */
export class Devices {
  private readonly host: DeviceHost
  private readonly bridges = new Map<string, Bridge>()
  private readonly places: Attached[] = []
  /** Stores that came with a disk, by domain and device, until the back-end asks for them. */
  private readonly given = new Map<string, BlockStore>()
  private disks: BlockBackend | undefined
  private nics: NetBackend | undefined
  private serving: Promise<unknown> | undefined

  constructor(host: DeviceHost) {
    this.host = host
  }

  /** The bridge of a name; it is made when first asked for. */
  bridge(name: string): Bridge {
    const known = this.bridges.get(name)
    if (known !== undefined) return known
    const { kernel } = this.host
    const bridge = new Bridge({ name, now: () => kernel.now(), post: (task) => kernel.post(task), turn: () => kernel.turn() })
    bridge.events.on('failed', ({ by, error }) =>
      this.host.onCallbackFailed({ callback: `bridge-${by}`, subject: name, error }))
    this.bridges.set(name, bridge)
    return bridge
  }

  /** A domain's devices, in the order in which they were attached. */
  list(domain: DomId): readonly DeviceInfo[] {
    const { store } = this.host
    return this.places.filter((place) => place.domain === domain && place.leaving === undefined).map((place) => ({
      kind: place.kind, device: place.id, name: place.disk?.vdev.name ?? place.nic?.mac ?? String(place.id), backend: place.backend, backendState: backendState(store, place),
      frontendState: frontendState(store, place), lastError: place.lastError,
    }))
  }

  /** Disks of a domain whose contents have failed. */
  diskErrors(domain: DomId): readonly { readonly disk: string; readonly error: unknown }[] {
    return this.list(domain).flatMap(({ name, lastError }) => (lastError === undefined ? [] : [{ disk: name, error: lastError }]))
  }

  /** A domain's device by its number, a disk also by its name and an interface by its address. Throws DEVICE_NOT_FOUND. */
  find(domain: DomId, kind: DeviceKind, name: string): DeviceInfo {
    const number = kind === 'vbd' ? parseVirtualDevice(name).number : Number(name)
    const address = name.toLowerCase().replaceAll('-', ':')
    const own = this.list(domain).filter((device) => device.kind === kind)
    const found = own.find((device) => device.device === number || (kind === 'vif' && device.name === address))
    if (found !== undefined) return found
    const what = kind === 'vbd' ? 'disk' : 'network interface'
    const others = own.length === 0 ? 'it has none' : `it has ${own.map((device) => device.name).join(', ')}`
    throw new XenError('DEVICE_NOT_FOUND', `domain ${domain} has no ${what} ${name}: ${others}`, {
      details: { domain, kind, name, id: number },
    })
  }

  /** What a domain's devices were attached by; `reopenable` are those whose contents did not come with them. */
  configs(domain: DomId, which: 'all' | 'reopenable' = 'all'): DeviceConfigs {
    const isThere = ({ leaving, doing }: Attached): boolean => leaving === undefined && doing !== 'being attached'
    const own = this.places.filter((place) => place.domain === domain && isThere(place))
    const wanted = which === 'all' ? own : own.filter(({ hasOwnStore }) => hasOwnStore !== true)
    return { disks: wanted.flatMap(({ disk }) => disk ?? []), nics: wanted.flatMap(({ nic }) => nic ?? []) }
  }

  /** Gives a domain a disk; resolves when its back-end is ready for the guest. Throws DEVICE_EXISTS, IO, NOT_SUPPORTED. */
  async attachDisk(domain: DomId, disk: DiskConfig, options: DeviceOptions = {}): Promise<void> {
    if (disk.format !== 'raw' && options.store === undefined) {
      throw new XenError('NOT_SUPPORTED', `disk ${disk.vdev.name}: format ${disk.format} is not supported, only raw is`, {
        details: { vdev: disk.vdev.name, format: disk.format },
      })
    }
    const backend = this.host.domainId(disk.backend)
    const place: Attached = {
      kind: 'vbd', domain, backend, id: disk.vdev.number, disk, hasOwnStore: options.store !== undefined,
      origin: options.origin ?? 'attach',
    }
    const key = `${domain}/${place.id}`
    if (options.store !== undefined) this.given.set(key, options.store)
    try {
      await this.attach(place, diskRows(disk), options)
    } finally {
      this.given.delete(key)
    }
  }

  /** Gives a domain a network interface; its number. What its specification leaves open is chosen here. */
  async attachNic(domain: DomId, nic: NicConfig, options: DeviceOptions = {}): Promise<number> {
    const deviceId = nic.deviceId ?? this.freeNic(domain)
    const chosen = { ...nic, deviceId, mac: nic.mac ?? this.randomMac() }
    const backend = this.host.domainId(nic.backend)
    await this.attach({ kind: 'vif', domain, backend, id: deviceId, nic: chosen }, nicRows(chosen), options)
    return deviceId
  }

  /**
   * Takes a device away; resolves when its back-end has let it go. Throws DEVICE_NOT_FOUND, BUSY while something else is
   * being done to it, and TIMED_OUT for a disk that its front-end keeps for ten seconds: then it is as it was. An
   * interface is taken away even so, as by `xl network-detach`.
   */
  async detach(domain: DomId, device: { readonly kind: DeviceKind; readonly id: number }, options: DeviceOptions = {}): Promise<void> {
    const place = this.places.find((known) => same(known, { ...device, domain, backend: domain }))
    if (place === undefined) {
      throw new XenError('DEVICE_NOT_FOUND', `domain ${domain} has no ${device.kind} ${device.id}`, { details: { domain, ...device } })
    }
    const doing = place.leaving === undefined ? place.doing : 'being taken away'
    if (doing !== undefined) {
      throw new XenError('BUSY', `${place.kind} ${place.id} of domain ${domain} is ${doing}`, { details: { domain, ...device, doing } })
    }
    place.doing = 'being taken away'
    const state = backendState(this.host.store, place)
    try {
      if (options.force !== true && !this.isQuiet(place)) await this.close(place, options)
    } catch (error) {
      if (place.leaving === undefined) withdrawClose(this.host.store, place, state)
      place.doing = undefined
      throw error
    }
    await this.takeAway(place)
  }

  /** Takes all devices of a domain away that is about to go, and those that it served; one that hangs stops no other. */
  async detachAll(domain: DomId): Promise<void> {
    const places = this.places.filter((known) => known.domain === domain || known.backend === domain)
    await Promise.allSettled(places.map((place) => this.takeAway(place)))
  }

  /**
   * True when there is nobody to be asked: the front-end never began or is gone, the back-end has closed with it, or the
   * domain has ended.
   */
  private isQuiet(place: Attached): boolean {
    const { store } = this.host
    const [front, back] = [frontendState(store, place), backendState(store, place)]
    return front === undefined || front === XENBUS_STATE.Initialising || back === undefined || back === XENBUS_STATE.Closed
      || (place.backend === 0 && !this.isServed(place)) || !this.host.isAlive(place.domain)
  }

  /** Asks both halves to close, and waits until they have. */
  private async close(place: Attached, options: DeviceOptions): Promise<void> {
    requestClose(this.host.store, place)
    try {
      await this.reach(place, () => this.isQuiet(place), options)
    } catch (error) {
      if (place.kind !== 'vif' || !XenError.is(error, 'TIMED_OUT')) throw error
    }
  }

  /** Removes a device's nodes and waits until dom0 has let it go; a driver domain lets go by itself. */
  private takeAway(place: Attached): Promise<void> {
    place.leaving ??= this.remove(place)
    return place.leaving
  }

  private async remove(place: Attached): Promise<void> {
    const { loop, store } = this.host
    removeDeviceNodes(store, place)
    try {
      if (place.backend === 0) {
        const what = `${place.kind} ${place.id} of domain ${place.domain} to go`
        await loop.until(what, () => !this.isServed(place), { timeout: ANSWER_TIME })
      }
    } finally {
      // A back-end that was in the middle of something may have written since.
      removeDeviceNodes(store, place)
      place.unwatch?.()
      const index = this.places.indexOf(place)
      if (index >= 0) this.places.splice(index, 1)
    }
  }

  private isServed({ kind, domain, id }: DevicePlace): boolean {
    return (kind === 'vbd' ? this.disks?.disk(domain, id) : this.nics?.nic(domain, id)) !== undefined
  }

  private async attach(place: Attached, rows: DeviceRows, options: DeviceOptions): Promise<void> {
    if (this.places.some((known) => same(known, place))) {
      throw new XenError('DEVICE_EXISTS', `domain ${place.domain} has a ${place.kind} ${place.id} already`, {
        details: { domain: place.domain, kind: place.kind, id: place.id },
      })
    }
    this.places.push(place)
    place.doing = 'being attached'
    try {
      if (place.backend === 0) await this.serve()
      this.checkStays(place, options)
      place.unwatch = watchDeviceStates(this.host.store, place, (change) => this.host.onState(place.domain, change))
      writeDeviceNodes(this.host.store, place, rows)
      const { InitWait, Initialised, Connected } = XENBUS_STATE
      const ready: readonly (number | undefined)[] = [InitWait, Initialised, Connected]
      await this.reach(place, () => ready.includes(backendState(this.host.store, place)), options)
      if (place.kind === 'vbd') await this.opened(place, options)
      place.doing = undefined
    } catch (error) {
      // What went wrong first is told; one that does not go is nobody's news.
      await this.takeAway(place).catch(() => undefined)
      throw error
    }
  }

  /** Throws when a device is not wanted any more: its caller has given up, or a domain has gone. */
  private checkStays(place: Attached, { signal }: DeviceOptions): void {
    const what = `${place.kind} ${place.id} of domain ${place.domain}`
    if (signal?.aborted === true) throw abortedError(what, signal)
    if (place.leaving === undefined) return
    throw new XenError('DEVICE_NOT_FOUND', `${what} was taken away meanwhile`, { details: { domain: place.domain, id: place.id } })
  }

  /** Waits until the device has come where it is to be, telling each state of the back-end on the way. */
  private async reach(place: Attached, isThere: () => boolean, options: DeviceOptions): Promise<void> {
    const { store, loop } = this.host
    let last: number | undefined
    await loop.until(`${place.kind} ${place.id} of domain ${place.domain}`, () => {
      this.checkStays(place, options)
      this.checkHotplug(place)
      const state = backendState(store, place)
      if (state !== last && state !== undefined) {
        options.onProgress?.({ type: 'device-state', kind: place.kind, device: place.id, state })
      }
      last = state
      return isThere()
    }, { signal: options.signal, timeout: ANSWER_TIME, domain: place.domain })
  }

  /** Waits until the back-end has opened a disk's store. */
  private async opened(place: Attached, options: DeviceOptions): Promise<void> {
    const status = `${devicePaths(place).backend}/hotplug-status`
    await this.host.loop.until(`the disk ${place.id} of domain ${place.domain} to be opened`, () => {
      this.checkStays(place, options)
      this.checkHotplug(place)
      return this.host.store.tryRead(status) === 'connected'
    }, { signal: options.signal, timeout: ANSWER_TIME, domain: place.domain })
  }

  /** Throws IO when the back-end said that it cannot serve the device. */
  private checkHotplug(place: Attached): void {
    const { backend } = devicePaths(place)
    if (this.host.store.tryRead(`${backend}/hotplug-status`) !== 'error') return
    const reason = this.host.store.tryRead(`${backend}/hotplug-error`) ?? 'the back-end gave no reason'
    throw new XenError('IO', `${place.kind} ${place.id} of domain ${place.domain}: ${reason}`, {
      details: { domain: place.domain, kind: place.kind, device: place.id, reason }, cause: place.lastError,
    })
  }

  /** Registers dom0's back-ends, once. */
  private serve(): Promise<unknown> {
    this.serving ??= (async () => {
      const bus = new BackendBus(this.host.kernel)
      this.disks = new BlockBackend({
        open: (request) => this.open(request),
        onStoreFailed: (request, error) => {
          const place = this.diskOf(request)
          if (place !== undefined) place.lastError = error
          this.host.onCallbackFailed({ callback: 'block-store', subject: `domain ${request.domain}, ${request.name}`, error })
        },
      })
      this.nics = new NetBackend({ bridge: (name) => this.bridge(name) })
      await bus.register(this.disks)
      await bus.register(this.nics)
    })()
    return this.serving
  }

  /** Opens a disk's target for reading by the toolstack itself: a boot loader reads it before there is a domain. */
  openImage({ vdev, target = '' }: DiskConfig, origin: DiskOrigin): BlockStore | Promise<BlockStore> {
    const device = String(vdev.number)
    return this.ask({ domain: 0 as DomId, device, params: target, type: 'phy', readOnly: true, name: vdev.name, origin })
  }

  private diskOf({ domain, device }: DiskRequest): Attached | undefined {
    return this.places.find((known) => known.kind === 'vbd' && known.domain === domain && String(known.id) === device)
  }

  private async open(request: DiskRequest): Promise<BlockStore> {
    const given = this.given.get(`${request.domain}/${request.device}`)
    if (given !== undefined) return given
    const place = this.diskOf(request)
    try {
      return await this.ask({ ...request, origin: place?.origin ?? 'attach' })
    } catch (error) {
      // The guest's nodes hold its message; whoever attached it is given the error itself.
      if (place !== undefined) place.lastError = error
      throw error
    }
  }

  private ask(request: DiskOpenRequest): BlockStore | Promise<BlockStore> {
    const { openDisk } = this.host
    if (openDisk !== undefined) return openDisk(request)
    throw new XenError('NOT_SUPPORTED', `nothing opens ${request.params}: the host was booted without openDisk`)
  }

  private freeNic(domain: DomId): number {
    const taken = new Set(this.places.filter((place) => place.kind === 'vif' && place.domain === domain).map((place) => place.id))
    let id = 0
    while (taken.has(id)) id += 1
    return id
  }

  /** An address out of Xen's range; the first byte of the rest stays below 0x80, as libxl leaves it. */
  private randomMac(): string {
    const rest = [below(this.host.random, 0x80), below(this.host.random, 0x100), below(this.host.random, 0x100)]
    return [MAC_PREFIX, ...rest.map((byte) => byte.toString(16).padStart(2, '0'))].join(':')
  }
}
