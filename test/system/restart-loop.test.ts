/** Guests that end as soon as they have begun: they are started anew as xl does, and not for ever. */
import { afterEach, expect, test } from 'vitest'
import type { GuestProgram } from '../../src/guest/index.ts'
import { Host } from '../../src/index.ts'
import { WARNING_LIMIT } from '../../src/toolstack/index.ts'
import { MOST_SHORT_LIVES, RESTART_PAUSE, RestartRule, SHORT_LIFE } from '../../src/toolstack/host/restart-rule.ts'

const hosts: Host[] = []
async function boot(): Promise<{ host: Host; starts: number[] }> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16 })
  hosts.push(host)
  const starts: number[] = []
  host.events.on('domain-created', ({ time }) => starts.push(time))
  return { host, starts }
}
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

const reboots: GuestProgram = (kernel) => kernel.shutdown('reboot')

test('a guest that reboots at once is started anew every two seconds, ten times, and no more', async () => {
  const { host, starts } = await boot()
  await host.createDomain({ name: 'loop', memory: 4, kernel: reboots })
  const last = host.events.once('domain-shutdown', ({ action }) => action === 'destroy')
  await host.until('the end of the loop', () => host.domains().length === 0 && starts.length > MOST_SHORT_LIVES, { timeout: 60e9 })
  await last
  await host.settled()
  expect(starts).toHaveLength(1 + MOST_SHORT_LIVES)
  for (const [i, start] of starts.entries()) if (i > 0) expect(start - starts[i - 1]!).toBeGreaterThanOrEqual(RESTART_PAUSE)
  expect(host.domains()).toEqual([])
  expect(host.warnings.map(({ message }) => message)).toEqual(['restart of loop has no effect: too often and too soon; destroy instead'])
  // The name begins anew, too.
  await host.createDomain({ name: 'loop', memory: 4, kernel: reboots })
  const again = host.events.once('domain-restarted')
  expect((await again).name).toBe('loop')
})

test('a host waits for nobody: settled() ends beside a guest that reboots at once, and shutdown() starts nothing anew', async () => {
  const { host, starts } = await boot()
  await host.createDomain({ name: 'loop', memory: 4, kernel: reboots })
  await host.settled()
  expect(starts.length).toBeLessThan(4)
  await host.shutdown()
  const count = starts.length
  await new Promise((resolve) => setImmediate(resolve))
  expect([starts.length, host.domains()]).toEqual([count, []])
})

test('a host keeps its last thousand warnings, whatever ends again and again', async () => {
  const { host } = await boot()
  const words = Array.from({ length: 1100 }, (_, i) => `unheard_of_${i} = 1`)
  await host.createDomain(['name = "x"', 'memory = 8', ...words].join('\n'), { paused: true })
  expect([host.warnings.length, host.warnings.at(-1)!.option]).toEqual([WARNING_LIMIT, 'unheard_of_1099'])
})

test('lives that are long, and restarts that were asked for, begin the count anew', () => {
  const rule = new RestartRule()
  const short = { life: SHORT_LIFE - 1, wasAsked: false }
  const most = (): number => {
    for (let count = 0; ; count += 1) if (!rule.allows('a', short)) return count
  }
  expect([most(), most()]).toEqual([MOST_SHORT_LIVES, MOST_SHORT_LIVES])
  for (const reset of [{ life: SHORT_LIFE, wasAsked: false }, { life: 1, wasAsked: true }]) {
    for (let i = 0; i < MOST_SHORT_LIVES; i += 1) expect(rule.allows('a', short)).toBe(true)
    for (let i = 0; i < 3 * MOST_SHORT_LIVES; i += 1) expect(rule.allows('a', reset)).toBe(true)
    expect([rule.size, most()]).toEqual([0, MOST_SHORT_LIVES])
    for (let i = 0; i < 3000; i += 1) rule.allows(`name ${i}`, short)
    expect(rule.size).toBe(1000)
    for (let i = 0; i < 3000; i += 1) rule.forget(`name ${i}`)
  }
})
