/** Disks in qcow2 files, made, checked, compared and read by Debian's qemu-img, and what hostile ones come to. */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inflateRawSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BlockFrontend, MemoryBlockStore, MemoryImageFile, QcowBlockStore, type BlockStore } from '../../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../../src/guest/index.ts'
import { Host } from '../../../src/index.ts'
import { nodeDisks } from '../../../src/node/index.ts'
import type { DiskOpenRequest } from '../../../src/toolstack/index.ts'
import { below, fillRandom, SeededRandom, XenError } from '../../../src/util/index.ts'
import { describeBlockStore } from '../../support/block-store-contract.ts'
import { checkImage, qemuImg, whyNoQemuImg } from '../../support/qemu-img.ts'

const missing = whyNoQemuImg()
const MEBIBYTE = 1 << 20
const SIZE = 3 * MEBIBYTE
let folder = ''
beforeAll(() => { folder = mkdtempSync(join(tmpdir(), 'paravirt-qcow2-')) })
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)
const open = async (name: string, more: Partial<DiskOpenRequest> = {}): Promise<BlockStore> =>
  nodeDisks(folder)({ params: name, readOnly: false, format: 'qcow2', origin: 'attach', domid: 1, device: '51712', type: 'phy', name: 'xvda', ...more } as DiskOpenRequest)

/** Noise with long runs of zeros in it. */
function contents(seed: number, size = SIZE): Uint8Array {
  const [random, bytes] = [new SeededRandom(seed), new Uint8Array(size)]
  for (let place = 0; place < size; place += 65536) if (below(random, 3) > 0) fillRandom(random, bytes.subarray(place, place + below(random, 65536)))
  return bytes
}

async function wholeOf(store: BlockStore): Promise<Uint8Array> {
  const bytes = new Uint8Array(store.size)
  await store.read(0, bytes)
  return bytes
}

/** The image as qemu-img reads it. */
function converted(name: string): Uint8Array {
  qemuImg('convert', '-f', 'qcow2', '-O', 'raw', at(name), at('converted.raw'))
  return readFileSync(at('converted.raw'))
}
const same = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0

/** Writes, discards and reads at random, with a model beside it. */
async function exercise(store: BlockStore, model: Uint8Array, { seed, steps }: { readonly seed: number; readonly steps: number }): Promise<void> {
  const random = new SeededRandom(seed)
  for (let step = 0; step < steps; step += 1) {
    const offset = below(random, model.length / 512) * 512
    const length = Math.min(model.length - offset, 512 * (1 + below(random, below(random, 4) === 0 ? 600 : 20)))
    const what = below(random, 4)
    if (what === 0) {
      await store.discard!(offset, length)
      model.fill(0, offset, offset + length)
    } else if (what < 3) {
      const bytes = new Uint8Array(length)
      fillRandom(random, bytes)
      await store.write(offset, bytes)
      model.set(bytes, offset)
    } else {
      const seen = new Uint8Array(length)
      await store.read(offset, seen)
      if (!same(seen, model.subarray(offset, offset + length))) throw new Error(`step ${step}: ${length} bytes at ${offset} are others`)
    }
  }
}

