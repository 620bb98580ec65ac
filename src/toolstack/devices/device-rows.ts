/**
 * What libxl writes about a disk and about a network interface, from their configuration.
 * Reference: public/io/blkif.h, public/io/netif.h; captures of xl create on Xen 4.17.
 */
import type { DiskConfig } from '../config/disk-specification.ts'
import type { NicConfig } from '../config/nic-specification.ts'
import type { DeviceRows } from './device-nodes.ts'

/** Where a real host has its hotplug scripts. */
const SCRIPTS = '/etc/xen/scripts'
const flag = (value: boolean): string => (value ? '1' : '0')

/** Nodes of a disk. */
export const diskRows = (disk: DiskConfig): DeviceRows => ({
  backendHead: [['params', disk.target ?? ''], ['script', `${SCRIPTS}/${disk.script ?? 'block'}`]],
  backendMiddle: [['removable', flag(disk.type === 'cdrom')], ['bootable', '1']],
  backendTail: [
    ['dev', disk.vdev.name], ['type', 'phy'], ['mode', disk.access], ['device-type', disk.type],
    ['discard-enable', flag(disk.discard)], ['specification', 'xen'],
  ],
  frontend: [
    ['virtual-device', String(disk.vdev.number)], ['device-type', disk.type], ['trusted', flag(disk.trusted)],
    ['protocol', 'x86_64-abi'],
  ],
})

/** Nodes of a network interface whose address and number have been chosen. */
export const nicRows = (nic: NicConfig & { readonly mac: string; readonly deviceId: number }): DeviceRows => ({
  backendHead: [],
  backendMiddle: [],
  backendTail: [
    ['script', `${SCRIPTS}/${nic.script}`], ['mac', nic.mac], ['bridge', nic.bridge], ['handle', String(nic.deviceId)],
    ['type', 'vif'], ...(nic.ip === undefined ? [] : [['ip', nic.ip] as const]),
    ...(nic.rate === undefined ? [] : [['rate', `${nic.rate.bytesPerInterval},${nic.rate.intervalMicroseconds}`] as const]),
    ['hotplug-status', ''],
  ],
  frontend: [
    ['handle', String(nic.deviceId)], ['mac', nic.mac], ['trusted', flag(nic.trusted)], ['mtu', String(nic.mtu ?? 1500)],
  ],
})
