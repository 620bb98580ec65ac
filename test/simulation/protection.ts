/**
 * A protected domain in a world of faults: two hosts, a wire between them, an arbiter, and an observer outside, on one virtual clock. By its
 * seed one host is killed or sleeps, or the wire is cut, goes silent, stands still or is slow, at any instant; what the observer saw and what the survivor's
 * disk holds is then judged.
 */
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { Host, memoryArbiter, type Arbiter, type Domain, type ProtectionSide } from '../../src/toolstack/index.ts'
import { SeededRandom, XenError } from '../../src/util/index.ts'
import { JOURNAL_BYTES, judgeJournal, Observer, requestServer, SERVER_MAC, SERVES } from '../support/remus/request-server.ts'
import { settle, Side, SimClock } from './sim-clock.ts'
import { SimWire } from './sim-wire.ts'

/** What may happen to one protection. */
export const FAULTS = ['none', 'kill primary', 'kill standby', 'sleep primary', 'sleep standby', 'cut', 'silence', 'stall', 'slow', 'unprotect'] as const
/** One of them. */
export type Fault = (typeof FAULTS)[number]

/** What came of one seed. */
export interface ProtectionHistory {
  readonly seed: number
  readonly fault: Fault
  /** Milliseconds at which it happened. */
  readonly at: number
  /** Requests that were answered, and how many of them behind the fault. */
  readonly answered: number
  readonly answeredAfter: number
  readonly epochs: number
  readonly survivor: 'primary' | 'standby' | 'none'
  /** What must not be. */
  readonly violations: readonly string[]
}

/** An arbiter at a distance from both sides: what reaches neither of them is not asked. */
function distantArbiter(clock: SimClock, sides: Readonly<Record<ProtectionSide, Side>>, latency: () => number): (side: ProtectionSide) => Arbiter {
  const arbiter = memoryArbiter()
  return () => ({
    claim: (side) => new Promise((resolve) => {
      clock.after(ARBITER, latency(), () => {
        void arbiter.claim(side, {}).then((isGranted) => clock.after(sides[side], latency(), () => resolve(isGranted)))
      })
    }),
  })
}
const ARBITER = new Side('arbiter')

const STEP = 1
/** Milliseconds between the pieces of an epoch on the wire. */
export const GAPS = [0, 0.5, 1, 2] as const
const END = 700
const OPTIONS = { memory: 10, dom0Memory: 4, seed: 1 } as const

/** The world of one seed. */
class World {
  readonly clock = new SimClock()
  readonly sides = { primary: new Side('primary'), standby: new Side('standby') } as const
  readonly observer = new Observer()
  readonly violations: string[] = []
  readonly snapshots = new Map<number, Uint8Array>()
  private readonly random: SeededRandom
  private readonly hosts: { readonly side: Side; readonly host: Host; readonly runTo: (time: number) => Promise<void>; readonly send: (bytes: Uint8Array) => void }[] = []

  constructor(seed: number) {
    this.random = new SeededRandom(seed)
  }

  /** A number from `least` on, below `end`. */
  between(least: number, end: number): number {
    return least + (this.random.next() / 2 ** 32) * (end - least)
  }

  /** Boots a host, and has the observer on its bridge. */
  async boot(side: Side, disk: MemoryBlockStore, seed: number): Promise<Host> {
    const host = await Host.boot({ ...OPTIONS, seed, openDisk: () => disk })
    const port = host.bridge().open({ onFrame: (bytes) => this.observer.hear(bytes) })
    const held = await host.hold()
    const start = held.now - this.clock.now * 1e6
    this.hosts.push({ side, host, runTo: (time) => held.runTo(start + time * 1e6), send: (bytes) => port.send(bytes) })
    return host
  }

  /** Lets time pass until something holds, or to an end. */
  async run(until: () => boolean, end: number): Promise<boolean> {
    while (this.clock.now < end) {
      if (until()) return true
      this.clock.advance(STEP)
      for (const { side, runTo, send } of this.hosts) {
        if (!side.isAwake(this.clock.now)) continue
        if (this.clock.now % 4 === 0) send(this.observer.request)
        await runTo(this.clock.now)
      }
      await settle()
    }
    return until()
  }

  /** Ends it: who was killed is let go on, so that nothing is left of it. */
  async close(wire: SimWire): Promise<void> {
    for (const side of Object.values(this.sides)) Object.assign(side, { isDead: false, asleepUntil: 0 })
    wire.cut()
    let left = this.hosts.length
    for (const { host } of this.hosts) void host.shutdown().then(() => { left -= 1 })
    while (left > 0) {
      this.clock.advance(10)
      for (const { runTo } of this.hosts) await runTo(this.clock.now)
      await settle()
    }
  }
}

