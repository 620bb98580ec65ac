/**
 * A fleet in a world of faults, on one virtual clock: agents with machines that only count, a store at a distance, and by the seed hosts that are killed and come
 * back, sleep and wake, are cut off from the store, lose their lease, hear changes late, not at all or not all of them, read what was, whose clocks jump, and a history that
 * is compacted, while domains are defined, defined again, defined by a newer version, stopped, moved and drained. A witness looks at every instant that no domain runs at two hosts; in the end everything is healed, and everything that is wanted runs, or there is a reason why not.
 */
import {
  Fleet, FleetAgent, memoryStore, planPlacement, type FleetDomain, type LiveMachine, type Machine, type MachineFacts,
  type MemoryConnection, type MemoryStore, type MoveNetwork, type MovePipe,
} from '../../src/fleet/index.ts'
import { SeededRandom, XenError } from '../../src/util/index.ts'
import { openOutput, type Arbiter, type MigrationTransport } from '../../src/toolstack/index.ts'
import { DistantStore, LIES } from './lying-store.ts'
import { settle, Side, SimClock } from './sim-clock.ts'
import { SimWire } from './sim-wire.ts'

/** What came of one seed. */
export interface FleetHistory {
  readonly seed: number
  /** Faults by their kinds. */
  readonly faults: Readonly<Record<string, number>>
  /** Starts of domains at hosts, domains that came there with their memory, and looks of the witness: before and behind whatever happens. */
  readonly starts: number
  readonly arrivals: number
  readonly looks: number
  /** Domains that run in the end, and those that have a reason. */
  readonly running: number
  readonly unplaced: number
  readonly violations: readonly string[]
}

/** How large a history is. */
export interface FleetSize {
  readonly hosts: number
  readonly domains: number
  /** Milliseconds of faults. */
  readonly duration: number
}

const STEP = 25
const CALM = 16_000
const STORE = new Side('store')
/** What happens, the commoner the more often it stands here. */
const STRIKES = [
  'kill', 'sleep', 'sleep', 'cut', 'cut', 'lease', 'slow', 'compact', 'stop', 'start', 'move', 'drain', 'undrain', 'twin', ...LIES, 'jump', 'twice', 'foreign',
] as const
/** A record of a version to come, and records of a domain that only such a version knows. */
const NEWER = '{"version":2}'
const FOREIGN = ['domains/newer', 'owners/newer', 'hosts/newer'] as const

/** A machine that counts. */
class CountingMachine implements Machine {
  readonly running = new Map<string, 'running' | 'paused'>()
  starts = 0
  /** Domains that came with their memory. */
  arrivals = 0
  readonly live: LiveMachine | undefined
  private readonly clock: SimClock
  private readonly side: Side
  private readonly memory: number

  constructor(clock: SimClock, side: Side, { memory, network }: { readonly memory: number; readonly network?: MoveNetwork }) {
    this.clock = clock
    this.side = side
    this.memory = memory
    this.live = network && new CountingMoves(this, { network, after: (milliseconds, act) => void clock.after(side, milliseconds, act) })
  }

  facts(): MachineFacts {
    return { memory: this.memory, cpus: 8, capabilities: ['pv'] }
  }

  start({ name }: FleetDomain, mayRun: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => void this.clock.after(this.side, 60, () => {
      if (!mayRun()) return reject(new XenError('STALE_EPOCH', `domain ${name} is not to run here any more`))
      this.running.set(name, 'running')
      this.starts += 1
      resolve()
    }))
  }

  stop(name: string): Promise<void> {
    return new Promise((resolve) => void this.clock.after(this.side, 30, () => {
      this.running.delete(name)
      resolve()
    }))
  }

  pause(name: string): void {
    this.running.set(name, 'paused')
  }

  resume(name: string): void {
    this.running.set(name, 'running')
  }

  domains(): readonly string[] {
    return [...this.running.keys()]
  }
}

/** Milliseconds of silence after which the other host of a move counts as lost. */
const SILENCE = 2000

/** Domains that go from machine to machine with their memory, as far as a fleet has to do with it: bytes over a wire that say when the other has them. */
class CountingMoves implements LiveMachine {
  readonly network: MoveNetwork
  private readonly machine: CountingMachine
  private readonly after: (milliseconds: number, act: () => void) => void

