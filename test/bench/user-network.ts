/**
 * One TCP stream between Debian's Linux and a server of this machine, both ways, through a user-mode network, in MiB of wall time; against the same
 * Linux with the same BusyBox in QEMU (TCG) behind its own user-mode network, where there is QEMU. What the network itself can do is measured
 * without a guest: a TCP of ours at the bridge, through the stack, to a server of this process.
 */
import { createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { nodeOutside } from '../../src/node/index.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { bootLinuxHost, createLinux, SECOND } from '../support/linux.ts'
import { peerOfQemu } from './support/qemu-network.ts'
import type { Report } from './report.ts'

/** Bytes of a stream. */
const SIZE = 16 << 20
const MIB = 1 << 20

/** A server that sends so much to whoever says nothing, and one that takes everything and says how much it was. */
async function servers(): Promise<{ readonly source: number; readonly sink: number; close(): void }> {
  const source = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.end(Buffer.alloc(SIZE, 0x5a))
  })
  const sink = createServer({ allowHalfOpen: true }, (socket) => {
    let count = 0
    socket.on('error', () => undefined).on('data', (bytes) => { count += bytes.length }).on('end', () => void socket.end(`${count}\n`))
  })
  const ports: number[] = []
  for (const server of [source, sink]) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    ports.push((server.address() as AddressInfo).port)
  }
  return { source: ports[0]!, sink: ports[1]!, close: () => [source, sink].forEach((server) => server.close()) }
}

/** What the guest does: takes a stream, and sends one. */
export const commands = (gateway: string, { source, sink }: { readonly source: number; readonly sink: number }): { readonly down: string; readonly up: string } => ({
  down: `nc ${gateway} ${source} < /dev/null | wc -c`, up: `dd if=/dev/zero bs=64k count=${SIZE >> 16} 2>/dev/null | nc ${gateway} ${sink}`,
})

async function ownRates(ports: { readonly source: number; readonly sink: number }): Promise<{ readonly down: number; readonly up: number }> {
  const host = await bootLinuxHost({ networks: { xenbr0: { outside: nodeOutside() } } })
  const netfront = readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/net/xen-netfront.ko`)
  const linux = await createLinux(host, { domain: { nics: [''] }, files: { 'm/xen-netfront.ko': netfront } })
  await linux.ready()
  await linux.run('insmod /m/xen-netfront.ko; until ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up; do sleep 0.1; done', { timeout: 60 * SECOND })
  const { down, up } = commands('10.0.2.2', ports)
  const timed = async (command: string): Promise<number> => {
    const begun = performance.now()
    const said = await linux.run(command, { timeout: 3600 * SECOND })
    if (Number(said) !== SIZE) throw new Error(`${command} moved ${said} bytes`)
    return SIZE / MIB / ((performance.now() - begun) / 1000)
  }
  const rates = { down: Math.max(await timed(down), await timed(down)), up: Math.max(await timed(up), await timed(up)) }
  await host.shutdown()
  return rates
}

/** Measures and reports. */
export async function run(report: Report): Promise<void> {
  const missing = whyMissing('linux', 'linuxModules', 'busybox')
  if (missing !== undefined) throw new Error(`this benchmark needs Debian's Linux${missing}`)
  const ports = await servers()
  const own = await ownRates(ports)
  const peer = await peerOfQemu(commands('10.0.2.2', ports), SIZE)
  for (const [way, name] of [['down', 'from the server to Linux'], ['up', 'from Linux to the server']] as const) {
    const baseline = peer?.[way]
    report({
      case: `one TCP stream ${name}`, value: own[way], unit: 'MiB/s', target: null, met: null,
      baseline: baseline === undefined ? 'QEMU is not there' : `QEMU, TCG, its user-mode network, virtio: ${baseline.toFixed(2)} MiB/s`, ratio: baseline === undefined ? null : own[way] / baseline,
    })
  }
  ports.close()
}
