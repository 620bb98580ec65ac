/**
 * Guests in TypeScript in a saved host: a program that says its state goes on in a new host with all that it had open, beside a
 * binary guest that it talks with; every other is refused by name, before anything has changed.
 */
import { afterEach, describe, expect, test } from 'vitest'
import type { GuestKernel, GuestProgram, MappedPage, Page } from '../../src/guest/index.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { loadHost, saveHost, type HostState } from '../../src/toolstack/host/save-host.ts'
import type { Host, HostOptions } from '../../src/toolstack/index.ts'
import type { DomId, EventPort, GrantRef, Mfn } from '../../src/util/index.ts'
import { HostPair } from '../support/host-pair.ts'
import { hostsOfTests, startMini } from '../support/mini.ts'

const OPTIONS: HostOptions = { memory: 64, dom0Memory: 16, seed: 7, cpus: 2 }
const boot = hostsOfTests(OPTIONS)
const pairs: HostPair[] = []
const loaded: Host[] = []
afterEach(async () => {
  for (const pair of pairs.splice(0)) await pair.end()
  for (const host of loaded.splice(0)) await host.shutdown()
})

const MINI = 1 as DomId
const HALF = 2048
const OFFER = 'data/offer'

/** What the program says of itself. */
interface Said {
  readonly beats: number
  readonly timer: number
  readonly frame: number
  readonly ref: number
  readonly port: number
  readonly offer?: { readonly page: { readonly frame: number; readonly handle: number }; readonly port: number; readonly answer?: number } | undefined
  readonly typed: string
}

function put({ bytes, frame }: Page, kernel: GuestKernel, at: number, text: string): void {
  bytes.set(new TextEncoder().encode(`${text}\0`), at)
  kernel.hypercalls.memory.markWritten(frame)
}

const textOf = ({ bytes }: Page, at: number): string => new TextDecoder().decode(bytes.subarray(at, bytes.indexOf(0, at)))

/**
 * Counts beats of a timer in a page that it grants to mini, and answers what mini offers after 50 ms: a timer, an own grant and
 * port, a mapping with a port, a watch, and input of its console, none of which it may lose.
 */
class Counter {
  private readonly kernel: GuestKernel
  private beats = 0
  private typed = ''
  private timer: number
  private readonly page: Page
  private readonly ref: number
  private readonly port: EventPort
  private offer: { page: MappedPage; port: EventPort; answer?: number } | undefined

  constructor(kernel: GuestKernel) {
    const { events, grants, frames, store, control, isLoaded } = kernel
    this.kernel = kernel
    if (isLoaded) {
      const { attachTimer, attachPort, attachPage, attachWatch } = kernel.attachments
      const said = kernel.restoredState as Said
      this.beats = said.beats
      this.typed = said.typed
      this.timer = attachTimer(said.timer, this.onBeat).order
      this.page = frames.page(said.frame as Mfn)
      this.ref = said.ref
      this.port = attachPort(said.port, this.onEvent)
      attachWatch(OFFER, this.onOffer)
      if (said.offer !== undefined) {
        const { page, port, answer } = said.offer
        this.offer = { page: attachPage(page), port: attachPort(port, () => undefined) }
        if (answer !== undefined) this.offer.answer = attachTimer(answer, this.answer).order
      }
    } else {
      this.timer = kernel.after('3ms', this.onBeat).keep().order
      this.page = frames.allocate()
      this.ref = grants.grant(MINI, this.page.frame)
      this.port = events.keep(events.allocateUnbound(kernel.domid, MINI, this.onEvent))
      void store!.watch(OFFER, this.onOffer, { kept: true })
      void store!.write('data/peer', `${kernel.domid} ${this.port} ${this.ref}`)
    }
    kernel.console!.onInput((bytes) => { this.typed += new TextDecoder().decode(bytes) })
    control.saveState(() => this.say())
  }

  private say(): Said {
    const { beats, timer, ref, port, typed, offer } = this
    return {
      beats, timer, ref, port, typed, frame: this.page.frame,
      offer: offer && { ...offer, page: { frame: offer.page.frame, handle: offer.page.handle } },
    }
  }

  private readonly onBeat = (): void => {
    this.beats += 1
    put(this.page, this.kernel, 0, `beat ${this.beats}`)
    this.timer = this.kernel.after('3ms', this.onBeat).keep().order
  }

  private readonly onEvent = (): void => {
    this.kernel.console!.log(`at beat ${this.beats}: ${textOf(this.page, HALF)}`)
  }

  private readonly onOffer = (): void => {
    const { store, grants, events } = this.kernel
    void store!.read(OFFER).then((text) => {
      const [port, ref] = text.split(' ').map(Number)
      const page = grants.map(MINI, ref as GrantRef)
      this.offer = { page, port: events.keep(events.bindInterdomain(MINI, port as EventPort, () => undefined)) }
      this.offer.answer = this.kernel.after('50ms', this.answer).keep().order
      this.kernel.console!.log(`mapped: ${textOf(page, 0)}`)
      this.kernel.turn()
    }, () => undefined)
  }

  private readonly answer = (): void => {
    const { page, port } = this.offer!
    put(page, this.kernel, HALF, `typed ${this.typed}, beat ${this.beats}`)
    this.kernel.events.notify(port)
    this.kernel.events.close(port)
    this.kernel.grants.unmap(page)
    this.offer = undefined
  }
}

const counter: GuestProgram = (kernel) => void new Counter(kernel)
const PROGRAMS = { program: ({ name }: { readonly name: string }) => (name === 'counter' ? counter : undefined) }

