import { expect, test } from 'vitest'
import { BlockFrontend, MemoryBlockStore, type BlockStore } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import type { Host } from '../../src/toolstack/index.ts'
import { feedInput } from '../../src/toolstack/host/feed-input.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import type { InputRecord } from '../../src/toolstack/run/inputs.ts'
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
  for (const { time, input } of structuredClone(records)) {
    await runTo(other, time)
    void feedInput(other, input)
  }
  await other.until('the domain', () => other.domains().length === 1)
  expect([await hashAt(other, end), other.domain('mini').console.text()]).toEqual([hash, text])
  expect(again).toEqual(records)
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
  await runTo(other.host, records[0]!.time)
  await expect(feedInput(other.host, { ...answers[0]!, bytes: new Uint8Array(511) })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT', message: 'request 3 reads 512 bytes, not 511',
  })
  for (const { time, input } of structuredClone(records)) {
    await runTo(other.host, time)
    await feedInput(other.host, input)
  }
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
  for (const { time, input, sequence } of structuredClone(records)) {
    await runTo(other, time)
    if (sequence === 6) expect(() => feedInput(other, input)).toThrow('ENOENT')
    else feedInput(other, input)
  }
  await runTo(other, end)
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
  expect(() => feedInput(host, records[0]!.input)).toThrow('the call restore came with what is no plain data')
  expect(() => feedInput(host, { source: 'frame', bridge: 'xenbr0', port: 7, bytes: frame('x') })).toThrow('no port 7')
})
