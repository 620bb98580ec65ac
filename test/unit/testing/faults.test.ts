/**
 * The catalogue of faults, a row each: the fault has its effect, and a right peer - our front-ends, back-ends, XenStore and toolstack -
 * survives it: the host goes on, and at the end it holds nothing. Each host of these tests is checked for that when it is given back.
 */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { BlockFrontend, FolderFrontend, FramebufferFrontend, KeyboardFrontend, MemoryBlockStore, MemoryFileStore, type BlockFrontendOptions } from '../../../src/drivers/index.ts'
import { FrontendBus } from '../../../src/guest/index.ts'
import { XenError, type Domain, type GuestProgram } from '../../../src/index.ts'
import { FAULTS, FaultInjector, expectSector, migrateBetween, networkPeer, testHost, type FaultPlan, type FaultSpec, type TestHost } from '../../../src/testing/index.ts'
import { buildMini } from '../../support/build-mini.ts'
import { pingResponder } from '../../support/ping.ts'
import { faultsDocument } from './update-faults.ts'

const built = buildMini('pv64', { variables: { STRIP: '' } })
const ROUNDS = 6
const pattern = (round: number): Uint8Array => Uint8Array.from({ length: 4096 }, (_, at) => (at * 7 + round * 31) & 0xff)

/** Writes and reads its disk, round by round, and says what came of each: same, other, or failed. A disk that went away is looked for again. */
const diskWork = (rings: BlockFrontendOptions = {}): GuestProgram => async (kernel) => {
  const disks = new BlockFrontend(rings)
  await new FrontendBus(kernel).register(disks)
  for (let round = 0; round < ROUNDS; round += 1) {
    const begun = kernel.now()
    const wanted = pattern(round)
    try {
      const disk = await disks.disk('xvda')
      await disk.write(round * 8, wanted)
      const back = await disk.read(round * 8, 8)
      kernel.console!.log(`${round} ${back.every((byte, at) => byte === wanted[at]) ? 'same' : 'other'} ${Math.round((kernel.now() - begun) / 1e6)} ms`)
    } catch {
      kernel.console!.log(`${round} failed`)
    }
    await kernel.sleep('50ms')
  }
  kernel.console!.log('done')
}

const diskWorker = diskWork()

/** Says what time it is, every 100 ms. */
const clock: GuestProgram = async (kernel) => {
  for (;;) {
    kernel.console!.log(`now ${Math.round(kernel.now() / 1e6)}`)
    await kernel.sleep('100ms')
  }
}

/** Writes nodes, and says how that went and how often its watch fired. */
const storeUser: GuestProgram = async (kernel) => {
  let fired = 0
  await kernel.store!.watch('data', () => { fired += 1 })
  for (let round = 0; round < 4; round += 1) {
    const begun = kernel.now()
    await kernel.store!.write(`data/${round}`, 'x').then(() => kernel.console!.log(`${round} written ${Math.round((kernel.now() - begun) / 1e6)} ms`), () => kernel.console!.log(`${round} refused`))
    await kernel.sleep('100ms')
  }
  kernel.console!.log(`fired ${fired}`)
}

interface Setting {
  readonly host: TestHost
  readonly disk: MemoryBlockStore
}

/** A host under one fault, with a disk that its guests may be given. */
async function under(plan: FaultPlan | FaultSpec, body: (setting: Setting) => Promise<void>): Promise<void> {
  const disk = new MemoryBlockStore(1 << 20)
  await testHost({ memory: 64, faults: 'fault' in plan ? [plan as FaultSpec] : plan as FaultPlan, openDisk: () => disk }, (host) => body({ host, disk }))
}

const DISK = ['phy:any,xvda,w']
const withDisk = (host: TestHost, options = {}): Promise<Domain> => host.createDomain({ name: 'worker', memory: 4, kernel: diskWorker, disks: DISK, ...options })
const withNic = async (host: TestHost): Promise<Domain> => {
  const domain = await host.createDomain({ name: 'answers', memory: 4, kernel: pingResponder([10, 0, 0, 7]), nics: ['mac=00:16:3e:00:00:07'] })
  await host.until('the interface to be connected', () => host.store.tryRead('/local/domain/0/backend/vif/1/0/state') === '4', { timeout: '5s' })
  return domain
}
/** What came of each round of a worker. */
async function rounds(domain: Domain): Promise<string> {
  await domain.console.expect('done', { timeout: '30s' })
  return [...domain.console.text().matchAll(/^\d (\w+)/gm)].map(([, word]) => word).join(' ')
}
const times = (host: TestHost): number => host.faults.fired.length
const SAME = Array.from({ length: ROUNDS }, () => 'same').join(' ')

