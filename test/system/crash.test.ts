/** Crashes that explain themselves, wherever somebody looks: events, handles, waits; and hosts that can never go on. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BlockFrontend, MemoryBlockStore } from '../../src/drivers/index.ts'
import { FrontendBus } from '../../src/guest/index.ts'
import { Host, type Domain, type GuestProgram, type KernelSource } from '../../src/index.ts'
import { buildMini } from '../support/build-mini.ts'
import { makeElf } from '../support/elf-image.ts'

let host: Host
beforeEach(async () => {
  host = await Host.boot({ memory: 48, dom0Memory: 8, idle: '10ms' })
})
afterEach(() => host.shutdown())

/** A kernel of a few instructions that begin at a function `main` at 0x1000. */
const machine = (code: readonly number[]): Uint8Array => makeElf({
  entry: 0x1000n, notes: [{ type: 5, value: 'xen-3.0' }],
  segments: [{ address: 0x1000, bytes: Uint8Array.from([...code, ...new Array<number>(64).fill(0x90), 0xeb, 0xfe]) }],
  symbols: [{ name: 'main', value: 0x1000n, size: BigInt(code.length) }, { name: 'after', value: BigInt(0x1000 + code.length), size: 0x42n }],
})

const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(() => undefined, (error: unknown) => (error as { code: unknown }).code)

let count = 0
const start = (kernel: KernelSource, on: 'preserve' | 'destroy' = 'preserve'): Promise<Domain> =>
  host.createDomain({ name: `crash${count++}`, memory: 8, kernel, actions: { crash: on } })

/** An object that nobody can ask anything. */
const revoked = (): unknown => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

/** An error of which one field cannot be read. */
const spoiled = (field: 'stack' | 'message' | 'name'): Error =>
  Object.defineProperty(new Error('spoiled'), field, { get: () => { throw new Error('a trap') } })

