/**
 * All pairs of calls on one domain: the second while the first is under way. Which are refused is what the table of activities says,
 * nothing hangs, and the first goes on unless the table says that its place is taken.
 */
import { describe, expect, test } from 'vitest'
import { BlockFrontend, MemoryBlockStore } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import { transportPair, type Domain, type Host } from '../../src/toolstack/index.ts'
import { DOMAIN_CALLS, EXCLUDES, type Activity } from '../../src/toolstack/run/activities.ts'
import { hostsOfTests } from '../support/mini.ts'

const never = (): Promise<never> => new Promise(() => undefined)
const boot = hostsOfTests({
  memory: 40, dom0Memory: 8, idle: 'wait', openDisk: ({ params }) => (params === '/slow' ? never() : new MemoryBlockStore(1 << 16)),
})

/** Has its disk, and obeys nothing: whatever is asked of it stays under way. */
const deaf: GuestProgram = async (kernel) => {
  const disks = new BlockFrontend()
  await new FrontendBus(kernel).register(disks)
  await disks.disk(51712)
  kernel.control.beforeShutdown(never)
  kernel.console!.log('up')
}
const nowhere = { write: () => undefined }
type Call = (domain: Domain, signal: AbortSignal) => unknown

/** Each call of a handle, in a way that works. */
const CALLS: { readonly [name in keyof typeof DOMAIN_CALLS]: Call } = {
  info: (domain) => domain.info(), summary: (domain) => domain.summary(), devices: (domain) => domain.devices(),
  disk: (domain) => domain.disk('xvda'), nic: (domain) => domain.nic(0), channel: (domain) => domain.channel('agent'), screen: (domain) => domain.screen(0), toJSON: (domain) => domain.toJSON(),
  profile: (domain) => domain.profile(), trace: (domain) => domain.trace({}),
  waitForShutdown: (domain, signal) => domain.waitForShutdown({ signal }),
  currentConfig: (domain) => domain.currentConfig(), updateConfig: (domain) => domain.updateConfig({ name: domain.name, memory: 8 }),
  setNicRate: (domain) => domain.setNicRate(0, '1MB/s'), setNicLink: (domain) => domain.setNicLink(0, 'up'), setDiskLimits: (domain) => domain.setDiskLimits('xvda', {}),
  memory: (domain) => domain.memory(), claimMemory: (domain) => domain.claimMemory(0),
  uptime: (domain) => domain.uptime(), vcpus: (domain) => domain.vcpus(), scheduling: (domain) => domain.scheduling(),
  rename: (domain) => domain.rename(`it-${domain.info().domid}`), setAffinity: (domain) => domain.setAffinity('all', { hard: 'all' }),
  setScheduling: (domain) => domain.setScheduling({ weight: 256 }), moveToPool: (domain) => domain.moveToPool('Pool-0'),
  trigger: (domain) => domain.trigger('nmi'), sysrq: (domain) => domain.sysrq('h'),
  pause: (domain) => domain.pause(), unpause: (domain) => domain.unpause(),
  dumpCore: (domain, signal) => domain.dumpCore({ write: never }, { signal }), save: (domain, signal) => domain.save(nowhere, { signal }), resume: (domain) => domain.resume(), softReset: (domain, signal) => domain.softReset({ signal }),
  migrate: (domain, signal) => domain.migrate(transportPair().ends[0], { signal }),
  protect: (domain, signal) => domain.protect(transportPair().ends[0], { signal }),
  attachDisk: (domain, signal) => domain.attachDisk({ target: '/slow', vdev: 'xvdb' }, { signal }),
  attachNic: (domain, signal) => domain.attachNic('', { signal }),
  attachDevice: (domain, signal) => domain.attachDevice('vbd', { target: '/slow', vdev: 'xvdc' }, { signal }),
  detachDisk: (domain, signal) => domain.detachDisk('xvda', { signal }), detachNic: (domain, signal) => domain.detachNic(0, { signal }),
  detachDevice: (domain, signal) => domain.detachDevice('vif', 0, { signal }),
  insertMedium: (domain, signal) => domain.insertMedium('hdc', '/slow', { signal }), ejectMedium: (domain, signal) => domain.ejectMedium('hdc', { signal }),
  resizeDisk: (domain, signal) => domain.resizeDisk('xvda', 1 << 15, { signal }),
  setMemTarget: (domain, signal) => domain.setMemTarget(5, { signal }), setMaxMem: (domain, signal) => domain.setMaxMem(16, { signal }),
  setVcpus: (domain, signal) => domain.setVcpus(2, { signal, wait: true }),
  shutdown: (domain, signal) => domain.shutdown({ signal }), reboot: (domain, signal) => domain.reboot({ signal }),
  destroy: (domain) => domain.destroy(),
}
const NAMES = Object.keys(CALLS) as (keyof typeof DOMAIN_CALLS)[]
/** Calls that stay under way with such a guest. */
const LASTING = ['save', 'dumpCore', 'migrate', 'protect', 'attachDisk', 'attachDevice', 'setMemTarget', 'setVcpus', 'shutdown', 'reboot', 'waitForShutdown'] as const

