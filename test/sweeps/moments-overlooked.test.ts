/**
 * What a part says of itself - that it is what it has saved before - against what it is: random operations on every part of a host, and
 * behind each of them all parts are asked about everything that they have saved so far. A change that a part does not look at is found here
 * by the part's path. Pages and rows of the frame table that were written without a mark are found beside that, by whole hashes.
 */
import { expect, test } from 'vitest'
import { MemoryBlockStore, MemoryFileStore } from '../../src/drivers/index.ts'
import type { GuestKernel } from '../../src/guest/index.ts'
import { SERVED_FOLDERS } from '../../src/toolstack/device-kinds/folder/folder-service.ts'
import { hostTree, lowerPartsOnImage, upperParts, whileQuiet } from '../../src/toolstack/host/host-state.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import type { Domain, Host } from '../../src/toolstack/index.ts'
import { SeededRandom, XenError, below, domId, type Part, type SavedTree } from '../../src/util/index.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 64, dom0Memory: 8, seed: 7, cpus: 2, openDisk: () => new MemoryBlockStore(1 << 16), openFolder: () => new MemoryFileStore({ 'd/f': 'text' }) })

/** Saved trees that parts are asked about. */
const MOST_TREES = 8

const frame = (text: string): Uint8Array =>
  new Uint8Array([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, ...new TextEncoder().encode(text)])

/** Counts what is typed, and says so. */
const program = async (kernel: GuestKernel): Promise<void> => {
  const counted = (kernel.restoredState as { typed: number } | undefined) ?? { typed: 0 }
  kernel.control.saveState(() => counted)
  kernel.console!.onInput((bytes) => {
    counted.typed += bytes.length
    kernel.console!.log(String(counted.typed))
  })
}

async function run(host: Host, instructions: number): Promise<void> {
  const { loop } = insidesOf(host).parts
  const goOn = await loop.halt()
  await loop.step(instructions)
  goOn()
}

/** Does something to what is in a domain's folder, as a guest would. */
function useFolder(host: Host, domain: Domain, random: SeededRandom): void {
  const store = insidesOf(host).guests.devices.service(SERVED_FOLDERS).served(domain.id, 0)?.contents as MemoryFileStore | undefined
  if (store === undefined) return
  const file = store.open(['d', 'f'], { read: true, write: true, append: false, truncate: below(random, 2) === 0 })
  void file.write(below(random, 3), new Uint8Array([below(random, 2)]))
  void file.close()
  if (below(random, 2) === 0) store.change(['d'], { mode: 0o700 + below(random, 2) })
  else store.list([]).some(({ name }) => name === 'made') ? store.remove(['made'], 'folder') : store.makeFolder(['made'], { mode: 0o755, uid: 0, gid: 0 })
}

/** What can happen to a host, by the part that it is meant for. */
type Happening = (host: Host, domain: Domain, random: SeededRandom) => unknown
const HAPPENINGS: readonly Happening[] = [
  (host, _, random) => run(host, 1 + below(random, 200)),
  (host, _, random) => run(host, 1 + below(random, 400_000)),
  (host, _, random) => insidesOf(host).parts.loop.halt().then(async (goOn) => {
    await insidesOf(host).parts.loop.runTo(host.now() + below(random, 20_000_000))
    goOn()
  }),
  (_, domain, random) => void domain.console.write(['echo word\r', 'mem\r', 'store\r', 'x'][below(random, 4)]!).catch(() => undefined),
  (_, domain) => (domain.info().paused ? domain.unpause() : domain.pause()),
  (_, domain, random) => domain.setScheduling({ weight: 100 + below(random, 4) }),
  (_, domain, random) => domain.setAffinity('all', { hard: [[0], [1], [0, 1]][below(random, 3)]! }),
  (host, domain, random) => host.hypervisor.setTimeOffset(domain.id, below(random, 3)),
  (host, _, random) => host.store.write(`/tool/node-${below(random, 3)}`, String(below(random, 2))),
  (host, _, random) => host.store.setPermissions('/tool', [['r0', 'b0', 'n0'][below(random, 3)]!]),
  (host) => host.store.watch('/tool/node-0', () => undefined),
  (host) => host.bridge().send(1, frame('frame')),
  (_, domain, random) => void domain.setMemTarget(6 + below(random, 3), { timeout: '2ms' }).catch(() => undefined),
  (_, domain, random) => domain.setNicLink(0, below(random, 2) === 0 ? 'up' : 'down'),
  (_, domain) => domain.trigger('nmi'),
  (host, _, random) => host.hypervisor.setSchedulerParameters(domId(0), { weight: 200 + below(random, 3) }),
  (host, _, random) => host.createDomain({ name: `more-${host.now()}`, memory: 4, ...(below(random, 2) === 0 ? {} : { nics: [''] }) }),
  (host) => (host.domains().length > 4 ? host.domains().at(-1)!.destroy() : undefined),
  (_, domain, random) => domain.rename(`one-${below(random, 2)}`),
  (host, domain, random) => useFolder(host, domain, random),
]

