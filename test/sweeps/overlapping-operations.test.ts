/**
 * Operations on one domain that overlap: what excludes each other is refused with a code, what is overtaken settles, what
 * the end of a domain or host cuts off says so, and nothing undoes what came later.
 */
import { describe, expect, test } from 'vitest'
import { MemoryBlockStore, type BlockStore } from '../../src/drivers/index.ts'
import type { GuestProgram } from '../../src/guest/index.ts'
import { transportPair, type ByteSink, type Domain, type Host, type HostEvent } from '../../src/toolstack/index.ts'
import { XenError } from '../../src/util/index.ts'
import { withoutLeaks } from '../../src/testing/index.ts'
import { answers, hostsOfTests, startMini } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 64, dom0Memory: 8 })
const idle: GuestProgram = (kernel) => kernel.console!.log('up')
/** Takes requests, and obeys none. */
const deaf: GuestProgram = (kernel) => kernel.control.beforeShutdown(() => new Promise(() => undefined))
const outcome = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then((value) => value ?? 'done', (error: { code?: string }) => error.code ?? error)
const never = (): Promise<void> => new Promise(() => undefined)
const readTarget = (host: Host, { id }: Domain): string => host.store.read(`/local/domain/${id}/memory/target`)

describe('saves and migrations', () => {
  test('of one domain exclude each other, its shutdown and its being resumed; the first goes on', async () => {
    const [here, there] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const domain = await startMini(here)
    await withoutLeaks(here, async () => {
      const { ends } = transportPair()
      let go = (): void => undefined
      const chunks: Uint8Array[] = []
      const sink: ByteSink = {
        write: (chunk) => {
          chunks.push(chunk.slice())
          return chunks.length === 3 ? new Promise<void>((resolve) => { go = resolve }) : undefined
        },
      }
      const saving = domain.save(sink, { afterwards: 'resume' })
      await here.until('the save to be under way', () => chunks.length === 3)
      expect(await Promise.all([
        outcome(domain.save({ write: () => undefined })), outcome(domain.migrate(ends[0]!)), outcome(domain.shutdown()),
        outcome(domain.reboot()),
      ])).toEqual(['BUSY', 'BUSY', 'BUSY', 'BUSY'])
      expect(() => domain.resume()).toThrow(expect.objectContaining({ code: 'BUSY', message: expect.stringContaining('being saved') }))
      go()
      expect(await outcome(saving)).toBe('done')
      await answers(domain)
      const receiving = there.restore((async function* () { yield* chunks })())
      await answers(await receiving)
    })
  })

  test('end when their domain is destroyed, whatever the other end does, and the error says so', async () => {
    const host = await boot({ seed: 1 })
    await withoutLeaks(host, async () => {
      for (const begin of [
        (domain: Domain) => domain.save({ write: never }),
        (domain: Domain) => domain.migrate(transportPair().ends[0]),
        (domain: Domain) => domain.setMemTarget(4),
        (domain: Domain) => domain.setVcpus(1, { wait: true }),
      ]) {
        const domain = await host.createDomain({ name: 'it', memory: 8, vcpus: 2, kernel: idle })
        await domain.console.waitFor('up')
        domain.pause()
        domain.unpause()
        const ended = outcome(begin(domain))
        for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve))
        await domain.destroy()
        expect(['DOMAIN_NOT_FOUND', 'done']).toContain(await ended)
      }
    })
  })

  test('that are cancelled at one end are not called a broken stream at the other', async () => {
    const [here, there] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    await startMini(here)
    for (const who of ['sender', 'receiver', 'nobody'] as const) {
      const { ends, cut } = transportPair()
      const abort = new AbortController()
      const signal = (side: string) => (side === who ? abort.signal : undefined)
      const sending = here.domain('mini').migrate(ends[0], { signal: signal('sender') })
      const receiving = there.receiveMigration(ends[1], { signal: signal('receiver') })
      sending.progress.on('round', () => (who === 'nobody' ? cut() : abort.abort()))
      const [sent, received] = [outcome(sending), outcome(receiving)]
      const cancelled = { sender: ['ABORTED', 'CLOSED'], receiver: ['CLOSED', 'ABORTED'], nobody: ['CLOSED', 'CLOSED'] }
      expect([who, await sent, await received]).toEqual([who, ...cancelled[who]])
      await answers(here.domain('mini'))
      expect(there.domains()).toEqual([])
    }
  })

  test('whose other end is silent or takes nothing end when their time is up, and the domain goes on', async () => {
    const host = await boot({ seed: 1 })
    const domain = await startMini(host)
    await withoutLeaks(host, async () => {
      const silent = (): AsyncIterable<Uint8Array> => (async function* () { await never(); yield new Uint8Array() })()
      const peerTimeout = '50ms'
      const banner = new TextEncoder().encode('xl migration receiver ready, send binary domain data.\n')
      const talks = async function* (): AsyncGenerator<Uint8Array> { yield banner; await never() }
      expect(await outcome(domain.migrate({ readable: silent(), writable: { write: () => undefined } }, { peerTimeout }))).toBe('TIMED_OUT')
      expect(await outcome(domain.migrate({ readable: talks(), writable: { write: never } }, { peerTimeout }))).toBe('TIMED_OUT')
      // It has taken everything, and says nothing: the domain has not been given away.
      expect(await outcome(domain.migrate({ readable: talks(), writable: { write: () => undefined } }, { peerTimeout }))).toBe('TIMED_OUT')
      expect(await outcome(host.receiveMigration({ readable: silent(), writable: { write: () => undefined } }, { peerTimeout }))).toBe('TIMED_OUT')
      expect(await outcome(host.receiveMigration({ readable: silent(), writable: { write: never } }, { peerTimeout }))).toBe('TIMED_OUT')
      expect(await outcome(domain.migrate(transportPair().ends[0], { peerTimeout: 'soon' }))).toBe('INVALID_ARGUMENT')
      await answers(domain)
    })
  })

  test('and everything else end when the host is shut down', async () => {
    const host = await boot({ seed: 1, openDisk: never as never })
    const domain = await host.createDomain({ name: 'it', memory: 8, kernel: deaf })
    const other = await host.createDomain({ name: 'another', memory: 8, kernel: deaf })
    const all = [
      outcome(domain.migrate(transportPair().ends[0])), outcome(host.receiveMigration(transportPair().ends[1])),
      outcome(host.restore((async function* () { await never(); yield new Uint8Array() })())),
      outcome(host.createDomain({ name: 'other', memory: 4, kernel: idle, disks: ['/x,raw,xvda,w'] })),
      outcome(other.attachDisk('/y,raw,xvda,w')), outcome(other.shutdown()), outcome(domain.console.waitFor('never')),
    ]
    for (let turns = 0; turns < 50; turns += 1) await new Promise((resolve) => setImmediate(resolve))
    await host.shutdown()
    expect(await Promise.all(all)).toEqual(all.map(() => 'CLOSED'))
    expect(await outcome(host.createDomain({ name: 'late', memory: 4 }))).toBe('CLOSED')
  })
})

