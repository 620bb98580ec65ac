/**
 * What Debian's xen-blkfront makes of a disk of ours: how many rings of how many pages, requests with their segments in a page of their own, grants
 * that stay mapped, discards. Judged by what it says in XenStore and in /sys, by its own mkfs, fstrim, blkdiscard, dd and md5sum, and by the
 * back-end's counts; also across a save, a move and a moment with requests in flight on several rings.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import type { Domain, Host } from '../../src/index.ts'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import { MemoryFiles, transportPair } from '../../src/toolstack/index.ts'
import { kernelLog } from '../support/dmesg.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { bootLinuxHost, LinuxGuest } from '../support/linux.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox')
const PATIENCE = 600_000
const MIB = 1 << 20
const module = (path: string): Uint8Array => readFileSync(`${guestFile('linuxModules')!}/kernel/${path}.ko`)
const MODULES = ['drivers/block/xen-blkfront', 'lib/crc16', 'fs/mbcache', 'fs/jbd2/jbd2', 'crypto/crc32c_generic', 'fs/ext4/ext4'] as const
const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1)
const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex')

const files = (): MemoryFiles => new MemoryFiles({
  linux: readFileSync(guestFile('linux')!),
  ramdisk: busyboxInitramfs({
    busybox: readFileSync(guestFile('busybox')!), files: Object.fromEntries(MODULES.map((path) => [`m/${nameOf(path)}.ko`, module(path)])),
  }),
})

const boot = (store: MemoryBlockStore): Promise<Host> => bootLinuxHost({ memory: 320, openDisk: () => store, files: files() })

/** A Linux at its shell, whose xen-blkfront is loaded with these parameters. */
async function start(store: MemoryBlockStore, { vcpus = 2, parameters = '' } = {}): Promise<{ host: Host; domain: Domain; shell: LinuxGuest }> {
  const host = await boot(store)
  const domain = await host.createDomain({
    name: 'linux', memory: 240, vcpus, kernel: 'linux', ramdisk: 'ramdisk', commandLine: 'console=hvc0 panic=-1 rdinit=/init', disks: ['/any,raw,xvda,w'],
  })
  const shell = new LinuxGuest(host, domain)
  await shell.ready()
  await shell.run(`insmod /m/xen-blkfront.ko ${parameters} && while [ ! -b /dev/xvda ]; do sleep 0.1; done`)
  return { host, domain, shell }
}

const counts = (host: Host, domain: Domain): Readonly<Record<string, number>> => host.statistics().domains.find(({ id }) => id === domain.id)!.devices[0]!.counters
const front = (domain: Domain): string => `/local/domain/${domain.id}/device/vbd/51712`
const log = (shell: LinuxGuest, pattern: string): Promise<string> => shell.run(kernelLog(pattern))
/** Nobody has complained in the kernel's log. */
const quiet = async (shell: LinuxGuest): Promise<void> => expect(await log(shell, 'WARNING|BUG:|Oops|I/O error|blocked for more')).toBe('')