/** What a worker's rounds are under a fault of its disk. */
const ofDisk = (fault: FaultSpec, expected: string, more?: (setting: Setting & { readonly domain: Domain }) => Promise<void> | void): (() => Promise<void>) => () =>
  under({ domain: 'worker', ...fault }, async ({ host, disk }) => {
    const domain = await withDisk(host)
    expect(await rounds(domain)).toBe(expected)
    expect(times(host)).toBeGreaterThan(0)
    await more?.({ host, disk, domain })
  })

/** Writes a file and reads it back, three times; says what came of it, and how many milliseconds it all took. */
const folderWorker: GuestProgram = async (kernel) => {
  const folders = new FolderFrontend()
  await new FrontendBus(kernel).register(folders)
  const folder = await folders.folder('shared')
  const began = kernel.now()
  for (let round = 0; round < 3; round += 1) {
    const text = `round ${round}`
    const came = async (): Promise<string> => {
      await folder.writeFile('file', new TextEncoder().encode(text))
      return new TextDecoder().decode(await folder.readFile('file')) === text ? 'same' : 'other'
    }
    kernel.console!.log(`${round} ${await came().catch((error: XenError) => String(error.details['errno']))}`)
  }
  kernel.console!.log(`took ${Math.floor((kernel.now() - began) / 1e6)} ms\ndone`)
}

/** Draws a row for each key that goes down, and says what it hears, and when. */
const deskWorker: GuestProgram = async (kernel) => {
  const screens = new FramebufferFrontend({ width: 16, height: 16 })
  const bus = new FrontendBus(kernel)
  await bus.register(screens)
  const screen = await screens.screen(0)
  let row = 0
  await bus.register(new KeyboardFrontend((input) => {
    kernel.console!.log(input.type === 'key' ? `${input.pressed ? '+' : '-'}${input.code} at ${Math.floor(kernel.now() / 1e6)}` : `at ${input.x},${input.y}`)
    if (input.type === 'key' && input.pressed) screen.fill({ x: 0, y: row++, width: 16, height: 1 }, [255, 255, 255])
  }))
  kernel.console!.log('ready')
}

/** What a guest hears of three keys and a click under a fault of its screen, how many milliseconds that takes, and how many rows are told of and drawn. */
async function atDesk(fault: FaultSpec): Promise<{ readonly heard: string; readonly took: number; readonly told: number; readonly drawn: number }> {
  let found: Awaited<ReturnType<typeof atDesk>> | undefined
  await under({ domain: 'desk', ...fault }, async ({ host }) => {
    const domain = await host.createDomain({ name: 'desk', memory: 4, kernel: deskWorker, framebuffers: [{ vnc: false }] })
    await domain.console.expect(/^ready/, { timeout: '5s' })
    await host.until('the keyboard', () => domain.devices().every(({ frontendState }) => frontendState === 4), { timeout: '5s' })
    let told = 0
    domain.screen().events.onAny(({ type }) => { if (type === 'drawn') told += 1 })
    const began = Math.floor(host.now() / 1e6)
    domain.screen().type('abc')
    domain.screen().point(3, 4)
    await host.advance('300ms')
    const lines = domain.console.text().split('\n').filter((line) => /^[+-]|^at/.test(line))
    const { pixels } = domain.screen().picture()
    const ends = lines.flatMap((line) => /at (\d+)$/.exec(line)?.[1] ?? []).map(Number)
    found = {
      heard: lines.map((line) => line.replace(/ at \d+$/, '')).join(' '), took: Math.max(...ends) - began, told,
      drawn: Array.from({ length: 16 }, (_, row) => pixels[row * 64]!).filter((byte) => byte === 255).length,
    }
  })
  return found!
}
const ofDesk = (fault: FaultSpec, expected: object): (() => Promise<void>) => async () => expect(await atDesk(fault)).toMatchObject(expected)
const ALL_KEYS = '+30 -30 +48 -48 +46 -46 at 3,4'

