/** A host for one test: what it offers, what it says when something fails, and what it finds when it is given back. */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { DomId, GuestProgram } from '../../../src/index.ts'
import { artifactFolder, goldenFolder } from '../../../src/node/index.ts'
import { anySeed, fixture, migrateBetween, recordEvents, testHost, waitForNode, type TestContext, type TestHost } from '../../../src/testing/index.ts'
import { pingResponder } from '../../support/ping.ts'

const folder = mkdtempSync(join(tmpdir(), 'paravirt-testing-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Says hello, and a line for each second. */
const clock: GuestProgram = async (kernel) => {
  kernel.console!.log('hello')
  for (let second = 1; ; second += 1) {
    await kernel.sleep('1s')
    kernel.console!.log(`second ${second}`)
  }
}

describe('a host for one test', () => {
  test('is a host with virtual time, and is given back by `await using`', async () => {
    await using host = await testHost({ seed: 7 })
    expect(host.seed).toBe(7)
    const domain = await host.createDomain({ name: 'clock', memory: 4, kernel: clock })
    const before = host.now()
    await host.advance('5s')
    expect(host.now() - before).toBe(5e9)
    expect(domain.console.text()).toBe('hello\nsecond 1\nsecond 2\nsecond 3\nsecond 4\n')
    await host.advance({ milliseconds: 1 })
    expect(host.now() - before).toBe(5.001e9)
    await expect(host.advance('soon')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await host.advance(0)
    expect(host.listDomains()).toHaveLength(2)
  })

  test('names the faults that had nothing to fire at, until they have', async () => {
    const late = { fault: 'event-late', domain: 'clock', probability: 1 } as const
    const never = { fault: 'event-late', domain: 'nobody', probability: 1 } as const
    await using host = await testHost({ seed: 7, faults: [late, never] })
    expect(host.faults.unmet).toEqual([late, never])
    await host.createDomain({ name: 'clock', memory: 4, kernel: clock })
    await host.advance('2s')
    expect(host.faults.unmet).toEqual([never])
    expect(host.faults.fired.length).toBeGreaterThan(0)
    host.faults.add({ fault: 'clock-jump', domain: 'clock', by: '1h' })
    await host.advance('1s')
    expect(host.faults.unmet).toEqual([never])
  })

  test('is given back by `dispose` as well, once', async () => {
    const host = await testHost()
    await host.createDomain({ name: 'clock', memory: 4, kernel: clock })
    await Promise.all([host.dispose(), host.dispose()])
    await host.dispose()
    await expect(host.createDomain({ name: 'late' })).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('may be shut down by its test', async () => {
    await using host = await testHost()
    await host.shutdown()
  })

  test('refuses options that there are not', async () => {
    await expect(testHost({ sede: 3 } as object)).rejects.toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringContaining('seed') })
    await expect(testHost({ leaks: 'no' } as object)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(testHost({ from: {} } as object)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(testHost(null as unknown as object)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(testHost({}, 7 as unknown as () => void)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('begins at a fixture or a moment, with another seed where one is given', async () => {
    const ready = fixture('a clock', async () => {
      const host = await testHost({ memory: 64 })
      await host.createDomain({ name: 'mini', memory: 8 })
      await host.domain('mini').console.waitFor('mini> ')
      return host
    })
    await using host = await testHost({ from: ready, seed: anySeed() })
    await host.domain('mini').console.write('echo here\n')
    await host.domain('mini').console.expect(/^here$/, { timeout: '5s' })
    await using second = await testHost({ from: await ready.moment() })
    expect(second.seed).toBeUndefined()
    expect(second.domain('mini').console.text()).not.toContain('here')
    await expect(testHost({ from: ready, memory: 32 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('memory') })
  })
})

describe('a failure', () => {
  test('has the seed, the last events and the consoles behind its message', async () => {
    const failing = testHost({ seed: 41 }, async (host) => {
      const domain = await host.createDomain({ name: 'clock', memory: 4, kernel: clock })
      await host.advance('2s')
      await domain.destroy()
      throw new Error('the test does not like it')
    })
    const error = await failing.then(() => undefined, (reason: unknown) => reason as Error & { report: object })
    expect(error?.message).toMatch(/^the test does not like it\n\nparavirt: seed 41, at 2\.\d{9} s of host time\n/)
    expect(error?.message).toMatch(/last events:\n[^]* {4}\[0\.\d+\] domain-created domid=1 name=clock\n[^]* {4}\[2\.\d+\] domain-destroyed domid=1 name=clock reason=destroyed/)
    expect(error?.message).toMatch(/console of clock \(1\):\n {4}hello\n {4}second 1$/)
    expect(error?.report).toMatchObject({ seed: 41 })
  })

  test('leaves the report and the frames in a folder', async () => {
    const artifacts = artifactFolder(join(folder, 'failed'))
    await expect(testHost({ artifacts, name: 'two that ping / each other' }, async (host) => {
      await host.createDomain({ name: 'one', memory: 4, kernel: pingResponder([10, 0, 0, 1]), nics: [''] })
      const port = host.bridge().open()
      port.send(new Uint8Array(60).fill(255))
      await host.settled()
      throw new Error('lost')
    })).rejects.toThrow('lost')
    expect(readdirSync(join(folder, 'failed')).sort()).toEqual(['two-that-ping-each-other.pcapng', 'two-that-ping-each-other.txt'])
    expect(readFileSync(join(folder, 'failed', 'two-that-ping-each-other.pcapng')).readUInt32LE(0)).toBe(0x0a0d0d0a)
    expect(readFileSync(join(folder, 'failed', 'two-that-ping-each-other.txt'), 'utf8')).toMatch(/^paravirt: seed 1,/)
  })

  test('is told by the runner: vitest and node:test', async () => {
    const hooks: (() => void | Promise<void>)[] = []
    const errors = [{ message: 'expected 1 to be 2' }]
    const vitest: TestContext = { onTestFailed: (hook) => hooks.push(hook), task: { name: 'adds up', result: { errors } } }
    const shown: string[] = []
    const failed: TestContext = { after: (hook) => hooks.push(hook), passed: false, name: 'subtracts', diagnostic: (line) => shown.push(line) }
    const passed: TestContext = { after: (hook) => hooks.push(hook), passed: true, diagnostic: () => shown.push('passed') }
    await using _first = await testHost({ test: vitest, seed: 5 })
    await using _second = await testHost({ test: failed, seed: 6 })
    await using _third = await testHost({ test: passed })
    for (const hook of hooks) await hook()
    expect(errors[0]!.message).toMatch(/^expected 1 to be 2\n\nparavirt: seed 5/)
    expect(shown[0]).toMatch(/^paravirt: seed 6/)
    expect(shown).not.toContain('passed')
  })
})

describe('the check at the end', () => {
  test.each<[string, (host: TestHost) => unknown, RegExp]>([
    ['a node', (host) => host.store.write('/tool/left', '1'), /XenStore node \/tool\/left was left/],
    ['a watch', (host) => host.store.watch('/local', () => undefined), /watches: \d+ before, \d+ after/],
    ['a port', (host) => host.dom0.kernel.events.allocateUnbound(0 as DomId, 0 as DomId), /dom0Ports: \d+ before, \d+ after/],
    ['a grant', (host) => host.dom0.kernel.grants.grant(0 as DomId, host.dom0.kernel.boot.frames[9]!), /dom0Grants: 0 before, 1 after/],
    ['a timer', (host) => host.dom0.kernel.after('1h', () => undefined), /dom0Timers: 0 before, 1 after/],
  ])('finds %s', async (_name, leave, expected) => {
    const host = await testHost({ seed: 9 })
    leave(host)
    await expect(host.dispose()).rejects.toMatchObject({ code: 'INVALID_STATE', message: expect.stringMatching(expected), details: { seed: 9 } })
    await expect(host.createDomain({ name: 'late' })).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('finds domains that a test leaves where it asks for that, and destroys them otherwise', async () => {
    const host = await testHost({ ownDomains: true })
    await host.createDomain({ name: 'clock', memory: 4, kernel: clock })
    await expect(host.dispose()).rejects.toMatchObject({ details: { leaks: ['domain 1 (clock) was left'] } })
    await using other = await testHost()
    await other.createDomain({ name: 'clock', memory: 4, kernel: clock })
  })

  test('finds nothing where domains are ending already', async () => {
    const host = await testHost()
    for (const name of ['one', 'two']) await host.createDomain({ name, memory: 4, kernel: clock })
    void host.domain('two').destroy()
    expect(await host.findLeaks()).toEqual([])
    await host.dispose()
  })

  test('can be left out', async () => {
    const host = await testHost({ leaks: false })
    host.store.write('/tool/left', '1')
    expect(await host.findLeaks()).toEqual(['XenStore node /tool/left was left'])
    await host.dispose()
  })
})

describe('recorded events', () => {
  test('are lines that repeat, and differences are for people', async () => {
    const record = async (): Promise<readonly string[]> => {
      await using host = await testHost()
      const events = recordEvents(host, { times: true, host: ['domain-created', 'domain-destroyed'], hypervisor: ['domain-created', 'domain-destroyed'] })
      const domain = await host.createDomain({ name: 'clock', memory: 4, kernel: clock })
      await host.advance('1s')
      await domain.destroy()
      events.stop()
      return events.lines
    }
    const lines = await record()
    expect(await record()).toEqual(lines)
    expect(lines.map((line) => line.replace(/^\[\d\.\d{9}\] /, ''))).toEqual([
      'hypervisor: domain-created domid=1', 'domain-created domid=1 name=clock', 'hypervisor: domain-destroyed domid=1', 'domain-destroyed domid=1 name=clock reason=destroyed',
    ])
  })

  test('are held against a list and against golden files', async () => {
    await using host = await testHost()
    const all = recordEvents(host)
    const events = recordEvents(host, { host: ['domain-created', 'domain-paused', 'domain-unpaused'] })
    const domain = await host.createDomain({ name: 'clock', memory: 4, kernel: clock })
    domain.pause()
    domain.unpause()
    expect(all.lines).toContain('domain-created domid=1 name=clock')
    expect(all.text()).not.toContain('operation-')
    events.expect(['domain-created domid=1 name=clock', 'domain-paused domid=1', 'domain-unpaused domid=1'])
    expect(events.diff('domain-created domid=1 name=clock\ndomain-shutdown domid=1\ndomain-unpaused domid=1\n')).toBe(
      '  domain-created domid=1 name=clock\n- domain-shutdown domid=1\n+ domain-paused domid=1\n  domain-unpaused domid=1')
    const golden = goldenFolder(join(folder, 'golden'), { update: false })
    await events.expectGolden(golden, 'pause.txt')
    await events.expectGolden(golden, 'pause.txt')
    domain.pause()
    await expect(events.expectGolden(golden, 'pause.txt')).rejects.toMatchObject({ code: 'INVALID_STATE', message: expect.stringContaining('+ domain-paused domid=1') })
    await events.expectGolden(goldenFolder(join(folder, 'golden'), { update: true }), 'pause.txt')
    await events.expectGolden(golden, 'pause.txt')
    expect(() => recordEvents(host, { host: 'all' } as object)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

describe('waiting', () => {
  test('for a node by value, pattern, condition, and for its end', async () => {
    await using host = await testHost()
    const writer: GuestProgram = async (kernel) => {
      for (let count = 1; count <= 3; count += 1) {
        await kernel.sleep('1s')
        await kernel.store!.write('data/count', String(count))
      }
      await kernel.store!.remove('data/count')
    }
    await host.createDomain({ name: 'writer', memory: 4, kernel: writer })
    const path = '/local/domain/1/data/count'
    expect(await host.waitForNode(path)).toBe('1')
    expect(await host.waitForNode(path, /^[2-9]$/)).toBe('2')
    expect(await waitForNode(host, path, (value) => Number(value) > 2, { timeout: '5s' })).toBe('3')
    expect(await host.waitForNode(path, null)).toBeUndefined()
    await expect(host.waitForNode(path, '4', { timeout: '1s' })).rejects.toMatchObject({ code: 'TIMED_OUT', message: expect.stringContaining('it is not there; /local/domain/1/data has nothing') })
    await expect(host.waitForNode('data', '4')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(host.waitForNode(path, 4 as unknown as string)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('for one of several lines of a console', async () => {
    await using host = await testHost()
    const { console } = await host.createDomain({ name: 'clock', memory: 4, kernel: clock })
    expect(await console.expect(['nothing', /^hel/])).toMatchObject({ which: '1', line: 'hello' })
    expect(await console.expect({ late: 'second 9', soon: /second (\d)/ })).toMatchObject({ which: 'soon', line: 'second 1' })
    await expect(console.expect('second 9', { timeout: '3s' })).rejects.toMatchObject({
      code: 'TIMED_OUT', details: { transcript: 'second 2\nsecond 3\n' },
    })
    await expect(console.expect('second 9', { unless: { early: 'second 5' } })).rejects.toMatchObject({ code: 'INVALID_STATE', message: expect.stringContaining('showed "second 5" before') })
    await expect(console.expect([])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(console.expect({ a: 7 } as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('migrateBetween', () => {
  test.each<[number | undefined, string]>([[undefined, 'moved'], [0, 'stayed'], [200, 'stayed'], [60_000, 'stayed']])('with the pipe cut at byte %s: the domain has %s', async (cutAt, where) => {
    await using first = await testHost({ memory: 32, seed: 1 })
    await using second = await testHost({ memory: 32, seed: 2 })
    const domain = await first.createDomain({ name: 'mini', memory: 8 })
    await domain.console.waitFor('mini> ')
    const outcome = await migrateBetween(first, second, domain, { cutAt })
    expect(outcome.where).toBe(where)
    expect(outcome.sent - (cutAt ?? outcome.summary!.bytes)).toBeLessThan(100)
    const there = outcome.domain ?? domain
    await there.console.write('echo well\r')
    await there.console.expect(/^well$/, { timeout: '5s' })
  })

  test('the target’s last word is lost: nobody knows at the source', async () => {
    await using first = await testHost({ memory: 32, seed: 1 })
    await using second = await testHost({ memory: 32, seed: 2 })
    const domain = await first.createDomain({ name: 'mini', memory: 8 })
    await domain.console.waitFor('mini> ')
    const { answered } = await (async () => {
      await using a = await testHost({ memory: 32, seed: 1 })
      await using b = await testHost({ memory: 32, seed: 2 })
      const twin = await a.createDomain({ name: 'mini', memory: 8 })
      await twin.console.waitFor('mini> ')
      return await migrateBetween(a, b, twin)
    })()
    const outcome = await migrateBetween(first, second, domain, { cutBackAt: answered - 1 })
    expect(outcome.where).toMatch(/undecided|moved|stayed/)
    expect([first, second].filter((host) => host.domains().some((each) => each.info().shutdownReason === undefined))).toHaveLength(1)
    await expect(migrateBetween(first, first, domain)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
