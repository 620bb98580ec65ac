/** What of a domain's devices a protection has to keep in step with its epochs: what it sends, and what it writes. */
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