/** What a worker's rounds are under a fault of its folder, and how long they take at least. */
const ofFolder = (fault: FaultSpec, expected: string, least = 0): (() => Promise<void>) => () =>
  testHost({ memory: 64, faults: [{ domain: 'worker', ...fault }], openFolder: () => new MemoryFileStore() }, async (host) => {
    const domain = await host.createDomain({ name: 'worker', memory: 4, kernel: folderWorker, folders: [{ tag: 'shared', path: 'any' }] })
    expect(await rounds(domain)).toBe(expected)
    expect(times(host)).toBeGreaterThan(0)
    expect(Number(/took (\d+) ms/.exec(domain.console.text())![1])).toBeGreaterThanOrEqual(least)
  })

/** Five pings under a fault of the network: how long each took in milliseconds, or that it was lost. */
const ofNetwork = (fault: FaultSpec, check: (pings: readonly (number | 'lost')[], host: TestHost) => void): (() => Promise<void>) => () =>
  under([], async ({ host }) => {
    await withNic(host)
    using peer = networkPeer(host)
    expect(await peer.ping('10.0.0.7', { timeout: '5s' })).toBeGreaterThanOrEqual(0)
    const remove = host.faults.add(fault)
    const pings: (number | 'lost')[] = []
    for (let ping = 0; ping < 5; ping += 1) pings.push(await peer.ping('10.0.0.7', { timeout: '500ms' }).then((time) => time / 1e6, () => 'lost' as const))
    check(pings, host)
    expect(times(host)).toBeGreaterThan(0)
    remove()
    await host.advance('1s')
    expect(await peer.ping('10.0.0.7', { timeout: '5s' })).toBeLessThan(1e6)
  })

/** Times that a guest was shown, in milliseconds. */
async function shownTimes(fault: FaultSpec): Promise<readonly number[]> {
  let found: readonly number[] = []
  await under([], async ({ host }) => {
    const domain = await host.createDomain({ name: 'clock', memory: 4, kernel: clock })
    host.faults.add({ domain: 'clock', after: '250ms', ...fault })
    await host.advance('3s')
    expect(times(host)).toBe(1)
    found = [...domain.console.text().matchAll(/now (\d+)/g)].map(([, time]) => Number(time))
  })
  return found
}

