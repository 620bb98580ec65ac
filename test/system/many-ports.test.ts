/** A guest with more ports than shared_info has bits for: it goes over to queues, in pages of its own, and hears every event. */
import { expect, test } from 'vitest'
import { Host, type GuestProgram } from '../../src/index.ts'
import type { EventPort } from '../../src/util/index.ts'

const PORTS = 5000

test('a guest opens more than 4096 ports, and loses nothing of what comes before, meanwhile and afterwards', async () => {
  const host = await Host.boot({ memory: 64, dom0Memory: 16 })
  const heard = new Map<number, number>()
  const hear = (place: number) => (): void => void heard.set(place, (heard.get(place) ?? 0) + 1)
  const ports: EventPort[] = []
  const program: GuestProgram = async (kernel) => {
    const { events } = kernel
    for (let i = 0; i < PORTS; i += 1) {
      ports.push(events.bindIpi(hear(i)))
      // Some are pending when it goes over.
      if (i % 100 === 99 && i < 4000) events.notify(ports[i]!)
    }
    await kernel.sleep('50ms')
    kernel.console?.write(`${heard.size} before\n`)
    for (const port of ports) events.notify(port)
    await kernel.sleep('50ms')
    // A port that is closed and comes again, and one that stays masked meanwhile.
    events.notify(ports[4999]!)
    events.close(ports[4999]!)
    ports[4999] = events.bindIpi(hear(PORTS))
    await kernel.sleep('50ms')
    events.notify(ports[4999])
    await kernel.sleep('50ms')
    kernel.console?.write('done\n')
  }
  const domain = await host.createDomain({ name: 'ports', memory: 1, maxEventChannels: 8191, kernel: program })
  await domain.console.waitFor('done')
  expect(domain.console.text()).toContain('40 before')
  expect(ports.at(-2)).toBeGreaterThan(4096)
  expect(heard.size).toBe(PORTS + 1)
  for (let i = 0; i < PORTS; i += 1) expect(heard.get(i), `port ${i}`).toBe(i % 100 === 99 && i < 4000 ? 2 : 1)
  expect(heard.get(PORTS)).toBe(1)
  await host.shutdown()
})

test('a domain may have less than a MiB, in whole pages, and keeps it when it is saved', async () => {
  const host = await Host.boot({ memory: 64, dom0Memory: 16 })
  const program: GuestProgram = (kernel) => kernel.console?.write(`${kernel.frames.total} pages\n`)
  const domain = await host.createDomain({ name: 'small', memory: 0.25, kernel: program })
  await domain.console.waitFor('64 pages')
  expect(domain.config).toMatchObject({ memory: 0.25, maxMemory: 0.25 })
  expect(host.store.read(`/local/domain/${domain.id}/memory/target`)).toBe('256')
  expect(host.listDomains().find(({ id }) => id === domain.id)).toMatchObject({ memory: 0 })
  for (const memory of [0, 0.3, 1 / 256, 1.5, Number.NaN]) {
    await expect(host.createDomain({ name: 'other', memory, kernel: program })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  }
  await host.shutdown()
})
