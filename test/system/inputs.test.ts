import { describe, expect, test } from 'vitest'
import { BlockFrontend, MemoryBlockStore, type BlockStore } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import type { Host } from '../../src/toolstack/index.ts'
import { InputFeeder } from '../../src/toolstack/host/feed-input.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import type { InputRecord } from '../../src/toolstack/run/inputs.ts'
import { hashParts, partTree, type Part } from '../../src/util/index.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 48, dom0Memory: 16, seed: 5 })

/** All that comes into a host from now on. */
function record(host: Host): InputRecord[] {
  const records: InputRecord[] = []
  insidesOf(host).parts.inputs.listen((entry) => records.push(entry))
  return records
}

/** Runs to the very nanosecond of host time. */
async function runTo(host: Host, time: number): Promise<void> {
  if (time > host.now()) await host.until('a moment', () => false, { timeout: time - host.now() }).catch(() => undefined)
  expect(host.now()).toBe(time)
}

/** What a host is at a moment of its time, by a hash. */
async function hashAt(host: Host, time: number): Promise<string> {
  await runTo(host, time)
  return host.hypervisor.stateHash()
}

const frame = (text: string): Uint8Array =>
  new Uint8Array([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, ...new TextEncoder().encode(text)])

test('what comes into a host by its door makes another host the same, at the same times', async () => {
  const host = await boot()
  const records = record(host)
  const port = host.bridge().open()
  const domain = await host.createDomain({ name: 'mini', memory: 8, nics: [''] })
  await domain.console.waitFor('mini> ')
  await domain.console.write('echo typed\r')
  await domain.console.waitFor(/^typed$/)
  for (const text of ['one', 'two']) port.send(frame(text))
  domain.pause()
  domain.unpause()
  await domain.setMemTarget(6)
  await domain.console.write('mem\r')
  await domain.console.waitFor('memory:')
  const end = host.now() + 50_000_000
  const [hash, text] = [await hashAt(host, end), domain.console.text()]
  expect(records.map(({ input }) => (input.source === 'call' ? input.call : input.source))).toEqual(
    ['create', 'console', 'frame', 'frame', 'pause', 'unpause', 'memory-target', 'console'])
  expect(records.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  expect(structuredClone(records)).toEqual(records)

  const other = await boot()
  const again = record(other)
  other.bridge().open()
  await new InputFeeder(other).feed(structuredClone(records))
  await other.until('the domain', () => other.domains().length === 1)
  expect([await hashAt(other, end), other.domain('mini').console.text()]).toEqual([hash, text])
  expect(again).toEqual(records)
})

describe.each(['virtual', 'realtime'] as const)('on a host of the %s clock', (clock) => {
  /** What a host is before each input; readings of a clock are many, so that some of those do. */
  function hashes(host: Host): { readonly list: string[]; before(record: InputRecord): void } {
    const store = (): Part => partTree({ name: 'dom0', version: 1 }, insidesOf(host).parts.plan.parts().filter(({ name }) => name === 'xenstore'))
    const list: string[] = []
    return {
      list,
      before: ({ input, sequence, time }) => {
        if (input.source === 'run' || (input.source === 'clock' && sequence % 16 !== 0)) return
        list.push(`${sequence} at ${time}: ${host.hypervisor.stateHash()} ${JSON.stringify(hashParts(store().save()))}`)
      },
    }
  }

  test('calls that are aborted or time out do the same to another that is fed with them', { timeout: 30_000 }, async () => {
    const options = { clock, bootTime: new Date(0) }
    const host = await boot(options)
    const records = record(host)
    const expected = hashes(host)
    insidesOf(host).parts.inputs.listen(expected.before)
    const domain = await host.createDomain({ name: 'mini', memory: 8 })
    await domain.console.waitFor('mini> ')
    domain.pause()
    await expect(domain.setMemTarget(6, { timeout: '3ms' })).rejects.toMatchObject({ code: 'TIMED_OUT' })
    await expect(domain.shutdown({ timeout: { milliseconds: 2 } })).rejects.toMatchObject({ code: 'TIMED_OUT' })

    const controllers: AbortController[] = []
    const signal = (): AbortSignal => {
      controllers.push(new AbortController())
      return controllers.at(-1)!.signal
    }
    const abort = (): void => controllers.at(-1)!.abort()
    const isAborted = async (operation: Promise<unknown>): Promise<void> => expect(operation).rejects.toMatchObject({ code: 'ABORTED' })
    // Before it has begun, once it has, after a while, from within, and before it is called.
    const early = domain.setMemTarget(5, { signal: signal() })
    abort()
    await isAborted(early)
    const begun = domain.setMemTarget(4, { signal: signal() })
    await Promise.resolve().then(abort)
    await isAborted(begun)
    const waiting = domain.reboot({ signal: signal() })
    await host.until('a while', () => false, { timeout: '1ms' }).catch(abort)
    await isAborted(waiting)
    const creating = host.createDomain({ name: 'other', memory: 8 }, { signal: signal() })
    creating.progress.on('domain-made', abort)
    await isAborted(creating)
    await isAborted(domain.setMemTarget(3, { signal: AbortSignal.abort() }))

    domain.unpause()
    await domain.setMemTarget(6, { timeout: '1s', signal: signal() })
    abort()
    await domain.console.write('mem\r')
    await domain.console.waitFor('memory:')
    host.store.write('/tool/end', 'here')
    const calls = records.flatMap<string | number>(({ input }) => (input.source === 'abort' ? [input.report ?? 0] : input.source === 'call' ? [input.call] : []))
    expect(calls).toEqual(['create', 'pause', 'memory-target', 'shutdown', 'memory-target', 0, 'memory-target', 0,
      'reboot', 0, 'create', 2, 'memory-target', 'unpause', 'memory-target'])
    expect(records.some(({ input }) => input.source === 'clock')).toBe(clock === 'realtime')

    const other = await boot(options)
    const again = record(other)
    const found = hashes(other)
    const taken = structuredClone(records)
    await new InputFeeder(other).feed(taken, { before: found.before })
    expect(found.list).toEqual(expected.list.slice(0, found.list.length))
    expect(found.list.length).toBeGreaterThanOrEqual(calls.length + 2)
    // How many turns promises had is told for what comes then, and is not what came in.
    const withoutTicks = ({ ticks: _, ...rest }: InputRecord): unknown => rest
    expect(again.slice(0, taken.length).map(withoutTicks)).toEqual(taken.map(withoutTicks))
    expect(other.domain('mini').console.text()).toContain('memory:')
  })
})

const SIZE = 1 << 16

/** Reads a disk in several pieces at once, some of which fail, writes some of it back, and says what it found. */
const diskUser: GuestProgram = async (kernel) => {
  const disks = new BlockFrontend()
  await new FrontendBus(kernel).register(disks)
  const disk = await disks.disk(51712)
  const said = (read: PromiseSettledResult<Uint8Array>): string =>
    read.status === 'rejected' ? 'failed' : String(read.value.reduce((sum, byte) => (31 * sum + byte) >>> 0, 7))
  const reads = await Promise.allSettled([[0, 40], [64, 8], [96, 1], [1, 30]].map(([first, sectors]) => disk.read(first!, sectors!)))
  const first = reads[0]!.status === 'fulfilled' ? reads[0]!.value : new Uint8Array(512)
  await disk.write(32, first.subarray(0, 4096))
  await disk.flush()
  kernel.console!.log(`found: ${[...reads, ...await Promise.allSettled([disk.read(30, 16)])].map(said).join(' ')}.`)
}

/** A store that answers later, what lies further behind sooner; nothing can be read at 64 sectors. */
function lateStore(): BlockStore {
  const bytes = new MemoryBlockStore(SIZE)
  bytes.write(0, Uint8Array.from({ length: SIZE }, (_, index) => (index * 7) >> 3))
  const later = async (turns: number): Promise<void> => {
    for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve))
  }
  return {
    size: SIZE, readOnly: false, close: () => undefined, flush: () => later(1),
    read: async (offset, target) => {
      await later(8 - offset / 8192)
      if (offset === 32768) throw new Error('a bad sector')
      bytes.read(offset, target)
    },
    write: async (offset, source) => {
      await later(2)
      bytes.write(offset, source)
    },
  }
}