/** What happens, and when. */
function strike(world: World, wire: SimWire, { fault, unprotect }: { readonly fault: Fault; readonly unprotect: () => void }): void {
  const { clock, sides } = world
  const long = world.between(5, 400)
  switch (fault) {
    case 'kill primary': sides.primary.isDead = true; break
    case 'kill standby': sides.standby.isDead = true; break
    case 'sleep primary': sides.primary.asleepUntil = clock.now + long; break
    case 'sleep standby': sides.standby.asleepUntil = clock.now + long; break
    case 'cut': wire.cut(); break
    case 'silence': wire.isSilent = true; break
    case 'stall': wire.stalledUntil = clock.now + long; break
    case 'slow': {
      const slow = world.between(5, 120)
      wire.latency = () => slow
      break
    }
    case 'unprotect': unprotect(); break
    case 'none': break
  }
  // What a dead host has sent and has not arrived may be lost with it.
  if (fault.startsWith('kill') && world.between(0, 1) < 0.5) wire.cut()
}

const same = (one: Uint8Array, other: Uint8Array | undefined): boolean => other !== undefined && one.every((byte, i) => byte === other[i])

/** Bytes of a store in memory. */
function bytesOf(store: MemoryBlockStore): Uint8Array {
  const bytes = new Uint8Array(JOURNAL_BYTES)
  void store.read(0, bytes)
  return bytes
}

/** Runs one seed. */
export async function protectionHistory(seed: number): Promise<ProtectionHistory> {
  const world = new World(seed)
  const { clock, sides, observer } = world
  const fault = FAULTS[seed % FAULTS.length]!
  const disks = { primary: new MemoryBlockStore(JOURNAL_BYTES), standby: new MemoryBlockStore(JOURNAL_BYTES) }
  const latency = world.between(0.1, 4)
  const wire = new SimWire(clock, [sides.primary, sides.standby], () => latency)
  // Not by chance: the share of each kind of fault is the same.
  wire.gap = GAPS[Math.floor(seed / FAULTS.length) % GAPS.length]!
  const arbiterOf = distantArbiter(clock, sides, () => latency)
  const [primary, standby] = [await world.boot(sides.primary, disks.primary, seed), await world.boot(sides.standby, disks.standby, seed ^ 0x5555)]
  try {
    let domain: Domain | undefined
    void primary.createDomain({ name: 'served', memory: 2, kernel: requestServer, nics: [{ mac: SERVER_MAC }], disks: [{ target: '/journal', vdev: 'xvda' }] })
      .then((made) => { domain = made })
    await world.run(() => domain?.console.text().includes(SERVES) === true, END)
    const lineOf = (side: Side, kind: ProtectionSide): object => ({
      clock: { after: (milliseconds: number, act: () => void) => clock.after(side, milliseconds, act) }, heartbeat: '10ms', peerTimeout: '60ms', arbiter: arbiterOf(kind),
    })
    let [survivor, ended]: [Domain | undefined, unknown] = [undefined, undefined]
    const standing = standby.standBy(wire.ends[1], { ...lineOf(sides.standby, 'standby'), kernel: requestServer, trust: 'all' })
    standing.progress.on('taking-over', ({ epoch }) => {
      if (!same(bytesOf(disks.standby), world.snapshots.get(epoch))) world.violations.push(`the standby's disk is not that of epoch ${epoch}`)
    })
    standing.then((there) => { survivor = there }, () => undefined)
    const protection = domain!.protect(wire.ends[0], { ...lineOf(sides.primary, 'primary'), interval: `${Math.floor(world.between(2, 30))}ms` })
    protection.progress.on('captured', ({ epoch }) => void world.snapshots.set(epoch, bytesOf(disks.primary)))
    protection.then((summary) => { ended = summary.end }, (error: unknown) => { ended = XenError.is(error) ? error.code : String(error) })
    let isProtected = false
    protection.progress.on('protected', () => { isProtected = true })
    await world.run(() => isProtected, clock.now + 200)
    if (!isProtected) world.violations.push(`it was never protected: ${String(ended)}`)
    const at = clock.now + world.between(0, 150)
    await world.run(() => false, at)
    strike(world, wire, { fault, unprotect: () => void protection.unprotect() })
    const before = observer.answered
    await world.run(() => observer.answered >= before + 12, clock.now + END)
    // Long enough for whoever sleeps to wake, and to do what it should not.
    await world.run(() => false, clock.now + (fault.startsWith('sleep') || fault === 'stall' ? 420 : 80))
    const lives = survivor !== undefined ? 'standby' : sides.primary.isDead || ended === 'failed-over' ? 'none' : 'primary'
    const final = lives === 'standby' ? disks.standby : disks.primary
    const violations = [...world.violations, ...observer.violations, ...judgeJournal(bytesOf(final), observer)]
    // Each answer waits for its epoch to be there and back.
    if (observer.answered < before + (fault === 'slow' ? 1 : 12)) violations.push(`only ${observer.answered - before} requests were answered behind the fault; the primary's end is ${String(ended)}`)
    if (survivor !== undefined && primary.domains().length > 0 && !sides.primary.isDead && sides.primary.isAwake(clock.now) && ended === undefined) violations.push('both hosts have the domain')
    return {
      seed, fault, at, answered: observer.answered, answeredAfter: observer.answered - before, epochs: protection.statistics()?.epochs ?? 0, survivor: lives, violations,
    }
  } finally {
    await world.close(wire)
  }
}
