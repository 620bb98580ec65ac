/**
 * Changing how an attached device is served while it runs: the rate of a network interface, its cable, the limits of a disk. Of a
 * device that a driver domain serves only what has a node in XenStore can be changed, the rate, which netback looks at while it serves;
 * the rest is refused.
 * Reference: tools/libs/light/libxl_nic.c, rate_bytes_per_interval; Linux, drivers/net/xen-netback/xenbus.c, xen_net_rate_changed.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { checkArgument, checkOptions, oneOf, whole, XenError, type DomId, named } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import { DISK } from '../device-kinds/disk/disk.ts'
import { SERVED_DISKS } from '../device-kinds/disk/disk-service.ts'
import type { DescribedDevice } from '../device-kinds/described-device.ts'
import { NIC } from '../device-kinds/nic/nic.ts'
import { parseRate, type NicConfig } from '../device-kinds/nic/nic-specification.ts'
import { SERVED_NICS } from '../device-kinds/nic/nic-service.ts'
import { called } from './attached.ts'
import { devicePaths, type DevicePlace } from './device-nodes.ts'
import type { Devices } from './devices.ts'

/** Most of a disk; what is left out is unlimited. */
export interface DiskLimits {
  readonly bytesPerSecond?: number | undefined
  readonly requestsPerSecond?: number | undefined
}

/** What it works on. */
export interface LimitHost {
  readonly control: Pick<ControlInterface, 'domainInfo'>
  readonly devices: Devices
  readonly store: LocalStore
}

const SECOND = 1_000_000_000
/** A disk's budgets are filled this often, so that a guest is not let wait for whole seconds. Nanoseconds. */
const DISK_INTERVAL = 50_000_000

type Sought = { readonly kind: DescribedDevice; readonly name: string | number }

/** The device's place. Throws DOMAIN_NOT_FOUND, DEVICE_NOT_FOUND. */
function placed({ control, devices }: LimitHost, domid: DomId, { kind, name }: Sought): DevicePlace {
  // One that is gone has no devices either, and that is not what is wrong.
  control.domainInfo(domid)
  const found = devices.find(domid, kind, named(name))
  return { kind: kind.name, domid, backend: found.backend, id: found.device }
}

/** The same, where dom0 serves it. Throws NOT_SUPPORTED where it does not; `what` is to be changed. */
function servedHere(host: LimitHost, domid: DomId, { what, ...sought }: Sought & { readonly what: string }): DevicePlace {
  const place = placed(host, domid, sought)
  if (place.backend === 0) return place
  throw new XenError('NOT_SUPPORTED', `${called(place)} is served by domain ${place.backend}, and XenStore has no node by which that is told of ${what}`, {
    details: { domid, kind: place.kind, backend: place.backend },
  })
}

const notServed = (domid: DomId, kind: string, id: number): XenError =>
  new XenError('INVALID_STATE', `${kind} ${id} of domain ${domid} is not served yet`, { details: { domid, kind, id } })

/** Limits what a guest may send by an interface: `10Mb/s`, `1MB/s@20ms`; undefined for no limit. */
export function setNicRate(host: LimitHost, domid: DomId, { nic, rate }: { readonly nic: number | string; readonly rate: string | undefined }): void {
  const limit = rate === undefined ? undefined : typeof rate === 'string' ? parseRate(rate) : undefined
  if (rate !== undefined && limit === undefined) {
    throw new XenError('INVALID_ARGUMENT', `"${named(rate)}" is no rate such as 10Mb/s or 1MB/s@20ms`, { details: { rate } })
  }
  const place = placed(host, domid, { kind: NIC, name: nic })
  const served = place.backend === 0 ? host.devices.service(SERVED_NICS).served(domid, place.id) : undefined
  if (place.backend === 0 && served === undefined) throw notServed(domid, place.kind, place.id)
  const { backend, libxl } = devicePaths(place)
  for (const path of [backend, libxl]) {
    if (limit === undefined) host.store.tryRm(`${path}/rate`)
    else host.store.write(`${path}/rate`, `${limit.bytesPerInterval},${limit.intervalMicroseconds}`)
  }
  // At once; a driver domain's back-end looks when its node has changed.
  served?.setRate(limit && { amount: limit.bytesPerInterval, interval: limit.intervalMicroseconds * 1000 })
  host.devices.reconfigure<NicConfig>(place, ({ rate: _, ...config }) => (limit === undefined ? config : { ...config, rate: limit }))
}

/** Pulls the cable of an interface, or plugs it in: while it is pulled nothing passes, in either direction. */
export function setNicLink(host: LimitHost, domid: DomId, { nic, state }: { readonly nic: number | string; readonly state: 'up' | 'down' }): void {
  checkArgument('the state of a link', state, oneOf('up', 'down'))
  const place = servedHere(host, domid, { kind: NIC, name: nic, what: 'its cable' })
  const served = host.devices.service(SERVED_NICS).served(domid, place.id)
  if (served === undefined) throw notServed(domid, place.kind, place.id)
  served.setUp(state === 'up')
}

/** Limits what a guest may ask of a disk. Requests above a limit wait in the ring. */
export function setDiskLimits(host: LimitHost, domid: DomId, { disk, limits }: { readonly disk: number | string; readonly limits: DiskLimits }): void {
  const most = whole(1, Number.MAX_SAFE_INTEGER)
  checkOptions('setDiskLimits', limits, { bytesPerSecond: most, requestsPerSecond: most })
  const place = servedHere(host, domid, { kind: DISK, name: disk, what: 'limits' })
  const served = host.devices.service(SERVED_DISKS).served(domid, place.id)
  if (served === undefined) throw notServed(domid, place.kind, place.id)
  const rate = (perSecond: number | undefined) => {
    if (perSecond === undefined) return undefined
    const amount = Math.floor(perSecond * DISK_INTERVAL / SECOND)
    // Fewer than one in an interval: one in a longer one.
    return amount >= 1 ? { amount, interval: DISK_INTERVAL } : { amount: 1, interval: Math.round(SECOND / perSecond) }
  }
  served.setRates({ requests: rate(limits.requestsPerSecond), bytes: rate(limits.bytesPerSecond) })
}
