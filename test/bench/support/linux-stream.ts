/**
 * A TCP stream of Debian's Linux, to another Linux on its bridge and to a network to the outside: by an interface of one queue that cuts its TCP itself, and by one with
 * all that both halves can do. A guest has both interfaces, each at a bridge of its own; they take turns.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { nodeOutside } from '../../../src/node/index.ts'
import { guestFile, whyMissing } from '../../support/guests.ts'
import { bootLinuxHost, createLinux, SECOND, type LinuxGuest } from '../../support/linux.ts'
import type { Report } from '../report.ts'
import { bestRates, type Work } from './rates.ts'

/** MiB of one stream. */
const SIZE = 12
const ROUNDS = 3
/** What the two interfaces offer, each at a bridge with this subnet. */
const SIDES = [{ nic: '', bridge: 'xenbr0', subnet: '10.0.2' }, { nic: 'queues=1,gso=0', bridge: 'xenbr1', subnet: '10.0.3' }] as const

async function start(host: Awaited<ReturnType<typeof bootLinuxHost>>, number: number): Promise<LinuxGuest> {
  const netfront = readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/net/xen-netfront.ko`)
  const nics = SIDES.map(({ nic, bridge }) => `bridge=${bridge},${nic}`)
  const linux = await createLinux(host, { domain: { name: `linux${number}`, memory: 200, vcpus: 2, nics }, files: { 'm/xen-netfront.ko': netfront } })
  await linux.ready()
  await linux.run('insmod /m/xen-netfront.ko', { timeout: 60 * SECOND })
  for (const [index, { subnet }] of SIDES.entries()) await linux.run(`until ifconfig eth${index} ${subnet}.${number} netmask 255.255.255.0 up; do sleep 0.1; done`, { timeout: 60 * SECOND })
  return linux
}

const DATA = `dd if=/dev/zero bs=64k count=${SIZE * 16} 2>/dev/null`

/** Measures and reports; says why not where there is no such Linux. */
export async function linuxStream(report: Report): Promise<void> {
  const missing = whyMissing('linux', 'linuxModules', 'busybox')
  if (missing !== undefined) {
    report({ case: 'a TCP stream of Linux', value: 0, unit: 'MiB/s', baseline: `absent: Debian's Linux${missing}`, ratio: null, target: null, met: null })
    return
  }
  const sink = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined).on('data', () => undefined).on('end', () => void socket.end('done\n'))
  })
  sink.listen(0, '127.0.0.1')
  await once(sink, 'listening')
  const { port } = sink.address() as AddressInfo
  const networks = Object.fromEntries(SIDES.map(({ bridge, subnet }) => [bridge, { outside: nodeOutside(), subnet: `${subnet}.0/24` }]))
  const host = await bootLinuxHost({ memory: 480, networks })
  const [first, second] = [await start(host, 15), await start(host, 16)]
  const run = (linux: LinuxGuest, command: string): Promise<string> => linux.run(command, { timeout: 3600 * SECOND })
  const toLinux = (subnet: string): Work => async () => {
    await run(second, '(sleep 10000 | nc -l -p 5000 > /dev/null; touch /tmp/ended) & until netstat -tln | grep -q :5000; do sleep 0.01; done')
    await run(first, `${DATA} | nc ${subnet}.16 5000`)
    await run(second, 'killall sleep; until [ -f /tmp/ended ]; do sleep 0.01; done; rm /tmp/ended')
  }
  const toOutside = (subnet: string): Work => async () => {
    if (await run(first, `${DATA} | nc ${subnet}.2 ${port}`) !== 'done') throw new Error('the stream did not arrive')
  }
  for (const [name, work] of [['a TCP stream of Linux to Linux', toLinux], ['a TCP stream of Linux to the outside', toOutside]] as const) {
    const [value = 0, without = 0] = await bestRates(SIDES.map(({ subnet }) => ({ work: work(subnet), count: SIZE })), ROUNDS)
    report({ case: name, value, unit: 'MiB/s', baseline: `queues=1,gso=0: ${without.toFixed(1)} MiB/s`, ratio: value / without, target: null, met: null })
  }
  await host.shutdown()
  sink.close()
}
