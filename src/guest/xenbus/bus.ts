/**
 * The bus: finds devices in XenStore as they come and go, and gives each to the driver of its kind. There are two, of
 * the same make: `device/KIND/ID` for front-ends, `backend/KIND/DOMAIN/ID` for back-ends.
 */
import type { EventSource, Quiescible } from '../../util/index.ts'
import { EventHub, partSet, XenError, type Part } from '../../util/index.ts'
import type { GuestKernel } from '../kernel.ts'
import type { GuestStore, StoreWatchOptions } from '../store.ts'
import { readOptional } from '../store.ts'
import type { BackendDriver } from './backend.ts'
import { BackendDevice } from './backend.ts'
import type { DeviceOptions, XenbusEvent } from './device.ts'
import type { FrontendDriver } from './frontend.ts'
import { FrontendDevice } from './frontend.ts'
import { Sequence } from './sequence.ts'
import { parseState } from './state.ts'

/** Where back-ends are found. */
const BACKENDS = 'backend'

interface BusDevice {
  readonly path: string
  /** True when it will not come back by itself: a new device at its place is another one. */
  readonly ended: boolean
  start(): Promise<void>
  removed(): Promise<void>
}

/** Names of a node's children; none when there is no such node. */
async function children(store: GuestStore, path: string): Promise<readonly string[]> {
  try {
    return await store.directory(path)
  } catch (error) {
    if (XenError.is(error, 'XENSTORE')) return []
    throw error
  }
}

/** What both buses share. `D` is the device, `R` the driver. */
abstract class Bus<D extends BusDevice, R extends { readonly type: string; serves?(id: string): boolean }> {
  /** States of all devices on this bus. */
  readonly events: EventSource<XenbusEvent>
  private readonly hub: EventHub<XenbusEvent>
  protected readonly kernel: GuestKernel
  protected readonly store: GuestStore
  private readonly root: string
  private readonly depth: number
  private readonly make: (options: DeviceOptions, driver: R) => D
  protected readonly drivers = new Map<string, R>()
  protected readonly known = new Map<string, D>()
  private readonly steps: Sequence
  protected started: Promise<void> | undefined

  /** `depth` is how many names stand between the root and a device, its own included. */
  constructor(kernel: GuestKernel, root: string, depth: number, make: (options: DeviceOptions, driver: R) => D) {
    if (kernel.store === undefined) throw new XenError('INVALID_STATE', 'a bus needs XenStore')
    this.kernel = kernel
    this.store = kernel.store
    this.root = root
    this.depth = depth
    this.make = make
    this.hub = new EventHub<XenbusEvent>(() => kernel.now())
    this.events = this.hub
    this.steps = new Sequence((error) => kernel.crash(error))
  }

  /** The devices on this bus, in no particular order. */
  get devices(): Iterable<D> {
    return this.known.values()
  }

  /** The device at a path relative to the domain's directory. */
  device(path: string): D | undefined {
    return this.known.get(path)
  }

  /** Adds a driver and gives it the devices of its kind that are there; resolves when the bus is being watched. */
  async register(driver: R): Promise<void> {
    this.drivers.set(driver.type, driver)
    if (this.started === undefined) {
      const watching = this.store.watch(this.root, this.onChange, this.watchOptions())
      this.started = watching.then(() => undefined)
      await this.started
    } else {
      await this.started
      await this.steps.add(() => this.changed(this.root))
    }
  }

  /** Whether the bus takes its watch up again after a load. */
  protected abstract watchOptions(): StoreWatchOptions

  /** True while devices are looked for. */
  protected get searching(): boolean {
    return this.steps.busy
  }

  /** Looks at a path that has changed. */
  protected readonly onChange = (path: string): void => this.steps.addOnce(path, () => this.changed(path))

  private async changed(path: string): Promise<void> {
    const names = path.split('/').slice(1)
    if (names.length > this.depth) {
      const place = [this.root, ...names.slice(0, this.depth)].join('/')
      // Changes below a device that lives are its own business.
      if (this.known.get(place)?.ended !== false) await this.look(place)
      return
    }
    const found = await this.below([this.root, ...names].join('/'), this.depth - names.length)
    for (const place of found) await this.look(place)
    for (const place of this.known.keys()) {
      if (place === path || place.startsWith(`${path}/`)) await this.look(place)
    }
  }

  /** Paths of the devices that lie `levels` below `path`. */
  private async below(path: string, levels: number): Promise<readonly string[]> {
    if (levels === 0) return [path]
    const found: string[] = []
    for (const name of await children(this.store, path)) found.push(...await this.below(`${path}/${name}`, levels - 1))
    return found
  }

  /** Takes a device in. */
  protected add(path: string, driver: R): D {
    const emit = (event: XenbusEvent): void => this.hub.emit(event)
    const device = this.make({ kernel: this.kernel, store: this.store, path, emit }, driver)
    this.known.set(path, device)
    return device
  }

  /** Takes a device in, or out when it is gone. */
  private async look(place: string): Promise<void> {
    const names = place.split('/')
    const driver = this.drivers.get(names[1] ?? '')
    if (driver === undefined || driver.serves?.(names.at(-1)!) === false) return
    const state = await readOptional(this.store, `${place}/state`)
    const there = state !== undefined
    const device = this.known.get(place)
    if (there && (device === undefined || (device.ended && parseState(state) === 'Initialising'))) {
      void this.add(place, driver).start()
    } else if (!there && device !== undefined) {
      this.known.delete(place)
      await device.removed()
    }
  }
}

/** The front-ends of a guest. */
export class FrontendBus extends Bus<FrontendDevice, FrontendDriver> {
  constructor(kernel: GuestKernel) {
    super(kernel, 'device', 2, (options, driver) => new FrontendDevice(options, driver))
  }

  protected override watchOptions(): StoreWatchOptions {
    return {}
  }
}

/** The back-ends that a domain runs for others. */
export class BackendBus extends Bus<BackendDevice, BackendDriver> implements Quiescible {
  constructor(kernel: GuestKernel) {
    super(kernel, BACKENDS, 3, (options, driver) => new BackendDevice(options, driver))
  }

  protected override watchOptions(): StoreWatchOptions {
    return { kept: true }
  }

  /** What keeps the devices from being saved; undefined when nothing does. */
  underWay(): string | undefined {
    if (this.searching) return 'a search for devices'
    for (const device of this.known.values()) {
      const why = device.underWay()
      if (why !== undefined) return why
    }
    return undefined
  }

  /** Works on in a loaded kernel: with these drivers, and the watch that is set. The devices are loaded by {@link BackendBus.part}. */
  attach(drivers: readonly BackendDriver[]): void {
    for (const driver of drivers) this.drivers.set(driver.type, driver)
    this.kernel.attachments.attachWatch(BACKENDS, this.onChange)
    this.started = Promise.resolve()
  }

  /** The devices, each under its path. */
  part(): Part {
    return partSet({ name: 'devices', version: 1 }, {
      present: () => [...this.known.values()].map((device) => device.part()),
      make: (path) => {
        const driver = this.drivers.get(path.split('/')[1] ?? '')
        const isPlace = /^backend\/[a-z0-9]+\/\d{1,5}\/\d{1,10}$/.test(path)
        return driver === undefined || !isPlace ? undefined : this.add(path, driver).part()
      },
    })
  }
}
