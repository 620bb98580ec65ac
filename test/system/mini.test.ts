/** The embedded kernel on a host of ours: boot, commands, timer, balloon, peers, shutdown requests, crashes. */
import { afterEach, describe, expect, test } from 'vitest'
import {
  Host,
  type Domain,
  type DomainOptions,
  type GuestProgram,
  type HostOptions,
  type KernelSource,
} from '../../src/index.ts'
import { playConsole, withoutLeaks } from '../../src/testing/index.ts'
import type { DomId } from '../../src/util/index.ts'

const hosts: Host[] = []
async function boot(options: HostOptions = {}): Promise<Host> {
  const host = await Host.boot({ memory: 128, dom0Memory: 8, ...options })
  hosts.push(host)
  return host
}
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

async function mini(host: Host, over: Partial<DomainOptions<KernelSource>> = {}): Promise<Domain> {
  const domain = await host.createDomain({ name: 'mini', memory: 16, ...over })
  await domain.console.waitFor('mini> ')
  return domain
}

const ask = async (domain: Domain, command: string, answer: string | RegExp): Promise<RegExpExecArray> =>
  (await playConsole(domain, [{ type: `${command}\r` }, { expect: answer }], { timeout: 5e9 }))[0]!

describe('the embedded kernel', () => {
  test('keeps its vCPUs: a wish that it does not follow in time is taken back', async () => {
    const host = await boot()
    const domain = await mini(host, { vcpus: 1, maxVcpus: 3 })
    const wishes = () => [0, 1, 2].map((vcpu) => host.store.read(`/local/domain/${domain.id}/cpu/${vcpu}/availability`))
    const told: unknown[] = []
    host.events.on('vcpu-target', ({ domid: id, vcpus }) => told.push([id, vcpus]))
    const asking = domain.setVcpus(2, { wait: true, timeout: 1e9 })
    asking.progress.on('vcpus', ({ online, wanted }) => told.push([online, wanted, wishes()[1]]))
    await expect(asking).rejects.toMatchObject({ code: 'TIMED_OUT' })
    expect(told).toEqual([[domain.id, 2], [1, 2, 'online']])
    expect(wishes()).toEqual(['online', 'offline', 'offline'])
    const stop = new AbortController()
    const aborted = domain.setVcpus(3, { wait: true, signal: stop.signal })
    host.events.once('vcpu-target').then(() => stop.abort(), () => undefined)
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED' })
    expect(wishes()).toEqual(['online', 'offline', 'offline'])
    for (const count of [0, 4, 1.5, NaN]) {
      await expect(domain.setVcpus(count)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', details: { maximum: 3 } })
    }
    await domain.setVcpus(3)
    expect(wishes()).toEqual(['online', 'online', 'online'])
    await domain.setVcpus(1, { wait: true })
    await domain.destroy()
    await expect(domain.setVcpus(1)).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
  })

  test('prints what it was started with, as it does on real Xen', async () => {
    const host = await boot()
    const domain = await mini(host, { memory: 32, commandLine: 'hello=world', name: 'mini1' })
    const text = domain.console.text()
    for (const line of [
      'on Xen 4.17',
      'magic xen-3.0-x86_64, flags 0',
      '8192 pages, shared_info at machine address',
      'xenstore: frame',
      'port 1',
      'port 2',
      'command line: hello=world',
      'memory: 32768 KiB of 32768 KiB',
      '0 frames disagree',
      'domain 1, name: mini1',
    ])
      expect(text).toContain(line)
  })

  test('takes timer interrupts: virtual time passes as it should', async () => {
    const host = await boot()
    const domain = await mini(host)
    await ask(domain, 'ticks 3', /tick 3 at (\d+) ms/)
    const [first, , third] = [...domain.console.text().matchAll(/tick \d at (\d+) ms/g)]
      .slice(-3)
      .map((match) => Number(match[1]))
    expect(third! - first!).toBe(200)
  })

  test('reads and writes XenStore, with its own permissions only', async () => {
    const host = await boot()
    const domain = await mini(host)
    await ask(domain, 'read memory/target', /\n16384/)
    await ask(domain, 'write data/x hello', 'written')
    expect(host.store.read('/local/domain/1/data/x')).toBe('hello')
    await ask(domain, 'write /local/domain/0/name owned', 'write: refused')
    expect(host.store.read('/local/domain/0/name')).toBe('Domain-0')
  })

  test('follows its memory target, and the host counts along', async () => {
    const host = await boot()
    const domain = await mini(host)
    await domain.setMemTarget(8)
    expect(domain.summary().memory).toBe(8)
    await ask(domain, 'mem', 'memory: 8192 KiB of 16384 KiB')
    await domain.setMemTarget(16)
    await ask(domain, 'mem', /memory: 16384 KiB of 16384 KiB, kernel and tables \d+ KiB, 0 frames disagree/)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('exchanges an event and a granted page with a guest in TypeScript', async () => {
    const host = await boot()
    const peer: GuestProgram = async (kernel) => {
      const page = kernel.frames.allocate()
      page.bytes.set(new TextEncoder().encode('greetings from TypeScript\0'))
      const ref = kernel.grants.grant(1 as DomId, page.frame)
      const port = kernel.events.allocateUnbound(kernel.domid, 1 as DomId)
      await kernel.store!.write('data/offer', `${port} ${ref}`)
      await kernel.event(port)
      kernel.console!.log('it has answered')
    }
    const domain = await mini(host)
    const other = await host.createDomain({ name: 'peer', memory: 4, kernel: peer })
    await host.until('the offer', () => host.store.exists('/local/domain/2/data/offer'))
    await ask(
      domain,
      `peer 2 ${host.store.read('/local/domain/2/data/offer')}`,
      'domain 2 wrote: greetings from TypeScript',
    )
    await other.console.waitFor('it has answered')
  })

  test('two of them exchange an event and a page', async () => {
    const host = await boot()
    const one = await mini(host, { name: 'one' })
    const two = await mini(host, { name: 'two' })
    const [, port, ref] = await ask(one, 'offer 2 greetings', /peer 1 (\d+) (\d+)/)
    await ask(two, `peer 1 ${port} ${ref}`, 'domain 1 wrote: greetings')
  })

  test('obeys shutdown and reboot requests, and everything is given back', async () => {
    const host = await boot()
    await withoutLeaks(host, async () => {
      const domain = await mini(host)
      const restarted = host.events.once('domain-restarted')
      expect(await domain.reboot()).toBe('reboot')
      await restarted
      const again = host.domain('mini')
      expect(again.id).toBe(2)
      await again.console.waitFor('mini> ')
      expect(await again.shutdown()).toBe('poweroff')
      await host.settled()
    })
  })

  test('handles its own traps', async () => {
    const host = await boot()
    const domain = await mini(host)
    await ask(domain, 'break', 'break: passed')
    await ask(domain, 'mem', '0 frames disagree')
  })

  test.each(['crash', 'fault'])('that crashes (%s) is kept or ended as told, and the host goes on', async (command) => {
    const host = await boot()
    await withoutLeaks(host, async () => {
      const domain = await mini(host, { actions: { crash: 'preserve' } })
      await domain.console.write(`${command}\r`)
      expect(await domain.waitForShutdown()).toBe('crash')
      expect(domain.summary().state).toBe('---sc-')
      await domain.destroy()
      await mini(host, { name: 'next' }).then((next) => next.destroy())
    })
  })

  test('is paused, unpaused and destroyed while it runs', async () => {
    const host = await boot()
    await withoutLeaks(host, async () => {
      const domain = await mini(host)
      await domain.console.write('spin 50\r')
      domain.pause()
      expect(domain.summary().state).toMatch(/^..p/)
      const { cpuTime } = domain.info()
      await host.until('time to pass', () => true)
      expect(domain.info().cpuTime).toBe(cpuTime)
      domain.unpause()
      await domain.console.waitFor('spin: ')
      await domain.destroy()
      expect(() => domain.info()).toThrow(expect.objectContaining({ code: 'DOMAIN_NOT_FOUND' }))
      await expect(domain.console.waitFor('more')).rejects.toMatchObject({ code: 'CLOSED' })
      await expect(domain.shutdown()).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
    })
  })

  test('runs twice exactly alike', async () => {
    const run = async (): Promise<string> => {
      const host = await boot()
      const domain = await mini(host)
      await ask(domain, 'ticks 2', 'tick 2')
      await domain.shutdown()
      return `${domain.console.text()} ${host.now()}`
    }
    expect(await run()).toBe(await run())
  })
})
