import { describe, expect, test } from 'vitest'
import { connectStore, kernelState, TypeScriptRunner, type GuestKernel, type GuestProgram } from '../../../src/guest/index.ts'
import { SeededRandom, hashState, type DomId, type EventPort, type GrantRef } from '../../../src/util/index.ts'
import { XenStore, XenStoreServer, type StoreTransport } from '../../../src/xenstore/index.ts'
import { FakeHypervisor, type FakeDomain } from '../../../src/testing/index.ts'

/** A kernel of domain 0 whose connection to XenStore can be taken over. */
class Rig {
  readonly hub = new FakeHypervisor()
  readonly store = new XenStore()
  readonly server = new XenStoreServer({ store: this.store, onWork: () => queueMicrotask(() => this.server.process()) })
  readonly transport: StoreTransport = this.server.connectLocal(0)
  readonly domain: FakeDomain

  constructor(program: GuestProgram = () => undefined) {
    this.store.local().write('/local/domain/0/memory/target', '256')
    this.domain = this.hub.createDomain(0, program, { store: (kernel) => connectStore(this.transport, () => kernel.turn()) })
  }

  static async boot(program?: GuestProgram): Promise<Rig> {
    const rig = new Rig(program)
    await rig.hub.settle()
    return rig
  }

  get kernel(): GuestKernel {
    return this.domain.kernel
  }

  /** Puts a kernel that was loaded in the place of the one that runs. */
  succeed(): GuestKernel {
    const saved = this.kernel.save()
    expect(kernelState(saved)).toBeUndefined()
    const runner = new TypeScriptRunner(this.domain.hypercalls, {
      program: () => { throw new Error('a loaded kernel does not start its program') }, random: new SeededRandom(9),
      boot: () => { throw new Error('a loaded kernel does not boot') },
      store: (kernel) => connectStore(this.transport, () => kernel.turn()),
      onCrash: (error) => { this.domain.crash = error },
    })
    this.domain.runner = runner
    return runner.load(structuredClone(saved))
  }
}

