/**
 * A guest in TypeScript with a folder in memory mounted by 9P: files of 8 MiB written and read in messages of 128 KiB, and small operations (a walk, attributes, a
 * clunk: three messages each), on one host as the toolstack boots it. Against the same calls of the store itself, which copies nothing to anybody.
 * Figures are of processor time.
 * Targets: 400 MiB/s read, 300 MiB/s written, 10,000 operations/s.
 */
import { FolderFrontend, MemoryFileStore, type MountedFolder, type OpenFile, type OpenHow } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestKernel } from '../../src/guest/index.ts'
import { Host } from '../../src/index.ts'
import type { Report } from './report.ts'
import { bestRates, type Work } from './support/rates.ts'

const MIB = 1 << 20
const FILE = 8 * MIB
const PIECE = 128 << 10
const READ = { read: true, write: false, append: false, truncate: false }

interface Setup {
  readonly host: Host
  readonly kernel: GuestKernel
  readonly folder: MountedFolder
}

async function setUp(store: MemoryFileStore): Promise<Setup> {
  const host = await Host.boot({ memory: 96, dom0Memory: 16, openFolder: () => store })
  const found: { kernel?: GuestKernel; folder?: MountedFolder } = {}
  await host.createDomain({
    name: 'bench', memory: 16, folders: [{ tag: 'shared', path: 'any' }],
    kernel: async (kernel: GuestKernel) => {
      const folders = new FolderFrontend({ order: 7 })
      await new FrontendBus(kernel).register(folders)
      found.folder = await folders.folder('shared')
      found.kernel = kernel
    },
  })
  await host.until('the folder to be mounted', () => found.kernel !== undefined)
  return { host, kernel: found.kernel!, folder: found.folder! }
}

/** Something that the guest does so often, until it is done. */
const byGuest = ({ host, kernel }: Setup, work: () => Promise<unknown>): Work => async (count) => {
  let left = count
  kernel.post(() => kernel.spawn(async () => {
    for (; left > 0; left -= 1) await work()
  }))
  await host.until('the guest to be done', () => left === 0)
}

/** One kind of work, by the guest and by whoever has the store in hand. */
interface Row {
  readonly name: string
  readonly unit: string
  /** Of the unit in a second. */
  readonly target: number
  /** What one piece of work is, in the unit. */
  readonly amount: number
  readonly count: number
  readonly works: readonly [guest: Work, straight: Work]
}

function rowsOf(setup: Setup, store: MemoryFileStore, bytes: Uint8Array): readonly Row[] {
  const { folder } = setup
  const eachPiece = async (how: OpenHow, move: (file: OpenFile, at: number) => unknown): Promise<void> => {
    const file = store.open(['file'], how)
    for (let at = 0; at < FILE; at += PIECE) await move(file, at)
    await file.close()
  }
  const repeated = (work: () => Promise<void> | void): Work => async (count) => {
    for (let done = 0; done < count; done += 1) await work()
  }
  return [
    {
      name: 'read, messages of 128 KiB', unit: 'MiB/s', target: 400, amount: FILE / MIB, count: 4,
      works: [byGuest(setup, () => folder.readFile('file')), repeated(() => eachPiece(READ, async (file, at) => (await file.read(at, PIECE)).slice()))],
    },
    {
      name: 'write, messages of 128 KiB', unit: 'MiB/s', target: 300, amount: FILE / MIB, count: 4,
      works: [byGuest(setup, () => folder.writeFile('written', bytes)), repeated(() => eachPiece({ ...READ, write: true }, (file, at) => file.write(at, bytes.subarray(at, at + PIECE))))],
    },
    {
      name: 'operations: walk, attributes, clunk', unit: 'operations/s', target: 10_000, amount: 1, count: 2000,
      works: [byGuest(setup, () => folder.stat('small')), repeated(() => void store.stat(['small']))],
    },
  ]
}

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  const bytes = new Uint8Array(FILE).map((_, at) => at * 7)
  const store = new MemoryFileStore({ small: 'x', file: bytes })
  const setup = await setUp(store)
  for (const { name, unit, target, amount, count, works } of rowsOf(setup, store, bytes)) {
    const [guest = 0, straight = 0] = await bestRates(works.map((work) => ({ work, count })))
    const value = guest * amount
    report({ case: name, value, unit, baseline: 'the store itself', ratio: guest / straight, target, met: value >= target })
  }
  await setup.host.shutdown()
}
