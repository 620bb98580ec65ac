/** Every public call says what it cannot take, before it does anything: options, names of events, devices and domains. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { Host, transportPair, type Domain } from '../../src/index.ts'
import { resourceSnapshot, compareResources } from '../../src/testing/index.ts'

let host: Host
let domain: Domain
beforeAll(async () => {
  host = await Host.boot({ memory: 64, dom0Memory: 16, idle: '10ms' })
  domain = await host.createDomain({ name: 'mini', memory: 16, maxMemory: 24, nics: [{ mac: '00-16-3E-00-00-01' }] })
  await domain.console.waitFor('mini> ')
  await domain.attachDisk({ vdev: 'xvdb', target: 'nothing' }, { store: new MemoryBlockStore(1 << 20) })
})
afterAll(() => host.shutdown())

/** What a caller in JavaScript can hand over. */
type Given = never
const sink = { write: () => undefined }

/** Every call with options, and how it is made. */
const CALLS: Readonly<Record<string, (options: Given) => unknown>> = {
  createDomain: (options) => host.createDomain({ name: 'other', memory: 8 }, options),
  restore: (options) => host.restore(new Uint8Array(0) as Given, options),
  receiveMigration: (options) => host.receiveMigration(transportPair().ends[0], options),
  until: (options) => host.until('nothing', () => true, options),
  'console.waitFor': (options) => domain.console.waitFor('mini', options),
  'console.text': (options) => domain.console.text(options),
  waitForShutdown: (options) => domain.waitForShutdown(options),
  shutdown: (options) => domain.shutdown(options),
  reboot: (options) => domain.reboot(options),
  setMemTarget: (options) => domain.setMemTarget(16, options),
  setMaxMem: (options) => domain.setMaxMem(24, options),
  setVcpus: (options) => domain.setVcpus(1, options),
  save: (options) => domain.save(sink, options),
  migrate: (options) => domain.migrate(transportPair().ends[0], options),
  attachDisk: (options) => domain.attachDisk({ vdev: 'xvdc', target: 'x' }, options),
  attachNic: (options) => domain.attachNic('', options),
  detachDisk: (options) => domain.detachDisk('xvdb', options),
  detachNic: (options) => domain.detachNic(0, options),
  'the hooks of trace': (options) => domain.trace(options),
}
const TIMED = ['until', 'console.waitFor', 'waitForShutdown', 'shutdown', 'reboot', 'setMemTarget', 'setVcpus', 'save', 'migrate']

const failureOf = async (work: () => unknown): Promise<{ code?: unknown; message?: string }> => {
  try {
    await work()
    return {}
  } catch (error) {
    return error as Error
  }
}

