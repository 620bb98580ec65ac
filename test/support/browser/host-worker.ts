/** A worker with a host, for tests: which one is said by its name. */
import { Host } from '../../../src/index.ts'
import type { ByteSink, HeldFile } from '../../../src/toolstack/index.ts'
import { BlobBlockStore, connectTabs, DirectoryFileStore, fetchMoment, httpStore, indexedDbStore, opfsStore, privateCache, serveWorker, type DirectoryHandleLike } from '../../../src/browser/index.ts'
import { FolderFrontend, formatMac, NetFrontend, OverlayBlockStore, type Nic } from '../../../src/drivers/index.ts'
import { FrontendBus, type GuestKernel, type GuestProgram } from '../../../src/guest/index.ts'
import { echo } from './echo.ts'
import { blockStoreContract } from '../../../src/testing/index.ts'

const [kind = '', argument = '', own = ''] = self.name.split(' ')

const HOSTS: Readonly<Record<string, () => Promise<Host>>> = {
  plain: () => Host.boot({ memory: 64, dom0Memory: 16 }),
  fails: () => Host.boot({ memory: -1 }),
  moment: async () => (await fetchMoment(argument)).moment.branch(),
  /** A tab with a guest at a wire of a name; what the guest does is the last word: `listens`, or `calls`. */
  tab: async () => {
    const host = await Host.boot({ memory: 64, dom0Memory: 16, clock: 'realtime' })
    connectTabs(host.bridge(), argument)
    const mac = own === 'calls' ? '00:16:3e:00:00:0c' : '00:16:3e:00:00:0a'
    await host.createDomain({ name: own, memory: 8, kernel: own === 'calls' ? calls : listens, nics: [`mac=${mac}`] })
    return host
  },
  /** A Linux without an interface, which gets one here that is at a wire. */
  linux: async () => {
    const { moment } = await fetchMoment(argument)
    const host = await moment.branch({ clock: 'realtime' })
    connectTabs(host.bridge(), 'linux')
    await host.domain('linux').attachNic(`mac=${own}`)
    return host
  },
}

/** What frames of the two guests are: a type for experiments, a number, and a text. */
const [TYPE, TEXT] = [0x88b5, 18]
const said = (frame: Uint8Array): string => new TextDecoder().decode(frame.subarray(TEXT)).replace(/\0*$/, '')

function frameOf(nic: Nic, to: Uint8Array, text: string): Uint8Array {
  const frame = new Uint8Array(60)
  frame.set(to)
  frame.set(nic.mac, 6)
  new DataView(frame.buffer).setUint16(12, TYPE)
  frame.set(new TextEncoder().encode(text), TEXT)
  return frame
}

async function nicOf(kernel: GuestKernel): Promise<Nic> {
  const nics = new NetFrontend()
  await new FrontendBus(kernel).register(nics)
  return nics.nic(0)
}

/** Answers what it is called. */
const listens: GuestProgram = async (kernel) => {
  const nic = await nicOf(kernel)
  kernel.console!.log('listening')
  for await (const frame of nic) {
    kernel.console!.log(`heard ${said(frame)} from ${formatMac(frame.subarray(6, 12))}`)
    nic.send(frameOf(nic, frame.subarray(6, 12), `${said(frame)} too`))
  }
}

/** Calls everybody, until there are three answers. */
const calls: GuestProgram = async (kernel) => {
  const nic = await nicOf(kernel)
  const answers = nic[Symbol.asyncIterator]()
  for (let count = 1; count <= 3; count += 1) {
    nic.send(frameOf(nic, new Uint8Array(6).fill(0xff), `hello ${count}`))
    const { value: frame } = await answers.next() as { readonly value: Uint8Array }
    kernel.console!.log(`answered ${said(frame)} by ${formatMac(frame.subarray(6, 12))}`)
  }
  kernel.console!.log('done')
}

/** What a pattern finds in the names of private files, ascending. */
async function namesOf(pattern: RegExp): Promise<readonly string[]> {
  const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('paravirt', { create: true })
  const names: string[] = []
  for await (const [name] of (folder as unknown as { entries(): AsyncIterable<[string]> }).entries()) names.push(decodeURIComponent(name))
  return names.flatMap((name) => pattern.exec(name)?.[1] ?? []).sort()
}

async function talk(make: () => Promise<Host>): Promise<unknown> {
  const host = await make()
  const domain = host.domains()[0] ?? await host.createDomain({ name: 'hello', memory: 16 })
  return echo(host, domain)
}

