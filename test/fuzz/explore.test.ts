/**
 * Our own XenStore, drivers, toolstack and migration, explored: what they promise holds whatever order vCPUs run in and however late timers
 * come. A few schedules each; FUZZ=long as many as CI runs. A bug that this finds becomes a row here.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import { BlockFrontend, MemoryBlockStore } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import { compareResources, explore, resourceSnapshot, type RunBody, type Scenario } from '../../src/testing/index.ts'
import type { Host, Moment } from '../../src/toolstack/index.ts'
import { careful, emptyHost } from '../support/explore/counter.ts'

const RUNS = process.env['FUZZ'] === 'long' ? 100 : 5
const HOST = { memory: 48, dom0Memory: 16 } as const

/** Writes sectors and reads them back, several at once, and says whether they were what it wrote. */
const diskUser: GuestProgram = async (kernel) => {
  const disks = new BlockFrontend()
  await new FrontendBus(kernel).register(disks)
  const disk = await disks.disk(51712)
  const sector = (number: number): Uint8Array => new Uint8Array(512).fill(number + 1)
  let isRight = true
  for (let round = 0; round < 4; round += 1) {
    const numbers = [0, 1, 2, 3].map((number) => number * 8 + round)
    await Promise.all(numbers.map((number) => disk.write(number, sector(number))))
    await disk.flush()
    const read = await Promise.all(numbers.map((number) => disk.read(number, 1)))
    isRight &&= read.every((bytes, at) => bytes.every((byte) => byte === numbers[at]! + 1))
  }
  kernel.console!.log(isRight ? 'disk: right' : 'disk: wrong')
  await kernel.sleep('1ms')
  kernel.shutdown('poweroff')
}

const drivers: RunBody = async ({ host, always }) => {
  const domain = await host.createDomain({ name: 'disk', memory: 4, kernel: diskUser, disks: ['any,raw,xvda,w'] })
  const [, word] = await domain.console.waitFor(/disk: (\w+)/)
  always(word === 'right', 'what was written is read')
  await host.until('the end of the domain', () => host.domains().length === 0)
  always(host.hypervisor.checkInvariants().length === 0, 'the hypervisor adds up', host.hypervisor.checkInvariants())
}

/** Lives until it is told to end. */
const obedient: GuestProgram = async (kernel) => {
  kernel.console!.log('up')
  for (;;) await kernel.sleep('2ms')
}

const toolstack: RunBody = async ({ host, always, sometimes, quiet }) => {
  const before = await resourceSnapshot(host)
  const names = ['one', 'two', 'three']
  const settled = await Promise.allSettled(names.map(async (name, number) => {
    const domain = await host.createDomain({ name, memory: 4, kernel: obedient })
    domain.pause()
    await Promise.resolve()
    domain.unpause()
    if (number === 0) await domain.setMemTarget(3, { timeout: '20ms' }).catch(() => undefined)
    if (number === 1) await domain.destroy()
    else await domain.shutdown({ timeout: '20ms' })
  }))
  sometimes(settled.every(({ status }) => status === 'fulfilled'), 'all calls are done')
  quiet()
  // All at once: one after the other would find those gone that end meanwhile.
  await Promise.all(host.domains().map((domain) => domain.destroy()))
  await host.settled()
  always(host.domains().length === 0, 'no domain is left')
  const left = compareResources(before, await resourceSnapshot(host))
  always(left.length === 0, 'nothing is left', left)
}

const migration: RunBody = async ({ simulate, always, sometimes, seed }) => {
  const world = await simulate({ hosts: { a: HOST, b: HOST } })
  const domain = (await world.until(world.host('a').createDomain({ name: 'mini', memory: 8 })))!
  await world.until(domain.console.waitFor('tick 3'))
  const { where } = await world.migrate(domain, 'b', seed % 3 === 0 ? {} : { cutAt: seed % 8_000_000 })
  const running = world.names.flatMap((name) => world.host(name).domains().filter(() => where !== 'undecided'))
  sometimes(where === 'moved', 'it moves')
  sometimes(where === 'stayed', 'it stays')
  if (where === 'undecided') return
  always(running.length === 1, 'one host runs the domain', running.length)
  const [there] = running
  await world.until(there!.console.write('mem\r'))
  const [text] = (await world.until(there!.console.waitFor(/memory: .*\n/)))!
  always(text.includes(' 0 frames disagree'), 'its memory is as it left it', text)
}

describe('explored, our own', { timeout: 600_000 }, () => {
  let from: Moment<Host>
  beforeAll(async () => { from = await emptyHost() })

  test.each<[string, Scenario]>([
    ['XenStore', careful],
    ['drivers', { body: drivers, host: { memory: 32, dom0Memory: 8, openDisk: () => new MemoryBlockStore(1 << 16) } }],
    ['toolstack', { body: toolstack }],
  ])('%s', async (name, { body, host }) => {
    const found = await explore(body, { name, ...(host === undefined ? { from } : { host }), runs: RUNS })
    found.assertPassed()
    expect(found.runs).toBe(RUNS)
  })

  test('migration', async () => {
    const found = await explore(migration, { name: 'migration', from, runs: Math.ceil(RUNS / 5) })
    found.assertPassed()
  })
})
