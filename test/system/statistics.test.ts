/** What a host tells of itself: facts, the hypervisor's console, statistics over time, and text that promtool takes. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { BlockFrontend, ChannelFrontend, FolderFrontend, FramebufferFrontend, KeyboardFrontend, MemoryBlockStore, MemoryFileStore, NetFrontend } from '../../src/drivers/index.ts'
import { FrontendBus } from '../../src/guest/index.ts'
import { Host, openMetrics, type Domain, type HostStatistics } from '../../src/index.ts'
import { DEVICE_KINDS } from '../../src/toolstack/device-kinds/device-kinds.ts'
import { guestFile, whyMissing } from '../support/guests.ts'

// On a machine that does other things besides.
vi.setConfig({ testTimeout: 30_000 })

const noPromtool = whyMissing('promtool')
let host: Host
let mini: Domain
beforeAll(async () => {
  host = await Host.bootFromGrub('title X\nkernel /boot/xen.gz dom0_mem=16M sched=credit sched_credit_tslice_ms=10 sched_ratelimit_us=0\nmodule /vmlinuz', {
    memory: 64, cpus: 2, instructionsPerSecond: 1e8, openDisk: () => new MemoryBlockStore(1 << 20), openFolder: () => new MemoryFileStore({}),
  })
  mini = await host.createDomain({ name: 'mi"ni', memory: 4, disks: ['a,raw,xvda,w'], nics: [''] })
  await mini.console.waitFor('mini> ')
})
afterAll(() => host.shutdown())
const error = (code: string) => expect.objectContaining({ code })

test('facts are those of xl info', () => {
  expect(host.info()).toMatchObject({
    machine: 'x86_64', cpus: 2, freeCpus: 0, nodes: 1, coresPerSocket: 2, threadsPerCore: 1, cpuMegahertz: 100, cpuModel: 'x86-64-v3',
    virtualCapabilities: ['pv', 'hvm', 'hap', 'gnttab-v1', 'gnttab-v2'], totalMemory: expect.any(Number), outstandingClaims: 0,
    xenVersion: '4.17.7', xenScheduler: 'credit', xenPageSize: 4096, configFormat: 4,
    xenCommandLine: expect.stringContaining('sched=credit'),
  })
  expect(host.info().cpuFeatures).toContain('avx2')
  expect(host.info().hardwareCapabilities).toHaveLength(8)
  expect(host.info().hardwareCapabilities[0]! & (1 << 25)).not.toBe(0)
  expect(host.cpupools.find(0).parameters()).toEqual({ ratelimit: 0, tslice: 10 })
})

test('the console ring begins with the banner, and takes what debug keys have to say', () => {
  expect(host.dmesg()).toMatch(/^\(XEN\) Xen version 4\.17\.7 .*\n\(XEN\) Command line: .*sched=credit/)
  host.dmesg({ clear: true })
  host.debugKeys('hq')
  const text = host.dmesg()
  expect(text).toMatch(/^\(XEN\) 'h' pressed -> showing installed handlers\n/)
  expect(text).toMatch(/\(XEN\) {2}key 'q' \(ascii '71'\) => dump domain \(and guest debug\) info\n/)
  expect(text).toMatch(/\(XEN\) General information for domain 1:\n/)
  expect(text).toMatch(/\(XEN\) {5}VCPU0: CPU[01] \[has=[TF]\] poll=0/)
  host.dmesg({ clear: true })
  host.debugKeys('ps')
  expect(host.dmesg()).toMatch(/^\(XEN\) Xen performance counters SHOW {2}\(now = \d+\)\n(\(XEN\) hypercall \w+ +TOTAL\[ +\d+\]\n)+\(XEN\) TSC marked as reliable, warp = 0 \(count=0\)\n\(XEN\) dom1: mode=0,khz=100000,inc=1\n$/)
  host.dmesg({ clear: true })
  host.debugKeys('e')
  // Its console and XenStore, as real Xen's console has them: `1 [0/0/0]: s=3 n=0 x=0 d=0 p=33`; and its timer.
  expect(host.dmesg()).toMatch(/^\(XEN\) 'e' pressed -> dumping event-channel info\n\(XEN\) Event channel information for domain 0:\n/)
  expect(host.dmesg()).toMatch(/\(XEN\) Event channel information for domain 1:\n\(XEN\) Polling vCPUs: \{\}\n\(XEN\) {5}port \[p\/m\]\n(\(XEN\) +\d+ \[[01]\/[01]\]: s=3 n=0 d=0 p=\d+\n){2}/)
  host.dmesg({ clear: true })
  host.debugKeys('g')
  expect(host.dmesg()).toMatch(/^\(XEN\) gnttab_usage_print_all \[ key 'g' pressed\n/)
  expect(host.dmesg()).toMatch(/\(XEN\) grant-table for remote d1\n(\(XEN\) \[0x\d{3}\] {2}d0 frame=0x[0-9a-f]+ access mapped=1 writable\n)+/)
  expect(host.dmesg()).toMatch(/\(XEN\) gnttab_usage_print_all \] done\n$/)
  host.debugKeys('~')
  expect(host.dmesg()).not.toContain('~')
  expect(() => host.debugKeys(7 as never)).toThrow(error('INVALID_ARGUMENT'))
  host.debugKeys('*')
  expect(host.dmesg()).toMatch(/Cpupool 0:\n.*Cpus: \{0-1\}\n.*Scheduler: credit\n/)
})

describe('statistics', () => {
  test('have a domain\'s CPU time by vCPU, memory, devices and hypercalls', () => {
    const { domains, hypercalls, freeMemory } = host.statistics({ exits: true })
    const found = domains.find(({ id }) => id === mini.id)!
    expect(found).toMatchObject({ name: 'mi"ni', memory: 4, pool: 0, claimed: 0, cpuPercent: undefined, vcpus: [{ vcpu: 0, online: true }] })
    expect(found.cpuTime).toBe(found.vcpus[0]!.cpuTime)
    expect(found.devices.map(({ kind, device }) => [kind, device])).toEqual([['vbd', 51712], ['vif', 0]])
    expect(hypercalls['event_channel_op']).toBeGreaterThan(0)
    expect(found.exits!['syscall']).toBeGreaterThan(0)
    expect(domains[0]).toMatchObject({ id: 0, name: 'Domain-0', memory: 16 })
    expect(host.statistics().domains[1]).not.toHaveProperty('exits')
    expect(freeMemory).toBe(host.info().freeMemory + freeMemory % 1)
  })

  test('are followed in host time, with the share that each domain has had', async () => {
    await mini.console.write('spin 300\n')
    const samples: HostStatistics[] = []
    const abort = new AbortController()
    for await (const sample of host.watchStatistics({ interval: '100ms', signal: abort.signal })) {
      samples.push(sample)
      if (samples.length === 4) abort.abort()
    }
    expect(samples.slice(1).map(({ time }, i) => Math.round((time - samples[i]!.time) / 1e7))).toEqual([10, 10, 10])
    const share = samples[2]!.domains.find(({ id }) => id === mini.id)!.cpuPercent!
    expect(Math.round(share)).toBe(100)
    await mini.console.waitFor('rounds')
    expect(() => host.watchStatistics({ interval: 'soon' })).toThrow(error('INVALID_ARGUMENT'))
    expect(() => host.statistics({ exit: true } as never)).toThrow(error('INVALID_ARGUMENT'))
  })
})

test('devices of every kind count what passes them, in statistics and in the text', async () => {
  const user = await host.createDomain({ name: 'user', memory: 4, disks: ['a,raw,xvda,w'], nics: [''], channels: [{ name: 'agent' }], folders: [{ tag: 'shared', path: 'a' }], framebuffers: [{ vnc: false }], kernel: async (kernel) => {
    const [disks, nics, channels, folders, screens] = [new BlockFrontend(), new NetFrontend(), new ChannelFrontend(), new FolderFrontend(), new FramebufferFrontend({ width: 8, height: 8 })]
    for (const driver of [disks, nics, channels, folders, screens, new KeyboardFrontend(() => undefined)]) await new FrontendBus(kernel).register(driver)
    await (await folders.folder('shared')).writeFile('f', new TextEncoder().encode('seven..'))
    await (await disks.disk(51712)).write(0, new Uint8Array(1024))
    const nic = await nics.nic(0)
    nic.send(new Uint8Array(60).fill(0xff))
    const screen = await screens.screen(0)
    screen.fill({ x: 0, y: 0, width: 4, height: 2 }, [1, 2, 3])
    const channel = await channels.channel('agent')
    channel.write('four')
    for await (const line of channel.lines()) kernel.console!.log(`heard ${line}`)
  } })
  const port = host.bridge().open({ onFrame: () => undefined })
  await user.channel('agent').waitFor('four')
  await user.channel('agent').write('hello\n')
  await user.console.waitFor('heard hello')
  user.screen().press('Enter')
  port.send(new Uint8Array(64).fill(0xff))
  await host.until('the frame to arrive', () => user.nic(0).statistics!['framesOut'] === 1)
  port.close()
  const { devices } = host.statistics().domains.find(({ id }) => id === user.id)!
  expect(devices.map(({ kind }) => kind).sort()).toEqual(Object.values<{ readonly name: string }>(DEVICE_KINDS).map(({ name }) => name).sort())
  expect(Object.fromEntries(devices.map(({ kind, counters }) => [kind, counters]))).toMatchObject({
    vbd: { writes: 1, sectorsWritten: 2 }, vif: { framesIn: 1, bytesIn: 60, framesOut: 1, bytesOut: 64 }, console: { bytesIn: 4, bytesOut: 6 }, '9pfs': { writes: 1, bytesWritten: 7, errors: 0, openFiles: 0 },
    vfb: { updates: 1, pixels: 8 }, vkbd: { keys: 2, moves: 0 },
  })
  const text = openMetrics(host.statistics())
  for (const line of ['vbd_sectors_written_total', 'vif_bytes_in_total', 'console_bytes_in_total', '9pfs_bytes_written_total', 'vfb_pixels_total', 'vkbd_keys_total']) expect(text).toMatch(new RegExp(`^paravirt_${line}\\{domid="${user.id}",domain="user",.*\\} [1-9]`, 'm'))
  // What goes up and down is no counter.
  expect(text).toMatch(/^# TYPE paravirt_9pfs_open_files gauge$/m)
})

describe('text for monitoring systems', () => {
  test('has each family once, its samples together, labels escaped, and an end', () => {
    const text = openMetrics(host.statistics({ exits: true }))
    const families = [...text.matchAll(/^# TYPE (\S+) (gauge|counter)$/gm)].map(([, name]) => name)
    expect(new Set(families).size).toBe(families.length)
    expect(text).toMatch(/^paravirt_domain_cpu_seconds_total\{domid="1",domain="mi\\"ni"\} [0-9.]+$/m)
    expect(text).toMatch(/^paravirt_domain_state\{domid="1",domain="mi\\"ni",state="paused"\} 0$/m)
    expect(text).toMatch(/^paravirt_vbd_reads_total\{domid="1",domain="mi\\"ni",device="51712",name="xvda"\} \d+$|^paravirt_vif_/m)
    expect(text.endsWith('\n# EOF\n')).toBe(true)
  })

  test.skipIf(noPromtool !== undefined)(`is what promtool takes, in both formats${noPromtool ?? ''}`, () => {
    const promtool = guestFile('promtool')!
    const check = spawnSync(promtool, ['check', 'metrics'], { input: openMetrics(host.statistics({ exits: true }), { format: 'prometheus' }), encoding: 'utf8' })
    expect([check.status, check.stdout, check.stderr]).toEqual([0, '', ''])
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-'))
    try {
      writeFileSync(join(folder, 'metrics'), openMetrics(host.statistics({ exits: true }), { timestamp: new Date('2026-01-01') }))
      const blocks = spawnSync(promtool, ['tsdb', 'create-blocks-from', 'openmetrics', join(folder, 'metrics'), folder], { encoding: 'utf8' })
      expect([blocks.status, blocks.stderr]).toEqual([0, ''])
      // What it has understood is what it was told. It looks for a log beside the blocks.
      mkdirSync(join(folder, 'wal'))
      const dump = spawnSync(promtool, ['tsdb', 'dump', folder], { encoding: 'utf8' }).stdout
      expect(dump).toContain('{__name__="paravirt_domain_memory_bytes", domain="mi\\"ni", domid="1"} 4.194304e+06 1767225600000')
      expect(dump.split('\n').filter((line) => line !== '')).toHaveLength(openMetrics(host.statistics({ exits: true })).split('\n').filter((line) => line !== '' && !line.startsWith('#')).length)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
