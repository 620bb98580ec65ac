/**
 * A guest's network by a relay: Debian's Linux with BusyBox asks a name, fetches megabytes and sends them back through wisp-js, which nobody here wrote, to an HTTP
 * server of Node's.
 */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { wispOutside } from '../../src/browser/index.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { bootLinuxHost, createLinux, SECOND } from '../support/linux.ts'
import { startWispRelay } from '../support/wisp-relay.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox')
const SIZE = 2 << 20
const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex')

test.skipIf(missing !== undefined)(`Debian's Linux reaches servers by name through a relay${missing ?? ''}`, { timeout: 600_000 }, async () => {
  const content = randomBytes(SIZE)
  const web = createServer((request, response) => {
    const hash = createHash('md5')
    request.on('data', (bytes: Buffer) => void hash.update(bytes)).on('end', () => void response.end(request.method === 'POST' ? hash.digest('hex') : content))
  }).listen(0, '127.0.0.1')
  await once(web, 'listening')
  const relay = await startWispRelay()
  const outside = wispOutside(relay.url, { open: (url) => new WebSocket(url) })
  const host = await bootLinuxHost({ networks: { xenbr0: { outside } } })
  try {
    const netfront = readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/net/xen-netfront.ko`)
    const linux = await createLinux(host, { domain: { nics: [''] }, files: { 'm/xen-netfront.ko': netfront } })
    await linux.ready()
    const run = (command: string): Promise<string> => linux.run(command, { timeout: 300 * SECOND })
    await run('insmod /m/xen-netfront.ko; mkdir -p /etc; until ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up; do sleep 0.1; done')
    await run('route add default gw 10.0.2.2; echo nameserver 10.0.2.3 > /etc/resolv.conf')
    const url = `http://web.example:${(web.address() as AddressInfo).port}/`
    expect(await run(`wget -q -O /tmp/got ${url} && md5sum < /tmp/got`)).toBe(`${md5(content)}  -`)
    expect(await run(`wget -q -O - --post-data "$(md5sum < /tmp/got)" ${url}`)).toBe(md5(new TextEncoder().encode(`${md5(content)}  -`)))
    expect([relay.connections(), outside.refused, host.network().statistics.damaged]).toEqual([1, 0, 0])
  } finally {
    await host.shutdown()
    outside.close()
    await relay.close()
    web.close()
  }
})
