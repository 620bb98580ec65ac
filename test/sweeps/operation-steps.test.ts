/**
 * Every step of every operation: it fails there, and is given up there, and the host's books are as they were before. The steps are
 * those that the operations themselves tell of, so that none can be forgotten.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { SHUTDOWN } from '../../src/abi/index.ts'
import { afterAll, describe, expect, test } from 'vitest'
import { BlockFrontend, ChannelFrontend, MemoryBlockStore } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import {
  Host, transportPair, type ByteSink, type Domain, type HostOptions, type OperationStep,
} from '../../src/toolstack/index.ts'
import { XenError } from '../../src/util/index.ts'
import { booksOf, changesOf } from '../support/host-books.ts'

const OPTIONS: HostOptions = { memory: 40, dom0Memory: 8, seed: 7, openDisk: () => new MemoryBlockStore(1 << 20) }
/** More steps than any operation has. */
const MOST_STEPS = 200
/** A guest that was asked to suspend and goes on has noticed: what it runs on is its own. */
const SUSPENDED = [
  /^hypervisor\.domains\.domain-1\.(shutdownReason|suspendFrame)$/, /^xenstore\.store\.domains\.1\.shutdown$/, /^consoles\.1\.log\./,
  /^hypervisor\.events\.domains\.1\./, /^hypervisor\.grants\.domains\.1\./,
]
const BALLOONED = [/^consoles\.1\.log\./]

interface Row {
  readonly name: string
  readonly options?: HostOptions
  readonly prepare?: (host: Host) => Promise<unknown>
  readonly run: (host: Host, signal: AbortSignal) => Promise<unknown>
  /** What may differ when a guest has taken notice. */
  readonly mayChange?: readonly RegExp[]
}

/** A front-end of disks that lets go what it is asked for. */
const user: GuestProgram = async (kernel) => {
  const disks = new BlockFrontend()
  await new FrontendBus(kernel).register(disks)
  await disks.disk(51712)
  kernel.console!.log('up')
}

/** A front-end of channels that lets go what it is asked for. */
const channelUser: GuestProgram = async (kernel) => {
  const channels = new ChannelFrontend()
  await new FrontendBus(kernel).register(channels)
  await channels.channel('agent')
  kernel.console!.log('up')
}

const mini = async (host: Host): Promise<Domain> => {
  const domain = await host.createDomain({ name: 'one', memory: 8, maxMemory: 16, disks: [{ target: 'a', vdev: 'xvda' }], nics: [''] })
  await domain.console.waitFor('tick 3')
  return domain
}
const withFrontEnd = async (host: Host): Promise<Domain> => {
  const domain = await host.createDomain({ name: 'one', memory: 8, disks: [{ target: 'a', vdev: 'xvda' }], kernel: user })
  await domain.console.waitFor('up')
  return domain
}
const withDrive = async (host: Host): Promise<Domain> => {
  const domain = await host.createDomain({ name: 'one', memory: 8, disks: ['a,raw,hdc:cdrom,r'] })
  await domain.console.waitFor('tick 3')
  return domain
}
const one = (host: Host): Domain => host.domain('one')
/** The kernel of examples/guests/mini for PVH. */
const PVH = readFileSync(join(import.meta.dirname, '../../examples/guests/mini/mini-pvh.elf'))
const nowhere: ByteSink = { write: () => undefined }

/** The host that receives what others send. */
let there: Host | undefined
const receiver = async (): Promise<Host> => (there ??= await Host.boot({ memory: 32, dom0Memory: 8, seed: 9 }))
const saved: Uint8Array[] = []
afterAll(() => there?.shutdown())

