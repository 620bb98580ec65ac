/**
 * Seeded fuzzers for folders: a hostile front-end against the server of its rings, over a folder in memory or one of this machine, and a hostile back-end against
 * the client. A sequence is a few dozen messages, most of them nearly right, in rings whose indices lie now and then. After it all of the folder is looked
 * at: its books add up, nothing is open, what lies beside it is untouched, and no page that was not shared was written.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FLEX_FIELDS, sharedPages, type FlexPages } from '../support/flex-pages.ts'
import { FileClient, MemoryFileStore, MessageWriter, type FileStore } from '../../src/drivers/index.ts'
import { MESSAGE } from '../../src/drivers/ninepfs/protocol.ts'
import { FileServer } from '../../src/drivers/ninepfs/server.ts'
import { HostFolderStore } from '../../src/node/index.ts'
import { SeededRandom, below } from '../../src/util/index.ts'
import { FakeHypervisor, type FakeDomain } from '../../src/testing/index.ts'

/** Which half is real, and over what. */
export type FolderTarget = 'back-end over memory' | 'back-end over this machine' | 'front-end'

/** What the sequences reached. */
export interface FolderReached {
  served: number
  refused: number
  broken: number
}

const rarely = (random: SeededRandom, oneIn: number): boolean => below(random, oneIn) === 0
const pick = <T>(random: SeededRandom, list: readonly T[]): T => list[below(random, list.length)]!

/** Values that are wrong in the ways that matter. */
const odd = (random: SeededRandom): number => pick(random, [0, 0xffff_ffff, 0x7fff_ffff, 0x8000_0000, below(random, 64), random.next()])

const NAMES = ['a', 'b', 'c', 'd', 'out', 'file', 'x'.repeat(255)] as const
const BAD_NAMES = ['', '.', '..', '/', 'a/b', '../../secret', 'a\0b', 'y'.repeat(256), '\ud800'] as const
const nameOf = (random: SeededRandom): string => (rarely(random, 8) ? pick(random, BAD_NAMES) : pick(random, NAMES))
const fidOf = (random: SeededRandom): number => (rarely(random, 30) ? odd(random) : below(random, 8))
const numberOf = (random: SeededRandom): number => (rarely(random, 10) ? odd(random) : below(random, 5000))

type Fields = (message: MessageWriter, random: SeededRandom) => void

