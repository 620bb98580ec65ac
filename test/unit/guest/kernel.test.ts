import { describe, expect, test } from 'vitest'
import { SHUTDOWN } from '../../../src/abi/index.ts'
import { COST } from '../../../src/guest/index.ts'
import type { EventPort, GrantRef } from '../../../src/util/index.ts'
import { type FakeDomain, FakeHypervisor } from '../../../src/testing/index.ts'

const idle = (): void => undefined

describe('a guest kernel in TypeScript', () => {
  test('runs its program, sleeps in virtual time, and ends with the reason it gives', async () => {
    const hub = new FakeHypervisor()
    const times: number[] = []
    const domain = hub.createDomain(1, async (kernel) => {
      times.push(kernel.now())
      await kernel.sleep(5_000_000_000)
      times.push(kernel.now())
      kernel.shutdown('poweroff')
    })
    await hub.settle(10_000_000_000)
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(5_000_000_000)
    expect(times[1]! - times[0]!).toBeLessThan(5_000_100_000)
    expect(domain.shutdownReason).toBe(SHUTDOWN.poweroff)
  })

  test('lives on and serves its handlers when the program has returned', async () => {
    const hub = new FakeHypervisor()
    let events = 0
    const domain = hub.createDomain(1, (kernel) => {
      const tick = (): void => {
        events += 1
        kernel.after(1_000_000, tick)
      }
      tick()
    })
    await hub.settle(10_000_000)
    expect(events).toBeGreaterThanOrEqual(10)
    expect(domain.shutdownReason).toBeUndefined()
  })

  test.each([
    ['a handler', (kernel: FakeDomain['kernel']) => void kernel.after(10, () => { throw new Error('planted') })],
    ['an async program', async () => { throw new Error('planted') }],
    ['a program', () => { throw new Error('planted') }],
    ['a posted task', (kernel: FakeDomain['kernel']) => kernel.post(() => { throw new Error('planted') })],
    ['spawned work', (kernel: FakeDomain['kernel']) => kernel.spawn(async () => { throw new Error('planted') })],
  ])('an exception in %s crashes the domain, tells the host why, and harms nobody else', async (_where, program) => {
    const hub = new FakeHypervisor()
    let witness = 0
    hub.createDomain(1, async (kernel) => {
      await kernel.sleep(1_000_000)
      witness += 1
    })
    const domain = hub.createDomain(2, program)
    await hub.settle(2_000_000)
    expect(domain.shutdownReason).toBe(SHUTDOWN.crash)
    expect(domain.crash).toMatchObject({ message: 'planted' })
    expect(hub.log.join('')).toContain('domain 2 crashed: Error: planted')
    expect(witness).toBe(1)
  })

  test('two guests exchange events and share a granted page', async () => {
    const hub = new FakeHypervisor()
    const seen: string[] = []
    let offer: { ref: GrantRef; port: EventPort } | undefined
    const giver = hub.createDomain(1, async (kernel) => {
      const page = kernel.frames.allocate()
      page.bytes.set(new TextEncoder().encode('written by 1'))
      const port = kernel.events.allocateUnbound(kernel.domid, 2 as never)
      offer = { ref: kernel.grants.grant(2 as never, page.frame), port }
      await kernel.event(port)
      seen.push(new TextDecoder().decode(page.bytes.subarray(0, 12)))
      expect(kernel.grants.end(offer.ref)).toBe(true)
    })
    await hub.settle()
    hub.createDomain(2, async (kernel) => {
      const page = kernel.grants.map(1 as never, offer!.ref)
      seen.push(new TextDecoder().decode(page.bytes.subarray(0, 12)))
      page.bytes[11] = 0x32
      const port = kernel.events.bindInterdomain(1 as never, offer!.port)
      kernel.grants.unmap(page)
      kernel.events.notify(port)
    })
    await hub.settle()
    expect(seen).toEqual(['written by 1', 'written by 2'])
    expect(hub.mappings).toBe(0)
    expect(giver.kernel.grants.granted).toBe(0)
  })

  test('an event that comes between two awaits is not lost', async () => {
    const hub = new FakeHypervisor()
    let port = 0 as EventPort
    const counted: number[] = []
    hub.createDomain(1, async (kernel) => {
      port = kernel.events.allocateUnbound(kernel.domid, 2 as never)
      for (let i = 0; i < 3; i += 1) {
        await kernel.event(port)
        counted.push(i)
        await kernel.sleep(100_000)
      }
    })
    await hub.settle()
    hub.createDomain(2, async (kernel) => {
      const own = kernel.events.bindInterdomain(1 as never, port)
      for (let i = 0; i < 3; i += 1) {
        kernel.events.notify(own)
        await kernel.sleep(150_000)
      }
    })
    await hub.settle(1_000_000)
    expect(counted).toEqual([0, 1, 2])
  })

  test('hundreds of ports that are pending at once are each delivered once', async () => {
    const hub = new FakeHypervisor()
    const heard: number[] = []
    const opened: EventPort[] = []
    const target = hub.createDomain(1, (kernel) => {
      for (let i = 0; i < 300; i += 1) {
        const port = kernel.events.allocateUnbound(kernel.domid, 2 as never, () => heard.push(port))
        opened.push(port)
      }
    })
    await hub.settle()
    for (const port of opened) target.setPending(port)
    for (const port of opened) target.setPending(port)
    await hub.settle()
    expect([...heard].sort((a, b) => a - b)).toEqual(opened)
  })

  test('a masked port stays pending and is delivered once it is unmasked', async () => {
    const hub = new FakeHypervisor()
    let heard = 0
    let port = 0 as EventPort
    const domain = hub.createDomain(1, (kernel) => {
      port = kernel.events.allocateUnbound(kernel.domid, 2 as never, () => { heard += 1 })
    })
    await hub.settle()
    const { PendingEvents } = await import('../../../src/guest/pending-events.ts')
    new PendingEvents(domain.hypercalls.memory, domain.sharedInfo).setMask(port)
    domain.setPending(port)
    await hub.settle()
    expect(heard).toBe(0)
    domain.hypercalls.unmaskPort(port)
    await hub.settle()
    expect(heard).toBe(1)
  })

  test('a timer or a task that renews itself for ever does not keep events from being heard', async () => {
    const hub = new FakeHypervisor()
    let heard = 0
    let port = 0 as EventPort
    const domain = hub.createDomain(1, (kernel) => {
      port = kernel.events.allocateUnbound(kernel.domid, 2 as never, () => { heard += 1 })
      const again = (): void => {
        kernel.after(0, again)
        kernel.post(() => undefined)
      }
      again()
    })
    domain.runner.run(20_000)
    domain.setPending(port)
    domain.runner.run(20_000)
    expect(heard).toBe(1)
  })

  test('a budget of one handler makes it stop after each, and nothing is lost', async () => {
    const hub = new FakeHypervisor()
    let done = 0
    const domain = hub.createDomain(1, (kernel) => {
      for (let i = 0; i < 20; i += 1) kernel.post(() => { done += 1 })
    })
    domain.runner.run(0)
    const before = done
    const exits: string[] = []
    for (let i = 0; i < 25; i += 1) exits.push(domain.runner.run(1).kind)
    expect(before).toBe(0)
    expect(done).toBe(20)
    expect(exits.filter((kind) => kind === 'budget').length).toBeGreaterThanOrEqual(19)
    expect(exits.at(-1)).toBe('block')
    expect(domain.runner.executed).toBeLessThan(COST.boot)
  })

  test('the same guests run twice take exactly the same virtual time', async () => {
    const run = async (): Promise<number[]> => {
      const hub = new FakeHypervisor()
      const stamps: number[] = []
      for (const id of [1, 2, 3]) {
        hub.createDomain(id, async (kernel) => {
          for (let i = 0; i < 10; i += 1) {
            await kernel.sleep(kernel.random.next() % 100_000)
            kernel.frames.release(kernel.frames.allocate())
            stamps.push(kernel.now())
          }
        })
      }
      await hub.settle(10_000_000)
      return stamps
    }
    const first = await run()
    expect(first.length).toBe(30)
    expect(await run()).toEqual(first)
  })

  test('time stands still while an idle guest holds it for work outside', async () => {
    const hub = new FakeHypervisor()
    let elapsed = -1
    hub.createDomain(1, (kernel) => { kernel.after(50_000_000, idle) })
    hub.createDomain(2, async (kernel) => {
      const start = kernel.now()
      const release = kernel.hold()
      await new Promise((resolve) => setTimeout(resolve, 20))
      elapsed = kernel.now() - start
      release()
    })
    await hub.settle(100_000_000)
    expect(elapsed).toBeGreaterThanOrEqual(0)
    expect(elapsed).toBeLessThan(50_000_000)
  })

  test('traps have no meaning for it, so the hypervisor is told to crash the domain', () => {
    const hub = new FakeHypervisor()
    const { runner } = hub.createDomain(1, idle)
    expect(runner.enter({ kind: 'event' })).toBe(true)
    expect(runner.enter({ kind: 'trap' })).toBe(false)
    expect(runner.enter({ kind: 'syscall' })).toBe(false)
  })

  test('a suspend that is cancelled goes on where it stopped', async () => {
    const hub = new FakeHypervisor()
    const heard: string[] = []
    const domain = hub.createDomain(1, async (kernel) => {
      kernel.control.afterResume(() => { heard.push('resumed') })
      kernel.after(1_000_000, () => heard.push('timer'))
      kernel.shutdown('suspend')
    })
    await hub.settle(5_000_000)
    expect(domain.shutdownReason).toBe(SHUTDOWN.suspend)
    expect(heard).toEqual([])
    domain.shutdownReason = undefined
    domain.runnable = true
    await hub.settle(5_000_000)
    expect(heard.sort()).toEqual(['resumed', 'timer'])
  })
})