describe.skipIf(missing !== undefined)(`a disk of Debian's Linux${missing ?? ''}`, { timeout: PATIENCE }, () => {
  const store = new MemoryBlockStore(48 * MIB)
  let host: Host
  let domain: Domain
  let shell: LinuxGuest
  beforeAll(async () => {
    // With grants that stay mapped Linux has a page ready for each segment of each request that its rings can hold: 65 MiB with these.
    ({ host, domain, shell } = await start(store, { parameters: 'max_ring_page_order=2 max_indirect_segments=64' }))
  }, PATIENCE)
  afterAll(() => host?.shutdown())

  test('has a ring for each of its CPUs, of four pages, and says so', async () => {
    const read = (name: string): string | undefined => host.store.tryRead(`${front(domain)}/${name}`)
    expect([read('multi-queue-num-queues'), read('ring-page-order'), read('feature-persistent'), read('ring-ref')]).toEqual(['2', '2', '1', undefined])
    for (const queue of [0, 1]) {
      const names = host.store.list(`${front(domain)}/queue-${queue}`)
      expect([...names].sort()).toEqual(['event-channel', ...Array.from({ length: 4 }, (_, page) => `ring-ref${page}`)].sort())
    }
    expect(await log(shell, 'blkfront: xvda')).toMatch(/flush diskcache: enabled;? persistent grants: enabled;? indirect descriptors: enabled/)
    expect(await shell.run('ls /sys/block/xvda/mq | sort | tr "\\n" " "')).toBe('0 1')
    // A request can have 64 pages, and discards are in units of the 4 KiB that we tell.
    expect(await shell.run('cd /sys/block/xvda/queue; cat max_segments max_sectors_kb discard_granularity | tr "\\n" " "; cd /')).toBe('64 256 4096')
  })

  test('is written and read by both CPUs at once, each by its ring, in requests of hundreds of KiB', async () => {
    const before = counts(host, domain)
    await shell.run('dd if=/dev/urandom of=/tmp/a bs=1M count=4 2>/dev/null; dd if=/dev/urandom of=/tmp/b bs=1M count=4 2>/dev/null')
    await shell.run('(taskset 1 dd if=/tmp/a of=/dev/xvda bs=1M oflag=direct 2>/dev/null) & taskset 2 dd if=/tmp/b of=/dev/xvda bs=1M seek=8 oflag=direct 2>/dev/null; wait')
    const sums = (await shell.run('cat /tmp/a /tmp/b | md5sum; echo 3 > /proc/sys/vm/drop_caches; (dd if=/dev/xvda bs=1M count=4 iflag=direct; dd if=/dev/xvda bs=1M skip=8 count=4 iflag=direct) 2>/dev/null | md5sum')).split('\n').map((line) => line.slice(0, 32))
    expect(sums).toHaveLength(2)
    expect(sums[1]).toBe(sums[0])
    expect(md5(Buffer.concat([store.bytes.subarray(0, 4 * MIB), store.bytes.subarray(8 * MIB, 12 * MIB)]))).toBe(sums[0])
    const after = counts(host, domain)
    expect(after['indirect']! - before['indirect']!).toBeGreaterThanOrEqual(64)
    // 16 MiB in requests of 256 KiB: a few more where Linux has cut one.
    expect(after['writes']! + after['reads']! - before['writes']! - before['reads']!).toBeLessThan(128)
    expect(after['errors']).toBe(0)
    const interrupts = (await shell.run('grep blkif /proc/interrupts')).split('\n').map((line) => line.trim().split(/\s+/).slice(1, 3).reduce((sum, count) => sum + Number(count), 0))
    expect(interrupts).toHaveLength(2)
    for (const count of interrupts) expect(count).toBeGreaterThan(0)
  })

  test('is discarded by blkdiscard, and only what was named', async () => {
    store.bytes.fill(0x5a, 16 * MIB, 20 * MIB)
    const { discards = 0 } = counts(host, domain)
    await shell.run('blkdiscard -o 17825792 -l 1048576 /dev/xvda')
    expect(counts(host, domain)['discards']).toBeGreaterThan(discards)
    const zeros = (from: number, to: number): boolean => store.bytes.subarray(from, to).every((byte) => byte === 0)
    const kept = (from: number, to: number): boolean => store.bytes.subarray(from, to).every((byte) => byte === 0x5a)
    expect([kept(16 * MIB, 17 * MIB), zeros(17 * MIB, 18 * MIB), kept(18 * MIB, 20 * MIB)]).toEqual([true, true, true])
  })

  test('is trimmed by fstrim behind a file system of its own, whose files stay', async () => {
    await shell.run(MODULES.slice(1).map((path) => `insmod /m/${nameOf(path)}.ko`).join(' && '))
    store.bytes.fill(0x5a)
    await shell.run('mke2fs -F /dev/xvda >/dev/null 2>&1; mkdir -p /mnt; mount -t ext4 /dev/xvda /mnt')
    await shell.run('cp /tmp/a /mnt/a; cp /tmp/b /mnt/b; sync; rm /mnt/b; sync')
    const { discards = 0, flushes = 0 } = counts(host, domain)
    const trimmed = Number(/(\d+) bytes/.exec(await shell.run('fstrim -v /mnt'))?.[1])
    expect(trimmed).toBeGreaterThan(20 * MIB)
    expect(counts(host, domain)['discards']).toBeGreaterThan(discards)
    expect(flushes).toBeGreaterThan(0)
    const zeros = store.bytes.reduce((sum, byte) => sum + (byte === 0 ? 1 : 0), 0)
    expect(zeros).toBeGreaterThanOrEqual(trimmed)
    expect(await shell.run('umount /mnt; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/xvda /mnt; cmp /mnt/a /tmp/a && echo same; umount /mnt')).toBe('same')
    expect(counts(host, domain)['errors']).toBe(0)
    await quiet(shell)
  })

  test('goes on across a save, a move and a moment with requests in flight on both rings, and nothing of it is lost', async () => {
    const begin = async (token: string): Promise<void> => {
      store.bytes.fill(0)
      const { writes = 0 } = counts(host, domain)
      await shell.run(`rm -f /tmp/done*; for i in 0 1; do (taskset $((i + 1)) dd if=/tmp/$(echo ab | cut -c $((i + 1))) of=/dev/xvda bs=4k seek=$((i * 2048)) oflag=direct 2>/dev/null; echo ${token} >/tmp/done$i) & done`)
      await host.until('some of it to be written', () => counts(host, domain)['writes']! > writes + 50)
      expect(counts(host, domain)['writes']).toBeLessThan(writes + 2000)
    }
    const finished = async (token: string): Promise<void> => {
      shell = new LinuxGuest(host, domain)
      expect(await shell.run(`while [ ! -f /tmp/done0 -o ! -f /tmp/done1 ]; do sleep 0.1; done; cat /tmp/done0 /tmp/done1 | tr "\\n" " "`)).toBe(`${token} ${token}`)
      const [written, onDisk] = (await shell.run('cat /tmp/a /tmp/b | md5sum; (dd if=/dev/xvda bs=1M count=4 iflag=direct; dd if=/dev/xvda bs=1M skip=8 count=4 iflag=direct) 2>/dev/null | md5sum')).split('\n')
      expect(onDisk).toBe(written)
      expect(host.store.read(`${front(domain)}/multi-queue-num-queues`)).toBe('2')
      await quiet(shell)
    }
    await begin('saved')
    const target = new ByteCollector()
    await domain.save(target)
    domain = await host.restore(target.bytes(), { trust: 'all' })
    await finished('saved')

    await begin('moved')
    const second = await boot(store)
    const { ends } = transportPair()
    const receiving = second.receiveMigration(ends[1], { trust: 'all' })
    await domain.migrate(ends[0])
    domain = await receiving
    expect(host.hypervisor.checkInvariants()).toEqual([])
    await host.shutdown()
    host = second
    await finished('moved')

    await begin('moment')
    const moment = await host.checkpoint()
    await finished('moment')
    await host.reset(moment)
    domain = host.domain('linux')
    await finished('moment')
  })
})