  constructor(machine: CountingMachine, { network, after }: { readonly network: MoveNetwork; readonly after: (milliseconds: number, act: () => void) => void }) {
    this.machine = machine
    this.network = network
    this.after = after
  }

  /** Tells of each word of the other host; resolves when it is lost. */
  private async hear({ readable }: MigrationTransport, act: () => void): Promise<void> {
    const words = (readable as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]()
    const silence = new Promise<undefined>((resolve) => this.after(SILENCE, () => resolve(undefined)))
    while ((await Promise.race([words.next(), silence]))?.done === false) act()
  }

  protect(name: string, transport: MigrationTransport, { arbiter }: { readonly arbiter: Arbiter }): ReturnType<LiveMachine['protect']> {
    let tell = (): void => undefined
    const sent = (async (): Promise<boolean> => {
      await openOutput(transport.writable).write(Uint8Array.of(1))
      await this.hear(transport, () => tell())
      // Nobody knows what the other has: the arbiter says.
      if (await arbiter.claim('primary', {})) return false
      this.machine.running.delete(name)
      return true
    })()
    return { onProtected: (act) => { tell = act }, ended: sent }
  }

  standBy({ name }: FleetDomain, transport: MigrationTransport, arbiter: Arbiter): ReturnType<LiveMachine['standBy']> {
    let arrive: (mayRun: () => boolean) => void = () => undefined
    const arriving = new Promise<() => boolean>((resolve) => { arrive = resolve })
    const ended = (async (): Promise<void> => {
      let hasAll = false
      await this.hear(transport, () => {
        hasAll = true
        openOutput(transport.writable).write(Uint8Array.of(2)).catch(() => undefined)
      })
      if (!hasAll || !await arbiter.claim('standby', {})) return
      const mayRun = await arriving
      if (!mayRun()) throw new XenError('STALE_EPOCH', `domain ${name} is not to run here any more`)
      this.machine.running.set(name, 'running')
      this.machine.arrivals += 1
    })()
    ended.catch(() => undefined)
    return { run: async (mayRun) => { arrive(mayRun); await ended }, drop: async () => undefined, ended }
  }
}

/** A host of the fleet: its process may die, and another one come up in its place. */
interface Node {
  readonly name: string
  side: Side
  machine: CountingMachine
  connection: MemoryConnection
  store: DistantStore
  heal: (() => void) | undefined
  agent: FleetAgent
}

/** The world of one seed. */
class FleetWorld {
  readonly clock = new SimClock()
  readonly violations: string[] = []
  readonly faults: Record<string, number> = {}
  readonly nodes: Node[] = []
  readonly store: MemoryStore
  readonly fleet: Fleet
  looks = 0
  starts = 0
  arrivals = 0
  private readonly takers = new Map<string, { readonly side: Side; readonly take: (pipe: MovePipe) => void }>()
  private readonly random: SeededRandom

  constructor(seed: number) {
    this.random = new SeededRandom(seed)
    this.store = memoryStore({ clock: { now: () => this.clock.now, after: (milliseconds, act) => this.clock.after(STORE, milliseconds, act) }, history: 400 })
    this.fleet = new Fleet({ store: this.store })
  }

