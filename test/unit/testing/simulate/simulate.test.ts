import { afterEach, describe, expect, test } from 'vitest'
import { simulate, type SimulateOptions, type World } from '../../../../src/testing/index.ts'
import { Host, type Moment } from '../../../../src/toolstack/index.ts'

const HOST = { memory: 48, dom0Memory: 16 } as const
const worlds: World[] = []
afterEach(async () => {
  for (const world of worlds.splice(0)) await world.shutdown()
})

async function make(options: SimulateOptions): Promise<World> {
  const world = await simulate(options)
  worlds.push(world)
  return world
}

/** A frame to everybody, from a station of a number. */
const frame = (station: number, word: number): Uint8Array =>
  Uint8Array.of(255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, station, 0x88, 0xb5, word, ...new Array<number>(46).fill(0))

/** What each host's bridge has seen, with the world's time. */
function watch(world: World): Record<string, string[]> {
  return Object.fromEntries(world.names.map((name) => {
    const seen: string[] = []
    const host = world.host(name)
    const start = host.now()
    host.bridge().tap(({ bytes }) => seen.push(`${bytes[14]} at ${host.now() - start}`))
    return [name, seen]
  }))
}

describe('a world', { timeout: 30_000 }, () => {
  test('has one clock, and frames arrive when they are due', async () => {
    const world = await make({
      hosts: { a: HOST, b: HOST, c: HOST }, network: { latency: '2ms', links: [{ between: ['a', 'c'], latency: '500us' }] },
    })
    const seen = watch(world)
    const port = world.host('a').bridge().open()
    port.send(frame(1, 7))
    await world.advance('10ms')
    expect(world.now).toBe(10_000_000)
    const times = Object.values(seen).map(([one = 'none at -1']) => Number(one.split(' at ')[1]))
    expect(Object.values(seen).map((list) => list.map((line) => line.split(' ')[0]))).toEqual([['7'], ['7'], ['7']])
    expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(2_000_000)
    expect(times[1]! - times[0]!).toBeLessThan(2_100_000)
    expect(times[2]! - times[0]!).toBeGreaterThanOrEqual(500_000)
    expect(times[2]! - times[0]!).toBeLessThan(600_000)
    expect(world.frames()).toEqual({ sent: 2, lost: 0, cut: 0 })
  })

  test('is cut and healed, and loses frames by its seed', async () => {
    const run = async (seed: number): Promise<string> => {
      const world = await make({ hosts: { a: HOST, b: HOST }, network: { latency: '1ms', jitter: '1ms', loss: 0.3 }, seed })
      const seen = watch(world)
      const port = world.host('a').bridge().open()
      for (let word = 0; word < 30; word += 1) {
        if (word === 10) world.partition(['a'], ['b'])
        if (word === 20) world.heal()
        port.send(frame(1, word))
        await world.advance('3ms')
      }
      const words = seen['b']!.map((line) => Number(line.split(' ')[0]))
      expect(words.filter((word) => word >= 10 && word < 20)).toEqual([])
      expect(words.length).toBeGreaterThan(5)
      const { sent, lost, cut } = world.frames()
      expect([sent, cut, lost + words.length]).toEqual([30, 10, 20])
      return seen['b']!.join()
    }
    const first = await run(1)
    expect(await run(1)).toBe(first)
    expect(await run(2)).not.toBe(first)
  })

  test('goes on while something is waited for, on hosts of moments, and no longer', async () => {
    const host = await Host.boot(HOST)
    const ready: Moment<Host> = await host.checkpoint()
    await host.shutdown()
    const world = await make({ hosts: { a: ready, b: ready } })
    const one = world.host('a')
    const domain = (await world.until(one.createDomain({ name: 'mini', memory: 8 })))!
    await world.until(domain.console.waitFor('tick 3'))
    const { now } = world
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect([world.now, one.now()]).toEqual([now, one.now()])
    await expect(world.until(() => false, { timeout: '5ms' })).rejects.toMatchObject({ code: 'TIMED_OUT' })
    await expect(world.until(Promise.reject(new Error('no')))).rejects.toThrow('no')
    const passing = world.advance('5ms')
    await expect(world.advance('1ms')).rejects.toMatchObject({ code: 'BUSY' })
    await passing
  })

  test('moves a domain live, and leaves it whole where the pipe is cut', async () => {
    const world = await make({ hosts: { a: HOST, b: HOST } })
    const one = world.host('a')
    const domain = (await world.until(one.createDomain({ name: 'mini', memory: 8 })))!
    await world.until(domain.console.waitFor('tick 3'))
    const stayed = await world.migrate(domain, 'b', { cutAt: 100_000 })
    expect(stayed.where).toBe('stayed')
    const moved = await world.migrate(domain, 'b')
    expect([moved.where, one.domains().length, world.host('b').domains().length]).toEqual(['moved', 0, 1])
    const there = moved.domain!
    await world.until(there.console.write('mem\r'))
    await world.until(there.console.waitFor(/0 frames disagree/))
  })
})

test.each<[string, object]>([
  ['no hosts', { hosts: {} }],
  ['a link to nobody', { hosts: { a: HOST, b: HOST }, network: { links: [{ between: ['a', 'z'] }] } }],
  ['a link of a host to itself', { hosts: { a: HOST, b: HOST }, network: { links: [{ between: ['a', 'a'] }] } }],
  ['a loss above all', { hosts: { a: HOST }, network: { loss: 2 } }],
  ['a latency of nothing', { hosts: { a: HOST }, network: { latency: 0 } }],
  ['an unknown option', { hosts: { a: HOST }, sede: 1 }],
])('%s are refused', async (_, options) => {
  await expect(simulate(options as SimulateOptions)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})
