/**
 * The catalogue of faults with Debian's Linux as the peer: nobody here wrote its drivers. A row says what is done to a Linux at its shell, and
 * what comes of it; behind each row the Linux is to answer still, unless the row says that it ends.
 */
import { expect } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { Host } from '../../src/index.ts'
import { LinuxShell, migrateBetween, networkPeer, type FaultSpec, type NetworkPeer, type TestHost } from '../../src/testing/index.ts'

/** What a row works with. */
export interface LinuxUnderFaults {
  readonly host: TestHost
  readonly shell: LinuxShell
  /** A disk of 1 MiB that is not attached yet. */
  readonly store: MemoryBlockStore
}

/** One fault with Linux as its peer. */
export interface LinuxFaultRow {
  readonly run: (setting: LinuxUnderFaults) => Promise<void>
  /** It does not answer any more. */
  readonly ends?: boolean
  /** It has a folder of memory at /mnt. */
  readonly hasFolder?: boolean
}

const MAC = '00:16:3e:00:00:01'
/** Makes sure that what is read comes from the disk. */
const DROP = 'echo 3 > /proc/sys/vm/drop_caches'
const WRITE = 'dd if=/tmp/data of=/dev/xvda bs=4k conv=fsync 2>/dev/null'
const READ = `${DROP}; dd if=/dev/xvda bs=4k count=16 2>/dev/null | md5sum`

/** Attaches the disk and waits until Linux has it. */
async function withDisk({ host, shell, store }: LinuxUnderFaults): Promise<void> {
  await shell.domain.attachDisk('phy:any,xvda,w', { store })
  await shell.run('until [ -e /dev/xvda ]; do sleep 0.05; done; dd if=/dev/urandom of=/tmp/data bs=4k count=16 2>/dev/null')
  await host.settled()
}

/** What is written is read back: with a fault between the two, or before both. */
const onDisk = (fault: FaultSpec, more: (setting: LinuxUnderFaults) => Promise<void>): LinuxFaultRow => ({
  run: async (setting) => {
    await withDisk(setting)
    setting.host.faults.add(fault)
    await more(setting)
  },
})

const isWhole = async ({ shell }: LinuxUnderFaults): Promise<void> => {
  await shell.run(WRITE)
  expect(await shell.run(READ)).toBe(await shell.run('md5sum < /tmp/data'))
}

/** A write that is told as failed, and one that is not. */
const fails = async (setting: LinuxUnderFaults): Promise<void> => {
  await setting.shell.run(WRITE, { status: 1 })
  setting.host.faults.quiet()
  await isWhole(setting)
}

/** Attaching a disk under a fault fails or not; without it another try is right. */
const whileAttaching = (fault: FaultSpec, first: 'fails' | 'is right'): LinuxFaultRow => ({
  run: async (setting) => {
    const { host, shell } = setting
    host.faults.add(fault)
    if (first === 'fails') {
      // Whether the toolstack hears of it depends on how far the two halves come.
      await shell.domain.attachDisk('phy:any,xvdb,w', { store: new MemoryBlockStore(1 << 20) }).catch(() => undefined)
      await host.advance('1s')
      await shell.run('[ -e /dev/xvdb ]', { status: 1 })
      host.faults.quiet()
    }
    await withDisk(setting)
    await isWhole(setting)
  },
})

/** Gives Linux a screen, and waits until it has it. */
async function withScreen({ shell }: LinuxUnderFaults): Promise<void> {
  await shell.domain.attachDevice('vkbd', {})
  await shell.domain.attachDevice('vfb', 'vnc=0')
  await shell.run('mount -t devtmpfs dev /dev 2>/dev/null; until [ -c /dev/fb0 ] && grep -q "Xen Virtual Keyboard" /proc/bus/input/devices; do sleep 0.1; done')
}

/** What comes out of Linux's text console where three letters are typed under a fault. */
const onScreen = (fault: FaultSpec, line: string): LinuxFaultRow => ({
  run: async (setting) => {
    const { host, shell } = setting
    await withScreen(setting)
    await shell.run('(head -n 1 < /dev/tty1 > /typed) & sleep 0.2')
    const remove = host.faults.add(fault)
    shell.domain.screen().type('abc')
    await host.advance('500ms')
    remove()
    shell.domain.screen().type('\n')
    expect(await shell.run('until [ -s /typed ]; do sleep 0.1; done; cat /typed')).toBe(line)
  },
})

