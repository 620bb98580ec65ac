/**
 * A user-mode network proved by what nobody here wrote: Debian's Linux with BusyBox gets its address, asks names, pings, fetches from an HTTP server of Node's and
 * sends to a sink, also over a line that loses, doubles and overtakes frames; Node's own client and curl reach a server in it through a forwarded port; tcpdump
 * finds nothing wrong with any frame.
 */
import { execFile, execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttp } from 'node:http'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CaptureWriter, captureBridge } from '../../src/drivers/index.ts'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { nodeOutside } from '../../src/node/index.ts'
import { testHost, type TestHost } from '../../src/testing/index.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { createLinux, SECOND, type LinuxGuest } from '../support/linux.ts'
import { whyNoProgram } from '../support/programs.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox') ?? whyNoProgram('tcpdump', '--version')
const BOOT = 600_000
const SIZE = 2 << 20
const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex')

/** What udhcpc does with a lease. */
const BOUND = `#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ifconfig $interface $ip netmask $subnet
route add default gw $router
echo nameserver $dns > /etc/resolv.conf
`

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

describe.skipIf(missing !== undefined)(`Debian's Linux on a user-mode network${missing ?? ''}`, { timeout: BOOT }, () => {
  const content = randomBytes(SIZE)
  const http = createHttp((_, response) => void response.end(content))
  /** Says the hash of what it was sent, once its sender has ended. */
  const sink = createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash('md5')
    socket.on('data', (bytes) => void hash.update(bytes)).on('end', () => void socket.end(`${hash.digest('hex')}\n`)).on('error', () => undefined)
  })
  const outside = nodeOutside()
  const capture: Uint8Array[] = []
  /** Frames that a planted fault may have damaged are wrong, and not captured. */
  let isDamaged = false
  let host: TestHost
  let guest: LinuxGuest
  let [httpPort, sinkPort] = [0, 0]
  const run = (command: string, status = 0): Promise<string> => guest.run(command, { status, timeout: 600 * SECOND })

  beforeAll(async () => {
    [httpPort, sinkPort] = [await listen(http), await listen(sink)]
    host = await testHost({
      memory: 320, dom0Memory: 16, decompress: optionalDecompressor, capture: false,
      networks: { xenbr0: { outside, forward: [{ tcp: 0, to: 80 }, { udp: 0, to: 7 }], names: { 'web.example': '10.0.2.2' } } },
    })
    const writer = new CaptureWriter((bytes) => { if (!isDamaged) capture.push(bytes.slice()) }, { name: 'xenbr0' })
    captureBridge(host.bridge(), writer, () => host.now())
    const netfront = readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/net/xen-netfront.ko`)
    guest = await createLinux(host, { domain: { nics: ['mac=00:16:3e:00:00:07'] }, files: { 'm/xen-netfront.ko': netfront, 'm/bound': BOUND } })
    await guest.ready()
    await run('insmod /m/xen-netfront.ko; mkdir -p /etc; chmod +x /m/bound; until ifconfig eth0 up 2>/dev/null; do sleep 0.1; done')
  }, BOOT)
  afterAll(async () => {
    await host?.dispose()
    http.close()
    sink.close()
  })

  test('gets an address, finds names, pings the gateway, and is refused what is not there', async () => {
    expect(await run('udhcpc -i eth0 -s /m/bound -n -q -f 2>&1')).toContain('lease of 10.0.2.15 obtained from 10.0.2.2, lease time 86400')
    expect(host.network().leases).toEqual([expect.objectContaining({ ip: '10.0.2.15', mac: '00:16:3e:00:00:07' })])
    expect(await run('ping -c 3 -i 0.2 10.0.2.2')).toContain('3 packets received')
    for (const name of ['host.internal', 'web.example', 'localhost']) expect(await run(`nslookup ${name}`)).toMatch(new RegExp(`Name:\\s+${name}\\s+Address: 10.0.2.2`))
    expect(await run('nslookup debian.org', 1)).toContain('REFUSED')
    expect(await run('wget -O - http://10.0.2.2:1/ 2>&1', 1)).toContain('Connection refused')
    expect(await run('wget -O - http://192.0.2.1/ 2>&1', 1)).toContain('Connection refused')
    expect(await run('ping -c 1 -W 1 192.0.2.1', 1)).toContain('0 packets received')
  })

  /** Fetches megabytes, and sends them back. */
  const moveBothWays = async (): Promise<void> => {
    expect(await run(`wget -q -O /tmp/got http://web.example:${httpPort}/ && md5sum < /tmp/got`)).toBe(`${md5(content)}  -`)
    expect(await run(`nc 10.0.2.2 ${sinkPort} < /tmp/got`)).toBe(md5(content))
  }

  test('fetches and sends megabytes without a loss', async () => {
    await moveBothWays()
    expect(host.network().statistics).toMatchObject({ damaged: 0, retransmitted: 0, timedOut: 0 })
  })

  test('does so over a line that loses, doubles, overtakes and damages frames', async () => {
    isDamaged = true
    const ends = ['net-loss', 'net-duplicate', 'net-reorder', 'net-corrupt'].map((fault) => host.faults.add({ fault, probability: 0.01 }))
    await moveBothWays()
    for (const end of ends) end()
    isDamaged = false
    expect(host.network().statistics.retransmitted).toBeGreaterThan(0)
    expect(host.network().statistics.damaged).toBeGreaterThan(0)
  })

  test('is reached through forwarded ports by Node\'s client and by curl', async () => {
    const release = host.expectInput()
    await run('mkdir -p /w; cp /tmp/got /w/got; httpd -p 80 -h /w')
    const [web] = await outside.ports()
    const url = `http://127.0.0.1:${web!.port}/got`
    expect(md5(new Uint8Array(await (await fetch(url)).arrayBuffer()))).toBe(md5(content))
    if (whyNoProgram('curl', '--version') === undefined) {
      const { stdout } = await promisify(execFile)('curl', ['-sS', '--noproxy', '*', url], { encoding: 'buffer', maxBuffer: 2 * SIZE })
      expect(md5(stdout)).toBe(md5(content))
    }
    release()
  })

  test('and tcpdump finds no frame wrong', () => {
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-network-'))
    try {
      const file = join(folder, 'all.pcapng')
      writeFileSync(file, Buffer.concat(capture))
      const user = process.getuid?.() === 0 ? ['-Z', 'root'] : []
      const lines = execFileSync('tcpdump', ['-nn', '-v', ...user, '-r', file, 'ip'], { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] }).split('\n')
      expect(lines.filter((line) => line.includes('(correct)')).length).toBeGreaterThan(5000)
      expect(lines.filter((line) => /\(incorrect|bad cksum|truncated|bad-len|bad hdr/.test(line))).toEqual([])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
