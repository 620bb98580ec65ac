import { expect, test } from 'vitest'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 16 })

test('a held host runs as far as its holder says, and by itself again when it is let go', async () => {
  const host = await boot()
  const domain = await host.createDomain({ name: 'mini', memory: 8 })
  using held = await host.hold()
  const seen = domain.console.waitFor('tick 3')
  const from = held.now
  await held.runTo(from + 12_345)
  const stood = host.now()
  expect(stood - from - 12_345).toBeLessThan(100_000)
  expect(stood).toBeGreaterThanOrEqual(from + 12_345)
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(held.now).toBe(stood)
  await held.runTo(from + 5e9)
  await seen
  expect(held.now).toBeGreaterThanOrEqual(from + 5e9)
  held.release()
  held.release()
  await domain.console.write('mem\r')
  await domain.console.waitFor(/0 frames disagree/)
})

test('a host that follows the wall is held by nobody', async () => {
  const host = await boot({ clock: 'realtime' })
  await expect(host.hold()).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
})
