/** Coverage of guests' code by function, as lcov's text and AFL's map. */
import { expect, test } from 'vitest'
import { classified, coverage } from '../../src/debug/index.ts'
import { symbolElf } from '../../src/debug/symbol-elf.ts'
import { Host, type Domain } from '../../src/toolstack/index.ts'

/** As if each 64 bytes of mini's code were a function. */
const SYMBOLS = symbolElf(Array.from({ length: 1024 }, (_, i) => ({ address: -(2 ** 31) + 64 * i, name: `part_${i}`, size: 64 })))

async function mini(): Promise<{ host: Host; domain: Domain }> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16 })
  const domain = await host.createDomain({ name: 'mini', memory: 8 }, { symbols: SYMBOLS })
  await domain.console.waitFor('tick 3')
  return { host, domain }
}

async function ask(domain: Domain): Promise<void> {
  await domain.console.write('mem\r')
  await domain.console.waitFor(/disagree/)
}

test('a guest does the same with and without, and what it executes has names', { timeout: 60_000 }, async () => {
  const [one, other] = [await mini(), await mini()]
  const recording = await coverage(one.host)
  for (const { host, domain } of [one, other]) {
    await ask(domain)
    await host.settled()
  }
  const blocks = recording.blocks()
  expect(blocks.length).toBeGreaterThan(100)
  expect(blocks.every(({ name, hits, instructions, bytes }) => name?.startsWith('part_') === true && hits > 0 && instructions > 0 && bytes >= instructions)).toBe(true)
  expect(recording.edges).toBeGreaterThan(100)
  const text = recording.toLcov()
  const functions = recording.functions()
  expect(text.match(/^SF:part_\d+$/gm)).toEqual(functions.map(({ name }) => `SF:${name}`))
  expect([...text.matchAll(/^DA:(\d+),(\d+)$/gm)].map(([, line, hits]) => [Number(line), Number(hits)])).toEqual(blocks.map(({ address, hits }) => [((address + 2 ** 31) % 64) + 1, hits]))
  expect(text.endsWith('end_of_record\n')).toBe(true)
  expect(one.domain.info().cpuTime).toBe(other.domain.info().cpuTime)
  const [left, right] = [await one.host.stateHash(), await other.host.stateHash()]
  expect(left).toEqual(right)
  await recording.stop()
  await expect((async () => recording.blocks())()).rejects.toMatchObject({ code: 'CLOSED' })
  await Promise.all([one.host.shutdown(), other.host.shutdown()])
})

test('it begins at zero behind a reset of the counters, and goes on when the host is brought back', { timeout: 60_000 }, async () => {
  await using host = (await mini()).host
  const moment = await host.checkpoint()
  const recording = await coverage(host)
  const maps: Uint8Array[] = []
  for (let i = 0; i < 3; i += 1) {
    await host.reset(moment)
    recording.reset()
    await ask(host.domain('mini'))
    maps.push(recording.classes())
  }
  expect(maps[2]).toEqual(maps[1])
  await expect(coverage(host)).rejects.toMatchObject({ code: 'INVALID_STATE' })
  await recording.stop()
  await recording.stop()
  await expect(coverage(host, { domain: 'nobody' })).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
  await expect(coverage(host, { what: 1 } as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  const again = await coverage(host, { domain: 'mini' })
  expect(again.blocks()).toEqual([])
  expect(again.toLcov()).toBe('TN:\n')
  await again.stop()
})

test('counters are compared in the classes that AFL has', () => {
  expect([...classified(Uint8Array.of(0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 127, 128, 255))]).toEqual([0, 1, 2, 4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128])
})