describe.skipIf(missing !== undefined)(`an image of qemu-img's${missing ?? ''}`, () => {
  const KINDS = [
    ['clusters of 512 bytes', ['-o', 'cluster_size=512']], ['clusters of 4 KiB', ['-o', 'cluster_size=4k']], ['clusters of 64 KiB', []], ['clusters of 2 MiB', ['-o', 'cluster_size=2M']],
    ['the older version', ['-o', 'compat=0.10']], ['the older version and clusters of 512 bytes', ['-o', 'compat=0.10,cluster_size=512']], ['room made ahead', ['-o', 'preallocation=metadata']],
  ] as const

  test.each(KINDS)('with %s is written, discarded and read, and qemu-img finds it sound and with the same contents', async (_, options) => {
    qemuImg('create', '-q', '-f', 'qcow2', ...options, at('plain.qcow2'), String(SIZE))
    const model = new Uint8Array(SIZE)
    for (const seed of [1, 2]) {
      const store = await open('plain.qcow2')
      await exercise(store, model, { seed, steps: 60 })
      await store.flush()
      await store.close()
      checkImage(at('plain.qcow2'))
      expect(same(converted('plain.qcow2'), model)).toBe(true)
    }
  })

  test.each([['raw', []], ['qcow2', []], ['raw', ['-o', 'compat=0.10']], ['qcow2', ['-o', 'cluster_size=512']]] as const)('stands on a %s image, which stays as it is (%s)', async (format, options) => {
    const [base, model] = [contents(3, SIZE - MEBIBYTE - 512), new Uint8Array(SIZE)]
    model.set(base)
    writeFileSync(at('base.raw'), base)
    if (format === 'qcow2') qemuImg('convert', '-f', 'raw', '-O', 'qcow2', at('base.raw'), at('base.qcow2'))
    const before = readFileSync(at(`base.${format}`))
    qemuImg('create', '-q', '-f', 'qcow2', '-b', `base.${format}`, '-F', format, ...options, at('top.qcow2'), String(SIZE))
    const store = await open('top.qcow2')
    expect(same(await wholeOf(store), model)).toBe(true)
    await exercise(store, model, { seed: 4, steps: 80 })
    await store.close()
    checkImage(at('top.qcow2'))
    expect([same(converted('top.qcow2'), model), same(readFileSync(at(`base.${format}`)), before)]).toEqual([true, true])
    writeFileSync(at('model.raw'), model)
    expect(qemuImg('compare', '-f', 'qcow2', '-F', 'raw', at('top.qcow2'), at('model.raw'))).toContain('identical')
  })

  test('that is packed is read, and what is written over is unpacked', async () => {
    const model = contents(5)
    writeFileSync(at('packed.raw'), model)
    qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', at('packed.raw'), at('packed.qcow2'))
    const store = await open('packed.qcow2')
    expect(same(await wholeOf(store), model)).toBe(true)
    await exercise(store, model, { seed: 6, steps: 80 })
    await store.close()
    checkImage(at('packed.qcow2'))
    expect(same(converted('packed.qcow2'), model)).toBe(true)
  })

  test('with snapshots keeps them as they are', async () => {
    const first = contents(7)
    writeFileSync(at('snap.raw'), first)
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', at('snap.raw'), at('snap.qcow2'))
    qemuImg('snapshot', '-c', 'then', at('snap.qcow2'))
    const model = first.slice()
    const store = await open('snap.qcow2')
    await exercise(store, model, { seed: 8, steps: 80 })
    await store.close()
    checkImage(at('snap.qcow2'))
    expect(same(converted('snap.qcow2'), model)).toBe(true)
    qemuImg('snapshot', '-a', 'then', at('snap.qcow2'))
    expect(same(converted('snap.qcow2'), first)).toBe(true)
    checkImage(at('snap.qcow2'))
  })

  test('grows until its table of counts is another one', { timeout: 60_000 }, async () => {
    // A table of one cluster of 512 bytes counts 64 x 256 clusters: 8 MiB.
    const size = 12 * MEBIBYTE
    qemuImg('create', '-q', '-f', 'qcow2', '-o', 'cluster_size=512', at('grown.qcow2'), String(size))
    const store = await open('grown.qcow2')
    const model = contents(9, size).map((byte) => byte | 1)
    for (let place = 0; place < size; place += MEBIBYTE) await store.write(place, model.subarray(place, place + MEBIBYTE))
    await store.close()
    checkImage(at('grown.qcow2'))
    expect(same(converted('grown.qcow2'), model)).toBe(true)
    expect(statSync(at('grown.qcow2')).size).toBeGreaterThan(size)
  })

  test('is a guest\'s disk where its description says so', async () => {
    qemuImg('create', '-q', '-f', 'qcow2', at('guest.qcow2'), String(SIZE))
    const writer: GuestProgram = async (kernel) => {
      const disks = new BlockFrontend()
      await new FrontendBus(kernel).register(disks)
      const disk = await disks.disk('xvda')
      await disk.write(8, Uint8Array.from({ length: 512 }, (__, place) => place & 255))
      await disk.flush()
      kernel.console!.log(`read ${(await disk.read(8, 1))[300]} of ${disk.size}`)
    }
    const host = await Host.boot({ memory: 48, dom0Memory: 8, openDisk: nodeDisks(folder, { confined: true }) })
    const domain = await host.createDomain('name = "user"\nmemory = 4\ndisk = [ "format=qcow2,vdev=xvda,access=rw,target=guest.qcow2" ]', { kernel: writer })
    await domain.console.waitFor(`read 44 of ${SIZE}`)
    await host.shutdown()
    checkImage(at('guest.qcow2'))
    expect([...converted('guest.qcow2').subarray(4096 + 298, 4096 + 302)]).toEqual([42, 43, 44, 45])
    // An opener that says nothing of formats is asked for none but raw.
    const other = await Host.boot({ memory: 48, dom0Memory: 8, openDisk: () => new MemoryBlockStore(SIZE) })
    await expect(other.createDomain({ name: 'x', memory: 4, disks: [{ vdev: 'xvda', target: 'a', format: 'qcow2' }] })).rejects.toMatchObject({ message: expect.stringContaining('format qcow2 is not supported') as string })
    await other.shutdown()
  })
})

