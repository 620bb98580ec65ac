/** A worker with a host, for tests: which one is said by its name. */
import { Host } from '../../../src/index.ts'
import { BlobBlockStore, connectTabs, DirectoryFileStore, fetchMoment, httpStore, indexedDbStore, opfsStore, serveWorker, type DirectoryHandleLike } from '../../../src/browser/index.ts'
import { FolderFrontend, OverlayBlockStore } from '../../../src/drivers/index.ts'
import { FrontendBus } from '../../../src/guest/index.ts'
import { echo } from './echo.ts'
import { blockStoreContract } from '../../../src/testing/index.ts'

const [kind = '', argument = ''] = self.name.split(' ')

const HOSTS: Readonly<Record<string, () => Promise<Host>>> = {
  plain: () => Host.boot({ memory: 64, dom0Memory: 16 }),
  fails: () => Host.boot({ memory: -1 }),
  moment: async () => (await fetchMoment(argument)).moment.branch(),
  tab: async () => {
    const host = await Host.boot({ memory: 64, dom0Memory: 16, clock: 'realtime' })
    connectTabs(host.bridge(), argument)
    return host
  },
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