/** Pings Linux so often, and tells which answers came. */
async function pinged(peer: NetworkPeer, count: number): Promise<string[]> {
  const answers: string[] = []
  for (let i = 0; i < count; i += 1) answers.push(await peer.ping('10.0.0.1', { timeout: '300ms' }).then(() => 'there', () => 'lost'))
  return answers
}

/** Pings under a fault: how many of six are lost. */
const onNetwork = (fault: FaultSpec, lost: readonly [least: number, most: number], more?: (setting: LinuxUnderFaults, peer: NetworkPeer) => Promise<void>): LinuxFaultRow => ({
  run: async (setting) => {
    const { host, shell } = setting
    await shell.domain.attachNic(`mac=${MAC}`)
    await shell.run('until ifconfig eth0 10.0.0.1 netmask 255.255.255.0 up 2>/dev/null; do sleep 0.05; done')
    using peer = networkPeer(host, { ip: '10.0.0.9' })
    await host.advance('1s')
    expect(await pinged(peer, 1)).toEqual(['there'])
    host.faults.add(fault)
    const missing = (await pinged(peer, 6)).filter((answer) => answer === 'lost').length
    expect(missing).toBeGreaterThanOrEqual(lost[0])
    expect(missing).toBeLessThanOrEqual(lost[1])
    await more?.(setting, peer)
    host.faults.quiet()
    expect(await pinged(peer, 1)).toEqual(['there'])
  },
})

/** What Linux's clock shows, in seconds. */
const uptime = async (shell: LinuxShell): Promise<number> => Number((await shell.run('cat /proc/uptime')).split(' ')[0])

/** Of a Linux that sleeps, the share of time in which it runs at most: one whose timers come before they are due sets them again and again. */
const MOST_AWAKE = 0.1

/** Seconds that Linux counts and the host counts while time passes under a fault, and then under the next. */
const onClock = (...each: readonly [fault: FaultSpec, expected: (host: number) => number][]): LinuxFaultRow => ({
  run: async ({ host, shell }) => {
    for (const [fault, expected] of each) {
      const [before, began] = [await uptime(shell), host.now()]
      host.faults.add({ domain: 'linux', ...fault })
      const { cpuTime } = shell.domain.info()
      await host.advance('4s')
      expect(shell.domain.info().cpuTime - cpuTime).toBeLessThan(4e9 * MOST_AWAKE)
      const passed = await uptime(shell) - before
      expect(passed).toBeCloseTo(expected((host.now() - began) / 1e9), 0)
      await shell.run('sleep 0.2')
    }
  },
})

/** Something is done at the shell while a fault fires. */
const atWork = (fault: FaultSpec, work: (setting: LinuxUnderFaults) => Promise<void>): LinuxFaultRow => ({
  run: async (setting) => {
    setting.host.faults.add(fault)
    await work(setting)
  },
})

const busy = async ({ shell }: LinuxUnderFaults): Promise<void> => {
  expect(await shell.run('i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; echo $i')).toBe('500')
}

/** Memory that goes and comes again. */
const balloons = async ({ host, shell }: LinuxUnderFaults): Promise<void> => {
  const memory = shell.domain.info().totalPages / 256
  await shell.domain.setMemTarget(memory - 16)
  await shell.domain.setMemTarget(memory, { timeout: '20s' })
  await host.settled()
  expect(shell.domain.info().totalPages / 256).toBe(memory)
}

