/**
 * What Debian's xen-netfront makes of an interface of ours: as many queues as it has CPUs, TCP that is cut into segments later or not at all, checksums that are
 * blank. Judged by what it says in XenStore, /sys and /proc/interrupts, by its own nc and md5sum, by the back-end's counts, and, for frames that leave for user
 * code, by tcpdump and a checker written from the RFCs; also across a save, a move and a moment with streams under way on several queues.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CaptureWriter } from '../../src/drivers/index.ts'
import type { Domain, Host } from '../../src/index.ts'
import { busyboxInitramfs, networkPeer } from '../../src/testing/index.ts'
import { MemoryFiles, transportPair } from '../../src/toolstack/index.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { kernelLog } from '../support/dmesg.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { bootLinuxHost, LinuxGuest, SECOND } from '../support/linux.ts'
import { whyNoProgram } from '../support/programs.ts'
import { readTcp } from '../support/tcp-frames.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox') ?? whyNoProgram('tcpdump', '--version')
const PATIENCE = 600_000
const MIB = 1 << 20

const files = (): MemoryFiles => new MemoryFiles({
  linux: readFileSync(guestFile('linux')!),
  ramdisk: busyboxInitramfs({
    busybox: readFileSync(guestFile('busybox')!), files: { 'm/xen-netfront.ko': readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/net/xen-netfront.ko`) },
  }),
})

const boot = (): Promise<Host> => bootLinuxHost({ memory: 448, files: files() })

interface Wish {
  readonly vcpus?: number
  readonly nic?: string
}

/** A Linux at its shell, whose interface has the address `10.0.0.NUMBER`. */
async function start(host: Host, number: number, { vcpus = 4, nic = '' }: Wish = {}): Promise<LinuxGuest> {
  const domain = await host.createDomain({
    name: `linux${number}`, memory: 180, vcpus, kernel: 'linux', ramdisk: 'ramdisk', commandLine: 'console=hvc0 panic=-1 rdinit=/init', nics: [`mac=00:16:3e:00:00:0${number},${nic}`],
  })
  const shell = new LinuxGuest(host, domain)
  await shell.ready()
  await shell.run(`insmod /m/xen-netfront.ko; until ifconfig eth0 10.0.0.${number} netmask 255.255.255.0 up; do sleep 0.1; done; ifconfig eth0 add fd00::${number}/64`, { timeout: 60 * SECOND })
  return shell
}

const counts = (domain: Domain): Readonly<Record<string, number>> => domain.nic(0).statistics!
const read = (host: Host, domain: Domain, name: string): string | undefined => host.store.tryRead(`/local/domain/${domain.id}/device/vif/0/${name}`)
/** Nobody has complained in the kernel's log. */
const quiet = async (shell: LinuxGuest): Promise<void> => expect(await shell.run(kernelLog('WARNING|BUG:|Oops|xennet|too big|Invalid extra|rx->offset'))).toBe('')

/** How often each of its event channels has raised an interrupt, by name. */
async function interrupts(shell: LinuxGuest): Promise<ReadonlyMap<string, number>> {
  const lines = (await shell.run('grep vif0 /proc/interrupts')).split('\n').map((line) => line.trim().split(/\s+/))
  return new Map(lines.map((words) => [words.at(-1)!, words.slice(1).filter((word) => /^\d+$/.test(word)).reduce((sum, word) => sum + Number(word), 0)]))
}

/** Sends the file by several connections at once, and compares what has come. */
async function stream(from: LinuxGuest, to: LinuxGuest, { address = '10.0.0.2', connections = 4 } = {}): Promise<void> {
  await to.run(`rm -f /tmp/got*; for i in $(seq ${connections}); do (sleep 1000 | nc -l -p $((5000 + i)) > /tmp/got$i &); done; until [ $(netstat -tln | grep -c ':500[0-9]') = ${connections} ]; do sleep 0.05; done`, { timeout: 60 * SECOND })
  await from.run(`for i in $(seq ${connections}); do nc ${address} $((5000 + i)) < /tmp/sent & done; wait`, { timeout: 120 * SECOND })
  await arrived(from, to, connections)
}

async function arrived(from: LinuxGuest, to: LinuxGuest, connections: number): Promise<void> {
  await to.run(`until [ $(cat /tmp/got* | wc -c) = ${connections * MIB} ]; do sleep 0.1; done; killall sleep`, { timeout: 120 * SECOND })
  const sum = (await from.run('md5sum < /tmp/sent')).slice(0, 32)
  expect((await to.run('md5sum /tmp/got*')).split('\n').map((line) => line.slice(0, 32))).toEqual(Array.from({ length: connections }, () => sum))
}

