/** Watching binary guests at work, from the toolstack. */
import { afterEach, describe, expect, test } from 'vitest'
import { Host, type Domain, type GuestProgram, type TracedException } from '../../src/index.ts'
import { playConsole } from '../../src/testing/index.ts'

const hosts: Host[] = []
async function mini(): Promise<{ host: Host; domain: Domain }> {
  const host = await Host.boot({ memory: 64, dom0Memory: 8 })
  hosts.push(host)
  const domain = await host.createDomain({ name: 'mini', memory: 16, actions: { crash: 'preserve' } })
  await domain.console.waitFor('mini> ')
  return { host, domain }
}
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

const ask = (domain: Domain, command: string, answer: string): Promise<unknown> =>
  playConsole(domain, [{ type: `${command}\r` }, { expect: answer }], { timeout: 5e9 })

describe('a traced domain', () => {
  test('tells every instruction, hypercalls and writes to its rings among them, and then runs on untraced', async () => {
    const { domain } = await mini()
    let [count, hypercalls, writes] = [0, 0, 0]
    const trace = domain.trace({
      instruction: ({ instruction }) => {
        count += 1
        if (instruction?.mnemonic === 'syscall') hypercalls += 1
      },
      memory: ({ kind }) => { writes += kind === 'write' ? 1 : 0 },
    })
    await ask(domain, 'echo traced', 'traced')
    expect(trace.active).toBe(true)
    expect(count).toBeGreaterThan(1000)
    expect(hypercalls).toBeGreaterThan(1)
    expect(writes).toBeGreaterThan(100)
    trace.stop()
    const before = count
    await ask(domain, 'echo alone', 'alone')
    expect([count, trace.active, trace.error]).toEqual([before, false, undefined])
  })

  test('does exactly what it does untraced, in the same virtual time', async () => {
    const times: number[] = []
    for (const isTraced of [false, true]) {
      const { host, domain } = await mini()
      if (isTraced) domain.trace({ instruction: () => {}, memory: () => {}, exception: () => {} })
      await ask(domain, 'mem', '0 frames disagree')
      await host.settled()
      times.push(domain.info().cpuTime)
    }
    expect(times[0]).toBe(times[1])
  }, 60_000)

  test('is paused where a hook says stop, and goes on from there', async () => {
    const { host, domain } = await mini()
    const told: unknown[] = []
    host.events.on('domain-paused', ({ domid: id }) => told.push(id))
    let stops = 0
    const trace = domain.trace({
      instruction: ({ instruction }) => (instruction?.mnemonic === 'syscall' && stops++ === 0 ? 'stop' : undefined),
    })
    await domain.console.write('echo stopped\r')
    await host.until('the hook to stop it', () => stops > 0 && domain.summary().state.includes('p'))
    expect(told).toEqual([domain.id])
    trace.stop()
    domain.unpause()
    await domain.console.waitFor('stopped')
    expect(stops).toBe(1)
  })

  test('tells the exception that ends it', async () => {
    const { domain } = await mini()
    const seen: TracedException[] = []
    domain.trace({ exception: (event) => { seen.push(event) } })
    await domain.console.write('fault\r')
    expect(await domain.waitForShutdown()).toBe('crash')
    expect(seen.map(({ vector }) => vector)).toContain(14)
  })

  test('a hook that throws ends its trace and nothing else', async () => {
    const { domain } = await mini()
    const trace = domain.trace({ instruction: () => { throw new Error('mine') } })
    await ask(domain, 'echo unharmed', 'unharmed')
    expect([trace.active, trace.error]).toEqual([false, new Error('mine')])
  })

  test('a vCPU that is not there, or has no registers, cannot be watched', async () => {
    const { host, domain } = await mini()
    expect(() => domain.trace({}, { vcpu: 1 })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    const program: GuestProgram = async () => { await new Promise(() => {}) }
    const written = await host.createDomain({ name: 'written', memory: 4, kernel: program })
    expect(() => written.trace({})).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
  })
})