describe('a call', () => {
  test.each(Object.keys(CALLS))('%s refuses options that it does not have, and what is no object', async (name) => {
    const before = resourceSnapshot(host)
    for (const [options, message] of [
      [{ timeuot: '5s' }, `${name} has no option timeuot`], [{ constructor: 1 }, `${name} has no option constructor`],
      [JSON.parse('{"__proto__":1}'), `${name} has no option __proto__`], [null, `the options of ${name} must be an object, got null`],
      [5, `the options of ${name} must be an object, got 5`],
    ] as [Given, string][]) {
      const failure = await failureOf(() => CALLS[name]!(options))
      expect([failure.code, failure.message]).toEqual(['INVALID_ARGUMENT', expect.stringContaining(message)])
    }
    expect(compareResources(before, resourceSnapshot(host))).toEqual([])
  })

  test.each(TIMED)('%s takes every spelling of a time-out, and names the nearest option', async (name) => {
    for (const timeout of [Number.NaN, -1, '1 parsec', '5', {}, true]) {
      const failure = await failureOf(() => CALLS[name]!({ timeout } as Given))
      expect([failure.code, failure.message]).toEqual(['INVALID_ARGUMENT', expect.stringContaining(`${name}: timeout must`)])
    }
    const failure = await failureOf(() => CALLS[name]!({ timeuot: 1 } as Given))
    expect(failure.message).toContain('did you mean timeout?')
  })

  test('waits as long in every spelling', async () => {
    for (const timeout of ['2ms', { milliseconds: 2 }, 2e6, 2_000_000n]) {
      const start = host.now()
      await expect(host.until('nothing', () => false, { timeout })).rejects.toMatchObject({ code: 'TIMED_OUT' })
      expect(host.now() - start).toBe(2e6)
    }
  })

  test.each<[string, () => unknown, string]>([
    ['signal', () => domain.setMaxMem(24, { signal: {} as Given }), 'setMaxMem: signal must be an AbortSignal'],
    ['store', () => domain.attachDisk('x,raw,xvdc,w', { store: {} as Given }), 'attachDisk: store must be an object with methods read, write'],
    ['force', () => domain.detachNic(0, { force: 1 as Given }), 'detachNic: force must be true or false, got 1'],
    ['afterwards', () => domain.save(sink, { afterwards: 'destory' as Given }), 'save: afterwards must be one of "destroy", "resume", "pause", got "destory"; did you mean "destroy"?'],
    ['maxRounds', () => domain.migrate(transportPair().ends[0], { maxRounds: 0.5 }), 'migrate: maxRounds must be a whole number from 1'],
    ['trust', () => host.restore(new Uint8Array(0) as Given, { trust: { disk: [] } as Given }), 'trust has no option disk; did you mean disks?'],
    ['era', () => host.createDomain('name="x"', { era: 'lx' as Given }), 'createDomain: era must be one of "xl", "xm"'],
    ['a pattern', () => domain.console.waitFor(''), 'the pattern of console.waitFor must be a text that is not empty, or a RegExp'],
    ['a hook', () => domain.trace({ instruction: 'stop' as Given }), 'the hooks of trace: instruction must be a function'],
    ['a target', () => domain.save(null as Given), 'the target of save must be an object with a method write, got null'],
    ['a source', () => host.restore(5 as Given), 'the source of restore must be bytes, a stream or an iterable of bytes, got 5'],
    ['a connection', () => domain.migrate(transportPair() as Given), 'readable of the transport of migrate must be bytes, a stream'],
    ['no connection', () => host.receiveMigration(undefined as Given), 'the transport of receiveMigration must be an object with readable'],
    ['half a connection', () => domain.migrate({ readable: [] } as Given), 'writable of the transport of migrate must be an object'],
    ['input', () => domain.console.write(5 as Given), 'the data of console.write must be a text or bytes, got 5'],
    ['a listener', () => host.events.on('domain-crashed', undefined as Given), 'the listener of an event must be a function'],
    ['a condition', () => host.until('nothing', true as Given), 'the condition of until must be a function, got true'],
    ['a vCPU', () => domain.trace({}, { vcpu: -1 }), 'trace: vcpu must be a whole number'],
  ])('names %s that it cannot take', async (_name, work, message) => {
    const failure = await failureOf(work)
    expect([failure.code, failure.message]).toEqual(['INVALID_ARGUMENT', expect.stringContaining(message)])
  })

  test.each([[NaN], [0], [-1], [1.5], ['sixteen' as Given], [1e9], [undefined as Given]])('memory targets and vCPUs are whole numbers in range: %s is refused', async (value) => {
    for (const work of [() => domain.setMemTarget(value), () => domain.setMaxMem(value), () => domain.setVcpus(value)]) {
      expect((await failureOf(work)).code).toBe('INVALID_ARGUMENT')
    }
  })
})

describe('a description', () => {
  test.each<[string, unknown, string]>([
    ['nothing', undefined, 'the description of a domain must be a text or an object'], ['a number', 5, 'must be a text or an object'],
    ['an option nearly right', { name: 'x', memmory: 8 }, 'unknown option memmory; did you mean memory?'],
    ['an action nearly right', { name: 'x', actions: { crahs: 'destroy' } }, 'unknown option actions.crahs; did you mean crash?'],
    ['no name', { memory: 8 }, 'name must be a string'], ['a name with a slash', { name: 'a/b' }, 'name must have neither a slash'],
    ['a name that is too long', { name: 'x'.repeat(201) }, 'name must be at most 200 characters long'],
    ['half a MiB', { name: 'x', memory: 8.5 }, 'memory must be a whole number'], ['disks that are no list', { name: 'x', disks: 'xvda' }, 'disks must be a list'],
    ['a disk that is none', { name: 'x', disks: [5] }, 'disks.0 must be a text or an object for each disk'],
    ['a disk without a name', { name: 'x', disks: [{ target: 'y' }] }, 'disk: vdev is missing'],
    ['a disk with a bad name', { name: 'x', disks: [{ vdev: 'xvd1' }] }, 'disk: vdev is wrong: virtual device `xvd1`'],
    ['an unknown field of a disk', { name: 'x', disks: [{ vdev: 'xvda', taget: 'y' }] }, 'disk has no option taget; did you mean target?'],
    ['an odd format', { name: 'x', disks: [{ vdev: 'xvda', format: 'qcow3' }] }, 'format must be one of "raw", "qcow", "qcow2"'],
    ['an address that is none', { name: 'x', nics: [{ mac: '00:16:3e' }] }, 'nic: mac is wrong'],
    ['an odd rate', { name: 'x', nics: [{ rate: 'fast' }] }, 'nic: rate is wrong'],
    ['a field that smuggles another', { name: 'x', nics: [{ bridge: 'br0,script=evil' }] }, 'nic: bridge must be a text without a comma'],
    ['an unknown field of a nic', { name: 'x', nics: [{ brigde: 'y' }] }, 'nic has no option brigde; did you mean bridge?'],
  ])('with %s is refused by name', async (_name, options, message) => {
    const failure = await failureOf(() => host.createDomain(options as Given))
    expect([failure.code, failure.message]).toEqual(['INVALID_CONFIG', expect.stringContaining(message)])
    expect(host.domains()).toHaveLength(1)
  })
})

