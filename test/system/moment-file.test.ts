/** The file of a moment: written as a stream, read by another process, and refused when it is anything else. */
import { afterEach, describe, expect, test } from 'vitest'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { brotliCompression, deflateCompression, nodeCompressions } from '../../src/node/index.ts'
import { PagePool } from '../../src/machine/index.ts'
import { writeBlocks } from '../../src/toolstack/moment-file/blocks.ts'
import type { FileContent } from '../../src/toolstack/moment-file/content.ts'
import { readMomentFile } from '../../src/toolstack/moment-file/read-moment.ts'
import { FILE_VERSION, MAGIC, recordBytes } from '../../src/toolstack/moment-file/records.ts'
import { writeMomentFile } from '../../src/toolstack/moment-file/write-moment.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { DEFLATE, Host, NO_COMPRESSION, verifyMomentFile, type Compression, type GivenChunks, type HeldFile, type HostOptions, type Moment } from '../../src/toolstack/index.ts'
import { SeededRandom, XenError, below } from '../../src/util/index.ts'
import { hostsOfTests } from '../support/mini.ts'

const OPTIONS: HostOptions = { memory: 32, dom0Memory: 8, seed: 7, openDisk: () => new MemoryBlockStore(1 << 16) }
const boot = hostsOfTests(OPTIONS)

const MINI = new URL('../../examples/guests/mini/mini.elf', import.meta.url)

const branches: Host[] = []
const halted: (() => void)[] = []
afterEach(async () => {
  for (const goOn of halted.splice(0)) goOn()
  for (const branch of branches.splice(0)) await branch.shutdown()
})

/** Collects what is written. */
function collector(): { readonly write: (chunk: Uint8Array) => void; bytes(): Uint8Array } {
  const chunks: Uint8Array[] = []
  return { write: (chunk) => void chunks.push(chunk.slice()), bytes: () => new Uint8Array(Buffer.concat(chunks)) }
}

/** Where the fields of a file lie that is not packed, as docs/moment-format.md has them. */
function fieldsOf(file: Uint8Array): readonly { readonly name: string; readonly at: number }[] {
  const view = new DataView(file.buffer, file.byteOffset, file.length)
  const fields = ['magic', 'version', 'packing', 'zeros'].map((name, i) => ({ name, at: [0, 8, 12, 16][i]! }))
  /** The bytes in blocks, by where they lie. */
  const places: number[] = []
  for (let at = 24; at < file.length;) {
    const length = view.getUint32(at, true)
    fields.push({ name: 'packed length', at }, { name: 'length', at: at + 4 })
    for (let i = 0; i < length; i += 1) places.push(at + 8 + i)
    if (length % 8 !== 0) fields.push({ name: 'padding', at: at + 8 + length })
    at += 8 + Math.ceil(length / 8) * 8
  }
  const word = (from: number): number => file[places[from]!]! | file[places[from + 1]!]! << 8 | file[places[from + 2]!]! << 16 | file[places[from + 3]!]! << 24
  for (let at = 0; at < places.length;) {
    const [kind, length] = [word(at), word(at + 4)]
    const of = (name: string, offset: number): void => void fields.push({ name: `${name} of a record ${kind}`, at: places[at + offset]! })
    of('kind', 0)
    of('length', 4)
    if (length > 0) of('first byte', 8)
    if (length > 1) of('last byte', 8 + length - 1)
    of('hash', 8 + length)
    of('hash of the sample', 16 + length)
    at += 24 + length
  }
  return fields
}