  between(least: number, end: number): number {
    return least + (this.random.next() / 2 ** 32) * (end - least)
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.between(0, list.length))]!
  }

  /** A process's place among the others: wires between it and them take time. */
  private network(name: string, side: Side): MoveNetwork {
    return {
      address: name,
      connect: async (address) => {
        const there = this.takers.get(address)
        if (there === undefined) throw new XenError('IO', `nobody is at ${address}`)
        const wire = new SimWire(this.clock, [side, there.side], () => this.between(5, 60))
        const cut = (): void => wire.cut()
        this.clock.after(there.side, 5, () => there.take({ transport: wire.ends[1], cut }))
        return { transport: wire.ends[0], cut }
      },
      listen: (take) => {
        this.takers.set(name, { side, take })
        return () => { if (this.takers.get(name)?.take === take) this.takers.delete(name) }
      },
    }
  }

  /** A new process of a host. */
  boot(name: string, memory: number): Node {
    const side = new Side(name)
    const machine = new CountingMachine(this.clock, side, { memory, network: this.network(name, side) })
    const connection = this.store.connect()
    const latency = this.between(1, 40)
    const clock = { now: () => this.clock.now + side.ahead, after: (milliseconds: number, act: () => void) => this.clock.after(side, milliseconds, act) }
    const store = new DistantStore({ clock: this.clock, side, storeSide: STORE, store: connection, latency: () => latency })
    const agent = new FleetAgent({ name, machine, lease: '2s', clock, store })
    const node: Node = { name, side, machine, connection, store, heal: undefined, agent }
    void this.join(node)
    return node
  }

  /** Joins, as often as it takes: the lease of the process before may still stand. */
  private async join(node: Node): Promise<void> {
    for (;;) {
      const { agent } = node
      const joined = await agent.start().then(() => true, () => false)
      if (joined) return
      await new Promise<void>((resolve) => void this.clock.after(node.side, 300, resolve))
    }
  }

  /** Looks whether a domain runs twice. A process that sleeps or is dead runs nothing. */
  private look(): void {
    this.looks += 1
    const at = new Map<string, string>()
    for (const { name, side, machine } of this.nodes) {
      if (!side.isAwake(this.clock.now)) continue
      for (const [domain, how] of machine.running) {
        if (how !== 'running') continue
        const other = at.get(domain)
        if (other !== undefined) this.violations.push(`${domain} runs at ${other} and at ${name} at ${this.clock.now} ms`)
        at.set(domain, name)
      }
    }
  }

  async run(milliseconds: number): Promise<void> {
    const end = this.clock.now + milliseconds
    while (this.clock.now < end && this.violations.length === 0) {
      // Where nothing happens there is nothing to be seen.
      this.clock.advance(STEP * Math.max(1, Math.ceil((Math.min(this.clock.next(), end) - this.clock.now) / STEP)))
      this.look()
      await settle(1)
      this.look()
    }
  }

  private note(what: string): void {
    this.faults[what] = (this.faults[what] ?? 0) + 1
  }

  /** One thing that happens. */
  async strike(domains: number): Promise<void> {
    const at = Math.floor(this.between(0, this.nodes.length))
    const node = this.nodes[at]!
    const domain = `d${Math.floor(this.between(0, domains))}`
    const what = this.pick(STRIKES)
    this.note(what)
    const long = this.between(100, 6000)
    switch (what) {
      case 'kill': {
        node.side.isDead = true
        node.heal?.()
        this.starts += node.machine.starts
        this.arrivals += node.machine.arrivals
        const { name, machine } = node
        this.nodes[at] = this.boot(name, machine.facts().memory)
        this.clock.sleep(this.nodes[at]!.side, long)
        break
      }
      case 'sleep': this.clock.sleep(node.side, long); break
      case 'cut': {
        node.heal?.()
        const heal = node.connection.partition()
        node.heal = heal
        this.clock.after(STORE, long, heal)
        break
      }
      case 'lease': {
        const lease = (await this.store.get(`hosts/${node.name}`))?.lease
        if (lease !== undefined) this.store.loseLease(lease)
        break
      }
      case 'slow': node.connection.slowWatch(this.between(0, 1500)); break
      case 'stale': case 'lying': case 'mute': case 'gaps': await node.store.lie(what, long); break
      case 'jump': this.clock.jump(node.side, long); break
      case 'twice': await this.defineAgain(domain); break
      case 'foreign': await this.defineByNewer(domain, long); break
      case 'compact': this.store.compact(this.store.revision - 1); break
      case 'stop': await this.fleet.stop(domain).catch(() => undefined); break
      case 'start': await this.fleet.start(domain).catch(() => undefined); break
      case 'move': await this.fleet.move(domain, this.pick(this.nodes).name).catch(() => undefined); break
      case 'drain': await this.fleet.drain(node.name); break
      case 'undrain': await this.fleet.undrain(node.name); break
      // Another agent that says it is this host.
      case 'twin': {
        const side = new Side('twin')
        const clock = { now: () => this.clock.now, after: (milliseconds: number, act: () => void) => this.clock.after(side, milliseconds, act) }
        const twin = new FleetAgent({ name: node.name, machine: new CountingMachine(this.clock, side, { memory: 1 }), lease: '2s', clock, store: this.store.connect() })
        await twin.start().then(() => void twin.stop(), () => undefined)
        break
      }
    }
  }

  /** A domain is wanted a second time, by somebody who knows nothing of the first. */
  private async defineAgain(name: string): Promise<void> {
    await this.fleet.define({ name, memory: Math.floor(this.between(40, 160)), priority: Math.floor(this.between(0, 3)), eviction: this.pick(['move', 'restart'] as const) })
  }

  /** A domain is defined, for a while, by a version that nobody here knows. */
  private async defineByNewer(name: string, milliseconds: number): Promise<void> {
    const key = `domains/${name}`
    const before = await this.store.get(key)
    if (before === undefined || before.value === NEWER) return
    await this.store.txn([], [{ type: 'put', key, value: NEWER }])
    this.clock.after(STORE, milliseconds, () => void this.store.txn([{ key, target: 'value', result: 'equal', value: NEWER }], [{ type: 'put', key, value: before.value }]))
  }

  /** A domain that a newer version has, and runs at a host of its own: nobody here may touch it. */
  async defineForeign(): Promise<void> {
    for (const key of FOREIGN) await this.store.txn([], [{ type: 'put', key, value: NEWER }])
  }

  /** Everything is well again. */
  async heal(): Promise<void> {
    for (const node of this.nodes) {
      node.side.asleepUntil = 0
      node.heal?.()
      node.connection.slowWatch(0)
      node.store.isHonest()
      await this.fleet.undrain(node.name)
    }
  }

  /** Judges the end: who is to run and does not, without a reason. */
  async judge(): Promise<{ readonly running: number; readonly unplaced: number }> {
    const view = await this.fleet.state()
    const reasons = new Set(planPlacement(view).unplaced.map(({ domain }) => domain))
    let [running, unplaced] = [0, 0]
    for (const { name, wanted } of view.domains.values()) {
      const at = this.nodes.filter(({ machine }) => machine.running.get(name) === 'running').length
      if (wanted === 'running' && at === 1) running += 1
      else if (wanted === 'running' && reasons.has(name)) unplaced += 1
      else if (wanted === 'running') this.violations.push(`${name} is to run, and runs at ${at} hosts, without a reason`)
      else if (at > 0) this.violations.push(`${name} is to be stopped, and runs`)
    }
    for (const { name, machine } of this.nodes) {
      for (const domain of machine.running.keys()) if (!view.domains.has(domain)) this.violations.push(`${domain} is at ${name}, and nobody wants it`)
    }
    for (const key of FOREIGN) if (view.entries.get(key)?.version !== 1) this.violations.push(`${key} of another version was touched`)
    return { running, unplaced }
  }

  async close(): Promise<void> {
    for (const { agent, side } of this.nodes) {
      side.isDead = false
      void agent.stop()
    }
    for (let count = 0; count < 40; count += 1) {
      this.clock.advance(STEP * 8)
      await settle(1)
    }
  }
}