/** A store that knows nothing: all that comes of it comes from a record. */
function silentStore(): BlockStore {
  const silence = (): Promise<void> => new Promise(() => undefined)
  return { size: SIZE, readOnly: false, read: silence, write: silence, flush: silence, close: () => undefined }
}

/** A host with a guest that uses its disk, and what comes in at it. */
async function withDisk(store: BlockStore): Promise<{ readonly host: Host; readonly records: InputRecord[] }> {
  const host = await boot({ openDisk: () => store })
  // The store's failure is printed where nobody listens.
  host.events.on('callback-failed', () => undefined)
  const domain = { name: 'user', memory: 8, disks: ['any,raw,xvda,w'], kernel: diskUser }
  const created = host.createDomain(domain)
  const records = record(host)
  await created
  return { host, records }
}

test('answers of a disk come from a record, with what was read, where the store itself is not', async () => {
  const { host, records } = await withDisk(lateStore())
  await host.domain('user').console.waitFor('found:')
  const end = host.now() + 50_000_000
  const [hash, text] = [await hashAt(host, end), host.domain('user').console.text()]
  expect(text).toMatch(/found: \d+ failed \d+ \d+ \d+\./)
  const answers = records.flatMap(({ input }) => (input.source === 'disk' ? input : []))
  expect(answers.map(({ request, okay, bytes }) => [request, okay, bytes.length])).toEqual([
    [3, true, 512], [2, false, 4096], [1, true, 20480], [4, true, 15360], [5, true, 0], [6, true, 0], [7, true, 8192],
  ])
  expect(answers).toHaveLength(records.length)

  const other = await withDisk(silentStore())
  const feeder = new InputFeeder(other.host)
  await expect(feeder.feed([{ ...records[0]!, input: { ...answers[0]!, bytes: new Uint8Array(511) } }])).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT', message: 'request 3 reads 512 bytes, not 511',
  })
  await feeder.feed(structuredClone(records))
  await other.host.domain('user').console.waitFor('found:')
  expect([await hashAt(other.host, end), other.host.domain('user').console.text()]).toEqual([hash, text])
  expect(other.records).toEqual(records)
})