const ROWS: readonly Row[] = [
  { name: 'createDomain', prepare: mini, run: (host, signal) =>
    host.createDomain({ name: 'two', memory: 8, disks: [{ target: 'a', vdev: 'xvda' }], nics: [''] }, { signal }) },
  { name: 'checkpoint', prepare: mini, run: (host, signal) => host.checkpoint({ label: 'here', signal }) },
  { name: 'setMemTarget', prepare: mini, run: (host, signal) => one(host).setMemTarget(6, { signal }), mayChange: BALLOONED },
  { name: 'setMaxMem', prepare: mini, run: (host, signal) => one(host).setMaxMem(12, { signal }) },
  { name: 'setVcpus', prepare: mini, run: (host, signal) => one(host).setVcpus(1, { signal, wait: true }) },
  { name: 'attachDisk', prepare: mini, run: (host, signal) => one(host).attachDisk({ target: 'b', vdev: 'xvdb' }, { signal }) },
  { name: 'attachNic', prepare: mini, run: (host, signal) => one(host).attachNic('', { signal }) },
  { name: 'attachDevice', prepare: mini, run: (host, signal) => one(host).attachDevice('vbd', { target: 'b', vdev: 'xvdb' }, { signal }) },
  { name: 'detachDisk', prepare: withFrontEnd, run: (host, signal) => one(host).detachDisk('xvda', { signal }) },
  { name: 'detachNic', prepare: mini, run: (host, signal) => one(host).detachNic(0, { signal }) },
  { name: 'detachDevice', prepare: withFrontEnd, run: (host, signal) => one(host).detachDevice('vbd', 'xvda', { signal }) },
  { name: 'insertMedium', prepare: withDrive, run: (host, signal) => one(host).insertMedium('hdc', 'c', { signal }) },
  { name: 'ejectMedium', prepare: withDrive, run: (host, signal) => one(host).ejectMedium('hdc', { signal }) },
  { name: 'attachDevice', prepare: mini, run: (host, signal) => one(host).attachDevice('console', 'connection=pty,name=agent', { signal }) },
  { name: 'detachDevice', prepare: async (host) => host.createDomain({ name: 'one', memory: 4, channels: [{ name: 'agent' }], kernel: channelUser }).then((domain) => domain.console.waitFor('up')), run: (host, signal) => one(host).detachDevice('console', 'agent', { signal }) },
  { name: 'resizeDisk', prepare: withDrive, run: (host, signal) => one(host).resizeDisk('hdc', 512, { signal }) },
  { name: 'dumpCore', prepare: mini, run: (host, signal) => one(host).dumpCore(nowhere, { signal }) },
  { name: 'softReset', prepare: async (host) => {
    const domain = await host.createDomain({ name: 'one', type: 'pvh', memory: 8, kernel: PVH, disks: ['a,raw,xvda,w'], actions: { softReset: 'preserve' } })
    await domain.console.waitFor('tick 3')
    host.hypervisor.shutdownDomain(domain.id, SHUTDOWN.soft_reset)
    await domain.waitForShutdown()
  }, run: (host, signal) => one(host).softReset({ signal }) },
  { name: 'shutdown', prepare: mini, run: (host, signal) => one(host).shutdown({ signal }) },
  { name: 'reboot', prepare: mini, run: (host, signal) => one(host).reboot({ signal }) },
  { name: 'dumpCore', prepare: mini, run: (host, signal) => one(host).dumpCore(nowhere, { signal }) },
  { name: 'save', prepare: mini, run: (host, signal) => one(host).save(nowhere, { signal }), mayChange: SUSPENDED },
  { name: 'restore', prepare: async (host) => {
    await mini(host)
    const other = await host.createDomain({ name: 'saved', memory: 8 })
    await other.console.waitFor('tick 3')
    saved.splice(0)
    await other.save({ write: (chunk: Uint8Array) => void saved.push(chunk.slice()) })
  }, run: (host, signal) => host.restore((async function* () { yield* saved })(), { signal, trust: 'all' }) },
  { name: 'migrate', prepare: mini, run: async (host, signal) => {
    const [{ ends, cut }, other] = [transportPair(), await receiver()]
    const receiving = other.receiveMigration(ends[1], { trust: 'all' }).catch(() => undefined)
    await one(host).migrate(ends[0], { signal }).catch(async (error: unknown) => {
      cut()
      await receiving
      throw error
    }).finally(async () => {
      await receiving
      for (const domain of other.domains()) await domain.destroy()
    })
  }, mayChange: SUSPENDED },
  { name: 'receiveMigration', prepare: mini, run: async (host, signal) => {
    const [{ ends, cut }, other] = [transportPair(), await receiver()]
    const domain = other.domains()[0] ?? await other.createDomain({ name: 'moved', memory: 8 })
    const sending = domain.migrate(ends[0]).catch(() => undefined)
    await host.receiveMigration(ends[1], { signal }).catch(async (error: unknown) => {
      cut()
      await sending
      throw error
    })
    await sending
  } },
  { name: 'standBy', prepare: mini, run: async (host, signal) => {
    const [{ ends, cut }, other] = [transportPair(), await receiver()]
    const protecting = (await other.createDomain({ name: 'guarded', memory: 8 })).protect(ends[0], { interval: '50ms' })
    const guarded = protecting.catch(() => undefined)
    const standing = host.standBy(ends[1], { signal, trust: 'all' })
    standing.progress.on('committed', () => void protecting.unprotect().catch(() => undefined))
    await standing.catch(async (error: unknown) => {
      cut()
      throw error
    }).finally(async () => {
      await guarded
      for (const domain of other.domains()) await domain.destroy()
    })
  } },
]

