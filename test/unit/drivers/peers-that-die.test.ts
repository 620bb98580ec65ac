/**
 * A table of states and events for each kind of device: its peer - the front-end to the back-end, the back-end to the front-end - stands somewhere in the handshake, or is connected, at
 * work or closing, and then dies, closes, says nonsense, loses its nodes, takes its grants back or fills the shared pages. The survivor's domain goes on, whoever waits at it gets an
 * answer once the toolstack has taken the device away, and nothing of it is left: no mapping, no grant, no page, no port.
 */
import { describe, expect, test } from 'vitest'
import {
  BlockBackend, BlockFrontend, Bridge, ChannelBackend, ChannelFrontend, FolderBackend, FolderFrontend, FramebufferBackend, FramebufferFrontend, KeyboardBackend, KeyboardFrontend, MemoryBlockStore,
  MemoryFileStore, NetBackend, NetFrontend, type BlockFrontendOptions, type GuestScreen, type MountedFolder,
} from '../../../src/drivers/index.ts'
import { RECEIVE_PAGES, TRANSMIT_PAGES } from '../../../src/drivers/net/staging.ts'
import { BackendBus, FrontendBus, type BackendDriver, type FrontendDriver, type GuestKernel, type GuestStore, type StoreAccess } from '../../../src/guest/index.ts'
import { FakeHypervisor, TestStore, type FakeDomain } from '../../../src/testing/index.ts'
import { XenError, type DomId } from '../../../src/util/index.ts'
import { detach, devicePaths, removeDevice, seedChannel, seedDisk, seedFolder, seedNic, seedScreen, type SeededKind, type Seeder } from '../../support/devices.ts'

type Role = 'front' | 'back'

/** A kind of device as both halves have it. */
interface Halves {
  readonly backend: (kernel: GuestKernel) => BackendDriver
  readonly frontend: FrontendDriver
  /** Pages that the back-end takes for the first device that it serves, and keeps for all others. */
  readonly keeps?: number
  /** Gives the survivor something to do; who waits for it. Nothing while it is not connected. */
  work(survivor: Role): readonly Promise<unknown>[]
}

interface Kind {
  readonly kind: SeededKind
  readonly id: string
  seed(store: Seeder): void
  make(): Halves
}

const ONE = 1 as DomId

const disk = (options: BlockFrontendOptions): Kind => ({
  kind: 'vbd', id: '51712', seed: seedDisk,
  make: () => {
    const frontend = new BlockFrontend(options)
    return {
      frontend, backend: () => new BlockBackend({ open: () => new MemoryBlockStore(1 << 20) }),
      work: (survivor) => (survivor === 'back' ? [] : frontend.disks.flatMap((disk) => [disk.read(0, 8), disk.write(16, new Uint8Array(64 * 512)), disk.flush()])),
    }
  },
})