/** Bytes as a file that is held, with how many were read of it, and whether it was released. */
function heldFile(bytes: Uint8Array): HeldFile & { fill: HeldFile['fill']; read: number; released: number } {
  const fillNow = (row: Uint8Array, from: number): void => {
    if (from + row.length > bytes.length) throw new Error('it ends before')
    row.set(bytes.subarray(from, from + row.length))
    held.read += row.length
  }
  const held = {
    given: true as const, size: bytes.length, read: 0, released: 0, fillNow,
    fill: async (rows: readonly Uint8Array[], from: number) => {
      await Promise.resolve()
      for (let [i, at] = [0, from]; i < rows.length; at += rows[i]!.length, i += 1) fillNow(rows[i]!, at)
    },
    release: () => { held.released += 1 },
    async *[Symbol.asyncIterator]() { yield bytes.slice() },
  }
  return held
}

async function begin() {
  const host = await boot()
  const domain = await host.createDomain({ name: 'one', memory: 8, disks: [{ target: 'a', vdev: 'xvda' }], nics: [''] })
  await domain.console.waitFor('mini> ')
  const moment = await host.checkpoint({ label: 'ready' })
  return { host, moment }
}

describe('a moment goes through a file', () => {
  test.each([DEFLATE, NO_COMPRESSION])('packed by $name, and its branch is the same', { timeout: 60_000 }, async (compression) => {
    const { moment } = await begin()
    const target = collector()
    await moment.save(target, { compression })
    const file = target.bytes()
    const report = await verifyMomentFile([file.subarray(0, 100), file.subarray(100)])
    expect(report).toMatchObject({ label: 'ready', time: moment.time })
    expect(report.parts.map(({ path }) => path)).toEqual(expect.arrayContaining(['hypervisor.events', 'xenstore.store', 'toolstack']))
    const loaded = await Host.loadMoment(file, { openDisk: OPTIONS.openDisk })
    expect(loaded.hashes()).toEqual(moment.hashes())
    const hashes = []
    for (const from of [moment, loaded, loaded]) {
      const host = await from.branch()
      branches.push(host)
      const { loop } = insidesOf(host).parts
      halted.push(await loop.halt())
      void host.domain('one').console.write('echo typed\r')
      await loop.runTo(moment.time + 30e6)
      hashes.push(await host.stateHash())
    }
    expect(hashes[1]).toEqual(hashes[0])
    expect(hashes[2]).toEqual(hashes[0])
    expect(branches[1]!.domain('one').console.text()).toContain('\ntyped\n')
  })

  test('packed by Node, without the bytes that its reader has, and trusted', { timeout: 60_000 }, async () => {
    const host = await boot()
    const [kernel, ramdisk] = [new Uint8Array(readFileSync(MINI)), Uint8Array.from({ length: 50_000 }, (_, i) => (i * i) >> 3)]
    const domain = await host.createDomain({ name: 'one', memory: 8, kernel, ramdisk })
    await domain.console.waitFor('mini> ')
    const moment = await host.checkpoint()
    const [whole, without] = [collector(), collector()]
    const apart = [ramdisk, kernel]
    await moment.save(whole, { compression: NO_COMPRESSION })
    await moment.save(without, { compression: brotliCompression({ level: 1 }), apart })
    const unpacked = collector()
    await moment.save(unpacked, { compression: NO_COMPRESSION, apart })
    expect(whole.bytes().length - unpacked.bytes().length).toBeGreaterThan(kernel.length + ramdisk.length - 200)
    const compression = nodeCompressions()
    await expect(Host.loadMoment(without.bytes())).rejects.toMatchObject({ code: 'NOT_SUPPORTED', details: { name: 'brotli' } })
    await expect(Host.loadMoment(without.bytes(), { compression, apart: [kernel] })).rejects.toMatchObject({
      code: 'NOT_SUPPORTED', details: { length: ramdisk.length, sha256: createHash('sha256').update(ramdisk).digest('hex') },
    })
    const loaded = await Host.loadMoment(without.bytes(), { compression, apart: [new Uint8Array(7), kernel, ramdisk], trusted: true })
    expect(loaded.hashes()).toEqual(moment.hashes())
    const branch = await loaded.branch()
    branches.push(branch)
    expect(branch.domain('one').config.ramdisk).toEqual(ramdisk)
    expect((await verifyMomentFile(without.bytes(), { compression })).pages).toBe((await verifyMomentFile(whole.bytes())).pages)
    for (const options of [{ compress: DEFLATE }, { apart: 'kernel' }]) {
      await expect(moment.save(collector(), options as object)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    }
  })

  test('as blocks that Node and the web pack alike, and a reader to whom memory is given takes', { timeout: 60_000 }, async () => {
    const { moment } = await begin()
    const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => (i * i) >> 5)
    const ways = [DEFLATE, deflateCompression()]
    for (const [one, other] of [ways, [...ways].reverse()]) {
      const packed = await one!.pack(bytes)
      expect(packed.length).toBeLessThan(bytes.length)
      expect(new Uint8Array(await other!.unpack(packed, bytes.length))).toEqual(bytes)
    }
    for (const way of [NO_COMPRESSION, ...ways, ...nodeCompressions()]) {
      const packed = await way.pack(bytes)
      for (const length of [bytes.length - 1, bytes.length + 1]) await expect(way.unpack(packed, length)).rejects.toThrow()
      if (way !== NO_COMPRESSION) await expect(way.unpack(packed.slice(0, packed.length >> 1), bytes.length)).rejects.toThrow()
    }
    const target = collector()
    await moment.save(target, { compression: NO_COMPRESSION })
    const file = target.bytes()
    const given = (whole: Uint8Array): GivenChunks => ({ given: true, async *[Symbol.asyncIterator]() { yield whole } })
    const own = file.slice()
    const loaded = await Host.loadMoment(given(own), { openDisk: OPTIONS.openDisk })
    expect(loaded.hashes()).toEqual(moment.hashes())
    // What is not given is copied: whoever has it may change it.
    const kept = await Host.loadMoment(file, { openDisk: OPTIONS.openDisk })
    const before = file.slice()
    file.fill(0)
    expect(kept.hashes()).toEqual(moment.hashes())
    // Who trusts a file still finds what is cut off, and what is torn.
    for (const damaged of [before.subarray(0, before.length - 5000), before.slice().fill(0, before.length >> 1, (before.length >> 1) + 8192)]) {
      await expect(Host.loadMoment(given(damaged.slice()), { trusted: true })).rejects.toMatchObject({ code: 'INVALID_STREAM' })
    }
  })

  test('that is held, whose pages are read to where a branch wants them, and again only where somebody asks', { timeout: 60_000 }, async () => {
    const { moment } = await begin()
    const target = collector()
    await moment.save(target, { compression: NO_COMPRESSION })
    const { openDisk } = OPTIONS
    const file = heldFile(target.bytes())
    const loaded = await Host.loadMoment(file, { openDisk, trusted: true })
    const [read] = [file.read]
    expect(read).toBeLessThan(file.size * 1.1)
    const still = async (from: Moment<Host>): Promise<Host> => {
      const host = await from.branch()
      branches.push(host)
      halted.push(await insidesOf(host).parts.loop.halt())
      return host
    }
    const [first, other] = [await still(loaded), await still(await Host.loadMoment(target.bytes(), { openDisk }))]
    const memories = [first, other].map((host) => insidesOf(host).parts.machine.memory)
    // All of memory, byte by byte: hashes know of pages that were written since alone.
    const [one, two] = memories.map(({ bytes, firstFrame, endFrame }) => Buffer.from(bytes.buffer, firstFrame * 4096, (endFrame - firstFrame) * 4096))
    expect(one!.equals(two!)).toBe(true)
    expect(file.read - read).toBeLessThan(file.size / 4)
    expect(await first.stateHash()).toEqual(await other.stateHash())
    expect(loaded.hashes()).toEqual(moment.hashes())
    expect(await (await still(loaded)).stateHash()).toEqual(moment.hashes())
    expect(file.released).toBe(1)
  })

  test('that is held and damaged is refused, and let go', { timeout: 60_000 }, async () => {
    const { moment } = await begin()
    const target = collector()
    await moment.save(target, { compression: NO_COMPRESSION })
    const file = target.bytes()
    const torn = file.slice().fill(0, file.length >> 1, (file.length >> 1) + 8192)
    for (const bytes of [torn, file.subarray(0, file.length - 5000), file.subarray(0, 10), Uint8Array.of(), file.slice().fill(7, 30, 40), file.slice().fill(7, 0, 4)]) {
      const held = heldFile(bytes)
      await expect(Host.loadMoment(held, { trusted: true })).rejects.toMatchObject({ code: 'INVALID_STREAM' })
      expect(held.released).toBe(1)
    }
    const ending = heldFile(file)
    ending.fill = async () => { throw new Error('the disk is gone') }
    await expect(Host.loadMoment(ending, { trusted: true })).rejects.toMatchObject({ code: 'IO' })
    expect(ending.released).toBe(1)
    // Who does not trust it reads it as any other.
    const whole = heldFile(file)
    expect((await Host.loadMoment(whole, { openDisk: OPTIONS.openDisk })).hashes()).toEqual(moment.hashes())
    expect(whole.released).toBe(1)
  })

  test.each([['pages', 9 << 20], ['head', 2 << 20], ['end', 4]] as const)('and a record %s of %i bytes is refused before it is read', async (kind, length) => {
    const target = collector()
    const head = new Uint8Array(24)
    head.set(MAGIC)
    head[8] = FILE_VERSION
    target.write(head)
    let packed = 0
    const counting: Compression = { ...NO_COMPRESSION, unpack: async (bytes, size) => {
      packed += 1
      return NO_COMPRESSION.unpack(bytes, size)
    } }
    await writeBlocks([recordBytes(kind, new Uint8Array(length)), [new Uint8Array(64 << 20)]], NO_COMPRESSION, async (bytes) => target.write(bytes))
    await expect(verifyMomentFile(target.bytes(), { compression: counting })).rejects.toMatchObject({
      code: 'INVALID_STREAM', message: expect.stringContaining(`record 1 (${kind})`) as string,
    })
    expect(packed).toBeLessThanOrEqual(6)
  })

  test('and is refused with a code, wherever it is cut or changed', { timeout: 120_000 }, async () => {
    const { host, moment } = await begin()
    const target = collector()
    await moment.save(target, { compression: NO_COMPRESSION })
    const file = target.bytes()
    const random = new SeededRandom(9)
    const outcome = (bytes: Uint8Array): Promise<string> => verifyMomentFile(bytes).then(() => 'read', (error: unknown) => (XenError.is(error) ? error.code : String(error)))
    const codes = new Set<string>()
    for (let i = 0; i < 60; i += 1) codes.add(await outcome(file.subarray(0, below(random, file.length))))
    for (let i = 0; i < 120; i += 1) {
      const at = i < 40 ? i : below(random, file.length)
      const damaged = file.slice()
      damaged[at]! ^= 1 << below(random, 8)
      codes.add(await outcome(damaged))
    }
    expect([...codes].sort()).toEqual(['INVALID_STREAM', 'NOT_SUPPORTED'])
    expect(await outcome(Buffer.concat([file, Uint8Array.of(0)]))).toBe('INVALID_STREAM')
    await host.createDomain({ name: 'big', memory: 8, ramdisk: Uint8Array.from({ length: 2 << 20 }, () => below(random, 256)) })
    const big = collector()
    await (await host.checkpoint()).save(big)
    await expect(Host.loadMoment(big.bytes(), { moments: { memory: 1 } })).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' })
    await expect(Host.loadMoment(file, { memory: 64 })).rejects.toMatchObject({ code: 'INVALID_STATE' })
    const packed = collector()
    await moment.save(packed)
    const damaged = packed.bytes()
    damaged[damaged.length >> 1]! ^= 1
    expect(await outcome(damaged)).toBe('INVALID_STREAM')
  })

  test('and is refused with a code whichever of its fields is another', { timeout: 60_000 }, async () => {
    const { moment } = await begin()
    const target = collector()
    await moment.save(target, { compression: NO_COMPRESSION })
    const file = target.bytes()
    const outcomes = new Map<string, string>()
    for (const { name, at } of fieldsOf(file)) {
      file[at]! ^= 0x11
      const outcome = await verifyMomentFile([file]).then(() => 'read', (error: unknown) => (XenError.is(error) ? error.code : String(error)))
      file[at]! ^= 0x11
      outcomes.set(name, outcome)
    }
    expect(outcomes.size).toBeGreaterThan(30)
    const others = [...outcomes].filter(([, outcome]) => outcome !== 'INVALID_STREAM')
    expect(others).toEqual([['version', 'NOT_SUPPORTED']])
    expect((await verifyMomentFile([file])).label).toBe('ready')
  })

  test('and what is no host is refused by its part when it is branched from, or runs and adds up', { timeout: 120_000 }, async () => {
    const { moment } = await begin()
    const target = collector()
    await moment.save(target, { compression: NO_COMPRESSION })
    const random = new SeededRandom(3)
    const attempt = async (spoil: (content: FileContent, pool: PagePool) => FileContent): Promise<string> => {
      const pool = new PagePool()
      const content = await readMomentFile(target.bytes(), { pool, room: 2 ** 20 })
      const spoilt = collector()
      await writeMomentFile(spoilt, spoil(content, pool), { pool, compression: NO_COMPRESSION })
      try {
        const host = await (await Host.loadMoment(spoilt.bytes(), { openDisk: OPTIONS.openDisk })).branch()
        const { loop, control } = insidesOf(host).parts
        const goOn = await loop.halt()
        await loop.step(2_000_000)
        expect(control.checkInvariants()).toEqual([])
        goOn()
        await host.shutdown()
        return 'runs'
      } catch (error) {
        return XenError.is(error) ? error.code : String(error)
      }
    }
    type Tree = { version: number; parts: Record<string, any> }
    const trees: ((tree: Tree) => void)[] = [
      (tree) => { tree.version = 1 }, ({ parts }) => { delete parts['kernel'] }, ({ parts }) => { parts['hypervisor'].parts.clock.state.time = -1 },
      ({ parts }) => { parts['services'].state.connections.pop() }, ({ parts }) => { parts['programs'].state = 7 },
      ({ parts }) => { parts['hypervisor'].parts.registry.state.pop() }, ({ parts }) => { parts['toolstack'].state.domains[0].config.memory = 'much' },
    ]
    for (const spoil of trees) {
      expect(await attempt((content) => {
        const tree = structuredClone(content.tree) as unknown as Tree
        spoil(tree)
        return { ...content, tree: tree as unknown as FileContent['tree'] }
      })).toBe('INVALID_STATE')
    }
    const codes = new Set<string>()
    for (let i = 0; i < 12; i += 1) {
      codes.add(await attempt((content, pool) => {
        // A bit of some page is another: of the frame table, or of memory.
        const index = i % 2 === 0 ? content.rows : content.memory
        const places: [number, number][] = []
        index.visit((number, id) => void places.push([number, id]))
        const [number, id] = places[below(random, places.length)]!
        const words = pool.wordsOf(id).slice()
        words[below(random, 1024)]! ^= 1 << below(random, 32)
        const edited = index.edit(Uint32Array.of(number), Uint32Array.of(pool.take(words, 0)))
        return i % 2 === 0 ? { ...content, rows: edited } : { ...content, memory: edited }
      }))
    }
    for (const code of codes) expect(['INVALID_STATE', 'runs']).toContain(code)
    expect(codes.has('INVALID_STATE')).toBe(true)
  })
})