describe('wishes that are overtaken', () => {
  test('of memory settle, and never undo a newer one', async () => {
    const host = await boot()
    // It follows no target: what is pending stays pending.
    const domain = await host.createDomain({ name: 'it', memory: 8, maxMemory: 16, kernel: deaf }, { paused: true })
    const first = outcome(domain.setMemTarget(6, { timeout: '1s' }))
    const second = domain.setMemTarget(5, { timeout: '10s' })
    expect(await first).toBe('SUPERSEDED')
    expect(readTarget(host, domain)).toBe(String(5 * 1024))
    // A maximum that comes meanwhile is not undone with the target.
    await domain.setMaxMem(12)
    expect(await outcome(second)).toBe('TIMED_OUT')
    expect(readTarget(host, domain)).toBe(String(8 * 1024))
    expect(domain.info().maxPages).toBe(12 * 256 + 256)
    await domain.destroy()
  })

  test('of vCPUs settle, and never undo a newer one', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'it', memory: 8, vcpus: 4, kernel: deaf }, { paused: true })
    const written = (): string => [0, 1, 2, 3].map((vcpu) => host.store.read(`/local/domain/${domain.id}/cpu/${vcpu}/availability`)).join()
    const first = outcome(domain.setVcpus(2, { wait: true, timeout: '1s' }))
    const second = outcome(domain.setVcpus(3, { wait: true, timeout: '2s' }))
    expect([await first, written()]).toEqual(['SUPERSEDED', 'online,online,online,offline'])
    expect([await second, written()]).toEqual(['TIMED_OUT', 'online,online,online,online'])
    const third = outcome(domain.setVcpus(4, { wait: true, timeout: '5s' }))
    await domain.setVcpus(2)
    expect([await third, written()]).toEqual(['SUPERSEDED', 'online,online,offline,offline'])
    await domain.destroy()
  })

  test('of ending: one that is given up takes nobody else\'s request back', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'it', memory: 8, kernel: idle })
    await domain.console.waitFor('up')
    domain.pause()
    const abort = new AbortController()
    const given = outcome(domain.reboot({ signal: abort.signal }))
    const first = outcome(domain.shutdown())
    const second = outcome(domain.shutdown({ signal: abort.signal }))
    for (let turns = 0; turns < 5; turns += 1) await new Promise((resolve) => setImmediate(resolve))
    abort.abort()
    expect(await Promise.all([given, second])).toEqual(['ABORTED', 'ABORTED'])
    domain.unpause()
    expect(await first).toBe('poweroff')
  })
})