/** Programs that are asked for by a message and answer by one. */
const PROGRAMS: Readonly<Record<string, () => Promise<unknown>>> = {
  contract: async () => {
    let made = 0
    const stores = {
      opfs: (size: number) => opfsStore(`contract ${made += 1}`, { size }),
      indexedDb: (size: number) => indexedDbStore(`contract ${made += 1}`, { size }),
      overlay: async (size: number) => new OverlayBlockStore(new BlobBlockStore(new Blob([new Uint8Array(size)]))),
    }
    const results: Record<string, string> = {}
    for (const [name, make] of Object.entries(stores)) {
      for (const { name: what, skip, run } of blockStoreContract({ make, makeReadOnly: async (size) => new BlobBlockStore(new Blob([new Uint8Array(size)])) })) {
        results[`${name}: ${what}`] = skip ?? await run().then(() => 'holds', String)
      }
    }
    return results
  },
  kept: async () => {
    for (const open of [opfsStore, indexedDbStore]) {
      const store = await open('kept', { size: 1 << 20 })
      await store.write(4096, new Uint8Array(512).fill(7))
      await store.flush()
      await store.close()
    }
    const found: number[] = []
    for (const open of [opfsStore, indexedDbStore]) {
      const store = await open('kept')
      const bytes = new Uint8Array(513)
      await store.read(4096, bytes.subarray(0, 512))
      found.push(bytes[0]!, bytes[511]!, bytes[512]!, store.size)
      await store.close()
    }
    const first = await opfsStore('kept')
    const codes = [await opfsStore('kept').catch((error: { code: string }) => error.code), await indexedDbStore('none').catch((error: { code: string }) => error.code)]
    first.close()
    return { found, codes }
  },
  /** A guest works in a private folder, whose files are then read by the browser's own calls. */
  folder: async () => {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle('shared', { create: true })
    const host = await Host.boot({ memory: 64, dom0Memory: 16, openFolder: () => new DirectoryFileStore(root as unknown as DirectoryHandleLike) })
    const domain = await host.createDomain({
      name: 'files', memory: 8, folders: [{ tag: 'shared', path: 'any' }],
      kernel: async (kernel) => {
        const folders = new FolderFrontend()
        await new FrontendBus(kernel).register(folders)
        const folder = await folders.folder('shared')
        await folder.makeFolder('made')
        await folder.writeFile('made/large', new Uint8Array(100_000).map((_, at) => at))
        await folder.writeFile('made/note', new TextEncoder().encode('written by a guest'))
        const [note, none] = [new TextDecoder().decode(await folder.readFile('made/note')), await folder.stat('none').catch((error: { details: { errno: string } }) => error.details.errno)]
        kernel.console!.log(`read "${note}", ${none}, ${(await folder.list('made')).join()}`)
      },
    })
    const [said] = await domain.console.waitFor(/^read.*$/m)
    await host.shutdown()
    const made = await root.getDirectoryHandle('made')
    const read = async (name: string): Promise<Uint8Array> => new Uint8Array(await (await (await made.getFileHandle(name)).getFile()).arrayBuffer())
    return { said, note: new TextDecoder().decode(await read('note')), large: (await read('large')).reduce((sum, byte) => sum + byte, 0) }
  },
  /** What is left of five moments in a cache that has room for three, and what of them when one is held and a large one comes. */
  room: async () => {
    const cache = privateCache({ most: 3100 })
    // Times of files are not as fine as what happens here.
    const keep = async (key: string, length: number): Promise<void> => {
      await cache.write(key, async (target) => { await (target as ByteSink).write(new Uint8Array(length).fill(length & 255)) })
      await new Promise((resolve) => { setTimeout(resolve, 30) })
    }
    const left = async (): Promise<string> => (await namesOf(/^moment (room .)$/)).join()
    for (const name of ['a', 'b', 'c']) await keep(`room ${name}`, 1000)
    const whole = await cache.read('room a') as HeldFile
    const bytes = new Uint8Array(1000)
    whole.fillNow(bytes, 0)
    whole.release()
    while ((await namesOf(/^used (room a)$/)).length === 0) await new Promise((resolve) => { setTimeout(resolve, 10) })
    const steps = [bytes.reduce((sum, byte) => sum + byte, 0), await left()]
    await keep('room d', 1000)
    steps.push(await left())
    const held = await cache.read('room c') as HeldFile
    await keep('room e', 2000)
    steps.push(await left())
    held.release()
    await keep('room f', 3090)
    return [...steps, await left(), (await namesOf(/^used (.*)$/)).filter((name) => name.startsWith('room')).join()]
  },
  sizeOf: async () => {
    const disk = await opfsStore(argument)
    const { size } = disk
    disk.close()
    return size
  },
  /** Versions of a moment that are kept. */
  versions: async () => (await namesOf(/^moment (.*)$/)).filter((name) => name.includes(argument)),
  http: async () => {
    const store = await httpStore(argument, { pieceSize: 4096 })
    const bytes = new Uint8Array(10_000)
    await store.read(5000, bytes)
    return { size: store.size, sum: bytes.reduce((sum, byte) => sum + byte, 0), ...store.figures() }
  },
  /** What is typed within the worker, as in any process, is typed at the same instant of the host's time. */
  talk: () => talk(HOSTS['plain']!),
  goOn: () => talk(HOSTS['moment']!),
  fetched: async () => {
    const { moment, wasKept, kept } = await fetchMoment(argument)
    await kept
    return { wasKept, hashes: moment.hashes() }
  },
}

const make = HOSTS[kind]
if (make !== undefined) serveWorker(make)
else PROGRAMS[kind]!().then((result) => self.postMessage({ result }), (error: unknown) => self.postMessage({ error: String(error) }))
