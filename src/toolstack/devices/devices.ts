/**
 * Disks and networks of a host's domains: dom0's back-ends with the stores and bridges behind them, and attaching and
 * detaching as xl does, each taken back when it fails. A driver domain may serve a device instead of dom0.
 */
import { XENBUS_STATE } from '../../abi/index.ts'
import { BlockBackend, Bridge, NetBackend, type BlockStore, type DiskRequest } from '../../drivers/index.ts'
import { BackendBus, type GuestKernel } from '../../guest/index.ts'
import { XenError, below, type DomId, type Random } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import type { DiskConfig } from '../config/disk-specification.ts'
import type { NicConfig } from '../config/nic-specification.ts'
import type { TellFailure } from '../host/callback-failures.ts'
import type { RunLoop } from '../host/run-loop.ts'
import {
  backendState, devicePaths, frontendState, removeDeviceNodes, requestClose, writeDeviceNodes, type DeviceKind, type DevicePlace, type DeviceRows,
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
  readonly backend: DomId
  /** XENBUS_STATE of the back-end, and of the front-end; undefined when a half is gone. */
  readonly backendState: number | undefined
  readonly frontendState: number | undefined
}

/** What attaching and detaching need besides the device. */
export interface DeviceOptions {
  /** Contents of a disk; without it the host's opener is asked for the target. */
  readonly store?: BlockStore | undefined
  /** Who asks; default: `attach`. */
  readonly origin?: DiskOrigin | undefined
  readonly signal?: AbortSignal | undefined
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
  /** Ends telling its states. */
  unwatch?: () => void
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
    return this.places.filter((place) => place.domain === domain).map((place) => ({
      kind: place.kind, device: place.id, backend: place.backend, backendState: backendState(store, place),
      frontendState: frontendState(store, place),
    }))
  }

  /** What a domain's devices were attached by; `reopenable` are those whose contents did not come with them. */
  configs(domain: DomId, which: 'all' | 'reopenable' = 'all'): DeviceConfigs {
    const own = this.places.filter((place) => place.domain === domain)
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

  /** Takes a device away; resolves when the back-end has closed. Throws DEVICE_NOT_FOUND, TIMED_OUT (then it is still there). */
  async detach(domain: DomId, device: { readonly kind: DeviceKind; readonly id: number }, options: DeviceOptions = {}): Promise<void> {
    const place = this.places.find((known) => same(known, { ...device, domain, backend: domain }))
    if (place === undefined) {
      throw new XenError('DEVICE_NOT_FOUND', `domain ${domain} has no ${device.kind} ${device.id}`, { details: { domain, ...device } })
    }
    // A front-end that never began cannot close: its nodes just go, as libxl has it.
    if (frontendState(this.host.store, place) !== XENBUS_STATE.Initialising) {
      requestClose(this.host.store, place)
      await this.reach(place, [XENBUS_STATE.Closed, undefined], options)
    }
    await this.takeAway(place)
  }

  /** Takes all devices of a domain away that is about to go, and those that it served. */
  async detachAll(domain: DomId): Promise<void> {
    for (const place of this.places.filter((known) => known.domain === domain || known.backend === domain)) {
      await this.takeAway(place)
    }
  }

  /** Removes a device's nodes and waits until dom0 has let it go; a driver domain lets go by itself. */
  private async takeAway(place: Attached): Promise<void> {
    this.forget(place)
    if (place.backend !== 0) return
    const { loop } = this.host
    await loop.until(`${place.kind} ${place.id} of domain ${place.domain} to go`, () => !this.isServed(place), { timeout: ANSWER_TIME })
  }

  private isServed({ kind, domain, id }: DevicePlace): boolean {
    return (kind === 'vbd' ? this.disks?.disk(domain, id) : this.nics?.nic(domain, id)) !== undefined
  }

  private forget(place: Attached): void {
    removeDeviceNodes(this.host.store, place)
    place.unwatch?.()
    this.places.splice(this.places.indexOf(place), 1)
  }

  private async attach(place: Attached, rows: DeviceRows, options: DeviceOptions): Promise<void> {
    if (this.places.some((known) => same(known, place))) {
      throw new XenError('DEVICE_EXISTS', `domain ${place.domain} has a ${place.kind} ${place.id} already`, {
        details: { domain: place.domain, kind: place.kind, id: place.id },
      })
    }
    this.places.push(place)
    try {
      if (place.backend === 0) await this.serve()
      place.unwatch = watchDeviceStates(this.host.store, place, (change) => this.host.onState(place.domain, change))
      writeDeviceNodes(this.host.store, place, rows)
      await this.reach(place, [XENBUS_STATE.InitWait, XENBUS_STATE.Initialised, XENBUS_STATE.Connected], options)
      if (place.kind === 'vbd') await this.opened(place, options)
    } catch (error) {
      await this.takeAway(place)
      throw error
    }
  }

  /** Waits for a state of the back-end, telling each on the way. */
  private async reach(place: DevicePlace, states: readonly (number | undefined)[], options: DeviceOptions): Promise<void> {
    const { store, loop } = this.host
    let last: number | undefined
    await loop.until(`${place.kind} ${place.id} of domain ${place.domain}`, () => {
      this.checkHotplug(place)
      const state = backendState(store, place)
      if (state !== last && state !== undefined) {
        options.onProgress?.({ type: 'device-state', kind: place.kind, device: place.id, state })
      }
      last = state
      return states.includes(state)
    }, { signal: options.signal, timeout: ANSWER_TIME })
  }

  /** Waits until the back-end has opened a disk's store. */
  private async opened(place: DevicePlace, options: DeviceOptions): Promise<void> {
    const status = `${devicePaths(place).backend}/hotplug-status`
    await this.host.loop.until(`the disk ${place.id} of domain ${place.domain} to be opened`, () => {
      this.checkHotplug(place)
      return this.host.store.tryRead(status) === 'connected'
    }, { signal: options.signal, timeout: ANSWER_TIME })
  }

  /** Throws IO when the back-end said that it cannot serve the device. */
  private checkHotplug(place: DevicePlace): void {
    const { backend } = devicePaths(place)
    if (this.host.store.tryRead(`${backend}/hotplug-status`) !== 'error') return
    const reason = this.host.store.tryRead(`${backend}/hotplug-error`) ?? 'the back-end gave no reason'
    throw new XenError('IO', `${place.kind} ${place.id} of domain ${place.domain}: ${reason}`, {
      details: { domain: place.domain, kind: place.kind, device: place.id, reason },
    })
  }

  /** Registers dom0's back-ends, once. */
  private serve(): Promise<unknown> {
    this.serving ??= (async () => {
      const bus = new BackendBus(this.host.kernel)
      this.disks = new BlockBackend({
        open: (request) => this.open(request),
        onStoreFailed: ({ domain, name }, error) =>
          this.host.onCallbackFailed({ callback: 'block-store', subject: `domain ${domain}, ${name}`, error }),
      })
      this.nics = new NetBackend({ bridge: (name) => this.bridge(name) })
      await bus.register(this.disks)
      await bus.register(this.nics)
    })()
    return this.serving
  }

  private open(request: DiskRequest): BlockStore | Promise<BlockStore> {
    const given = this.given.get(`${request.domain}/${request.device}`)
    if (given !== undefined) return given
    const { openDisk } = this.host
    const place = this.places.find((known) => known.kind === 'vbd' && known.domain === request.domain && String(known.id) === request.device)
    if (openDisk !== undefined) return openDisk({ ...request, origin: place?.origin ?? 'attach' })
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