describe('the end of a domain', () => {
  test('is told with the error where its creation, its restore or its reception failed behind its making', async () => {
    const host = await boot({ seed: 1, openDisk: () => { throw new XenError('IO', 'no such image') } })
    const told: string[] = []
    host.events.on('domain-created', ({ name }) => told.push(`${name} created`))
    host.events.on('domain-destroyed', ({ name, reason, error }) => {
      told.push(`${name} ${reason} ${XenError.is(error) ? error.code : ''} ${host.listDomains().length}`)
    })
    const seen: string[] = []
    host.hypervisor.events.on('domain-created', () => seen.push('created'))
    host.hypervisor.events.on('domain-destroyed', () => seen.push('destroyed'))
    const config = { memory: 8, kernel: idle, disks: ['/x,raw,xvda,w'] }
    await expect(host.createDomain({ name: 'no-disk', ...config })).rejects.toMatchObject({ code: 'IO' })
    const controller = new AbortController()
    const aborted = host.createDomain({ name: 'aborted', ...config, disks: [], nics: [''] }, { signal: controller.signal })
    const refused = expect(aborted).rejects.toMatchObject({ code: 'ABORTED' })
    aborted.progress.on('domain-made', () => controller.abort())
    await refused
    const bytes: Uint8Array[] = []
    const kept = await host.createDomain({ name: 'kept', memory: 8, kernel: idle })
    await kept.console.waitFor('up')
    await kept.save({ write: (chunk: Uint8Array) => void bytes.push(chunk.slice()) })
    const whole = Buffer.concat(bytes)
    await expect(host.restore(whole.subarray(0, whole.length >> 1), { kernel: idle, trust: 'all' })).rejects.toThrow()
    expect(told).toEqual(['no-disk failed IO 1', 'aborted failed ABORTED 1', 'kept created', 'kept saved  1', 'kept failed INVALID_STREAM 1'])
    expect(seen).toEqual(['created', 'destroyed', 'created', 'destroyed', 'created', 'destroyed', 'created', 'destroyed'])
  })

  test('is told for a restart that fails, beside the failed action', async () => {
    let opened = 0
    const openDisk = (): BlockStore => {
      if ((opened += 1) > 1) throw new XenError('IO', 'no such image any more')
      return new MemoryBlockStore(1 << 16)
    }
    const host = await boot({ seed: 1, openDisk })
    const told: string[] = []
    host.events.on('domain-destroyed', ({ domid: id, name, reason }) => told.push(`${id} ${name} ${reason}`))
    host.events.on('action-failed', ({ domid: id, action }) => told.push(`${id} ${action} failed`))
    const domain = await host.createDomain({ name: 'it', memory: 8, kernel: idle, disks: ['/x,raw,xvda,w'], actions: { reboot: 'restart' } })
    await domain.console.waitFor('up')
    await domain.reboot().catch(() => undefined)
    await host.settled()
    expect(told).toEqual(['1 it shutdown', '2 it failed', '1 restart failed'])
  })

  test('is told with its reason, and its name is free when the operation that ended it has resolved', async () => {
    const [here, there] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const told: unknown[] = []
    here.events.on('domain-destroyed', ({ reason, name }: HostEvent & { type: 'domain-destroyed' }) => told.push(`${name} ${reason}`))
    const fresh = async (kernel: GuestProgram = idle): Promise<Domain> => {
      const domain = await here.createDomain({ name: 'it', memory: 8, kernel, actions: { crash: 'destroy', reboot: 'destroy' } })
      if (kernel === idle) await domain.console.waitFor('up')
      return domain
    }
    await (await fresh()).shutdown()
    await (await fresh()).reboot()
    await (await fresh()).destroy()
    await (await fresh()).save({ write: () => undefined })
    const { ends } = transportPair()
    const moving = await fresh()
    await Promise.all([moving.migrate(ends[0]), there.receiveMigration(ends[1], { kernel: idle })])
    expect(await moving.waitForShutdown()).toBe('migrated')
    const crashed = await fresh((kernel) => { kernel.crash(new Error('on purpose')) })
    expect(await crashed.waitForShutdown()).toBe('crash')
    await here.settled()
    await fresh()
    await here.shutdown()
    expect(told).toEqual([
      'it shutdown', 'it shutdown', 'it destroyed', 'it saved', 'it--migratedaway migrated', 'it crashed', 'it host-shutdown',
    ])
  })

  test('is one however often it is asked for: further calls join the first, and behind it there is no such domain', async () => {
    const host = await boot()
    const gone = await host.createDomain({ name: 'gone', memory: 8, kernel: idle })
    await host.createDomain({ name: 'there', memory: 8, kernel: idle })
    const listed = host.domains()
    expect(await Promise.all([gone.destroy(), gone.destroy()].map(outcome))).toEqual(['done', 'done'])
    expect(await Promise.all(listed.map((domain) => outcome(domain.destroy())))).toEqual(['DOMAIN_NOT_FOUND', 'done'])
  })

  test('that is under way when the host is shut down is waited for', async () => {
    const host = await boot()
    const domains = []
    for (const name of ['first', 'ending', 'last']) domains.push(await host.createDomain({ name, memory: 8, kernel: idle }))
    const told: string[] = []
    host.events.on('domain-destroyed', ({ name, reason }) => told.push(`${name} ${reason}`))
    const ending = outcome(domains[1]!.destroy())
    expect(await outcome(host.shutdown())).toBe('done')
    expect([await ending, told.sort()]).toEqual(['done', ['ending destroyed', 'first host-shutdown', 'last host-shutdown']])
  })

  test('that somebody destroys while its restart is under way is final', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'it', memory: 8, kernel: idle, actions: { reboot: 'restart' } })
    await domain.console.waitFor('up')
    host.events.on('domain-shutdown', () => void domain.destroy())
    await outcome(domain.reboot())
    await host.settled()
    expect(host.domains()).toEqual([])
  })
})

