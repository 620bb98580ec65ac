/** The file of a moment: written as a stream, read by another process, and refused when it is anything else. */
import { afterEach, describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { PagePool } from '../../src/machine/index.ts'
import type { FileContent } from '../../src/toolstack/moment-file/content.ts'
import { readMomentFile } from '../../src/toolstack/moment-file/read-moment.ts'
import { writeMomentFile } from '../../src/toolstack/moment-file/write-moment.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { DEFLATE, Host, NO_COMPRESSION, verifyMomentFile, type HostOptions } from '../../src/toolstack/index.ts'
import { SeededRandom, XenError, below } from '../../src/util/index.ts'
import { hostsOfTests } from '../support/mini.ts'

const OPTIONS: HostOptions = { memory: 32, dom0Memory: 8, seed: 7, openDisk: () => new MemoryBlockStore(1 << 16) }
const boot = hostsOfTests(OPTIONS)

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