describe.skipIf(missing !== undefined)(`an interface of Debian's Linux${missing ?? ''}`, { timeout: PATIENCE }, () => {
  let host: Host
  let first: LinuxGuest
  let second: LinuxGuest
  beforeAll(async () => {
    host = await boot()
    ;[first, second] = await Promise.all([start(host, 1), start(host, 2, { vcpus: 2 })])
    await first.run('dd if=/dev/urandom of=/tmp/sent bs=64k count=16 2>/dev/null')
  }, PATIENCE)
  afterAll(() => host?.shutdown())

  test('has a queue for each of its CPUs, and says so', async () => {
    for (const [shell, queues] of [[first, 4], [second, 2]] as const) {
      const { domain } = shell
      expect([read(host, domain, 'multi-queue-num-queues'), read(host, domain, 'tx-ring-ref')]).toEqual([String(queues), undefined])
      for (let queue = 0; queue < queues; queue += 1) {
        expect([...host.store.list(`/local/domain/${domain.id}/device/vif/0/queue-${queue}`)].sort()).toEqual(['event-channel-rx', 'event-channel-tx', 'rx-ring-ref', 'tx-ring-ref'])
      }
      const numbers = Array.from({ length: queues }, (_, queue) => queue)
      expect((await shell.run('ls /sys/class/net/eth0/queues | sort')).split('\n')).toEqual([...numbers.map((queue) => `rx-${queue}`), ...numbers.map((queue) => `tx-${queue}`)])
      expect([...(await interrupts(shell)).keys()].sort()).toEqual(numbers.flatMap((queue) => [`vif0-q${queue}-rx`, `vif0-q${queue}-tx`]))
      expect(['feature-gso-tcpv4', 'feature-gso-tcpv6', 'feature-sg', 'feature-ipv6-csum-offload'].map((name) => read(host, domain, name))).toEqual(['1', '1', '1', '1'])
    }
  })

  test('sends TCP in frames of tens of KiB, by several queues, which its peer takes as they are', async () => {
    const before = [counts(first.domain), counts(second.domain)]
    await stream(first, second)
    const [sent, taken] = [counts(first.domain), counts(second.domain)]
    const large = sent['largeIn']! - before[0]!['largeIn']!
    expect(large).toBeGreaterThan(50)
    expect(taken['largeOut']! - before[1]!['largeOut']!).toBe(large)
    // 4 MiB would be 2,900 frames of 1,514 bytes.
    expect(sent['framesIn']! - before[0]!['framesIn']!).toBeLessThan(2000)
    expect([sent['errors'], taken['errors'], taken['dropped']]).toEqual([0, 0, 0])
    for (const [shell, way] of [[first, 'tx'], [second, 'rx']] as const) {
      const used = [...await interrupts(shell)].filter(([name, count]) => name.endsWith(way) && count > 0)
      expect(used.length).toBeGreaterThan(1)
    }
    for (const shell of [first, second]) await quiet(shell)
  })

  test('does the same over IPv6', async () => {
    const before = counts(second.domain)['largeOut']!
    await second.run('until ! ip -6 addr show dev eth0 | grep -q tentative; do sleep 0.1; done', { timeout: 20 * SECOND })
    await stream(first, second, { address: 'fd00::2', connections: 1 })
    expect(counts(second.domain)['largeOut']! - before).toBeGreaterThan(10)
    expect(counts(first.domain)['errors']).toBe(0)
  })

  test('is cut into frames that tcpdump and a checker find right, where user code takes them', async () => {
    using peer = networkPeer(host, { ip: '10.0.0.9' })
    const before = counts(first.domain)['largeIn']!
    await first.run('dd if=/tmp/sent of=/tmp/part bs=64k count=4 2>/dev/null; (cat /tmp/part; sleep 1) | nc 10.0.0.9 7 > /tmp/echoed; cmp /tmp/part /tmp/echoed', { timeout: 60 * SECOND })
    expect(counts(first.domain)['largeIn']! - before).toBeGreaterThan(5)
    const frames = peer.frames.filter((frame) => frame[12] === 8 && frame[13] === 0 && frame[23] === 6)
    const segments = frames.map(readTcp)
    expect(segments.flatMap(({ wrong }) => wrong)).toEqual([])
    expect(Math.max(...segments.map(({ size }) => size))).toBe(1500)
    const start = segments[0]!.sequence + 1
    const data = new Uint8Array(256 << 10)
    for (const one of segments) if (one.data.length > 0) data.set(one.data, (one.sequence - start) >>> 0)
    expect(createHash('md5').update(data).digest('hex')).toBe((await first.run('md5sum < /tmp/part')).slice(0, 32))

    const folder = mkdtempSync(join(tmpdir(), 'paravirt-net-'))
    const parts: Uint8Array[] = []
    const writer = new CaptureWriter((bytes) => parts.push(bytes.slice()), { name: 'xenbr0' })
    for (const frame of frames) writer.write(frame, 0)
    writeFileSync(join(folder, 'all.pcapng'), Buffer.concat(parts))
    const user = process.getuid?.() === 0 ? ['-Z', 'root'] : []
    const text = execFileSync('tcpdump', ['-nn', '-v', ...user, '-r', join(folder, 'all.pcapng')], { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] })
    rmSync(folder, { recursive: true })
    expect(text.match(/\(correct\)/g)).toHaveLength(frames.length)
    expect(text).not.toMatch(/incorrect|bad cksum|truncated|bad-len/)
  })

  test('goes on across a save, a move and a moment with streams under way on its queues, and nothing of them is lost', async () => {
    const begin = async (): Promise<void> => {
      const { framesIn = 0 } = counts(first.domain)
      await second.run("rm -f /tmp/got*; for i in 1 2 3 4; do (sleep 1000 | nc -l -p $((5000 + i)) > /tmp/got$i &); done; until [ $(netstat -tln | grep -c ':500[0-9]') = 4 ]; do sleep 0.05; done", { timeout: 60 * SECOND })
      await first.run('for i in 1 2 3 4; do nc 10.0.0.2 $((5000 + i)) < /tmp/sent & done')
      await host.until('some of it to be sent', () => counts(first.domain)['framesIn']! > framesIn + 20)
    }
    const finished = async (): Promise<void> => {
      await arrived(first, second, 4)
      expect(read(host, first.domain, 'multi-queue-num-queues')).toBe('4')
      for (const shell of [first, second]) await quiet(shell)
    }
    await begin()
    const moment = await host.checkpoint()
    await finished()
    await host.reset(moment)
    ;[first, second] = [1, 2].map((number) => new LinuxGuest(host, host.domain(`linux${number}`))) as [LinuxGuest, LinuxGuest]
    await finished()

    await begin()
    const target = new ByteCollector()
    await first.domain.save(target)
    first = new LinuxGuest(host, await host.restore(target.bytes(), { trust: 'all' }))
    await finished()

    // Streams end with the bridge that they go by; the interface does not.
    const other = await boot()
    const { ends } = transportPair()
    const receiving = other.receiveMigration(ends[1], { trust: 'all' })
    await first.domain.migrate(ends[0])
    first = new LinuxGuest(other, await receiving)
    expect(host.hypervisor.checkInvariants()).toEqual([])
    await host.shutdown()
    host = other
    second = await start(host, 2, { vcpus: 2 })
    await stream(first, second)
    expect([read(host, first.domain, 'multi-queue-num-queues'), counts(first.domain)['errors']]).toEqual(['4', 0])
    expect(counts(second.domain)['largeOut']).toBeGreaterThan(50)
  })
})

test.skipIf(missing !== undefined)('Debian\'s Linux has one queue and cuts its TCP itself where the interface offers no more', { timeout: PATIENCE }, async () => {
  const host = await boot()
  const [first, second] = await Promise.all([start(host, 1, { nic: 'queues=1,gso=0' }), start(host, 2, { vcpus: 1 })])
  expect(['multi-queue-num-queues', 'queue-0/tx-ring-ref'].map((name) => read(host, first.domain, name))).toEqual(['1', undefined])
  // Of receive queues it shows as many as it has CPUs, whatever it has.
  expect(await first.run('ls /sys/class/net/eth0/queues | grep tx')).toBe('tx-0')
  await first.run('dd if=/dev/urandom of=/tmp/sent bs=64k count=16 2>/dev/null')
  await stream(first, second, { connections: 1 })
  expect([counts(first.domain)['largeIn'], counts(second.domain)['largeOut'], counts(first.domain)['errors']]).toEqual([0, 0, 0])
  expect(counts(first.domain)['framesIn']).toBeGreaterThan(700)
  await quiet(first)
  await host.shutdown()
})