/** Rows by the name of their fault. */
export const LINUX_FAULTS: Readonly<Record<string, LinuxFaultRow>> = {
  'hypercall-error': whileAttaching({ fault: 'hypercall-error', domain: 'linux', hypercall: 'event_channel_op', operation: 'alloc_unbound', error: 'ENOSPC' }, 'fails'),
  'event-lost': {
    // Its timer is lost: what waits for it waits for ever, which no Xen does to it; it does not crash.
    ends: true, run: async ({ host, shell }) => {
      const { console } = shell.domain
      await console.write('sleep 0.2; echo wo""ken\r')
      host.faults.add({ fault: 'event-lost', domain: 'linux', when: ({ virq }) => virq === 0 })
      await host.advance('2s')
      expect([shell.domain.crash, console.text().includes('woken')]).toEqual([undefined, false])
    },
  },
  'event-late': onDisk({ fault: 'event-late', domain: 'linux', delay: '5ms', probability: 0.3 }, isWhole),
  'event-doubled': onDisk({ fault: 'event-doubled', domain: 'linux', probability: 0.5 }, isWhole),
  'grant-map-failed': whileAttaching({ fault: 'grant-map-failed' }, 'fails'),
  'grant-copy-failed': onNetwork({ fault: 'grant-copy-failed', count: 1 }, [0, 2]),
  'allocation-failed': atWork({ fault: 'allocation-failed', domain: 'linux', count: 2 }, balloons),
  'balloon-refused': atWork({ fault: 'balloon-refused', domain: 'linux', count: 2 }, balloons),
  'memory-flip': {
    // It may end of that; nobody else notices.
    ends: true, run: async ({ host, shell }) => {
      host.faults.add({ fault: 'memory-flip', domain: 'linux' })
      await host.advance('1s')
      expect(shell.domain.info().totalPages).toBeGreaterThan(0)
      expect(host.hypervisor.checkInvariants()).toEqual([])
    },
  },
  'ring-index': onDisk({ fault: 'ring-index', domain: 'linux', half: 'back-end', count: 1 }, async ({ shell }) => {
    await shell.domain.console.write(`dd if=/dev/xvda of=/dev/null bs=4k count=1 iflag=direct &\r`)
    await shell.domain.console.waitFor(/illegal number of responses/)
  }),
  'ring-double-fetch': onDisk({ fault: 'ring-double-fetch', domain: 'linux', count: 3 }, isWhole),
  'store-conflict': whileAttaching({ fault: 'store-conflict', domain: 'linux', count: 3 }, 'is right'),
  'store-quota': whileAttaching({ fault: 'store-quota', domain: 'linux', path: 'device/vbd' }, 'fails'),
  'store-slow': whileAttaching({ fault: 'store-slow', domain: 'linux', delay: '20ms' }, 'is right'),
  'store-watch-storm': atWork({ fault: 'store-watch-storm', domain: 'linux', times: 20 }, async (setting) => {
    await setting.host.advance('100ms')
    await balloons(setting)
  }),
  'xenbus-stuck': whileAttaching({ fault: 'xenbus-stuck', domain: 'linux', half: 'front-end' }, 'fails'),
  'xenbus-illegal': whileAttaching({ fault: 'xenbus-illegal', domain: 'linux', half: 'front-end' }, 'fails'),
  'back-end-restarted': onDisk({ fault: 'back-end-restarted', domain: 'linux', device: 'vbd' }, async (setting) => {
    await setting.host.advance('2s')
    await busy(setting)
  }),
  'service-killed': atWork({ fault: 'service-killed', service: 'xenstore', for: '500ms' }, balloons),
  'domain-killed': {
    ends: true, run: async ({ host, shell }) => {
      const crashed = shell.domain.waitForShutdown()
      host.faults.add({ fault: 'domain-killed', domain: 'linux' })
      expect(await crashed).toBe('crash')
    },
  },
  'migration-cut': {
    run: async ({ host, shell }) => {
      host.faults.add({ fault: 'migration-cut', domain: 'linux', at: 3_000_000 })
      const target = await Host.boot({ memory: 320, dom0Memory: 16 })
      const { where } = await migrateBetween(host, target, shell.domain)
      expect(where).toBe('stayed')
      await target.shutdown()
    },
  },
  'disk-error': onDisk({ fault: 'disk-error', request: 'write' }, fails),
  'disk-full': onDisk({ fault: 'disk-full' }, fails),
  'disk-torn-write': onDisk({ fault: 'disk-torn-write' }, fails),
  'disk-lost-write': onDisk({ fault: 'disk-lost-write', count: 1 }, async ({ shell }) => {
    await shell.run(WRITE)
    expect(await shell.run(READ)).not.toBe(await shell.run('md5sum < /tmp/data'))
  }),
  'disk-flip': onDisk({ fault: 'disk-flip', count: 1 }, async (setting) => {
    const { shell } = setting
    await shell.run(WRITE)
    expect(await shell.run(READ)).not.toBe(await shell.run('md5sum < /tmp/data'))
    expect(await shell.run(READ)).toBe(await shell.run('md5sum < /tmp/data'))
  }),
  'disk-latency': onDisk({ fault: 'disk-latency', delay: '300ms' }, async (setting) => {
    const began = setting.host.now()
    await isWhole(setting)
    expect(setting.host.now() - began).toBeGreaterThan(6e8)
  }),
  'folder-error': { hasFolder: true, run: async ({ host, shell }) => {
    host.faults.add({ fault: 'folder-error', request: 'change', error: 'ENOSPC', count: 1 })
    expect(await shell.run('mkdir /mnt/one 2>&1', { status: 1 })).toContain('No space left on device')
    expect(await shell.run('mkdir /mnt/one && echo all > /mnt/one/f && cat /mnt/one/f')).toBe('all')
  } },
  'folder-latency': { hasFolder: true, run: async ({ host, shell }) => {
    host.faults.add({ fault: 'folder-latency', request: 'read', delay: '300ms' })
    const began = host.now()
    expect(await shell.run('cat /mnt/told')).toBe('told')
    expect(host.now() - began).toBeGreaterThan(3e8)
  } },
  'input-loss': onScreen({ fault: 'input-loss', input: 'key', nth: 3, count: 2 }, 'ac'),
  'input-latency': onScreen({ fault: 'input-latency', input: 'key', delay: '50ms' }, 'abc'),
  'screen-update-loss': { run: async (setting) => {
    const { host, shell } = setting
    await withScreen(setting)
    const screen = shell.domain.screen()
    await shell.run('echo 0 > /sys/class/graphics/fbcon/cursor_blink; sleep 1')
    const before = screen.statistics!.updates
    host.faults.add({ fault: 'screen-update-loss' })
    await shell.run('head -c 1920000 /dev/zero > /dev/fb0; sleep 0.3')
    expect([screen.statistics!.updates, screen.picture().pixels.some((byte, at) => at % 4 < 3 && byte !== 0)]).toEqual([before, false])
    host.faults.quiet()
    await shell.run('printf x > /dev/tty1; sleep 0.3')
    expect(screen.statistics!.updates).toBeGreaterThan(before)
  } },
  'net-delay': onNetwork({ fault: 'net-delay', delay: '50ms' }, [0, 0]),
  'net-loss': onNetwork({ fault: 'net-loss', nth: 1, count: 2 }, [1, 2]),
  'net-duplicate': onNetwork({ fault: 'net-duplicate' }, [0, 0]),
  'net-corrupt': onNetwork({ fault: 'net-corrupt', count: 1 }, [0, 1]),
  'net-reorder': onNetwork({ fault: 'net-reorder', probability: 0.5 }, [0, 0]),
  'net-rate': onNetwork({ fault: 'net-rate', bytesPerSecond: 10_000 }, [0, 0]),
  'net-partition': onNetwork({ fault: 'net-partition', domain: 'linux' }, [6, 6]),
  'clock-jump': onClock([{ fault: 'clock-jump', by: '30s' }, (host) => host + 30]),
  'clock-drift': onClock(
    [{ fault: 'clock-drift', partsPerMillion: -250_000 }, (host) => host * 0.75], [{ fault: 'clock-drift', partsPerMillion: 250_000 }, (host) => host * 1.25],
  ),
  'clock-slew': onClock([{ fault: 'clock-slew', by: -2e9, over: '4s' }, (host) => host - 2], [{ fault: 'clock-slew', by: 2e9, over: '4s' }, (host) => host + 2]),
  'vcpu-paused': atWork({ fault: 'vcpu-paused', domain: 'linux', for: '2s' }, busy),
  'vcpu-throttled': atWork({ fault: 'vcpu-throttled', domain: 'linux', share: 0.1, for: '1s' }, busy),
}