test.skipIf(missing !== undefined)('Debian\'s Linux takes the largest rings and the largest requests that are offered, with each page mapped anew', { timeout: PATIENCE }, async () => {
  const store = new MemoryBlockStore(8 * MIB)
  const { host, domain, shell } = await start(store, { parameters: 'max_ring_page_order=4 max_indirect_segments=256 feature_persistent=0' })
  expect(host.store.read(`${front(domain)}/ring-page-order`)).toBe('4')
  expect(host.store.list(`${front(domain)}/queue-1`)).toHaveLength(17)
  expect(await shell.run('cat /sys/block/xvda/queue/max_segments')).toBe('256')
  await shell.run('dd if=/dev/urandom of=/tmp/a bs=1M count=4 2>/dev/null; dd if=/tmp/a of=/dev/xvda bs=1M oflag=direct 2>/dev/null')
  expect((await shell.run('md5sum < /tmp/a')).slice(0, 32)).toBe(md5(store.bytes.subarray(0, 4 * MIB)))
  const { writes = 0, indirect = 0, errors } = counts(host, domain)
  expect([writes < 8, indirect >= 4, errors]).toEqual([true, true, 0])
  await quiet(shell)
  await host.shutdown()
})

test.skipIf(missing !== undefined)('Debian\'s Linux that is told to do without takes one ring of one page, maps each page anew, and has no request larger than eleven pages', { timeout: PATIENCE }, async () => {
  const store = new MemoryBlockStore(8 * MIB)
  const { host, domain, shell } = await start(store, { parameters: 'max_queues=1 max_indirect_segments=0 feature_persistent=0' })
  const read = (name: string): string | undefined => host.store.tryRead(`${front(domain)}/${name}`)
  expect([read('multi-queue-num-queues'), read('ring-page-order'), read('feature-persistent'), read('queue-0/ring-ref')]).toEqual([undefined, undefined, '0', undefined])
  expect(Number(read('ring-ref'))).toBeGreaterThan(0)
  expect(await log(shell, 'blkfront: xvda')).toMatch(/persistent grants: disabled;? indirect descriptors: disabled/)
  await shell.run('dd if=/dev/urandom of=/tmp/a bs=1M count=2 2>/dev/null; dd if=/tmp/a of=/dev/xvda bs=1M oflag=direct 2>/dev/null')
  expect((await shell.run('md5sum < /tmp/a')).slice(0, 32)).toBe(md5(store.bytes.subarray(0, 2 * MIB)))
  const { writes = 0, indirect, errors } = counts(host, domain)
  expect(writes).toBeGreaterThanOrEqual(Math.ceil(512 / 11))
  expect([indirect, errors]).toEqual([0, 0])
  await quiet(shell)
  await host.shutdown()
})