/** Runs an operation once, with something done at its step of a number; what it came to, and the place of the step. */
async function runOnce(place: { hook: ((step: OperationStep) => void) | undefined }, work: (signal: AbortSignal) => Promise<unknown>, at: { readonly step: number; readonly how: 'fails' | 'is given up' }) {
  const abort = new AbortController()
  const planted = new XenError('IO', 'planted')
  let reached: OperationStep | undefined
  let operation: string | undefined
  place.hook = (step) => {
    // What it leads to, such as a successor's creation, is an operation of its own.
    operation ??= step.operation
    if (step.operation !== operation || step.number !== at.step || reached !== undefined) return
    reached = step
    if (at.how === 'fails') throw planted
    abort.abort()
  }
  const outcome = await work(abort.signal).then(() => 'done', (error: unknown) => (error === planted ? 'planted' : (error as XenError).code ?? error))
  place.hook = undefined
  return { outcome, reached }
}

/** Counts of steps, by operation: told at the end. */
const counts = new Map<string, number>()

describe('an operation that fails, or is given up, at any of its steps leaves the books as they were', () => {
  test.each(ROWS)('$name', { timeout: 120_000 }, async (row) => {
    const place: { hook: ((step: OperationStep) => void) | undefined } = { hook: undefined }
    const boot = (): Promise<Host> => Host.boot({ ...OPTIONS, ...row.options, onOperationStep: (step) => place.hook?.(step) })
    for (const how of ['fails', 'is given up'] as const) {
      const host = await boot()
      await row.prepare?.(host)
      for (let step = 1; ; step += 1) {
        expect(step).toBeLessThan(MOST_STEPS)
        await host.settled()
        const before = booksOf(host)
        const { outcome, reached } = await runOnce(place, (signal) => row.run(host, signal), { step, how })
        if (reached === undefined) break
        const { place: where } = reached
        await host.settled()
        expect([step, where, outcome]).toEqual([step, where, how === 'fails' ? 'planted' : 'ABORTED'])
        expect([step, where, changesOf(before, booksOf(host), row.mayChange)]).toEqual([step, where, []])
        counts.set(`${row.name} ${how}`, step)
      }
      expect(host.hypervisor.checkInvariants()).toEqual([])
      await host.shutdown()
    }
    expect(counts.get(`${row.name} fails`)).toBeGreaterThanOrEqual(1)
    expect(counts.get(`${row.name} is given up`)).toBe(counts.get(`${row.name} fails`))
  })

  test('has many steps in all, and each was tried in both ways', () => {
    const names = [...new Set(ROWS.map(({ name }) => name))]
    console.log(`Steps at which each was failed, and given up: ${names.map((name) => `${name} ${counts.get(`${name} fails`) ?? 0}`).join(', ')}`)
    expect([...counts.values()].reduce((sum, count) => sum + count, 0)).toBeGreaterThan(200)
  })
})