/** The test of each row. */
const TESTS: Readonly<Record<string, () => Promise<void>>> = {
  'hypercall-error': () => under({ fault: 'hypercall-error', hypercall: 'event_channel_op', operation: 'bind_interdomain', error: 'EINVAL', nth: 1 }, async ({ host }) => {
    // Dom0 cannot bind the new domain's port: the creation is taken back. (Without room for one, it would go over to queues of events.)
    await expect(host.createDomain({ name: 'one', memory: 4, kernel: clock })).rejects.toMatchObject({ code: 'HYPERCALL_FAILED' })
    expect(host.faults.fired).toMatchObject([{ fault: 'hypercall-error', rule: 0, opportunity: 1, text: 'event_channel_op bind_interdomain failed with EINVAL' }])
    expect(host.listDomains()).toHaveLength(1)
    const domain = await host.createDomain({ name: 'one', memory: 8 })
    await domain.console.expect('mini> ', { timeout: '5s' })
  }),
  // Who is not told of a ring that is to be looked at waits: it neither crashes nor spins, and can be taken away.
  'event-lost': () => under([], async ({ host }) => {
    const domain = await withNic(host)
    using peer = networkPeer(host)
    await peer.ping('10.0.0.7', { timeout: '5s' })
    host.faults.add({ fault: 'event-lost', domain: 'answers', count: 3 })
    await expect(peer.ping('10.0.0.7', { timeout: '2s' })).rejects.toMatchObject({ code: 'TIMED_OUT' })
    expect(domain.summary().state).toBe('-b----')
    await domain.detachNic(0)
    expect(domain.devices()).toEqual([])
  }),
  'event-late': ofNetwork({ fault: 'event-late', domain: 'answers', delay: '20ms' }, (pings) => {
    for (const ping of pings) expect(ping).toBeGreaterThanOrEqual(20)
  }),
  'event-doubled': ofDisk({ fault: 'event-doubled' }, SAME),
  'grant-map-failed': ofDisk({ fault: 'grant-map-failed', nth: 2, count: 2 }, SAME.replace('same', 'failed')),
  'grant-copy-failed': ofNetwork({ fault: 'grant-copy-failed', domain: 'answers', nth: 2 }, (pings) => {
    expect(pings.filter((ping) => ping === 'lost')).toHaveLength(1)
  }),
  'allocation-failed': () => under({ fault: 'allocation-failed', nth: 100 }, async ({ host }) => {
    await expect(host.createDomain({ name: 'one', memory: 8 })).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' })
    expect(host.listDomains()).toHaveLength(1)
    await (await host.createDomain({ name: 'one', memory: 8 })).console.expect('mini> ', { timeout: '5s' })
  }),
  'balloon-refused': () => under({ fault: 'balloon-refused', domain: 'clock' }, async ({ host }) => {
    const domain = await host.createDomain({ name: 'clock', memory: 8, kernel: clock })
    await domain.setMemTarget(4)
    await expect(domain.setMemTarget(8, { timeout: '2s' })).rejects.toMatchObject({ code: 'TIMED_OUT' })
    expect(domain.summary().memory).toBe(4)
    host.faults.quiet()
    await domain.setMemTarget(7, { timeout: '20s' })
    expect(domain.summary().memory).toBe(7)
  }),
  'ring-index': async () => {
    for (const half of ['front-end', 'back-end']) {
      await under({ fault: 'ring-index', half, domain: 'worker', nth: 2 }, async ({ host, disk }) => {
        const domain = await withDisk(host)
        await host.advance('2s')
        expect(times(host)).toBe(1)
        // Whoever was lied to takes no more out of the ring; nobody crashes, and nothing else was written.
        expect(domain.info().shutdownReason).toBeUndefined()
        expect(domain.console.text()).not.toContain(`${ROUNDS - 1} same`)
        expect(disk.bytes.subarray(ROUNDS * 4096).every((byte) => byte === 0)).toBe(true)
        expect(host.hypervisor.checkInvariants()).toEqual([])
      })
    }
  },
  'ring-double-fetch': ofDisk({ fault: 'ring-double-fetch', probability: 0.5 }, SAME, async ({ host, disk }) => {
    expect(host.faults.fired.some(({ text }) => text.includes('was changed in the ring'))).toBe(true)
    for (let round = 0; round < ROUNDS; round += 1) await expectSector(disk, round * 8, pattern(round))
  }),
  'xenbus-stuck': () => under({ fault: 'xenbus-stuck', domain: 1, nth: 2 }, async ({ host }) => {
    const domain = await withDisk(host)
    await host.advance('2s')
    expect(host.store.read('/local/domain/0/backend/vbd/1/51712/state')).toBe('2')
    expect(host.faults.fired).toMatchObject([{ text: 'backend/vbd/1/51712/state = 4 had no effect' }])
    expect(domain.console.text()).toBe('')
    await domain.detachDisk('xvda')
    expect(domain.devices()).toEqual([])
  }),
  'xenbus-illegal': () => under({ fault: 'xenbus-illegal', domain: 1, nth: 2, state: '77' }, async ({ host }) => {
    const domain = await withDisk(host)
    await host.advance('2s')
    expect(host.store.read('/local/domain/0/backend/vbd/1/51712/state')).toBe('77')
    expect(domain.info().shutdownReason).toBeUndefined()
    await domain.detachDisk('xvda', { force: true })
  }),
  'back-end-restarted': ofDisk({ fault: 'back-end-restarted', after: '120ms' }, SAME, ({ host }) => {
    expect(host.store.read('/local/domain/1/device/vbd/51712/state')).toBe('4')
    expect(host.faults.fired[0]!.text).toContain('/local/domain/0/backend/vbd/1/51712 were started again')
  }),
  'service-killed': async () => {
    await under({ fault: 'service-killed', service: 'xenstore', for: '2s', after: '150ms' }, async ({ host }) => {
      const domain = await host.createDomain({ name: 'user', memory: 4, kernel: storeUser })
      await domain.console.expect(/^fired/, { timeout: '20s' })
      expect(domain.console.text()).toMatch(/\d written (19|20)\d\d ms/)
    })
    await under({ fault: 'service-killed', service: 'vbd', after: '120ms' }, async ({ host }) => {
      const domain = await withDisk(host)
      await host.advance('2s')
      expect(host.store.read('/local/domain/1/device/vbd/51712/state')).toBe('6')
      expect(domain.info().shutdownReason).toBeUndefined()
    })
  },
  'store-conflict': ofDisk({ fault: 'store-conflict', count: 2 }, SAME, ({ host }) => expect(times(host)).toBe(2)),
  'store-quota': () => under({ fault: 'store-quota', domain: 'user', path: 'data/2' }, async ({ host }) => {
    const domain = await host.createDomain({ name: 'user', memory: 4, kernel: storeUser })
    await domain.console.expect(/^fired/, { timeout: '20s' })
    expect(domain.console.text()).toMatch(/1 written.*\n2 refused\n3 written/)
    expect(host.store.tryRead('/local/domain/1/data/2')).toBeUndefined()
  }),
  'store-slow': () => under({ fault: 'store-slow', domain: 'user', delay: '30ms' }, async ({ host }) => {
    const domain = await host.createDomain({ name: 'user', memory: 4, kernel: storeUser })
    await domain.console.expect(/^fired/, { timeout: '20s' })
    expect(domain.console.text()).toMatch(/3 written 30 ms/)
  }),
  'store-watch-storm': () => under({ fault: 'store-watch-storm', domain: 1, times: 20, after: '150ms' }, async ({ host }) => {
    const domain = await host.createDomain({ name: 'user', memory: 4, kernel: storeUser })
    await domain.console.expect(/^fired/, { timeout: '20s' })
    // The watch itself, four writes, and the storm.
    expect(Number(/fired (\d+)/.exec(domain.console.text())?.[1])).toBeGreaterThanOrEqual(15)
  }),
  'disk-error': ofDisk({ fault: 'disk-error', request: 'write', nth: 2 }, SAME.replace('same same', 'same failed')),
  'disk-full': ofDisk({ fault: 'disk-full', nth: 3, count: 2 }, 'same same failed failed same same'),
  'disk-torn-write': ofDisk({ fault: 'disk-torn-write', nth: 1 }, SAME.replace('same', 'failed'), async ({ disk }) => {
    await expectSector(disk, 0, pattern(0).subarray(0, 2048))
    await expectSector(disk, 4, new Uint8Array(512))
  }),
  'disk-lost-write': ofDisk({ fault: 'disk-lost-write', nth: 2 }, 'same other same same same same', ({ disk }) => expectSector(disk, 8, new Uint8Array(512))),
  'disk-flip': ofDisk({ fault: 'disk-flip', nth: 1 }, SAME.replace('same', 'other'), ({ disk }) => expectSector(disk, 0, pattern(0))),
  'disk-latency': ofDisk({ fault: 'disk-latency', request: 'read', delay: '40ms' }, SAME, ({ domain }) => expect(domain.console.text()).toMatch(/0 same 40 ms/)),
  'folder-error': ofFolder({ fault: 'folder-error', request: 'write', error: 'ENOSPC', nth: 2, count: 1 }, 'same ENOSPC same'),
  'folder-latency': ofFolder({ fault: 'folder-latency', request: 'read', delay: '40ms' }, 'same same same', 160),
  'input-loss': ofDesk({ fault: 'input-loss', input: 'key', nth: 2 }, { heard: '+30 +48 -48 +46 -46 at 3,4', told: 3, drawn: 3 }),
  'input-latency': async () => {
    const { heard, took } = await atDesk({ fault: 'input-latency', input: 'key', nth: 3, count: 1, delay: '40ms' })
    expect([heard, took >= 40, took < 100]).toEqual([ALL_KEYS, true, true])
  },
  'screen-update-loss': ofDesk({ fault: 'screen-update-loss', nth: 2 }, { heard: ALL_KEYS, told: 2, drawn: 3 }),
  'net-delay': ofNetwork({ fault: 'net-delay', delay: '10ms' }, (pings) => {
    for (const ping of pings) expect(ping).toBeGreaterThanOrEqual(20)
  }),
  'net-loss': ofNetwork({ fault: 'net-loss', domain: 'answers', nth: 3 }, (pings) => expect(pings.filter((ping) => ping === 'lost').length).toBeLessThanOrEqual(1)),
  'net-duplicate': ofNetwork({ fault: 'net-duplicate' }, (pings) => expect(pings).not.toContain('lost')),
  'net-corrupt': ofNetwork({ fault: 'net-corrupt', nth: 3 }, (pings) => expect(pings.filter((ping) => ping !== 'lost').length).toBeGreaterThanOrEqual(4)),
  'net-reorder': ofNetwork({ fault: 'net-reorder', window: '5ms', probability: 0.5 }, (pings) => expect(pings).not.toContain('lost')),
  'net-rate': ofNetwork({ fault: 'net-rate', bytesPerSecond: 10_000 }, (pings) => {
    // 98 bytes there and back, and the two frames that ask for the address.
    for (const ping of pings) expect(ping).toBeGreaterThan(19)
  }),
  'net-partition': ofNetwork({ fault: 'net-partition', domain: 'answers' }, (pings) => expect(pings).toEqual(['lost', 'lost', 'lost', 'lost', 'lost'])),
  'clock-jump': async () => {
    const shown = await shownTimes({ fault: 'clock-jump', by: '5s' })
    const steps = shown.slice(1).map((time, at) => time - shown[at]!)
    expect(Math.max(...steps)).toBeGreaterThan(4900)
    expect(Math.min(...steps)).toBeGreaterThanOrEqual(99)
  },
  'clock-drift': async () => {
    const shown = await shownTimes({ fault: 'clock-drift', partsPerMillion: 500_000 })
    // Half as fast again for 2.75 s.
    expect(shown.at(-1)).toBeGreaterThan(4200)
    expect(shown.at(-1)).toBeLessThan(4500)
  },
  'clock-slew': async () => {
    const shown = await shownTimes({ fault: 'clock-slew', by: -5e8, over: '1s' })
    expect(shown.at(-1)).toBeGreaterThan(2300)
    expect(shown.at(-1)).toBeLessThan(2510)
    expect([...shown].sort((a, b) => a - b)).toEqual(shown)
  },
  'vcpu-paused': () => under({ fault: 'vcpu-paused', domain: 'mini', for: '2s', after: '250ms' }, async ({ host }) => {
    const { console } = await host.createDomain({ name: 'mini', memory: 8 })
    await console.expect(/tick 2 at/, { timeout: '5s' })
    const { match } = await console.expect(/tick 3 at (\d+) ms/, { timeout: '5s' })
    expect(Number(match[1])).toBeGreaterThan(2200)
  }),
  'vcpu-throttled': () => under({ fault: 'vcpu-throttled', domain: 'clock', share: 0.1, period: '1s', for: '3s' }, async ({ host }) => {
    const domain = await host.createDomain({ name: 'clock', memory: 4, kernel: clock })
    host.faults.add({ fault: 'vcpu-throttled', domain: 'clock', share: 0.1, period: '1s', for: '3s' })
    await host.advance('4s')
    const shown = [...domain.console.text().matchAll(/now (\d+)/g)].map(([, time]) => Number(time))
    const steps = shown.slice(1).map((time, at) => time - shown[at]!)
    expect(steps.filter((step) => step > 700).length).toBeGreaterThanOrEqual(2)
  }),
  'memory-flip': () => under([], async ({ host }) => {
    const domain = await host.createDomain({ name: 'mini', memory: 8 })
    await domain.console.expect('mini> ', { timeout: '5s' })
    domain.pause()
    const frames = host.hypervisor.domainFrames(domain.id)
    const before = frames.map((mfn) => host.hypervisor.port(domain.id).memory.bytes.slice(mfn * 4096, mfn * 4096 + 4096))
    host.faults.add({ fault: 'memory-flip', domain: 'mini' })
    await host.advance('1ms')
    const differ = frames.flatMap((mfn, at) => [...host.hypervisor.port(domain.id).memory.bytes.subarray(mfn * 4096, mfn * 4096 + 4096)].filter((byte, place) => byte !== before[at]![place]))
    expect(differ).toHaveLength(1)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  }),
  'domain-killed': async () => {
    await under({ fault: 'domain-killed', domain: 'worker', after: '120ms' }, async ({ host }) => {
      const domain = await withDisk(host)
      expect(await domain.waitForShutdown({ timeout: '5s' })).toBe('crash')
      await host.until('it to be gone', () => !domain.exists, { timeout: '5s' })
    })
    await under({ fault: 'domain-killed', how: 'destroy', domain: 'worker', after: '120ms' }, async ({ host }) => {
      const domain = await withDisk(host)
      await host.until('it to be gone', () => !domain.exists, { timeout: '5s' })
    })
  },
  'migration-cut': async () => {
    await using target = await testHost({ memory: 32, seed: 2 })
    await under({ fault: 'migration-cut', at: 50_000 }, async ({ host }) => {
      const domain = await host.createDomain({ name: 'mini', memory: 8 })
      await domain.console.expect('mini> ', { timeout: '5s' })
      expect(await migrateBetween(host, target, domain)).toMatchObject({ where: 'stayed', sent: 50_000 })
      host.faults.quiet()
      expect(await migrateBetween(host, target, domain)).toMatchObject({ where: 'moved' })
    })
  },
}