test('a program that says its state and mini go on in a new host in the midst of their talk, and nothing of it is lost', { timeout: 60_000 }, async () => {
  const host = await boot()
  const mini = await startMini(host, { memory: 4 })
  const domain = await host.createDomain({ name: 'counter', memory: 4, kernel: counter })
  await host.until('the program', () => host.store.exists('/local/domain/2/data/peer'))
  await domain.console.write('abc')
  await mini.console.write('offer 2 greetings\r')
  const [, port, ref] = await mini.console.waitFor(/peer 1 (\d+) (\d+)/)
  host.store.write('/local/domain/2/data/offer', `${port} ${ref}`)
  await domain.console.waitFor('mapped: greetings')

  const pair = await HostPair.of(host, OPTIONS, PROGRAMS)
  pairs.push(pair)
  await pair.same()
  await pair.both((each) => each.domain('counter').console.write('def'))
  for (let i = 0; i < 3; i += 1) {
    await pair.run(10_000_000)
    await pair.same()
  }
  const peer = host.store.read('/local/domain/2/data/peer')
  await pair.both((each) => each.domain('mini').console.write(`peer ${peer}\r`))
  await pair.run(40_000_000)
  await pair.same()
  expect(pair.text('mini')).toMatch(/offer: answer: typed abcdef, beat \d\d/)
  expect(pair.text('mini')).toMatch(/peer: domain 2 wrote: beat \d+/)
  expect(pair.text('counter')).toMatch(/at beat \d+: mini has read \d+ characters/)
  expect(host.hypervisor.checkInvariants()).toEqual([])

  // A domain of the copy starts anew with the program that the copy was given.
  await pair.both((each) => each.domain('counter').reboot())
  await pair.until((each) => each.domains().some(({ name, id }) => name === 'counter' && id === 3))
})

const nothing = (): void => undefined

describe('a host is not saved, and stands as it stood,', () => {
  test.each<[string, GuestProgram]>([
    ['a program that does not say its state', nothing],
    ['port 5 of code that cannot be saved', ({ control, events }) => { control.saveState(nothing); events.bindIpi(nothing) }],
    ['a watch on data of code that cannot be saved', async ({ control, store }) => { control.saveState(nothing); await store!.watch('data', nothing) }],
  ])('over %s', async (what, program) => {
    const host = await boot()
    await host.createDomain({ name: 'typed', memory: 4, kernel: program })
    await host.until('the program', () => host.store.exists('/local/domain/1/control/feature-suspend'))
    await host.settled()
    const goOn = await insidesOf(host).parts.loop.halt()
    const before = host.now()
    await expect(saveHost(host)).rejects.toMatchObject({ code: 'NOT_SUPPORTED', details: { id: 1, name: 'typed', what } })
    expect(host.now()).toBe(before)
    goOn()
  })

  test('over state that is no plain data', async () => {
    const host = await boot()
    await host.createDomain({ name: 'typed', memory: 4, kernel: ({ control }) => control.saveState(() => ({ count: 1n })) })
    await expect(saveHost(host)).rejects.toMatchObject({
      code: 'NOT_SUPPORTED', details: { id: 1, name: 'typed' }, message: expect.stringContaining('its program cannot say its state') as string,
    })
  })

  test('while a program waits', async () => {
    const host = await boot()
    const program: GuestProgram = async ({ control, console }) => {
      control.saveState(nothing)
      await console!.readLine()
    }
    const domain = await host.createDomain({ name: 'typed', memory: 4, kernel: program })
    await expect(saveHost(host)).rejects.toMatchObject({ code: 'BUSY', details: { what: 'a wait for a line of its console of domain 1' } })
    await domain.console.write('line\r')
    await saveHost(host)
  })
})

describe('a saved host is not loaded', () => {
  const saved = async (): Promise<HostState> => {
    const host = await boot()
    const program: GuestProgram = ({ control, events }) => {
      events.keep(events.bindIpi(nothing))
      control.saveState(nothing)
    }
    await host.createDomain({ name: 'typed', memory: 4, kernel: program })
    return structuredClone(await saveHost(host))
  }

  test('without the programs of its guests, and with those that leave something over', async () => {
    const state = await saved()
    await expect(loadHost(state, OPTIONS)).rejects.toMatchObject({ code: 'NOT_SUPPORTED', details: { id: 1, name: 'typed' } })
    await expect(loadHost(state, OPTIONS, { program: () => nothing })).rejects.toMatchObject({
      code: 'INVALID_STATE', message: expect.stringContaining('nobody owns port 5') as string,
    })
    loaded.push(await loadHost(state, OPTIONS, { program: () => ({ attachments }) => void attachments.attachPort(5, nothing) }))
  })

  test.each<[string, (kernel: Record<string, any>, list: { domid: number; name: string; kernel: Record<string, any> }[]) => void]>([
    ['its program\'s state is no JSON', ({ control }) => { control.program = '{' }],
    ['domain 9 is no guest in TypeScript', (kernel, list) => { list.push({ domid: 9, name: 'other', kernel }) }],
    ['domain 1 cannot be of kind typescript here', (_, list) => { list.length = 0 }],
    ['consoleRing', (kernel) => { kernel['consoleRing'].port = 0 }],
  ])('of which %s', async (what, spoil) => {
    const state = await saved()
    const { state: list } = state.parts['programs'] as unknown as { state: { domid: number; name: string; kernel: Record<string, any> }[] }
    spoil(list[0]!.kernel, list)
    const program = (): GuestProgram => ({ attachments }) => void attachments.attachPort(5, nothing)
    await expect(loadHost(state, OPTIONS, { program })).rejects.toMatchObject({ code: 'INVALID_STATE', message: expect.stringContaining(what) as string })
  })
})
