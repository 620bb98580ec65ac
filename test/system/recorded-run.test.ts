/** Recorded runs: the host as it was before any instruction, who wrote and who called, on replicas that go again as the host went. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { recordRun, type RecordedRun } from '../../src/debug/index.ts'
import type { Domain, Host } from '../../src/index.ts'
import { buildMini } from '../support/build-mini.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 16, seed: 5, bootTime: new Date(0) })

/** A guest that has booted and typed something, all of it recorded, with many keyframes. */
async function recorded(type: 'pv' | 'pvh', image?: Uint8Array): Promise<{ readonly host: Host; readonly domain: Domain; readonly run: RecordedRun }> {
  const host = await boot()
  const run = await recordRun(host, { seek: 20 })
  const domain = await host.createDomain({ name: 'mini', memory: 8, vcpus: 2, type, ...(image && { kernel: image }) })
  await domain.console.waitFor('mini> ')
  await domain.console.write('echo one\r')
  await domain.console.waitFor(/^one$/)
  domain.pause()
  domain.unpause()
  await domain.console.write('echo two\r')
  await domain.console.waitFor(/^two$/)
  return { host, domain, run }
}

/** Parts of a state that hash what guests are, without how far a console was read by the test. */
const stateOf = (host: Host): unknown => ({ now: host.now(), ...host.hypervisor.stateHashes() })

describe.each(['pv', 'pvh'] as const)('a run of %s', (type) => {
  test('goes again to the same end, and to the same places twice', { timeout: 40_000 }, async () => {
    const { host, run } = await recorded(type)
    const held = await host.hold()
    const end = run.instruction
    const live = stateOf(host)
    {
      await using past = await run.at(end)
      expect(past.instruction).toBe(end)
      expect(stateOf(past.host)).toEqual(live)
    }
    const places = [1, 2, 3].map((part) => Math.floor(end * part / 4))
    const looks: unknown[] = []
    for (const place of [...places, ...places.reverse()]) {
      await using past = await run.at(place)
      expect(past.instruction).toBeGreaterThanOrEqual(place)
      looks.push([place, past.instruction, stateOf(past.host)])
    }
    expect(looks.slice(0, 3)).toEqual(looks.slice(3).reverse())
    held.release()
    await run.end()
  })
})

const image = buildMini('pv64', { variables: { STRIP: '', WARNINGS: '-g' } })

describe.skipIf(image.path === undefined)(`questions${image.path === undefined ? `, SKIPPED: ${image.reason}` : ''}`, () => {
  /** Where the kernel has a symbol. */
  const symbolOf = (name: string): bigint => {
    const file = readFileSync(image.path!)
    const view = new DataView(file.buffer, file.byteOffset)
    const sections = Number(view.getBigUint64(40, true))
    const at = (index: number, offset: number): number => Number(view.getBigUint64(sections + index * 64 + offset, true))
    for (let i = 0; i < view.getUint16(60, true); i += 1) {
      if (view.getUint32(sections + i * 64 + 4, true) !== 2) continue
      const strings = at(view.getUint32(sections + i * 64 + 40, true), 24)
      for (let symbol = at(i, 24); symbol < at(i, 24) + at(i, 32); symbol += 24) {
        const start = strings + view.getUint32(symbol, true)
        if (file.subarray(start, file.indexOf(0, start)).toString() === name) return view.getBigUint64(symbol + 8, true)
      }
    }
    throw new Error(`no ${name}`)
  }

  test('who wrote some bytes, who accessed them, and who called a function', { timeout: 60_000 }, async () => {
    const { host, domain, run } = await recorded('pv', readFileSync(image.path!))
    await domain.console.write('hot 3\r')
    await domain.console.waitFor(/hot/)
    // It writes every millisecond: what is asked is asked of a host that stands.
    const held = await host.hold()
    await held.run(3_000_000)
    const rounds = symbolOf('hot_rounds')
    const write = await run.lastWrite(domain, rounds, { length: 4 })
    expect(write).toMatchObject({ by: 'guest', kind: 'write', domid: domain.id, address: rounds })
    if (write?.by !== 'guest') throw new Error('nobody')
    {
      await using past = await run.at(write.instruction)
      expect([past.instruction, past.registers('mini', write.vcpu).user.rip]).toEqual([write.instruction, write.code])
      expect(new DataView(past.read('mini', rounds, 8).slice().buffer).getUint32(0, true)).toBe(Number(write.previous & 0xffff_ffffn))
    }
    const all = await run.accesses(domain, rounds, { kind: 'write', length: 4 })
    expect(all.at(-1)).toMatchObject({ instruction: write.instruction, value: write.value })
    const earlier = await run.lastWrite(domain, rounds, { length: 4, before: write.instruction })
    expect(earlier).toMatchObject({ instruction: all.at(-2)?.instruction })
    const calls = await run.calls(symbolOf('run_echo'), { domain })
    expect(calls.length).toBe(2)
    expect(calls[0]!.caller).toBeDefined()
    expect(calls[0]!.arguments[0]).not.toBe(0n)
    // What typed bytes are written into is dom0's work.
    held.release()
    await run.end()
    await expect(run.at(0)).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

test('places that have not come, addresses that are not mapped and options that are none are refused', { timeout: 20_000 }, async () => {
  const host = await boot()
  await expect(recordRun(host, { seek: -1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  await expect(recordRun(undefined as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  const domain = await host.createDomain({ name: 'mini', memory: 8 })
  await domain.console.waitFor('mini> ')
  const run = await recordRun(host)
  await expect(run.at(1e12)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  await expect(run.lastWrite('mini', 8n)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  await expect(run.lastWrite('none', 8n)).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
  await expect(run.calls('no_such_function', { domain: 'mini' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  await run.end()
  await run.end()
  const wall = await boot({ clock: 'realtime' })
  await expect(recordRun(wall)).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
})