describe('a fault of the catalogue', () => {
  test.each(FAULTS.map(({ name }) => name))('%s has its effect, and a right peer survives it', { timeout: 60_000 }, async (name) => {
    expect(Object.keys(TESTS)).toContain(name)
    await TESTS[name]!()
  })

  test('has a row for each test, and docs/faults.md says what the rows say', () => {
    expect(Object.keys(TESTS).sort()).toEqual(FAULTS.map(({ name }) => name).sort())
    expect(readFileSync(join(resolve(import.meta.dirname, '../../..'), 'docs/faults.md'), 'utf8')).toBe(faultsDocument())
  })
})

describe('faults of rings find every ring of a disk that has several, of several pages', { timeout: 60_000 }, () => {
  const kernel = diskWork({ maxQueues: 3, maxRingPageOrder: 2 })
  const rings = (host: TestHost): readonly string[] => [...new Set(host.faults.fired.flatMap(({ text }) => /vbd\/51712\/(queue-\d) ring-ref/.exec(text)?.[1] ?? []))].sort()

  test('requests that are changed in them behind the reader', async () => {
    await under({ fault: 'ring-double-fetch', domain: 'worker' }, async ({ host, disk }) => {
      expect(await rounds(await withDisk(host, { kernel }))).toBe(SAME)
      expect(rings(host)).toEqual(['queue-0', 'queue-1', 'queue-2'])
      for (let round = 0; round < ROUNDS; round += 1) await expectSector(disk, round * 8, pattern(round))
    })
  })

  test.each([['front-end', 1], ['front-end', 2], ['front-end', 3], ['back-end', 2]])('an index by which the %s lies, event %i', async (half, nth) => {
    await under({ fault: 'ring-index', half, domain: 'worker', nth }, async ({ host, disk }) => {
      const domain = await withDisk(host, { kernel })
      await host.advance('2s')
      expect([times(host), rings(host).length]).toEqual([1, 1])
      expect(domain.info().shutdownReason).toBeUndefined()
      expect(domain.console.text()).not.toContain(`${ROUNDS - 1} same`)
      expect(disk.bytes.subarray(ROUNDS * 4096).every((byte) => byte === 0)).toBe(true)
      expect(host.hypervisor.checkInvariants()).toEqual([])
    })
  })
})