test('a domain with the UUID of another is refused, and the other keeps its nodes', async () => {
  const host = await boot()
  const first = await host.createDomain({ name: 'first', memory: 4, kernel: idle })
  expect(await outcome(host.createDomain({ name: 'second', memory: 4, kernel: idle, uuid: first.uuid }))).toBe('DOMAIN_EXISTS')
  expect(host.store.read(`/vm/${first.uuid}/name`)).toBe('first')
  await first.destroy()
  await host.createDomain({ name: 'second', memory: 4, kernel: idle, uuid: first.uuid })
})

describe('last words', () => {
  const words = 'these are my last words\r\n'
  test.each<[string, GuestProgram]>([
    ['powers off', (kernel) => { kernel.console!.write(words); kernel.shutdown('poweroff') }],
    ['reboots', (kernel) => { kernel.console!.write(words); kernel.shutdown('reboot') }],
    ['crashes', (kernel) => { kernel.console!.write(words); throw new Error('on purpose') }],
  ])('of a guest that %s in its first slice are on its console', async (_, kernel) => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'brief', memory: 8, kernel, actions: { reboot: 'destroy', crash: 'destroy' } })
    await domain.waitForShutdown()
    await host.settled()
    expect([domain.exists, domain.console.text({ raw: true })]).toEqual([false, words])
  })

  test('of a binary guest, and of one that is destroyed, are on its console', async () => {
    const host = await boot()
    const brief = await host.createDomain({ name: 'brief', memory: 8, commandLine: 'run=echo good bye;poweroff' })
    await brief.waitForShutdown()
    await host.settled()
    expect(brief.console.text()).toContain('good bye')
    const ended = await host.createDomain({ name: 'ended', memory: 8, kernel: (kernel) => kernel.console!.write(words) }, { paused: true })
    ended.unpause()
    await ended.destroy()
    expect(['', words]).toContain(ended.console.text({ raw: true }))
  })

  test('without an end of line reach the hypervisor\'s console when the domain goes', async () => {
    const host = await boot()
    const domain = await host.createDomain({
      name: 'brief', memory: 8, kernel: (kernel) => {
        kernel.hypercalls.consoleWrite(new TextEncoder().encode('panic: half a li'))
        kernel.shutdown('poweroff')
      },
    })
    await domain.waitForShutdown()
    await host.settled()
    expect(host.hypervisor.readConsole()).toContain(`(d${domain.id}) panic: half a li\n`)
  })
})

test('a wait ends at its very nanosecond, whatever an idle guest has set its timer to', async () => {
  const host = await boot()
  const domain = await host.createDomain({ name: 'ticking', memory: 8, kernel: (kernel) => {
    const tick = (): void => void kernel.after(3.3e9, tick)
    tick()
  } })
  await host.settled()
  for (const timeout of [1e9, 12_345_678_901, 3] as const) {
    const before = host.now()
    await expect(domain.console.waitFor('never', { timeout })).rejects.toMatchObject({ code: 'TIMED_OUT' })
    expect(host.now() - before).toBe(timeout)
  }
})