/** The fields of each message, nearly right. */
const MESSAGES: readonly (readonly [type: number, fields: Fields])[] = [
  [MESSAGE.ATTACH, (message, random) => message.u32(fidOf(random)).u32(rarely(random, 9) ? odd(random) : 0xffff_ffff).text('user').text(rarely(random, 5) ? nameOf(random) : '').u32(below(random, 3))],
  [MESSAGE.WALK, (message, random) => {
    const count = rarely(random, 20) ? odd(random) & 0xffff : below(random, 4)
    message.u32(fidOf(random)).u32(fidOf(random)).u16(count)
    for (let at = 0; at < Math.min(count, 20); at += 1) message.text(nameOf(random))
  }],
  [MESSAGE.LOPEN, (message, random) => message.u32(fidOf(random)).u32(rarely(random, 6) ? odd(random) : below(random, 3))],
  [MESSAGE.LCREATE, (message, random) => message.u32(fidOf(random)).text(nameOf(random)).u32(rarely(random, 6) ? odd(random) : 0o1102).u32(odd(random)).u32(0)],
  [MESSAGE.READ, (message, random) => message.u32(fidOf(random)).number(numberOf(random)).u32(numberOf(random))],
  [MESSAGE.WRITE, (message, random) => {
    const length = below(random, 600)
    message.u32(fidOf(random)).u64(rarely(random, 10) ? BigInt(odd(random)) << BigInt(below(random, 33)) : BigInt(numberOf(random))).u32(rarely(random, 20) ? odd(random) : length).bytes(new Uint8Array(length).fill(7))
  }],
  [MESSAGE.READDIR, (message, random) => message.u32(fidOf(random)).number(rarely(random, 4) ? numberOf(random) : 0).u32(numberOf(random))],
  [MESSAGE.GETATTR, (message, random) => message.u32(fidOf(random)).number(odd(random))],
  [MESSAGE.SETATTR, (message, random) => {
    message.u32(fidOf(random)).u32(odd(random)).u32(odd(random)).u32(0).u32(0).number(numberOf(random))
    for (let at = 0; at < 4; at += 1) message.u64(BigInt(odd(random)))
  }],
  [MESSAGE.MKDIR, (message, random) => message.u32(fidOf(random)).text(nameOf(random)).u32(odd(random)).u32(0)],
  [MESSAGE.SYMLINK, (message, random) => message.u32(fidOf(random)).text(nameOf(random)).text(pick(random, ['..', '../secret', '/etc/passwd', 'a', '', 'z'.repeat(5000)])).u32(0)],
  [MESSAGE.READLINK, (message, random) => message.u32(fidOf(random))],
  [MESSAGE.MKNOD, (message, random) => message.u32(fidOf(random)).text(nameOf(random)).u32(pick(random, [0o100644, 0o020666, 0o010666, odd(random)])).u32(1).u32(1).u32(0)],
  [MESSAGE.LINK, (message, random) => message.u32(fidOf(random)).u32(fidOf(random)).text(nameOf(random))],
  [MESSAGE.RENAME, (message, random) => message.u32(fidOf(random)).u32(fidOf(random)).text(nameOf(random))],
  [MESSAGE.RENAMEAT, (message, random) => message.u32(fidOf(random)).text(nameOf(random)).u32(fidOf(random)).text(nameOf(random))],
  [MESSAGE.UNLINKAT, (message, random) => message.u32(fidOf(random)).text(nameOf(random)).u32(pick(random, [0, 0, 0x200, odd(random)]))],
  [MESSAGE.REMOVE, (message, random) => message.u32(fidOf(random))],
  [MESSAGE.CLUNK, (message, random) => message.u32(fidOf(random))],
  [MESSAGE.CLUNK, (message, random) => message.u32(fidOf(random))],
  [MESSAGE.FSYNC, (message, random) => message.u32(fidOf(random)).u32(0)],
  [MESSAGE.STATFS, (message, random) => message.u32(fidOf(random))],
  [MESSAGE.XATTRWALK, (message, random) => message.u32(fidOf(random)).u32(fidOf(random)).text('user.x')],
  [MESSAGE.LOCK, (message, random) => message.u32(fidOf(random)).u8(0).u32(0).number(0).number(0).u32(1).text('me')],
  [MESSAGE.GETLOCK, (message, random) => message.u32(fidOf(random)).u8(0).number(0).number(0).u32(1).text('me')],
  [MESSAGE.FLUSH, (message, random) => message.u16(odd(random))],
]

function messageOf(random: SeededRandom): Uint8Array {
  const message = new MessageWriter()
  const [type, fields] = pick(random, MESSAGES)
  fields(message, random)
  const bytes = message.message(rarely(random, 60) ? odd(random) & 0xff : type, odd(random) & 0xffff).slice()
  if (rarely(random, 60)) bytes[below(random, bytes.length)] = random.next() & 0xff
  return rarely(random, 60) ? bytes.slice(0, below(random, bytes.length)) : bytes
}

const versionMessage = (random: SeededRandom): Uint8Array =>
  new MessageWriter().u32(rarely(random, 20) ? odd(random) : 8192).text(rarely(random, 30) ? '9P2000.u' : '9P2000.L').message(MESSAGE.VERSION, 0xffff)

const attachMessage = (): Uint8Array => new MessageWriter().u32(0).u32(0xffff_ffff).text('root').text('').u32(0).message(MESSAGE.ATTACH, 1)

/** One front-end's half of a pair of rings, which writes what it likes. */
class HostileFront {
  private readonly pages: FlexPages
  private readonly random: SeededRandom

  constructor(pages: FlexPages, random: SeededRandom) {
    this.pages = pages
    this.random = random
  }

  send(message: Uint8Array): void {
    const { pages, random } = this
    pages.put('out', FLEX_FIELDS.outProd.get(pages.view, pages.indexes), message)
    const count = rarely(random, 300) ? odd(random) : message.length
    FLEX_FIELDS.outProd.set(pages.view, pages.indexes, (FLEX_FIELDS.outProd.get(pages.view, pages.indexes) + count) >>> 0)
  }

