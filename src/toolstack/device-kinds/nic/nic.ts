/** Network interfaces: `vif` devices. Reference: public/io/netif.h; captures of xl create on Xen 4.17. */
import { below, type Random } from '../../../util/index.ts'
import { SCRIPTS, unusualScript, type DeviceRows, type DeviceSite, type DescribedDevice } from '../described-device.ts'
import { resolveNic, type NicDescription } from './nic-description.ts'
import { formatNic } from './nic-format.ts'
import { NIC_SAVED } from './nic-saved.ts'
import { parseNic, type NicConfig } from './nic-specification.ts'

/** Prefix of addresses that belong to Xen's guests. */
const MAC_PREFIX = '00:16:3e'

/** An address out of Xen's range; the first byte of the rest stays below 0x80, as libxl leaves it. */
export function randomMac(random: Random): string {
  const rest = [below(random, 0x80), below(random, 0x100), below(random, 0x100)]
  return [MAC_PREFIX, ...rest.map((byte) => byte.toString(16).padStart(2, '0'))].join(':')
}

function lowestFree({ isFree }: DeviceSite): number {
  let id = 0
  while (!isFree(id)) id += 1
  return id
}

const rows = (nic: NicConfig, id: number): DeviceRows => {
  const mac = nic.mac ?? ''
  return {
    backendHead: [],
    backendMiddle: [],
    backendTail: [
      ['script', `${SCRIPTS}/${nic.script}`], ['mac', mac], ['bridge', nic.bridge], ['handle', String(id)],
      ['type', 'vif'], ...(nic.ip === undefined ? [] : [['ip', nic.ip] as const]),
      ...(nic.rate === undefined ? [] : [['rate', `${nic.rate.bytesPerInterval},${nic.rate.intervalMicroseconds}`] as const]),
      ...(nic.queues === undefined ? [] : [['queues', String(nic.queues)] as const]), ...(nic.gso === undefined ? [] : [['gso', nic.gso ? '1' : '0'] as const]),
      ['hotplug-status', ''],
    ],
    frontend: [
      ['handle', String(id)], ['mac', mac], ['trusted', nic.trusted ? '1' : '0'], ['mtu', String(nic.mtu ?? 1500)],
    ],
  }
}

/** Virtual network interfaces. */
export const NIC = {
  name: 'vif',
  title: 'network interface',
  about: 'Virtual network interfaces (xl-network-configuration(5)).',
  words: { option: 'vif' as const, parse: parseNic, format: formatNic },
  saved: NIC_SAVED,
  resolve: (description) => resolveNic(description as string | NicDescription),
  label: () => 'network interface',
  hostNames: ({ script, bridge }) => ({ scripts: unusualScript(script), bridges: bridge }),
  settle: (nic, site) => {
    const id = nic.deviceId ?? lowestFree(site)
    return { id, config: { ...nic, deviceId: id, mac: nic.mac ?? randomMac(site.random) } }
  },
  facts: ({ mac, bridge, ip, mtu, rate }) => ({
    mac, bridge, ip, mtu, ...(rate === undefined ? {} : { bytesPerInterval: rate.bytesPerInterval, intervalMicroseconds: rate.intervalMicroseconds }),
  }),
  nameOf: ({ mac }, id) => mac ?? String(id),
  numberOf: Number,
  spelled: (text) => text.toLowerCase().replaceAll('-', ':'),
  rows,
  hotplugged: () => [['hotplug-status', 'connected']],
  isOpened: false,
  leavesAnyway: true,
} satisfies DescribedDevice<NicConfig>
