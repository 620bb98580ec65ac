/** The back-ends of dom0, one for each kind of device. They are put on its bus when the first device is attached. */
import { BackendBus, type GuestKernel } from '../../guest/index.ts'
import type { DeviceKinds } from '../device-kinds/device-kinds.ts'
import type { BackendHost, DeviceConfiguration, DeviceService, SplitDevice } from '../device-kinds/split-device.ts'
import type { DevicePlace } from './device-nodes.ts'

/** All back-ends of one host. */
export class BackEnds {
  private readonly kernel: GuestKernel
  private readonly services: ReadonlyMap<string, DeviceService>
  private serving: Promise<void> | undefined

  /** `hostOf` gives each kind its view of the host. */
  constructor(kinds: DeviceKinds, kernel: GuestKernel, hostOf: (kind: SplitDevice) => BackendHost<DeviceConfiguration>) {
    this.kernel = kernel
    this.services = new Map(kinds.all.map((kind) => [kind.name, kind.serve(hostOf(kind))]))
  }

  /** The back-end of a kind that the host has. */
  of<S extends DeviceService>({ name }: { readonly name: string, serve(host: never): S }): S {
    // The kind itself has made it.
    return this.services.get(name) as S
  }

  /** True while dom0 serves a device. */
  isServed({ kind, domain, id }: DevicePlace): boolean {
    return this.services.get(kind)?.isServed(domain, id) === true
  }

  /** What has been done for a device. */
  statistics({ kind, domain, id }: DevicePlace): Readonly<Record<string, number>> | undefined {
    return this.services.get(kind)?.statistics(domain, id)
  }

  /** Registers the back-ends, once. */
  start(): Promise<void> {
    this.serving ??= (async () => {
      const bus = new BackendBus(this.kernel)
      for (const { driver } of this.services.values()) await bus.register(driver)
    })()
    return this.serving
  }
}
