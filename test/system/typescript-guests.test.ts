import { afterEach, describe, expect, test } from 'vitest'
import { Host, formatDomainList, type GuestProgram, type HostOptions } from '../../src/index.ts'
import { withoutLeaks } from '../../src/testing/index.ts'
import type { DomId, EventPort, GrantRef, XenError } from '../../src/util/index.ts'

const hosts: Host[] = []
async function boot(options: HostOptions = {}): Promise<Host> {
  const host = await Host.boot({ memory: 64, dom0Memory: 8, ...options })
  hosts.push(host)
  return host
}
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

/** Says hello, answers lines, and lives until it is told to end. */
const echo: GuestProgram = async (kernel) => {
  kernel.console!.log(`hello from domain ${kernel.domid}, ${await kernel.store!.read('name')}`)
  for await (const line of kernel.console!.lines()) kernel.console!.log(`you said: ${line}`)
}

describe('a host', () => {
  test('boots, lists dom0 alone, and shuts down', async () => {
    const host = await boot({ dom0Memory: 16 })
    expect(host.listDomains()).toMatchObject([{ name: 'Domain-0', id: 0, memory: 16, vcpus: 1 }])
    expect(formatDomainList(host.listDomains())).toMatch(/^Name .*\nDomain-0 +0 +16 +1 +[r-][b-]---- +0\.\d\n$/)
    await host.shutdown()
    expect(() => host.domain(1)).toThrow(expect.objectContaining({ code: 'DOMAIN_NOT_FOUND' }))
    await expect(host.createDomain({ name: 'late' })).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('follows a grub.conf', async () => {
    const host = await Host.bootFromGrub('title X\nkernel /boot/xen.gz dom0_mem=24M sched=fast\nmodule /vmlinuz ro', {
      memory: 64,
    })
    hosts.push(host)
    expect(host.listDomains()).toMatchObject([{ memory: 24 }])
    expect(host.dom0.kernel.boot.commandLine).toBe('ro')
    expect(host.warnings.map(({ option }) => option)).toContain('sched')
  })

  test('follows a grub.cfg of GRUB 2', async () => {
    const entries = "menuentry 'Debian' {\n linux /vmlinuz\n}\nsubmenu 'More' {\nmenuentry 'Xen' --id xen {\n"
      + " multiboot2 /boot/xen.gz placeholder dom0_mem=24M\n module2 /vmlinuz placeholder ro quiet\n}\n}\nset default='1>xen'\n"
    const host = await Host.bootFromGrub(entries, { memory: 64 })
    hosts.push(host)
    expect(host.listDomains()).toMatchObject([{ memory: 24 }])
    expect([host.bootDescription?.title, host.dom0.kernel.boot.commandLine]).toEqual(['More>Xen', 'ro quiet'])
  })

  test.each([['dom0_max_vcpus=1', 0], ['dom0_max_vcpus=-4', 0], ['dom0_max_vcpus=2', 1], ['dom0_max_vcpus=2-4', 1]])('warns of more vCPUs for dom0 than it has: %s', async (option, count) => {
    const host = await Host.bootFromGrub(`title X\nkernel /boot/xen.gz ${option}\nmodule /vmlinuz ro`, { memory: 64 })
    hosts.push(host)
    expect(host.warnings.filter((warning) => warning.option === 'dom0_max_vcpus')).toHaveLength(count)
  })

  test("changes dom0's memory", async () => {
    const host = await boot({ dom0Memory: 32 })
    const pages: number[] = []
    const operation = host.setMemTarget(0, 16)
    operation.progress.on('memory', (event) => pages.push(event.pages))
    await operation
    expect(host.listDomains()[0]?.memory).toBe(16)
    expect(pages.at(0)).toBe(32 * 256)
    expect(pages.at(-1)).toBe(16 * 256)
    await host.setMemTarget(0, 20)
    expect(host.listDomains()[0]?.memory).toBe(20)
    await expect(host.setMemTarget(0, 4096)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(host.setMaxMem(0, 16)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', details: { target: 20 } })
    await host.setMaxMem('Domain-0', 24)
    await expect(host.setMemTarget(0, 25)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', details: { maximum: 24 } })
  })
})

describe('a guest written in TypeScript', () => {
  test('talks on its console and ends when it is told to', async () => {
    const host = await boot()
    await withoutLeaks(host, async () => {
      const domain = await host.createDomain({ name: 'echo', memory: 4, kernel: echo })
      await domain.console.waitFor('hello from domain 1, echo')
      await domain.console.write('good morning\r')
      await domain.console.waitFor('you said: good morning')
      await host.settled()
      expect(host.listDomains()).toMatchObject([{ id: 0 }, { name: 'echo', id: 1, memory: 4, state: '-b----' }])
      const steps: string[] = []
      const ending = domain.shutdown()
      ending.progress.onAny((event) => steps.push(event.type))
      expect(await ending).toBe('poweroff')
      expect(steps).toEqual(['requested', 'acknowledged'])
      await host.settled()
      expect(host.domains()).toEqual([])
    })
  })

  test('exchanges an event and a granted page with another', async () => {
    const host = await boot()
    const offer: GuestProgram = async (kernel) => {
      const page = kernel.frames.allocate()
      page.bytes.set(new TextEncoder().encode('greetings'))
      const ref = kernel.grants.grant(2 as DomId, page.frame)
      const port = kernel.events.allocateUnbound(kernel.domid, 2 as DomId)
      await kernel.store!.write('data/offer', `${ref} ${port}`)
      await kernel.event(port)
      kernel.console!.log(`answered: ${new TextDecoder().decode(page.bytes.subarray(0, 6))}`)
    }
    const take: GuestProgram = async (kernel) => {
      const [ref, port] = kernel.boot.commandLine.split(' ').map(Number)
      const page = kernel.grants.map(1 as DomId, ref as GrantRef)
      kernel.console!.log(`read: ${new TextDecoder().decode(page.bytes.subarray(0, 9))}`)
      page.bytes.set(new TextEncoder().encode('thanks'))
      const own = kernel.events.bindInterdomain(1 as DomId, port as EventPort)
      kernel.events.notify(own)
      kernel.grants.unmap(page)
    }
    const first = await host.createDomain({ name: 'offer', memory: 4, kernel: offer })
    await host.until('the offer', () => host.store.exists('/local/domain/1/data/offer'))
    const second = await host.createDomain({
      name: 'take',
      memory: 4,
      kernel: take,
      commandLine: host.store.read('/local/domain/1/data/offer'),
    })
    await second.console.waitFor('read: greetings')
    await first.console.waitFor('answered: thanks')
  })

  test('cannot map a page that it was not granted', async () => {
    const host = await boot()
    const thief: GuestProgram = (kernel) => {
      try {
        kernel.grants.map(0 as DomId, 8 as GrantRef)
        kernel.console!.log('mapped')
      } catch (error) {
        kernel.console!.log(`refused: ${(error as { code: string }).code}`)
      }
    }
    const domain = await host.createDomain({ name: 'thief', memory: 4, kernel: thief })
    await domain.console.waitFor('refused: HYPERCALL_FAILED')
  })

  test('balloons to its target', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'b', memory: 8, maxMemory: 12, kernel: echo })
    await domain.console.waitFor('hello')
    await domain.setMemTarget(4)
    expect(domain.summary().memory).toBe(4)
    await domain.setMemTarget(12)
    expect(domain.summary().memory).toBe(12)
    await expect(domain.setMemTarget(13)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', details: { maximum: 12 } })
  })

  test('has a maximum that can be raised above what it was created with, and lowered to its target', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'b', memory: 4, maxMemory: 6, kernel: echo })
    await domain.console.waitFor('hello')
    const seen: unknown[] = []
    host.events.on('memory-maximum', ({ domid: id, mebibytes }) => seen.push({ id, mebibytes }))
    const raising = domain.setMaxMem(10)
    raising.progress.on('limit', ({ pages }) => seen.push(pages))
    await raising
    expect(seen).toEqual([11 * 256, { id: domain.id, mebibytes: 10 }])
    expect(host.store.read(`/local/domain/${domain.id}/memory/static-max`)).toBe('10240')
    expect(domain.info().maxPages).toBe(11 * 256)
    expect(domain.summary().memory).toBe(4)
    await domain.setMemTarget(10)
    expect(domain.summary().memory).toBe(10)
    await domain.setMemTarget(5)
    await domain.setMaxMem(5)
    await expect(domain.setMemTarget(6)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', details: { maximum: 5 } })
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('keeps its maximum when it cannot be what was asked for', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'b', memory: 4, maxMemory: 6, kernel: echo })
    const facts = () => [domain.info().maxPages, host.store.read(`/local/domain/${domain.id}/memory/static-max`)]
    const before = facts()
    for (const [mebibytes, details] of [[3, { target: 4 }], [0, {}], [4.5, {}], [NaN, {}], [2 ** 40, {}]] as const) {
      await expect(domain.setMaxMem(mebibytes)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', details })
    }
    await expect(domain.setMaxMem(8, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
    expect(facts()).toEqual(before)
    await domain.destroy()
    await expect(domain.setMaxMem(8)).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
    await expect(domain.setMemTarget(4)).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
  })

  test('takes the maximum that it was given along when it is saved and restored', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'b', memory: 4, maxMemory: 6, kernel: echo })
    await domain.console.waitFor('hello')
    await domain.setMaxMem(9)
    const stream = new TransformStream<Uint8Array, Uint8Array>(undefined, { highWaterMark: 1 << 20 })
    const [, restored] = await Promise.all([
      domain.save(stream.writable),
      host.restore(stream.readable, { kernel: echo, rename: () => 'again' }),
    ])
    expect(restored.config.maxMemory).toBe(9)
    await restored.setMemTarget(9)
    expect(restored.summary().memory).toBe(9)
  })

  test('is paused and goes on', async () => {
    const host = await boot()
    let ticks = 0
    const ticker: GuestProgram = async (kernel) => {
      for (;;) {
        await kernel.sleep(1e6)
        ticks += 1
      }
    }
    const domain = await host.createDomain({ name: 't', memory: 4, kernel: ticker }, { paused: true })
    expect(domain.summary().state).toBe('--p---')
    await host.settled()
    expect(ticks).toBe(0)
    domain.unpause()
    await host.until('ten ticks', () => ticks >= 10)
    domain.pause()
    const then = ticks
    await host.settled()
    expect(ticks).toBe(then)
    await domain.destroy()
  })

  test('that throws crashes alone: its action follows, the host goes on', async () => {
    const host = await boot()
    const errors: unknown[] = []
    host.events.on('guest-error', ({ error }) => errors.push(error))
    const domain = await host.createDomain({
      name: 'bad',
      memory: 4,
      kernel: () => {
        throw new Error('oops')
      },
      actions: { crash: 'preserve' },
    })
    expect(await domain.waitForShutdown()).toBe('crash')
    await host.settled()
    expect(domain.summary().state).toBe('---sc-')
    expect(errors).toMatchObject([{ message: 'oops' }])
    await domain.destroy()
    const next = await host.createDomain({ name: 'good', memory: 4, kernel: echo })
    await next.console.waitFor('hello')
  })

  test('that reboots comes back under another number', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'again', memory: 4, kernel: echo })
    await domain.console.waitFor('hello')
    const restarted = host.events.once('domain-restarted')
    expect(await domain.reboot()).toBe('reboot')
    const { domid, newDomid } = await restarted
    expect([domid, newDomid]).toEqual([1, 2])
    await host.domain('again').console.waitFor('hello from domain 2, again')
  })

  test('says who may read its nodes', async () => {
    const host = await boot()
    const tell = await host.createDomain({
      name: 'tell', memory: 4, kernel: async (kernel) => {
        const store = kernel.store!
        for (const name of ['open', 'closed']) await store.write(`data/${name}`, '42')
        await store.setPermissions('data/open', ['r1'])
        const refused = await Promise.all([
          store.setPermissions('/local/domain/0/name', ['b1']), store.setPermissions('data/open', ['x1']), store.getPermissions('data/none'),
        ].map((call) => call.then(() => 'done', (error: XenError) => error.details['error'])))
        const lists = [await store.getPermissions('data/open'), await store.getPermissions('data/closed')]
        kernel.console!.log(`${JSON.stringify(lists)}, others: ${refused.join(' ')}`)
      },
    })
    await tell.console.waitFor(/^\[\["r1"\],\["n1"\]\], others: EACCES EINVAL ENOENT$/)
    const reads = ['open', 'closed'].map((name) => `/local/domain/1/data/${name}`)
    const reader = await host.createDomain({
      name: 'reader', memory: 4, kernel: async (kernel) => {
        const found = await Promise.all(reads.map((path) => kernel.store!.read(path).catch((error: XenError) => error.details['error'])))
        kernel.console!.log(found.join(' '))
      },
    })
    await reader.console.waitFor(/^42 EACCES$/)
  })

  test('gets on however short its slices are: what an upcall is for is done before the next is paid for', async () => {
    const host = await boot()
    let turns = 0
    host.hypervisor.direct({ decide: ({ candidates, now }) => ({ vcpu: candidates[(turns += 1) % candidates.length]!, until: now + 1 }) })
    const busy: GuestProgram = async (kernel) => {
      for (let round = 0; round < 8; round += 1) {
        await kernel.store!.write('data/round', String(round))
        await kernel.sleep('1us')
      }
      kernel.console!.log('done')
    }
    const domains = await Promise.all(['one', 'two'].map((name) => host.createDomain({ name, memory: 4, kernel: busy })))
    for (const domain of domains) await domain.console.waitFor('done', { timeout: '100ms' })
    expect(turns).toBeGreaterThan(50)
  })

  test('runs twice exactly alike with the same seed', async () => {
    const trace = async (seed: number): Promise<string> => {
      const host = await boot({ seed })
      const domain = await host.createDomain({
        name: 'r', memory: 4, kernel: async (kernel) => {
          for (let i = 0; i < 5; i += 1) {
            await kernel.sleep(1000 + kernel.random.next() % 100_000)
            kernel.console!.log(`${i} at ${kernel.now()}`)
          }
          kernel.shutdown('poweroff')
        },
      })
      await domain.waitForShutdown()
      await host.settled()
      return domain.console.text() + host.now()
    }
    const first = await trace(5)
    expect(first).toMatch(/4 at \d+/)
    expect(await trace(5)).toBe(first)
    expect(await trace(6)).not.toBe(first)
  })
})