const KINDS: Readonly<Record<string, Kind>> = {
  'vbd': disk({}),
  'vbd of several rings of several pages': disk({ maxQueues: 4, maxRingPageOrder: 1 }),
  'vif': {
    kind: 'vif', id: '0', seed: (store) => seedNic(store, 1, '00:16:3e:00:00:01'),
    make: () => {
      const frontend = new NetFrontend()
      let bridge: Bridge | undefined
      return {
        frontend, keeps: TRANSMIT_PAGES + RECEIVE_PAGES,
        backend: (kernel) => {
          bridge = new Bridge({ now: () => kernel.now(), post: (task) => kernel.post(task), turn: () => kernel.turn() })
          return new NetBackend({ bridge: () => bridge })
        },
        work: (survivor) => {
          const frames = Array.from({ length: 300 }, () => Uint8Array.from({ length: 80 }, (_, at) => (at < 6 ? 255 : at)))
          if (survivor === 'front') for (const nic of frontend.nics) nic.sendAll(frames)
          else {
            const port = bridge!.open()
            for (const frame of frames) port.send(frame)
            port.close()
          }
          return []
        },
      }
    },
  },
  'console': {
    kind: 'console', id: '1', seed: seedChannel,
    make: () => {
      const [frontend, backend] = [new ChannelFrontend(), new ChannelBackend()]
      let open: Awaited<ReturnType<ChannelFrontend['channel']>> | undefined
      void frontend.channel('org.example').then((channel) => { open = channel })
      return {
        frontend, backend: () => backend,
        work: (survivor) => {
          if (survivor === 'front') open?.write('x'.repeat(5000))
          const stream = backend.stream(ONE, 1)
          return survivor === 'front' || stream === undefined ? [] : [stream.write('y'.repeat(5000))]
        },
      }
    },
  },
  '9pfs': {
    kind: '9pfs', id: '0', seed: seedFolder,
    make: () => {
      const frontend = new FolderFrontend({ order: 1 })
      let folder: MountedFolder | undefined
      void frontend.folder('shared').then((mounted) => { folder = mounted })
      return {
        frontend, backend: () => new FolderBackend({ open: () => new MemoryFileStore({ motd: 'hello' }) }),
        work: (survivor) => (survivor === 'back' || folder === undefined ? [] : [folder.stat('motd'), folder.readFile('motd'), folder.writeFile('new', new Uint8Array(9000))]),
      }
    },
  },
  'vfb': {
    kind: 'vfb', id: '0', seed: seedScreen,
    make: () => {
      const [frontend, backend] = [new FramebufferFrontend({ width: 32, height: 16 }), new FramebufferBackend()]
      let screen: GuestScreen | undefined
      void frontend.screen(0).then((drawn) => { screen = drawn })
      return {
        frontend, backend: () => backend,
        work: (survivor) => {
          if (survivor === 'back') backend.framebuffer(ONE, 0)?.read({ x: 0, y: 0, width: 9, height: 9 })
          else for (let at = 0; at < 60; at += 1) screen?.fill({ x: at % 30, y: 0, width: 2, height: 2 }, [1, 2, 3])
          return []
        },
      }
    },
  },
  'vkbd': {
    kind: 'vkbd', id: '0', seed: seedScreen,
    make: () => {
      const [frontend, backend] = [new KeyboardFrontend(() => undefined), new KeyboardBackend()]
      return {
        frontend, backend: () => backend,
        work: (survivor) => {
          if (survivor === 'back') backend.keyboard(ONE, 0)?.send(Array.from({ length: 60 }, () => ({ type: 'key', code: 30, pressed: true }) as const))
          return []
        },
      }
    },
  },
}

/** A store that never comes to write one state of a device: whoever does has got so far and no further. */
function stoppedBefore(store: GuestStore, path: string, state: string | undefined): GuestStore {
  const stopping = <T extends StoreAccess>(access: T): T => ({
    ...access, write: (node: string, value: string) => (state === value && node === `${path}/state` ? new Promise<void>(() => undefined) : access.write(node, value)),
  })
  return { ...stopping(store), transaction: (body) => store.transaction((transaction) => body(stopping(transaction))) }
}

/** Where the peer is: the state that it never comes to write, if any, and what has happened besides. */
const STATES: Readonly<Record<string, { readonly absent?: true; readonly stop?: Readonly<Record<Role, string>>; readonly busy?: true; readonly closing?: true }>> = {
  'has not begun': { absent: true },
  'has not said what it offers': { stop: { front: '3', back: '2' } },
  'has not said that it is connected': { stop: { front: '4', back: '4' } },
  'is connected': {},
  'is connected and at work': { busy: true },
  'never closes': { stop: { front: '6', back: '6' }, busy: true, closing: true },
}

interface World {
  readonly hub: FakeHypervisor
  readonly store: TestStore
  readonly kind: SeededKind
  readonly peer: Role
  readonly sides: Readonly<Record<Role, FakeDomain>>
  readonly paths: Readonly<Record<Role, string>>
}

const say = (state: string) => ({ store, paths, peer }: World): void => store.seed({ [`${paths[peer]}/state`]: state })

/** Frames that the front-end has shared: what it has granted, and what its nodes name. */
function sharedFrames({ store, sides: { front }, paths }: World): readonly number[] {
  const named = Number(store.get(`${paths.front}/page-ref`) ?? store.get(`${paths.front}/ring-ref`))
  return [...front.kernel.grants.save().granted.map(({ frame }) => frame), ...(front.kernel.frames.owns(named as never) ? [named] : [])]
}

const EVENTS: Readonly<Record<string, { readonly of?: Role; act(world: World): void }>> = {
  'dies': { act: ({ hub, peer }) => hub.destroy(peer === 'front' ? 1 : 0) },
  'dies, and its nodes go': { act: ({ hub, store, peer, paths }) => {
    hub.destroy(peer === 'front' ? 1 : 0)
    store.drop(paths[peer])
  } },
  'begins to close': { act: say('5') },
  'says that it is closed': { act: say('6') },
  'says that it begins anew': { act: say('1') },
  'says what is no state': { act: say('99') },
  'takes its nodes away': { act: ({ store, paths, peer }) => store.drop(paths[peer]) },
  'fills what is shared with noise': { act: (world) => { for (const frame of sharedFrames(world)) world.hub.bytes.fill(0xa5, frame * 4096, (frame + 1) * 4096) } },
  'takes its grants back': { of: 'front', act: ({ sides: { front: { kernel } } }) => { for (const { ref } of kernel.grants.save().granted) kernel.grants.endWhenUnused(ref as never) } },
}

