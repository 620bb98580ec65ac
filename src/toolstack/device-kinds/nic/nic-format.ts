/** Network interfaces as specifications, what parseNic reads. Reference: xl-network-configuration(5). */
import { parameters, unless } from '../parameters.ts'
import type { NicConfig } from './nic-specification.ts'

/** A rate as so many bytes a second; the interval in microseconds unless it is the usual 50 ms. */
function formatRate({ rate }: NicConfig): string | undefined {
  if (rate === undefined) return undefined
  const { bytesPerInterval, intervalMicroseconds } = rate
  // Rounded up, as reading it rounds down: the same bytes an interval come out.
  const perSecond = (BigInt(bytesPerInterval) * 1_000_000n + BigInt(intervalMicroseconds) - 1n) / BigInt(intervalMicroseconds)
  return `${perSecond}B/s@${intervalMicroseconds}us`
}

/** A network interface as a specification. */
export function formatNic(nic: NicConfig): string {
  return [
    ...parameters('nics', [
      ['mac', nic.mac], ['bridge', unless(nic.bridge, 'xenbr0')], ['script', unless(nic.script, 'vif-bridge')], ['ip', nic.ip],
      ['backend', unless(nic.backend, '0')], ['vifname', nic.name], ['model', nic.model], ['gatewaydev', nic.gatewayDevice],
      ['devid', nic.deviceId], ['mtu', nic.mtu], ['vlan', nic.vlan], ['rate', formatRate(nic)],
      ['queues', nic.queues], ['gso', nic.gso === undefined ? undefined : Number(nic.gso)],
    ]),
    ...(nic.trusted ? [] : ['untrusted']),
  ].join(',')
}