describe('a kernel in TypeScript that goes on from saved state', () => {
  test('is what was saved, and makes no hypercall on its way', async () => {
    const rig = await Rig.boot()
    rig.kernel.frames.allocate()
    rig.kernel.random.next()
    const before = hashState(rig.kernel.save())
    const calls = new Map(rig.domain.calls)
    const loaded = rig.succeed()
    loaded.checkAttached()
    expect(rig.domain.calls).toEqual(calls)
    expect(hashState(loaded.save())).toBe(before)
  })

  test('serves ports and timers that their owners attach, at the times that they were set for', async () => {
    let port = 0 as EventPort
    let order = 0
    const fired: string[] = []
    const rig = await Rig.boot((kernel) => {
      port = kernel.events.keep(kernel.events.bindIpi(() => fired.push('old port')))
      order = kernel.after('5ms', () => fired.push('old timer')).keep().order
      kernel.events.notify(port)
    })
    const deadline = rig.hub.clock.now() + 5_000_000
    fired.length = 0
    const loaded = rig.succeed()
    expect(() => loaded.checkAttached()).toThrow(`nobody owns port ${port}, timer ${order}`)
    loaded.attachments.attachPort(port, () => fired.push('port'))
    loaded.attachments.attachTimer(order, () => fired.push(`timer ${rig.hub.clock.now() - deadline < 100_000 ? 'in time' : 'late'}`))
    loaded.checkAttached()
    loaded.events.notify(port)
    await rig.hub.settle(20_000_000)
    expect(fired).toEqual(['port', 'timer in time'])
  })

  test('starts its program where that is wanted, which finds its state, its grants and its hooks, and is to take up all that was open', async () => {
    const beat = (): void => undefined
    let runs = 0
    const program: GuestProgram = (kernel) => {
      runs += 1
      const { control, grants, frames, isLoaded, restoredState } = kernel
      const known = restoredState as { ref: GrantRef; order: number } | undefined
      const ref = known?.ref ?? grants.grant(5 as DomId, frames.allocate().frame)
      const order = known === undefined ? kernel.after('5ms', beat).keep().order : known.order
      if (known !== undefined) kernel.attachments.attachTimer(known.order, beat)
      expect(isLoaded).toBe(known !== undefined)
      control.saveState(() => ({ ref, order }))
      if (runs < 3) control.beforeShutdown(() => undefined)
    }
    const rig = await Rig.boot(program)
    const state = structuredClone(rig.kernel.save())
    const calls = new Map(rig.domain.calls)
    const load = (): GuestKernel => new TypeScriptRunner(rig.domain.hypercalls, {
      program, random: new SeededRandom(1), boot: () => rig.domain.boot, store: (kernel) => connectStore(rig.transport, () => kernel.turn()),
    }).load(state)
    const loaded = load()
    loaded.takeUp()
    expect(rig.domain.calls).toEqual(calls)
    await new Promise((resolve) => setImmediate(resolve))
    expect(hashState(loaded.save())).toBe(hashState(state))
    expect(loaded.grants.granted).toBe(1)
    expect(() => load().takeUp()).toThrow('nobody owns a hook for the shutdown')
  })

  test('follows its memory target and obeys shutdown requests as before', async () => {
    const rig = await Rig.boot()
    const loaded = rig.succeed()
    rig.store.local().write('/local/domain/0/memory/target', '128')
    await rig.hub.settle(1_000_000)
    expect(loaded.balloon.target).toBe(32)
    expect(loaded.frames.total).toBe(32)
    rig.store.local().write('/local/domain/0/control/shutdown', 'poweroff')
    await rig.hub.settle(1_000_000)
    expect(loaded.shutdownReason).toBe('poweroff')
  })

  test.each<[string, GuestProgram]>([
    ['a timer of code that cannot be saved', (kernel) => void kernel.after('1s', () => undefined)],
    ['port 3 of code that cannot be saved', (kernel) => void kernel.events.bindIpi(() => undefined)],
    ['a watch on data of code that cannot be saved', (kernel) => void kernel.store!.watch('data', () => undefined)],
    ['asynchronous work', (kernel) => kernel.spawn(() => new Promise(() => undefined))],
    ['a grant in force', (kernel) => void kernel.grants.grant(kernel.domid, kernel.frames.allocate().frame)],
    ['a hook for the shutdown', (kernel) => kernel.control.beforeShutdown(() => undefined)],
  ])('is not saved over %s', async (what, program) => {
    const rig = await Rig.boot(program)
    expect(rig.kernel.unsavable() ?? rig.kernel.underWay()).toBe(what)
    expect(() => rig.kernel.save()).toThrow(what)
  })

  test('is not saved in the middle of a request, over a posted task or while time stands still', async () => {
    const rig = await Rig.boot()
    const release = rig.kernel.hold()
    expect(rig.kernel.underWay()).toBe('work outside of the host')
    release()
    void rig.kernel.store!.read('domid').catch(() => undefined)
    expect(rig.kernel.underWay()).toBe('a request to XenStore')
    await rig.hub.settle()
    expect(rig.kernel.underWay()).toBeUndefined()
    rig.kernel.post(() => undefined)
    expect(rig.kernel.underWay()).toBe('a posted task')
  })

  test.each<[string, (state: ReturnType<GuestKernel['save']>) => unknown]>([
    ['page 3 is not what it is said to be', ({ frames }) => { frames.unused[0] = 3; frames.unused[1] = 3 }],
    ['a page is neither free nor in use', (state) => Object.assign(state.frames, { unused: state.frames.unused.slice(1) })],
    ['there is no port 77 to be attached', (state) => Object.assign(state, { wakePort: 77 })],
    ['there is no watch on control/shutdown to be attached', ({ store }) => Object.assign(store, { watches: [store.watches.find((watch) => watch.path !== 'control/shutdown')] })],
    ['two timers have one number', ({ timers }) => Object.assign(timers, { timers: [{ deadline: 1, order: 900 }] })],
  ])('refuses state in which %s', async (what, spoil) => {
    const rig = await Rig.boot()
    const state = structuredClone(rig.kernel.save())
    spoil(state)
    const runner = new TypeScriptRunner(rig.domain.hypercalls, {
      program: () => undefined, random: new SeededRandom(1), boot: () => rig.domain.boot,
      store: (kernel) => connectStore(rig.transport, () => kernel.turn()),
    })
    expect(() => runner.load(state)).toThrow(what)
  })
})
