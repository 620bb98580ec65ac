/**
 * Two of Debian's Linux and a guest in TypeScript on one bridge: they ping each other and send a file over TCP, one of the
 * interfaces coming and going while its Linux runs.
 */
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import type { Host } from '../../src/index.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { bootLinuxHost, createLinux, SECOND, type LinuxGuest } from '../support/linux.ts'
import { pingResponder } from '../support/ping.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox')

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

/** A Linux that has the driver of network interfaces, and may have an interface. */
function start(host: Host, name: string, nics: readonly string[]): Promise<LinuxGuest> {
  const netfront = readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/net/xen-netfront.ko`)
  return createLinux(host, { domain: { name, memory: 160, nics: [...nics] }, files: { 'm/xen-netfront.ko': netfront } })
}

const setUp = (linux: LinuxGuest, address: string): Promise<string> =>
  linux.run(`until ifconfig eth0 ${address} netmask 255.255.255.0 up; do sleep 0.1; done`, { timeout: 20 * SECOND })

const ping = (linux: LinuxGuest, address: string, bytes = 56): Promise<string> =>
  linux.run(`ping -c 3 -i 0.2 -W 2 -s ${bytes} ${address}`, { timeout: 60 * SECOND })

const ALL_ANSWERED = '3 packets transmitted, 3 packets received, 0% packet loss'

describe.skipIf(missing !== undefined)(`Debian's Linux on a bridge${missing ?? ''}`, () => {
  test('pings another Linux and a guest in TypeScript, and sends a file over TCP', { timeout: 900_000 }, async () => {
    const host = await bootLinuxHost()
    hosts.push(host)
    await host.createDomain({
      name: 'responder', memory: 8, kernel: pingResponder([10, 0, 0, 9]), nics: ['mac=00:16:3e:00:00:09'],
    })
    const first = await start(host, 'first', ['mac=00:16:3e:00:00:01'])
    const second = await start(host, 'second', [])
    await Promise.all([first.ready(), second.ready()])
    for (const linux of [first, second]) await linux.run('insmod /m/xen-netfront.ko')
    await setUp(first, '10.0.0.1')

    expect(await second.run('ls /sys/class/net')).toBe('lo')
    expect(await second.domain.attachNic('mac=00:16:3e:00:00:02')).toBe(0)
    await setUp(second, '10.0.0.2')

    for (const [from, to] of [[first, '10.0.0.2'], [second, '10.0.0.1'], [first, '10.0.0.9'], [second, '10.0.0.9']] as const) {
      expect(await ping(from, to)).toContain(ALL_ANSWERED)
      expect(await ping(from, to, 1400)).toContain(ALL_ANSWERED)
    }

    // BusyBox's nc hangs up when it has nothing more to say itself.
    await second.run('(sleep 1000 | nc -l -p 5000 > /tmp/got &)')
    await first.run('dd if=/dev/urandom of=/tmp/sent bs=64k count=16 2>/dev/null; nc 10.0.0.2 5000 < /tmp/sent')
    await second.run('until [ $(wc -c < /tmp/got) = 1048576 ]; do sleep 0.1; done', { timeout: 60 * SECOND })
    expect(await second.run('md5sum < /tmp/got')).toBe(await first.run('md5sum < /tmp/sent'))

    await second.domain.detachNic(0)
    expect(await second.run('ls /sys/class/net')).toBe('lo')
    expect(second.domain.devices()).toEqual([])
    expect(await first.run('ping -c 1 -W 1 10.0.0.2', { status: 1 })).toContain('100% packet loss')

    for (const { domain } of [first, second]) expect(await domain.shutdown()).toBe('poweroff')
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})