test('what is written to XenStore by the handle of the host comes from a record, one by one and in transactions', async () => {
  const host = await boot()
  const records = record(host)
  const { store } = host
  store.write('/tool/a', 'one')
  await runTo(host, host.now() + 1_000_000)
  store.mkdir('/tool/b')
  store.setPermissions('/tool/a', ['n0', 'r5'])
  store.transaction((own) => {
    own.write('/tool/c', Uint8Array.of(0, 1, 255))
    own.tryRm('/none/none')
    own.rm('/tool/b')
  })
  expect(() => store.transaction((own) => {
    own.write('/tool/d', 'two')
    throw new Error('given up')
  })).toThrow('given up')
  expect(() => store.rm('/none/none')).toThrow('ENOENT')
  const end = host.now() + 1_000_000
  await runTo(host, end)
  expect(records.map(({ input }) => input.source === 'store' && [input.transaction, ...input.changes.map(({ operation }) => operation)])).toEqual([
    ['none', 'write'], ['none', 'mkdir'], ['none', 'set-permissions'], ['commit', 'write', 'rm'], ['abort', 'write'], ['none', 'rm'],
  ])

  const other = await boot()
  const again = record(other)
  const failed: [number, unknown][] = []
  await new InputFeeder(other).feed(structuredClone(records), {
    answered: ({ sequence }, answer) => void Promise.resolve(answer).catch((error: unknown) => failed.push([sequence, error])),
  })
  await runTo(other, end)
  expect(failed).toMatchObject([[6, { message: expect.stringContaining('ENOENT') as string }]])
  expect(other.store.readBytes('/tool/c')).toEqual(Uint8Array.of(0, 1, 255))
  expect([other.store.list('/tool'), other.store.getPermissions('/tool/a')]).toEqual([host.store.list('/tool'), ['n0', 'r5']])
  expect(again).toEqual(records)
  expect(await other.stateHash()).toEqual(await host.stateHash())
})

test('what is no plain data is noted, and is not put in from a record', async () => {
  const host = await boot()
  const records = record(host)
  await expect(host.restore(new Uint8Array(9) as never)).rejects.toThrow()
  expect(records.map(({ input }) => input)).toEqual([{ source: 'call', call: 'other', name: 'restore' }])
  const feeder = new InputFeeder(host)
  await expect(feeder.feed(records)).rejects.toMatchObject({ code: 'NOT_SUPPORTED', message: 'the call restore came with what is no plain data' })
  await host.createDomain({ name: 'one', memory: 8, kernel: () => undefined })
  expect(records[1]!.input).toEqual({ source: 'call', call: 'other', name: 'createDomain with a program' })

  const { sequence, time, ticks } = records[0]!
  const strange = { sequence, time: time + 1e9, ticks, input: { source: 'frame', bridge: 'xenbr0', port: 7, bytes: frame('x') } } as const
  let answer: unknown
  await feeder.feed([strange], { answered: (_, its) => { answer = its } })
  await expect(answer).rejects.toThrow('no port 7')
  await expect(feeder.feed([{ ...strange, time }])).rejects.toMatchObject({ code: 'INVALID_STATE', details: { time, now: time + 1e9 } })
})