describe('a crash', () => {
  test.each<[string, readonly number[], string]>([
    ['a read of nothing', [0x90, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0x40],
      'page fault: read of 0x40000000 from kernel mode at main+0x1/0x9; the guest has no handler for it'],
    ['a write to nothing', [0xb8, 0, 0, 0, 0x40, 0xc6, 0x00, 0x00],
      'page fault: write to 0x40000000 from kernel mode at main+0x5/0x8; the guest has no handler for it'],
    ['AVX', [0xc5, 0xfc, 0x28, 0xc8],
      'invalid opcode in kernel mode `vmovaps %ymm0,%ymm1` at main+0x0/0x4; the guest has no handler for it'],
    ['SHA', [0x0f, 0x38, 0xc8, 0xc8],
      'invalid opcode in kernel mode `sha1nexte %xmm0,%xmm1`: SHA: not offered by x86-64-v3 at main+0x0/0x4; the guest has no handler for it'],
    ['UD2', [0x0f, 0x0b], 'invalid opcode in kernel mode `ud2` at main+0x0/0x2; the guest has no handler for it'],
    ['a division', [0x31, 0xc9, 0xf7, 0xf1], 'divide error in kernel mode at main+0x2/0x4; the guest has no handler for it'],
    ['HLT', [0xf4], 'general protection fault in kernel mode at main+0x0/0x1; the guest has no handler for it'],
    ['its iret', [0xbc, 0, 0, 0, 0x40, 0xb8, 23, 0, 0, 0, 0x0f, 0x05], 'iret from a stack that cannot be read'],
  ])('over %s says what happened and where', async (_name, code, message) => {
    const domain = await start(machine(code))
    expect(domain.crash).toBeUndefined()
    expect(await domain.waitForShutdown()).toBe('crash')
    expect(domain.crash).toMatchObject({ id: domain.id, vcpu: 0, origin: 'hypervisor', message })
    expect(domain.crash?.text).toContain(`domain ${domain.id} (${domain.name}) crashed on vCPU 0: ${message}\nregisters:\n`)
    expect(host.hypervisor.readConsole()).toContain(`Domain ${domain.id} (vcpu#0) crashed on cpu#0:`)
    await domain.destroy()
  })

  test('names the calls on the stack', async () => {
    // call +0 (into the next instruction), then a fault: the return address is main+5.
    const domain = await start(machine([0xe8, 0, 0, 0, 0, 0x0f, 0x0b]))
    await domain.waitForShutdown()
    expect(domain.crash?.calls[0]).toMatchObject({ address: 0x1005n, symbol: 'main+0x5/0x7' })
    expect(domain.crash?.code[0]).toMatchObject({ address: 0x1005n, text: 'ud2', bytes: Uint8Array.of(0x0f, 0x0b) })
    await domain.destroy()
  })

  test.each(['preserve', 'destroy'] as const)('reaches every wait on the domain, and the host\'s event (%s)', async (action) => {
    const told = host.events.once('domain-crashed')
    const program: GuestProgram = async (kernel) => {
      kernel.console?.log('its last words')
      await kernel.sleep('2ms')
      throw new RangeError('out of bounds')
    }
    const domain = await start(program, action)
    const waits = [domain.console.waitFor('never'), domain.console.waitFor(/^never$/, { raw: true })]
    const failures = await Promise.all(waits.map((wait) => wait.then(() => undefined, (error: unknown) => error)))
    const { crash } = await told
    for (const failure of failures) {
      expect(failure).toMatchObject({ code: 'DOMAIN_CRASHED', details: { domid: domain.id, crash }, cause: new RangeError('out of bounds') })
      expect((failure as Error).message).toContain('its program threw RangeError: out of bounds\nRangeError: out of bounds\n    at ')
    }
    expect((failures[0] as { details: { tail: string } }).details.tail).toBe('its last words\n')
    expect(domain.crash).toBe(crash)
    if (action === 'preserve') await domain.destroy()
    await host.settled()
  })

  test.each(Object.entries<readonly [() => unknown, string]>({
    'nothing': [() => undefined, 'undefined'],
    'null': [() => null, 'null'],
    'a text': [() => 'out of luck', 'out of luck'],
    'an object': [() => ({ a: 1 }), '{"a":1}'],
    'an object that has no text': [() => Object.create(null), '{}'],
    'an object whose text throws': [() => ({ toString: () => { throw new Error('none') } }), '{}'],
    'a symbol': [() => Symbol('luck'), 'Symbol(luck)'],
    'a revoked proxy': [() => revoked(), 'an object'],
    'an error whose stack throws': [() => spoiled('stack'), 'Error: spoiled'],
    'an error whose message throws': [() => spoiled('message'), 'Error: an error without a message'],
    'an error whose name throws': [() => spoiled('name'), 'Error: spoiled'],
    'an error whose stack is no text': [() => Object.assign(new Error('odd'), { stack: 5 }), 'Error: odd'],
  }))('of a guest in TypeScript tells what was thrown, whatever it is: %s', async (_, [make, shown]) => {
    const thrown = make()
    for (const later of [false, true]) {
      const told = host.events.once('domain-crashed')
      const domain = await start((kernel) => {
        if (!later) throw thrown
        kernel.after('1ms', () => { throw thrown })
      }, 'preserve')
      expect(await domain.waitForShutdown()).toBe('crash')
      const { crash } = await told
      expect(crash.message).toBe(`its program threw ${shown}`)
      expect(Object.is(crash.cause, thrown)).toBe(true)
      expect(domain.crash).toBe(crash)
      await domain.destroy()
    }
  })

  test('ends the wait for a balloon that will never reach its target, whatever becomes of the domain', async () => {
    for (const action of ['preserve', 'destroy'] as const) {
      // mov $200000,%ecx; 1: dec %ecx; jnz 1b; ud2
      const domain = await start(machine([0xb9, 0x40, 0x0d, 3, 0, 0xff, 0xc9, 0x75, 0xfc, 0x0f, 0x0b]), action)
      await expect(domain.setMemTarget(4)).rejects.toMatchObject({
        code: 'DOMAIN_CRASHED', details: { crash: { exception: { name: 'invalid opcode', symbol: 'main+0x9/0xb' } } },
      })
      if (action === 'preserve') await domain.destroy()
    }
  })

  test('tells what the contents of its disks have failed with', async () => {
    const domain = await host.createDomain({
      name: 'reader', memory: 8, actions: { crash: 'preserve' }, kernel: async (kernel) => {
        const disks = new BlockFrontend()
        await new FrontendBus(kernel).register(disks)
        await (await disks.disk('xvda')).read(0, 8)
      },
    })
    const broken = new Error('the third head has crashed')
    const store = Object.assign(new MemoryBlockStore(1 << 16), { read: () => { throw broken } })
    await domain.attachDisk({ vdev: 'xvda', target: 'any' }, { store })
    expect(await domain.waitForShutdown()).toBe('crash')
    expect(domain.disk('xvda').lastError).toBe(broken)
    expect(domain.crash).toMatchObject({ cause: { code: 'IO' }, diskErrors: [{ disk: 'xvda', error: broken }] })
    expect(domain.crash?.text).toContain('the contents of disk xvda have failed: Error: the third head has crashed')
  })

  test('is not what ended a domain that was shut down or destroyed', async () => {
    const domain = await start((kernel) => kernel.shutdown('poweroff'))
    expect(await domain.waitForShutdown()).toBe('poweroff')
    expect(domain.crash).toBeUndefined()
    const other = await start(async (kernel) => kernel.sleep('1h'), 'destroy')
    const wait = other.console.waitFor('never')
    const code = codeOf(wait)
    await other.destroy()
    expect([await code, other.crash]).toEqual(['CLOSED', undefined])
    await host.settled()
  })

  test('keeps a save or a migration from calling it anything else', async () => {
    const domain = await start(async (kernel) => {
      kernel.control.beforeShutdown(() => { throw new Error('while it is saved') })
      await kernel.sleep('1h')
    })
    const failure = await domain.save({ write: () => undefined }).then(() => undefined, (error: unknown) => error)
    expect(failure).toMatchObject({ code: 'DOMAIN_CRASHED', cause: new Error('while it is saved') })
    await domain.destroy()
  })
})