  /** Takes what was answered, mostly. */
  take(): void {
    const { pages: { view, indexes }, random } = this
    if (rarely(random, 4)) return
    FLEX_FIELDS.inCons.set(view, indexes, rarely(random, 300) ? odd(random) : FLEX_FIELDS.inProd.get(view, indexes))
  }

  disturb(): void {
    const { pages, random } = this
    if (rarely(random, 60)) pages.scribble(random)
  }
}

/** A folder of this machine with a secret beside it. */
function hostFolder(): { readonly store: HostFolderStore; check(): void; remove(): void } {
  const top = mkdtempSync(join(tmpdir(), 'paravirt-fuzz-'))
  mkdirSync(join(top, 'in/a'), { recursive: true })
  writeFileSync(join(top, 'secret'), 'secret')
  writeFileSync(join(top, 'in/file'), 'contents')
  symlinkSync('..', join(top, 'in/out'))
  const store = new HostFolderStore(join(top, 'in'))
  return {
    store,
    check: () => {
      const [names, secret] = [readdirSync(top).sort().join(), readFileSync(join(top, 'secret'), 'utf8')]
      if (names !== 'in,secret' || secret !== 'secret') throw new Error(`beside the folder there is ${names}: ${secret}`)
    },
    remove: () => {
      store.close()
      rmSync(top, { recursive: true, force: true })
    },
  }
}

/** Whether the books of a folder in memory add up: what it says is used is what its files have, and each has its names. */
function checkMemory(store: MemoryFileStore): void {
  const { nodes } = store.save()
  const used = nodes.reduce((sum, { bytes, target }) => sum + (bytes?.length ?? new TextEncoder().encode(target ?? '').length), 0)
  const { blocks, freeBlocks, files, freeFiles } = store.space()
  if (files - freeFiles !== nodes.length) throw new Error(`${nodes.length} files are counted as ${files - freeFiles}`)
  if (Math.abs((blocks - freeBlocks) - used / 4096) > 1) throw new Error(`${used} bytes are counted as ${blocks - freeBlocks} blocks`)
  MemoryFileStore.from(structuredClone(store.save()))
  const named = new Set([1, ...nodes.flatMap(({ children }) => (children ?? []).map(({ identity }) => identity))])
  const lost = nodes.filter(({ identity }) => !named.has(identity))
  if (lost.length > 0) throw new Error(`${lost.length} files have no name and are not open`)
}

/** Runs one sequence against a store. */
async function backEnd(domain: FakeDomain, random: SeededRandom, { store, reached }: { readonly store: FileStore; readonly reached: FolderReached }): Promise<void> {
  const rings = [0, 1].map(() => sharedPages(domain, 1 + below(random, 2)))
  const failures: unknown[] = []
  const server = new FileServer({
    memory: domain.kernel.hypercalls.memory, rings: rings.map((pages) => pages.place), store, notify: () => undefined, hold: () => () => undefined,
    onStoreFailed: (error) => failures.push(error),
  })
  const fronts = rings.map((pages) => new HostileFront(pages, random))
  fronts[0]!.send(versionMessage(random))
  server.serve()
  fronts[0]!.send(attachMessage())
  for (let step = 0; step < 24; step += 1) {
    const front = pick(random, fronts)
    for (let count = below(random, 4); count > 0; count -= 1) front.send(rarely(random, 100) ? versionMessage(random) : messageOf(random))
    front.disturb()
    server.serve()
    front.take()
  }
  const { requests, errors, fids, openFiles } = server.counts
  if (fids < openFiles) throw new Error(`${openFiles} files are open by ${fids} fids`)
  reached.served += requests - errors
  reached.refused += errors
  reached.broken += server.broken === undefined ? 0 : 1
  await server.stop()
  if (server.counts.fids !== 0 || server.counts.openFiles !== 0) throw new Error('something stayed open')
  if (failures.length > 0) throw new Error('the store has failed by what is no error of a file', { cause: failures[0] })
  for (const pages of rings) pages.release()
}