describe('a plan', () => {
  const run = async (seed: number, plan: FaultPlan, keep?: ConstructorParameters<typeof FaultInjector>[0]['keep']): Promise<{ readonly fired: readonly string[]; readonly shown: string }> => {
    const faults = new FaultInjector({ seed, plan, keep })
    await using host = await testHost({ memory: 64, seed, faults, openDisk: () => new MemoryBlockStore(1 << 20) })
    const domain = await withDisk(host)
    await rounds(domain)
    return { fired: faults.fired.map(({ rule, opportunity, time, text }) => `${rule}:${opportunity} ${time} ${text}`), shown: `${host.now()} ${domain.console.text()}` }
  }
  const plan: FaultPlan = [{ fault: 'disk-error', probability: 0.3 }, { fault: 'event-late', domain: 'worker', probability: 0.2 }]

  test('repeats with its seed, and is another one with another', async () => {
    const first = await run(5, plan)
    expect(first.fired.length).toBeGreaterThan(3)
    expect(await run(5, plan)).toEqual(first)
    expect((await run(6, plan)).fired).not.toEqual(first.fired)
    expect(JSON.parse(JSON.stringify(plan))).toEqual(plan)
  })

  test('of which firings are left out decides as before', async () => {
    const all = await run(5, plan)
    const none = await run(5, plan, () => false)
    expect(none.fired).toEqual([])
    const first = await run(5, plan, ({ rule, opportunity }) => `${rule}:${opportunity}` === all.fired[0]!.split(' ')[0])
    expect(first.fired).toEqual(all.fired.slice(0, 1))
  })

  test('counts anew on a host that is brought back, and nothing fires while it is quiet', async () => {
    await using host = await testHost({ memory: 64, faults: [{ fault: 'hypercall-error', hypercall: 'sched_op', operation: 'yield', nth: 1 }] })
    const moment = await host.checkpoint()
    host.faults.quiet()
    await host.createDomain({ name: 'mini', memory: 8 })
    await host.advance('100ms')
    expect(times(host)).toBe(0)
    await host.reset(moment)
    host.faults.resume()
    host.faults.add({ fault: 'store-slow', delay: '1ms' })
    const told: string[] = []
    host.faults.onFired(({ fault }) => told.push(fault))
    await host.createDomain({ name: 'user', memory: 4, kernel: storeUser })
    await host.advance('1s')
    expect(told).toContain('store-slow')
    expect(times(host)).toBe(told.length)
  })

  test('that has set a clock wrong keeps its host from being saved while the guest is there: it would see its time go back', async () => {
    await using host = await testHost({ memory: 64, faults: [] })
    const domain = await host.createDomain({ name: 'mini', memory: 8 })
    host.faults.add({ fault: 'clock-jump', domain: 'mini', by: '5s' })
    await host.advance('10ms')
    await expect(host.checkpoint()).rejects.toMatchObject({ code: 'BUSY', message: expect.stringContaining('the clock of domain 1') })
    await domain.destroy()
    await host.checkpoint()
  })

  test.skipIf(built.path === undefined)(`waits for a function of the guest’s kernel${built.reason === undefined ? '' : ` (SKIPPED: ${built.reason})`}`, async () => {
    const kernel = readFileSync(built.path!)
    await using host = await testHost({ memory: 64, faults: [
      { fault: 'event-late', delay: '1ms', symbol: 'print', domain: 'mini', count: 1 }, { fault: 'event-late', delay: '1ms', symbol: 'no_such_function', domain: 'mini' },
    ] })
    const domain = await host.createDomain({ name: 'mini', memory: 8, kernel }, { symbols: kernel })
    await domain.console.expect('mini> ', { timeout: '5s' })
    expect(times(host)).toBe(1)
    expect(host.faults.fired.every(({ rule }) => rule === 0)).toBe(true)
  })

  test.each<[string, unknown, string]>([
    ['a fault that there is not', { fault: 'disk-eror' }, 'did you mean "disk-error"?'], ['no name', {}, 'there is no fault undefined'], ['no object', 7, 'must be an object'],
    ['a parameter that it has not', { fault: 'disk-latency', delya: '1s' }, 'did you mean delay?'], ['a parameter that is wanted', { fault: 'hypercall-error' }, 'wants hypercall'],
    ['an operation that there is not', { fault: 'hypercall-error', hypercall: 'sched_op', operation: 'yeild' }, 'has no operation yeild'],
    ['a length of time below nothing', { fault: 'disk-latency', delay: -1 }, 'delay'], ['one beyond all sense', { fault: 'disk-latency', delay: '99d' }, 'delay'],
    ['a chance above 1', { fault: 'net-loss', probability: 2 }, 'probability'], ['a count of none', { fault: 'net-loss', count: 0 }, 'count'], ['until before after', { fault: 'net-loss', after: '2s', until: '1s' }, 'until'],
    ['a symbol where nobody is at work', { fault: 'net-loss', symbol: 'main' }, 'no guest is at work'], ['a clock that runs backwards', { fault: 'clock-jump', domain: 1, by: -5 }, 'by'],
    ['an nth of what acts by itself', { fault: 'clock-jump', domain: 1, nth: 3 }, 'acts by itself'], ['no domain', { fault: 'vcpu-paused' }, 'wants a domain'],
    ['counts without a time between', { fault: 'clock-jump', domain: 1, count: 3 }, 'wants every'], ['a domain that is none', { fault: 'net-loss', domain: -1 }, 'domain'],
    ['a when that is none', { fault: 'net-loss', when: 'always' }, 'when'],
  ])('with %s is refused', (_name, spec, text) => {
    expect(() => new FaultInjector({ seed: 1, plan: [spec as FaultSpec] })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(text) }))
  })

  test('is a list, and takes no interference beside it', async () => {
    await expect(testHost({ faults: {} as never })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(testHost({ faults: [], interference: {} })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(() => new FaultInjector({ seed: -1, plan: [] })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