/** Two domains, one of which gets as far as `state` says. */
async function setUp({ kind, id, seed, make }: Kind, peer: Role, state: (typeof STATES)[string]) {
  const hub = new FakeHypervisor(1024)
  const store = new TestStore()
  const halves = make()
  const paths = devicePaths(kind, id)
  const own = { back: `backend/${kind}/1/${id}`, front: `device/${kind}/${id}` }
  const connect = (role: Role, domid: number) => (kernel: GuestKernel): GuestStore => stoppedBefore(store.connect(domid, role)(kernel), own[role], peer === role ? state.stop?.[role] : undefined)
  const runs = (role: Role): boolean => peer !== role || state.absent !== true
  const back = hub.createDomain(0, (kernel) => (runs('back') ? new BackendBus(kernel).register(halves.backend(kernel)) : undefined), { store: connect('back', 0), pages: 128 })
  const front = hub.createDomain(1, (kernel) => (runs('front') ? new FrontendBus(kernel).register(halves.frontend) : undefined), { store: connect('front', 1), pages: 400 })
  await hub.settle()
  const world: World = { hub, store, kind, peer, sides: { front, back }, paths }
  const fresh = leftIn(world)
  seed(store)
  await hub.settle()
  return { world, fresh, halves }
}

/** What the survivor holds. */
function leftIn({ sides, peer }: World): Readonly<Record<string, number>> {
  const { kernel, foreignFrames, mappings } = sides[peer === 'front' ? 'back' : 'front']
  return { mapped: kernel.grants.mappings + mappings.size, foreign: foreignFrames, granted: kernel.grants.granted, free: kernel.frames.free, ports: kernel.events.open }
}

describe.each(Object.entries(KINDS))('a %s', (_name, known) => {
  const { kind, id } = known
  describe.each(['front', 'back'] as const)('whose %s-end', (peer) => {
    const cells = Object.keys(STATES).flatMap((state) => Object.entries(EVENTS).filter(([, { of }]) => of === undefined || of === peer).map(([event]) => [state, event] as const))

    test.each(cells)('%s and %s leaves the other running, and nothing behind', async (state, event) => {
      const { world, fresh, halves } = await setUp(known, peer, STATES[state]!)
      const { hub, store, sides } = world
      const survivor: Role = peer === 'front' ? 'back' : 'front'
      const answers: Promise<unknown>[] = []
      const work = (): void => void answers.push(...halves.work(survivor).map((answer) => answer.then(() => 'done', (error: unknown) => (XenError.is(error) ? error.code : error))))
      // Neither is let run: what is asked is on its way when the peer dies.
      if (STATES[state]!.busy === true) work()
      if (STATES[state]!.closing === true) {
        detach(store, kind, 1, id)
        await hub.settle()
      }
      EVENTS[event]!.act(world)
      for (const { port } of hub.domains.has(peer === 'front' ? 1 : 0) ? sides[peer].kernel.events.save() : []) sides[peer].kernel.events.notify(port as never)
      await hub.settle(3e8)
      try {
        work()
      } catch (error) {
        expect(XenError.is(error)).toBe(true)
      }
      await hub.settle(3e8)
      expect(sides[survivor].crash).toBeUndefined()
      // What the toolstack does behind it.
      detach(store, kind, 1, id)
      await hub.settle(3e8)
      removeDevice(store, kind, 1, id)
      await hub.settle(1e9)
      if (survivor === 'front') hub.destroy(0)
      await hub.settle(1e9)
      const left = leftIn(world)
      const kept = survivor === 'back' && left['free'] !== fresh['free'] ? halves.keeps ?? 0 : 0
      expect([sides[survivor].crash, left]).toEqual([undefined, { ...fresh, free: fresh['free']! - kept }])
      const ends = await Promise.race([Promise.all(answers), new Promise((resolve) => setImmediate(() => setImmediate(resolve, 'somebody waits for ever')))])
      expect(ends).toEqual(answers.map(() => expect.any(String) as string))
    })
  })
})