if (missing === undefined) {
  const made = (size: number): void => void qemuImg('create', '-q', '-f', 'qcow2', at('contract.qcow2'), String(size))
  describeBlockStore('a qcow2 file', {
    make: (size) => {
      made(size)
      return open('contract.qcow2')
    },
    makeReadOnly: (size) => {
      made(size)
      return open('contract.qcow2', { readOnly: true })
    },
    cleanUp: () => checkImage(at('contract.qcow2')),
  })
}

describe.skipIf(missing !== undefined)(`an image that lies${missing ?? ''}`, () => {
  const opened = (name: string): Promise<unknown> => open(name).then(async (store) => {
    await store.close()
    return 'opened'
  }, (error: unknown) => (XenError.is(error) ? `${error.code}: ${error.message}` : error))

  test('about what it stands on is refused: loops, files elsewhere, links, programs, and formats that nobody said', async () => {
    mkdirSync(at('inner'), { recursive: true })
    writeFileSync(at('secret'), new Uint8Array(512))
    const make = (name: string, backing: string, format?: string): void => void qemuImg('create', '-q', '-u', '-f', 'qcow2', '-b', backing, ...(format === undefined ? [] : ['-F', format]), at(name), '1M')
    make('inner/one.qcow2', 'two.qcow2', 'qcow2')
    make('inner/two.qcow2', 'one.qcow2', 'qcow2')
    make('inner/self.qcow2', 'self.qcow2', 'qcow2')
    make('inner/up.qcow2', '../secret', 'raw')
    make('inner/absolute.qcow2', '/etc/passwd', 'raw')
    make('inner/none.qcow2', 'none.raw', 'raw')
    make('inner/socket.qcow2', 'nbd://127.0.0.1/x', 'raw')
    make('inner/format.qcow2', 'one.qcow2', 'vdi')
    symlinkSync('../secret', at('inner/link'))
    make('inner/linked.qcow2', 'link', 'raw')
    writeFileSync(at('inner/base.raw'), new Uint8Array(512))
    make('inner/unsaid.qcow2', 'base.raw', 'raw')
    // The extension that says the format is made one that says nothing.
    const bytes = readFileSync(at('inner/unsaid.qcow2'))
    bytes.writeUInt32BE(0x12345678, bytes.indexOf(Buffer.from([0xe2, 0x79, 0x2a, 0xca])))
    writeFileSync(at('inner/unsaid.qcow2'), bytes)
    for (const [name, said] of [
      ['one', /^IO: .*they go round/], ['self', /^IO: .*they go round/], ['up', /^PERMISSION_DENIED/], ['absolute', /^PERMISSION_DENIED/], ['none', /^IO: .*cannot be found/],
      ['socket', /^IO: .*which is no file/], ['format', /^IO: .*vdi is not known/], ['linked', /^PERMISSION_DENIED/], ['unsaid', /^IO: .*whose format it does not say/],
    ] as const) expect([name, await opened(`inner/${name}.qcow2`)]).toEqual([name, expect.stringMatching(said)])
    expect(await opened('none.qcow2')).toMatch(/^IO/)
  })

  test('about its length is refused, or reads as far as it goes, and never writes over its own tables', async () => {
    const base = contents(10, MEBIBYTE)
    writeFileSync(at('cut.raw'), base)
    qemuImg('convert', '-f', 'raw', '-O', 'qcow2', at('cut.raw'), at('whole.qcow2'))
    const { size } = statSync(at('whole.qcow2'))
    for (let length = 0; length < size; length += 16384) {
      copyFileSync(at('whole.qcow2'), at('cut.qcow2'))
      truncateSync(at('cut.qcow2'), length)
      const store = await open('cut.qcow2', { readOnly: true }).catch((error: unknown) => error)
      if (!XenError.is(store)) await wholeOf(store as BlockStore).catch((error: unknown) => { if (!XenError.is(error, 'IO')) throw error })
    }
  })

  test('in any bytes of its head and tables throws typed errors, and costs nothing beyond its file', { timeout: 60_000 }, async () => {
    writeFileSync(at('small.raw'), contents(11, 65536))
    qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', 'cluster_size=512', at('small.raw'), at('small.qcow2'))
    qemuImg('snapshot', '-c', 's', at('small.qcow2'))
    const right = readFileSync(at('small.qcow2'))
    let [fine, refused] = [0, 0]
    for (let seed = 0; seed < 2000; seed += 1) {
      const random = new SeededRandom(seed)
      const bytes = Uint8Array.from(right)
      // Most of what matters is at the beginning: head, tables, entries of eight bytes.
      for (let spoils = below(random, 4); spoils >= 0; spoils -= 1) {
        const place = below(random, 3) === 0 ? below(random, 112) : Math.floor(below(random, Math.min(bytes.length, 8192)) / 8) * 8 + below(random, 8)
        bytes[place] = below(random, 2) === 0 ? below(random, 256) : bytes[place]! ^ (1 << below(random, 8))
      }
      const file = new MemoryImageFile(bytes)
      try {
        const store = new QcowBlockStore(file, { readOnly: below(random, 3) === 0, inflate: (packed, most) => inflateRawSync(packed, { maxOutputLength: most, finishFlush: 2 }) })
        if (store.size > 1 << 24) continue
        for (let step = 0; step < 12; step += 1) {
          const offset = below(random, Math.max(1, store.size / 512)) * 512
          const piece = new Uint8Array(Math.min(store.size - offset, 512 * (1 + below(random, 6))))
          const what = below(random, 3)
          if (what === 0) await store.read(offset, piece)
          else if (!store.readOnly) await (what === 1 ? store.write(offset, piece.fill(step)) : store.discard(offset, piece.length))
          fine += 1
        }
      } catch (error) {
        // What Node's own inflate says never comes out as it is.
        if (!XenError.is(error)) throw new Error(`seed ${seed}`, { cause: error })
        refused += 1
      }
      expect(file.size).toBeLessThan(right.length + (1 << 20))
    }
    expect([fine > 2000, refused > 300]).toEqual([true, true])
  })
})