/** A back-end that answers as it likes. */
async function frontEnd(domain: FakeDomain, random: SeededRandom, reached: FolderReached): Promise<void> {
  const pages = sharedPages(domain, 1)
  let failed = 0
  const client = new FileClient({ memory: domain.kernel.hypercalls.memory, rings: [pages.place], notify: () => undefined, turn: () => undefined, failed: () => { failed += 1 } })
  let open = 0
  const asks: Promise<void>[] = []
  const ask = (): void => {
    open += 1
    asks.push(client.request(MESSAGE.GETATTR, (message) => message.u32(1).number(0)).then(() => { reached.served += 1 }, () => { reached.refused += 1 }).finally(() => { open -= 1 }))
  }
  const tags: number[] = []
  let taken = 0
  for (let step = 0; step < 16; step += 1) {
    for (let count = below(random, 4); count > 0; count -= 1) ask()
    await Promise.resolve()
    // What has been asked for, by which answers are nearly right.
    while (FLEX_FIELDS.outProd.get(pages.view, pages.indexes) - taken >= 19 && FLEX_FIELDS.outProd.get(pages.view, pages.indexes) - taken < 4096) {
      tags.push(new DataView(pages.look('out', taken + 5, 2).buffer).getUint16(0, true))
      taken += 19
    }
    for (let count = below(random, 4); count > 0 && tags.length > 0; count -= 1) {
      const type = rarely(random, 80) ? odd(random) & 0xff : pick(random, [MESSAGE.GETATTR + 1, MESSAGE.GETATTR + 1, MESSAGE.LERROR + 1])
      const tag = tags.shift()!
      const message = new MessageWriter().u32(odd(random)).message(type, rarely(random, 80) ? odd(random) & 0xffff : tag).slice()
      if (rarely(random, 80)) message[below(random, 4)] = random.next() & 0xff
      pages.put('in', FLEX_FIELDS.inProd.get(pages.view, pages.indexes), message)
      FLEX_FIELDS.inProd.set(pages.view, pages.indexes, (FLEX_FIELDS.inProd.get(pages.view, pages.indexes) + (rarely(random, 150) ? odd(random) : message.length)) >>> 0)
    }
    if (rarely(random, 60)) pages.scribble(random)
    client.onEvent(0)
    FLEX_FIELDS.outCons.set(pages.view, pages.indexes, rarely(random, 200) ? odd(random) : FLEX_FIELDS.outProd.get(pages.view, pages.indexes))
  }
  client.end()
  await Promise.all(asks)
  if (open !== 0) throw new Error(`${open} requests were never ended`)
  if (failed > 1) throw new Error(`the failure was told ${failed} times`)
  reached.broken += failed
  pages.release()
}

/** Runs sequences `first` to `first + count - 1`; the error of a failing one names it. */
export async function fuzzFolders(target: FolderTarget, count: number, first = 0): Promise<FolderReached> {
  const hub = new FakeHypervisor(512)
  const domain = hub.createDomain(1, () => undefined, { pages: 128 })
  await hub.settle()
  const reached: FolderReached = { served: 0, refused: 0, broken: 0 }
  // Pages that are nobody's: whatever is written into one was written where it must not be.
  const canaries = Array.from({ length: 4 }, () => domain.kernel.frames.allocate())
  for (const page of canaries) page.bytes.fill(0xa5)
  const free = domain.kernel.frames.free
  for (let sequence = first; sequence < first + count; sequence += 1) {
    const random = new SeededRandom(sequence)
    try {
      if (target === 'front-end') await frontEnd(domain, random, reached)
      else if (target === 'back-end over memory') {
        const store = new MemoryFileStore({ 'a/b': 'x', file: 'contents', out: { link: '..' } }, { capacity: 20_000, mostFiles: 20 })
        await backEnd(domain, random, { store, reached })
        checkMemory(store)
      } else {
        const { store, check, remove } = hostFolder()
        try {
          await backEnd(domain, random, { store, reached })
          check()
        } finally {
          remove()
        }
      }
      if (domain.kernel.frames.free !== free) throw new Error('pages were not given back')
      if (canaries.some(({ bytes }) => bytes.some((byte) => byte !== 0xa5))) throw new Error('a page that was not shared was written')
    } catch (error) {
      throw new Error(`${target}, sequence ${sequence}`, { cause: error })
    }
  }
  return reached
}