describe('symbols that a user gives', () => {
  const withSymbols = buildMini('pv64', { variables: { STRIP: '' } })
  test.skipIf(withSymbols.path === undefined)(`name what a stripped kernel does not, as GNU addr2line does${withSymbols.reason === undefined ? '' : ` (SKIPPED: ${withSymbols.reason})`}`, async () => {
    const elf = withSymbols.path!
    const domain = await host.createDomain(
      { name: 'symbols', memory: 8, actions: { crash: 'preserve' } }, { symbols: new Uint8Array(readFileSync(elf)) },
    )
    await domain.console.waitFor('mini> ')
    await domain.console.write('fault\r')
    await domain.waitForShutdown()
    const { exception, calls } = domain.crash!
    expect(exception).toMatchObject({ name: 'page fault', symbol: expect.stringMatching(/^run_fault\+0x0/) })
    const asked = calls.map(({ address }) => `0x${(address - 1n).toString(16)}`)
    const answers = execFileSync('addr2line', ['-f', '-e', elf, ...asked], { encoding: 'utf8' }).split('\n').filter((_, i) => i % 2 === 0)
    expect(calls.map(({ symbol }) => symbol.split('+')[0])).toEqual(answers.slice(0, calls.length))
    expect(calls.length).toBeGreaterThan(3)
    await domain.destroy()
  })

  test('are refused where they are none', async () => {
    const creation = host.createDomain({ name: 'none', memory: 8 }, { symbols: new Uint8Array(64) })
    await expect(creation).rejects.toMatchObject({ code: 'INVALID_IMAGE' })
    expect(host.domains()).toEqual([])
  })
})

describe('a host that can never go on', () => {
  test('says who waits for what, to everybody who waits', async () => {
    const idle = await start(() => new Promise(() => undefined))
    const paused = await host.createDomain({ name: 'paused', memory: 8 }, { paused: true })
    const failures = await Promise.all([
      idle.console.waitFor('never'), host.until('the cows to come home', () => false), idle.waitForShutdown(),
    ].map((wait) => wait.then(() => undefined, (error: unknown) => error)))
    for (const failure of failures) {
      expect(failure).toMatchObject({
        code: 'IDLE', details: {
          waits: [`"never" on the console of domain ${idle.id}`, 'the cows to come home', `the end of domain ${idle.id}`],
          domains: [
            { id: idle.id, name: idle.name, state: 'vCPU 0 waits for an event' },
            { id: paused.id, name: 'paused', state: 'has never been unpaused' },
          ],
        },
      })
    }
    expect((failures[0] as Error).message).toContain(`\n  domain ${paused.id} (paused): has never been unpaused\n`)
    await idle.destroy()
    await paused.destroy()
  })

  test('goes on afterwards as if nothing had been', async () => {
    const domain = await host.createDomain({ name: 'on', memory: 8 })
    await domain.console.waitFor('mini> ')
    await expect(domain.console.waitFor('never')).rejects.toMatchObject({ code: 'IDLE' })
    await domain.console.write('echo still here\r')
    await domain.console.waitFor(/^still here$/)
    await domain.destroy()
  })

  test('waits while something may come from outside', async () => {
    const domain = await host.createDomain({ name: 'outside', memory: 8 })
    await domain.console.waitFor('mini> ')
    const release = host.expectInput()
    const wait = domain.console.waitFor(/^from outside$/)
    await new Promise((resolve) => setTimeout(resolve, 40))
    await domain.console.write('echo from outside\r')
    await wait
    release()
    release()
    await expect(domain.console.waitFor('never')).rejects.toMatchObject({ code: 'IDLE' })
    await domain.destroy()
  })

  test('does not give up while a disk is being read or a file is being opened', async () => {
    const late = <T>(value: T): Promise<T> => new Promise((resolve) => setTimeout(() => resolve(value), 40))
    const slow = await Host.boot({
      memory: 32, dom0Memory: 8, idle: 0, files: { read: async () => late(machine([0x0f, 0x0b])) },
    })
    const wait = slow.until('a domain to crash', () => slow.domains().some(({ crash }) => crash !== undefined))
    await slow.createDomain({ name: 'late', memory: 8, kernel: 'a file', actions: { crash: 'preserve' } })
    await wait
    await slow.shutdown()
  })

  test('waits for ever when told so', async () => {
    const patient = await Host.boot({ memory: 32, dom0Memory: 8, idle: 'wait' })
    let over = false
    const wait = patient.until('the end', () => over)
    await new Promise((resolve) => setTimeout(resolve, 30))
    over = true
    await patient.createDomain({ name: 'kick', memory: 8 }, { paused: true })
    await wait
    await patient.shutdown()
  })
})
