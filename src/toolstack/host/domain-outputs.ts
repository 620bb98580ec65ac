/** What of a domain's devices must not come to an end with it: what it sends, and what it writes. */
import type { ServedDisk } from '../../drivers/index.ts'
import { XenError, type DomId, type EventSource } from '../../util/index.ts'
import { SERVED_DISKS } from '../device-kinds/disk/disk-service.ts'
import { DISK } from '../device-kinds/disk/disk.ts'
import { SERVED_NICS } from '../device-kinds/nic/nic-service.ts'
import { NIC } from '../device-kinds/nic/nic.ts'
import type { DeviceInfo } from '../devices/attached.ts'
import type { Devices } from '../devices/devices.ts'
import type { HostEvent } from './host-events.ts'
import type { ProtectHost } from '../remus/protect-domain.ts'

const refused = (domid: DomId, { kind, name }: DeviceInfo, why: string): XenError =>
  new XenError('NOT_SUPPORTED', `domain ${domid} cannot be protected: its ${kind} ${name} ${why}`, { details: { domid, kind, name } })

/** The interfaces of a domain and the disks that it can write. Throws NOT_SUPPORTED for a device whose output nobody here can keep back. */
export function domainOutputs(devices: Devices, domid: DomId): ReturnType<ProtectHost['outputs']> {
  const own = devices.list(domid)
  for (const device of own) {
    if (device.kind !== DISK.name && device.kind !== NIC.name) throw refused(domid, device, 'is of a kind whose output cannot be kept back')
    if (device.backend !== 0) throw refused(domid, device, `is served by domain ${device.backend}`)
  }
  const nics = own.filter(({ kind }) => kind === NIC.name).map((device) => {
    const served = devices.service(SERVED_NICS).served(domid, device.device)
    if (served === undefined) throw refused(domid, device, 'is not served yet')
    return served
  })
  const disks = own.filter(({ kind }) => kind === DISK.name).flatMap((device) => {
    const disk = devices.service(SERVED_DISKS).served(domid, device.device)
    if (disk === undefined) throw refused(domid, device, 'is not served yet')
    return disk.request.readOnly ? [] : [{ name: device.name, disk }]
  })
  return { nics, disks }
}

/** Has disks of suspended domains take nothing more until they are released. */
export function diskHolds(devices: Devices): Pick<ProtectHost, 'holdDisks' | 'releaseDisks'> {
  const releases = new WeakMap<ServedDisk, () => Promise<void>>()
  const served = (domid: DomId): readonly ServedDisk[] => devices.list(domid).flatMap(({ kind, backend, device }) =>
    (kind === DISK.name && backend === 0 ? devices.service(SERVED_DISKS).served(domid, device) ?? [] : []))
  return {
    async holdDisks(domid) {
      for (const disk of served(domid)) if (!disk.request.readOnly) releases.set(disk, await disk.hold())
    },
    async releaseDisks(domid) {
      for (const disk of served(domid)) {
        const release = releases.get(disk)
        releases.delete(disk)
        await release?.()
      }
    },
  }
}

/** Does something when a paused domain is let run on; nothing, when it is destroyed before. */
export function onUnpaused(events: EventSource<HostEvent>, domid: DomId, act: () => void): void {
  const ends = [
    events.on('domain-unpaused', (event) => {
      if (event.domid !== domid) return
      end()
      act()
    }),
    events.on('domain-destroyed', (event) => { if (event.domid === domid) end() }),
  ]
  const end = (): void => { for (const each of ends) each() }
}