/** Runs one seed. */
export async function fleetHistory(seed: number, { hosts, domains, duration }: FleetSize = { hosts: 4, domains: 8, duration: 12_000 }): Promise<FleetHistory> {
  const world = new FleetWorld(seed)
  for (let i = 0; i < hosts; i += 1) world.nodes.push(world.boot(`h${i}`, Math.floor(world.between(200, 500))))
  for (let i = 0; i < domains; i += 1) {
    await world.fleet.define({
      name: `d${i}`, memory: Math.floor(world.between(40, 160)), priority: i % 3, ...(i % 4 === 0 ? { apart: 'group' } : {}), wanted: world.between(0, 1) < 0.9 ? 'running' : 'stopped',
    })
  }
  await world.defineForeign()
  await world.run(1500)
  const end = world.clock.now + duration
  while (world.clock.now < end && world.violations.length === 0) {
    await world.strike(domains)
    await world.run(world.between(50, 900))
  }
  await world.heal()
  await world.run(CALM)
  const { running, unplaced } = world.violations.length === 0 ? await world.judge() : { running: 0, unplaced: 0 }
  await world.close()
  const starts = world.nodes.reduce((sum, { machine }) => sum + machine.starts, world.starts)
  const arrivals = world.nodes.reduce((sum, { machine }) => sum + machine.arrivals, world.arrivals)
  return { seed, faults: world.faults, starts, arrivals, looks: world.looks, running, unplaced, violations: world.violations }
}
