/** The back-ends of dom0, one for each kind of device. They are put on its bus when the first device is attached. */
import { BackendBus, type GuestKernel } from '../../guest/index.ts'
import { part, partSet, partTree, shape, type DomId, type Part } from '../../util/index.ts'
import type { DeviceConfiguration } from '../device-kinds/described-device.ts'
import type { BackendHost, DeviceService, ServedDevice } from '../device-kinds/served-device.ts'
import type { DevicePlace } from './device-nodes.ts'

/** All back-ends of one host. */
export class BackEnds {
  private readonly kernel: () => GuestKernel
  private readonly services: ReadonlyMap<string, DeviceService>
  private serving: Promise<void> | undefined
  private bus: BackendBus | undefined

  /** `hostOf` gives each kind its view of the host. */
  constructor(kinds: readonly ServedDevice[], kernel: () => GuestKernel, hostOf: (kind: ServedDevice) => BackendHost<DeviceConfiguration>) {
    this.kernel = kernel
    this.services = new Map(kinds.map((kind) => [kind.name, kind.serve(hostOf(kind))]))
  }

  /** The back-end of a kind that the host has. Throws NOT_SUPPORTED where dom0 has none of this library's. */
  of<S extends DeviceService>({ name }: { readonly name: string; serve(host: never): S }): S {
    const service = this.services.get(name)
    if (service === undefined) this.kernel()
    // The kind itself has made it.
    return service as S
  }

  /** True while dom0 serves a device. */
  isServed({ kind, domid, id }: DevicePlace): boolean {
    return this.services.get(kind)?.isServed(domid, id) === true
  }

  /** What has been done for a device. */
  statistics({ kind, domid, id }: DevicePlace): Readonly<Record<string, number>> | undefined {
    return this.services.get(kind)?.statistics(domid, id)
  }

  // State

  /** True for a kind whose devices can be saved with their host. */
  hasState({ name }: Pick<ServedDevice, 'name'>): boolean {
    return this.services.get(name)?.state !== undefined
  }

  /** What keeps the back-ends from being saved; `hasOwn` tells devices whose contents came with them. */
  underWay(hasOwn: (kind: string, domid: DomId, id: number) => boolean): string | undefined {
    for (const [kind, { state }] of this.services) {
      const why = state?.underWay((domid, id) => hasOwn(kind, domid, id))
      if (why !== undefined) return why
    }
    return this.bus?.underWay()
  }

  /** Opens what stands from the boot of a host on. */
  open(): void {
    for (const service of this.services.values()) service.open?.()
  }

  /** Lets go of what lies outside of the host. */
  close(): void {
    for (const service of this.services.values()) service.close?.()
  }

  /** True while somebody outside may say something in his own time. */
  isPaced(): boolean {
    for (const service of this.services.values()) if (service.isPaced?.() === true) return true
    return false
  }

  /** What from outside has not answered; undefined when nothing is awaited. */
  awaited(): string | undefined {
    return [...this.services.values()].map((service) => service.awaited?.()).find((what) => what !== undefined)
  }

  /** What lies outside of the host stays as it is from now on. */
  holdOutside(): void {
    for (const service of this.services.values()) service.holdOutside?.()
  }

  /** What lies outside of the host. */
  outside(): ReadonlySet<unknown> {
    return new Set([...this.services.values()].flatMap((service) => service.outside?.() ?? []))
  }

  /** What contents that lie outside are known by now, by how each is opened. */
  stamps(): ReadonlyMap<string, string> {
    return new Map([...this.services.values()].flatMap((service) => [...service.stamps?.() ?? []]))
  }

  /** Lets go of what lies outside of the host and is not in use. */
  async releaseOutside(inUse: ReadonlySet<unknown>): Promise<void> {
    for (const service of this.services.values()) await service.releaseOutside?.(inUse)
  }

  /** Opens what the saved back-ends need from outside. */
  async reopen(saved: (kind: string) => unknown): Promise<void> {
    for (const [kind, { state }] of this.services) await state?.reopen?.(saved(kind))
  }

  /** The back-ends: what each has beside its devices, and the devices on their bus. */
  part(): Part {
    const kinds = [...this.services].flatMap(([name, { state }]) => (state === undefined ? [] : [{ ...state.part(), name }]))
    return partTree({ name: 'back-ends', version: 1 }, [
      part({ name: 'bus', version: 1, shape: shape.record({ serving: shape.flag }) }, {
        save: () => ({ serving: this.bus !== undefined }),
        isAsSaved: ({ serving }) => serving === (this.bus !== undefined),
        load: ({ serving }) => { if (serving) this.attach() },
      }),
      ...kinds,
      this.devices(),
    ])
  }

  private attach(): void {
    this.bus = new BackendBus(this.kernel())
    this.bus.attach([...this.services.values()].map(({ driver }) => driver))
    this.serving = Promise.resolve()
  }

  /** Devices on the bus; none while there is no bus. */
  private devices(): Part {
    const none = partSet({ name: 'devices', version: 1 }, { present: () => [], make: () => undefined })
    const now = (): Part => this.bus?.part() ?? none
    return { ...none, save: (before) => now().save(before), overlooked: (saved) => now().overlooked(saved), load: (saved) => now().load(saved), rewind: (saved) => now().rewind(saved) }
  }

  /** Throws INVALID_STATE when something that was loaded is nobody's. */
  checkAttached(): void {
    for (const { state } of this.services.values()) state?.checkAttached?.()
  }

  // Serving

  /** Registers the back-ends, once. */
  start(): Promise<void> {
    this.serving ??= (async () => {
      const bus = this.bus = new BackendBus(this.kernel())
      for (const { driver } of this.services.values()) await bus.register(driver)
    })()
    return this.serving
  }
}