/** Begins one that lasts: a domain that is paused follows no target. */
const lasting = (name: (typeof LASTING)[number]): Call => (name !== 'setMemTarget' ? CALLS[name] : (domain, signal) => {
  domain.pause()
  return domain.setMemTarget(5, { signal })
})

const turns = async (): Promise<void> => {
  for (let count = 0; count < 12; count += 1) await new Promise((resolve) => setImmediate(resolve))
}

/** What a call comes to within a few turns; `pending` where it is under way. */
function watch(call: Call, domain: Domain): { readonly outcome: () => unknown; readonly end: () => Promise<void> } {
  const abort = new AbortController()
  let outcome: unknown = 'pending'
  const done = (async () => call(domain, abort.signal))().then(() => 'done', (error: { code?: string }) => error.code ?? error).then((value) => { outcome = value })
  return {
    outcome: () => outcome,
    end: async () => {
      abort.abort()
      await done
    },
  }
}

/** A domain that is protected has no channel: what it says there cannot be kept back. */
const start = async (host: Host, first?: (typeof LASTING)[number]): Promise<Domain> => {
  const domain = await host.createDomain({
    name: 'it', memory: 8, maxMemory: 12, vcpus: 1, maxVcpus: 2, kernel: deaf, disks: [{ target: '/a', vdev: 'xvda' }], channels: first === 'protect' ? [] : [{ name: 'agent' }], framebuffers: first === 'protect' ? [] : [{ vnc: false }], keyboards: [],
  })
  await domain.console.waitFor('up')
  return domain
}
const isBusy = (first: string, second: string): boolean => {
  const [one, other] = [DOMAIN_CALLS[first as 'save'] as string, DOMAIN_CALLS[second as 'save'] as string]
  return one in EXCLUDES && EXCLUDES[one as Activity].includes(other as Activity)
}
/** Where the second takes the place of the first. */
const SUPERSEDING: readonly string[] = ['setMemTarget', 'setVcpus']

describe.each(LASTING)('while %s is under way', (first) => {
  test('every other call is carried out beside it or refused as the table says', async () => {
    const host = await boot()
    const domain = await start(host, first)
    for (const second of NAMES.filter((name) => name !== 'destroy')) {
      const [one, before] = [watch(lasting(first), domain), domain.info().maxPages]
      await turns()
      expect([first, one.outcome()]).toEqual([first, 'pending'])
      const other = watch(CALLS[second], domain)
      await turns()
      expect([second, other.outcome() === 'BUSY']).toEqual([second, isBusy(first, second)])
      if (isBusy(first, second)) expect(domain.info().maxPages).toBe(before)
      const isOver = first === second && SUPERSEDING.includes(first)
      // One that is let run again follows its target.
      const isReached = first === 'setMemTarget' && second === 'unpause'
      expect([second, one.outcome()]).toEqual([second, isOver ? 'SUPERSEDED' : isReached ? 'done' : 'pending'])
      await Promise.all([other.end(), one.end()])
      // A guest that was told to close its disk has done so.
      if (domain.devices().length === 0) await domain.attachDisk({ target: '/a', vdev: 'xvda' })
      for (let { paused } = domain.info(); paused; { paused } = domain.info()) domain.unpause()
      if (isReached) await domain.setMemTarget(8)
    }
  })

  test('its domain is destroyed: it ends, and says so', async () => {
    const host = await boot()
    const domain = await start(host, first)
    const one = watch(lasting(first), domain)
    await turns()
    await domain.destroy()
    await turns()
    expect(['DOMAIN_NOT_FOUND', 'done']).toContain(one.outcome())
    expect(first === 'waitForShutdown').toBe(one.outcome() === 'done')
  })
})

test('the same device is attached or taken away once at a time, and another goes on beside it', async () => {
  const host = await boot()
  const domain = await start(host)
  const slow = watch((one, signal) => one.attachDisk({ target: '/slow', vdev: 'xvdb' }, { signal }), domain)
  await turns()
  const [again, away, beside] = [
    watch((one) => one.attachDisk({ target: '/a', vdev: 'xvdb' }), domain), watch((one) => one.detachDisk('xvdb'), domain), watch((one) => one.attachNic(), domain),
  ]
  for (let more = 0; beside.outcome() === 'pending' && more < 20; more += 1) await turns()
  expect([again.outcome(), away.outcome(), beside.outcome(), slow.outcome()]).toEqual(['DEVICE_EXISTS', 'BUSY', 'done', 'pending'])
  await slow.end()
})