describe('a name', () => {
  test('of an event that there is not is answered with the nearest', () => {
    const sources: [{ on(type: string, listener: () => void): unknown }, string, string][] = [
      [host.events, 'domain-shutdwon', 'domain-shutdown'], [host.hypervisor.events, 'domain-crased', 'domain-crashed'],
      [domain.console.events, 'outptu', 'output'], [host.bridge().events, 'attatched', 'attached'], [host.xenstore.events, 'operaton', 'operation'],
    ] as never
    for (const [source, name, nearest] of sources) {
      expect(() => source.on(name, () => undefined)).toThrow(`there is no event ${name}; did you mean ${nearest}?`)
    }
    expect(() => host.events.on('toString' as Given, () => undefined)).toThrow('there is no event toString')
  })

  test('finds a disk in every spelling', () => {
    for (const name of ['xvdb', 'd1', 51728, '51728', '0xca10']) expect(domain.disk(name)).toMatchObject({ kind: 'vbd', device: 51728, name: 'xvdb' })
    expect(() => domain.disk('xvdz')).toThrow('has no disk xvdz: it has xvdb')
    expect(() => domain.disk('floppy')).toThrow('is not a device name such as xvda')
  })

  test('finds a network interface by its number and its address', () => {
    for (const name of [0, '0', '00:16:3e:00:00:01', '00:16:3E:00:00:01', '00-16-3e-00-00-01']) {
      expect(domain.nic(name)).toMatchObject({ kind: 'vif', device: 0, name: '00:16:3e:00:00:01' })
    }
    expect(() => domain.nic(1)).toThrow('has no network interface 1: it has 00:16:3e:00:00:01')
  })

  test('finds a domain by its number in text, as xl does', () => {
    expect(host.domain(String(domain.id))).toBe(domain)
    expect(() => host.domain('nobody')).toThrow('there is no domain nobody')
  })

  test('of a target that cannot be opened rejects with the error of whoever was to open it', async () => {
    const other = await Host.boot({ memory: 32, dom0Memory: 8, openDisk: () => Promise.reject(new RangeError('no such pool')) })
    const one = await other.createDomain({ name: 'one', memory: 8 })
    await expect(one.attachDisk({ vdev: 'xvda', target: 'pool/disk' })).rejects.toMatchObject({
      code: 'IO', message: expect.stringContaining('no such pool'), cause: new RangeError('no such pool'),
    })
    await other.shutdown()
  })

  test('of a disk is enough to detach it', async () => {
    await domain.attachDisk({ vdev: 'xvdd', target: 'x', access: 'r' }, { store: new MemoryBlockStore(1 << 20) })
    await domain.detachDisk('d3', { force: true })
    expect(() => domain.disk('xvdd')).toThrow('has no disk xvdd')
    await expect(domain.detachDisk('xvdd')).rejects.toMatchObject({ code: 'DEVICE_NOT_FOUND' })
    await expect(domain.attachDisk('what is this')).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  })
})

test.each([[new Error('no such disk'), 'no such disk'], [undefined, 'undefined'], [null, 'null']])('a reader of files that throws %s is told with its file', async (thrown, shown) => {
  await using other = await Host.boot({ memory: 32, dom0Memory: 8, files: { read: () => Promise.reject(thrown) } })
  await expect(other.createDomain({ name: 'x', memory: 8, kernel: '/k' })).rejects.toMatchObject({
    code: 'IO', message: `file /k cannot be read: ${shown}`, details: { path: '/k' },
  })
})

test('what a reader of files threw stays behind a GRUB that is nowhere', async () => {
  const thrown = new Error('no such disk')
  await using other = await Host.boot({ memory: 32, dom0Memory: 8, files: { read: () => Promise.reject(thrown) } })
  await expect(other.createDomain({ name: 'x', memory: 8, kernel: 'pvgrub64' })).rejects.toMatchObject({ code: 'IO', cause: thrown })
})