/** Lets something happen; what is refused has changed nothing, or has: that is what is looked at. */
async function happen(host: Host, random: SeededRandom): Promise<string> {
  const domains = host.domains().filter(({ name }) => name !== 'Domain-0')
  const which = below(random, HAPPENINGS.length)
  const work = async (): Promise<unknown> => HAPPENINGS[which]!(host, domains[below(random, Math.min(2, domains.length))]!, random)
  await work().catch((error: unknown) => {
    if (!XenError.is(error)) throw error
  })
  return `happening ${which}`
}

/** What a state is that has been in a file: what had no value is absent. */
function outOfFile<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  if (Array.isArray(value)) return value.map(outOfFile) as T
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined).map(([name, field]) => [name, outOfFile(field)])) as T
}

const wholeOf = (host: Host): Part => {
  const insides = insidesOf(host)
  return hostTree(lowerPartsOnImage(insides.parts, { trusted: true }), upperParts(insides.parts, () => insides.guests))
}

/** Asks all parts of a host about all that was saved, and saves them; undefined while something is under way. */
async function look(host: Host, trees: readonly SavedTree[], what: string): Promise<SavedTree | undefined> {
  const whole = wholeOf(host)
  try {
    return await whileQuiet(insidesOf(host), () => {
      for (const tree of trees) expect(whole.overlooked(tree), what).toEqual([])
      const now = whole.save(trees.at(-1)) as SavedTree
      expect(whole.save(now)).toBe(now)
      return now
    })
  } catch (error) {
    if (XenError.is(error)) return undefined
    throw error
  }
}

test.each([['pv', 11], ['pvh', 12]] as const)('no part of a host with %s guests overlooks what has happened to it', { timeout: 60_000 }, async (type, seed) => {
  const random = new SeededRandom(seed)
  const host = await boot()
  const domain = await host.createDomain({ name: 'one', type, memory: 8, disks: type === 'pv' ? [{ target: 'a', vdev: 'xvda' }] : [], nics: type === 'pv' ? [''] : [], folders: [{ tag: 'shared', path: 'any' }] })
  await domain.console.waitFor('mini> ')
  await host.createDomain({ name: 'program', memory: 4, kernel: program })
  host.bridge().open()
  const moment = await host.checkpoint()
  const whole = host.hypervisor.stateHashes()
  let trees: SavedTree[] = []
  let looked = 0
  for (let round = 0; round < 100; round += 1) {
    const what = await happen(host, random)
    const tree = await look(host, trees, what)
    if (tree !== undefined) {
      looked += 1
      trees = [...trees, below(random, 2) === 0 ? tree : outOfFile(tree)].slice(-MOST_TREES)
    }
    if (round % 12 !== 11) continue
    // And what is not brought back because it was not marked is found by hashes over all of memory and the frame table.
    const isBack = await host.reset(moment).then(() => true, (error: unknown) => {
      if (!XenError.is(error, 'BUSY')) throw error
      return false
    })
    if (isBack) expect(host.hypervisor.stateHashes()).toEqual(whole)
  }
  expect(looked).toBeGreaterThan(50)
})
