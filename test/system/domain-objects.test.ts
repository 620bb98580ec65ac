/** Page tables, event channels, grants and rings of guests of every kind of machine code as objects: what they say is what the hypervisor, the other end and the console say. */
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { inspectDomain, type ByteRingView } from '../../src/debug/index.ts'
import { Host, type Domain } from '../../src/index.ts'
import { buildMini, type MiniKind } from '../support/build-mini.ts'

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

const KINDS = [['pv64', 'pv'], ['pv32', 'pv'], ['pvh', 'pvh']] as const satisfies readonly (readonly [MiniKind, 'pv' | 'pvh'])[]
const lacking = buildMini('pv64').reason

async function guest(kind: MiniKind, type: 'pv' | 'pvh'): Promise<{ readonly host: Host; readonly domain: Domain }> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16 })
  hosts.push(host)
  const domain = await host.createDomain({ name: 'app', memory: 8, type, kernel: readFileSync(buildMini(kind).path!) })
  await domain.console.waitFor('mini> ')
  return { host, domain }
}

describe.skipIf(lacking !== undefined)(`a domain as objects${lacking === undefined ? '' : `, SKIPPED: ${lacking}`}`, { timeout: 60_000 }, () => {
  test.each(KINDS)('%s: every page of its tables leads where the hypervisor translates it, and no other does', async (kind, type) => {
    const { host, domain } = await guest(kind, type)
    const tables = inspectDomain(host, 'app').pageTables()
    const held = await host.hold()
    const untouched = await host.stateHash()
    let pages = 0
    for (const page of tables.pages()) {
      pages += 1
      if (pages <= 64) expect(tables.walk(page.address + BigInt(page.size - 1)).page).toEqual(page)
      const found = host.hypervisor.translate(domain.id, page.address)
      const frame = type === 'pvh' ? host.hypervisor.frameOfGfn(domain.id, page.frame) : page.frame
      // What it maps of others, or where its physical map has nothing, is nobody's to look at.
      if (found !== undefined && frame !== undefined) expect(found.frame).toBe(frame)
    }
    expect(pages).toBeGreaterThan(3)
    // Who looks marks nothing as accessed.
    expect(await host.stateHash()).toEqual(untouched)
    held.release()
    const regions = tables.regions()
    expect(regions.every(({ from, to }, i) => from < to && (i === 0 || regions[i - 1]!.to <= from))).toBe(true)
    const behind = regions.at(-1)!.to
    if (behind < 1n << 64n) expect(tables.walk(behind).page).toBeUndefined()
    const stack = host.hypervisor.getVcpuContext(domain.id, 0).user
    expect(tables.walk(stack.rip).page).toMatchObject({ isExecutable: true })
    expect(tables.walk(stack.rsp).page).toMatchObject({ isWritable: true })
    expect(tables.walk(0xdead_0000_0000n).page).toBeUndefined()
  })

  test.each(KINDS)('%s: each port has its other end, each grant its page, and rings have what was written', async (kind, type) => {
    const { host, domain } = await guest(kind, type)
    await domain.console.write('echo rings\n')
    await domain.console.waitFor(/^rings$/)
    await host.settled()
    const objects = inspectDomain(host, domain)
    const own = objects.ports()
    const channels = own.filter(({ state }) => state === 'interdomain')
    expect(channels.length).toBeGreaterThanOrEqual(2)
    const other = host.hypervisor.listPorts(0 as Domain['id'])
    for (const { port, remotePort } of channels) expect(other.find((one) => one.port === remotePort)).toMatchObject({ state: 'interdomain', remote: domain.id, remotePort: port })
    expect(new Set(channels.map(({ remote }) => remote))).toEqual(new Set([0]))

    const grants = objects.grants()
    expect(grants.filter(({ ref }) => ref <= 1)).toMatchObject([{ ref: 0, remote: 0, kind: 'access', isReadOnly: false }, { ref: 1, remote: 0, kind: 'access', isReadOnly: false }])
    const frames = new Set<number>(host.hypervisor.domainFrames(domain.id))
    for (const { frame, kind: granted } of grants) if (granted === 'access') expect(frames.has(frame!)).toBe(true)

    const rings = objects.rings() as readonly ByteRingView[]
    expect(rings.map(({ device, refs }) => [device, refs])).toEqual([['console', [0]], ['xenstore', [1]]])
    const [console, store] = rings as [ByteRingView, ByteRingView]
    // All that the console has shown has gone through its ring, and all that was typed.
    expect(console.fromGuest.produced).toBe(domain.console.history().length)
    expect(console.toGuest).toMatchObject({ produced: 'echo rings\n'.length, consumed: 'echo rings\n'.length })
    expect([console, store].flatMap(({ toGuest, fromGuest }) => [toGuest.waiting.length, fromGuest.waiting.length])).toEqual([0, 0, 0, 0])
  })

  test('refuses what is not there', async () => {
    const { host } = await guest('pv64', 'pv')
    expect(() => inspectDomain(host, 'nobody')).toThrow(expect.objectContaining({ code: 'DOMAIN_NOT_FOUND' }))
    const objects = inspectDomain(host, 'app')
    expect(() => objects.pageTables({ vcpu: 9 })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(() => objects.pageTables({ of: 'nobody' as never })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(() => objects.pageTables({ root: 0xdead_0000_0000n })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    await host.createDomain({ name: 'typescript', memory: 4, kernel: () => undefined })
    expect(() => inspectDomain(host, 'typescript').pageTables()).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
    await host.domain('app').destroy()
    expect(() => objects.ports()).toThrow(expect.objectContaining({ code: 'DOMAIN_NOT_FOUND' }))
  })
})
