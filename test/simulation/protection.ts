/**
 * A protected domain in a world of faults: two hosts, a wire between them, an arbiter, and an observer outside, on one virtual clock. By its
 * seed one host is killed or sleeps, or the wire is cut, goes silent, stands still or is slow, at any instant; what the observer saw and what the survivor's
 * disk holds is then judged. The guest counts requests: the next number it carries out, with a token by chance and a line in its journal; an
 * older one it answers as before. So an effect that is lost shows as a gap, and one that is done twice as another token.
 */
import { BlockFrontend, MemoryBlockStore, NetFrontend } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestKernel } from '../../src/guest/index.ts'
import { Host, memoryArbiter, type Arbiter, type Domain, type ProtectionSide } from '../../src/toolstack/index.ts'
import { SeededRandom, XenError } from '../../src/util/index.ts'
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

const MAC = '00:16:3e:00:00:01'
const GUEST = Uint8Array.of(0, 0x16, 0x3e, 0, 0, 1)
const OBSERVER = Uint8Array.of(2, 0, 0, 0, 0, 9)
const DISK = 64 * 512
const SECTORS = 64
const TYPE = 0x88b5

/** A frame: who to, who from, and three words. */
function frame(to: Uint8Array, from: Uint8Array, words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(60)
  bytes.set(to)
  bytes.set(from, 6)
  const view = new DataView(bytes.buffer)
  view.setUint16(12, TYPE)
  words.forEach((word, i) => view.setUint32(14 + i * 4, word))
  return bytes
}

/** The words of a frame; undefined for one of others. */
function wordsOf(bytes: Uint8Array): readonly [number, number, number] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return view.getUint16(12) === TYPE ? [view.getUint32(14), view.getUint32(18), view.getUint32(22)] : undefined
}

interface Served {
  readonly last: number
  readonly token: number
}

const ANSWER = 1
const GAP = 2

/** The guest. */
async function server(kernel: GuestKernel): Promise<void> {
  const [nics, disks, bus] = [new NetFrontend(), new BlockFrontend(), new FrontendBus(kernel)]
  let served = (kernel.restoredState as Served | undefined) ?? { last: 0, token: 0 }
  kernel.control.saveState(() => ({ ...served }))
  await bus.register(disks)
  await bus.register(nics)
  const [disk, nic] = [await disks.disk('xvda'), await nics.nic(0)]
  kernel.console?.log('serving')
  for await (const bytes of nic) {
    const number = wordsOf(bytes)?.[0]
    if (number === undefined) continue
    if (number > served.last + 1) void nic.send(frame(OBSERVER, GUEST, [number, GAP, served.last]))
    if (number === served.last + 1) {
      const token = kernel.random.next()
      const line = new Uint8Array(512)
      new DataView(line.buffer).setUint32(0, number)
      new DataView(line.buffer).setUint32(4, token)
      await disk.write(number % SECTORS, line)
      served = { last: number, token }
    }
    if (number === served.last) void nic.send(frame(OBSERVER, GUEST, [number, ANSWER, served.token]))
  }
}

/** Asks one request after the other, at both hosts, until each is answered. */
class Observer {
  readonly answers: number[] = []
  readonly violations: string[] = []
  private number = 1

  /** Hears a frame from a host. */
  hear(bytes: Uint8Array): void {
    const words = wordsOf(bytes)
    if (words === undefined || words[0] > this.number) return
    const [number, kind, value] = words
    if (kind === GAP) {
      const gap = `request ${number} finds the guest at ${value}: effects were lost`
      if (!this.violations.includes(gap)) this.violations.push(gap)
      return
    }
    const known = this.answers[number]
    if (known === undefined) {
      this.answers[number] = value
      this.number += 1
    } else if (known !== value) this.violations.push(`request ${number} was carried out twice: tokens ${known} and ${value}`)
  }

  /** What it asks now. */
  get request(): Uint8Array {
    return frame(GUEST, OBSERVER, [this.number])
  }

  get answered(): number {
    return this.number - 1
  }
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

/** The last line of a journal, and whether it agrees with what the observer was answered. */
function judgeJournal(disk: Uint8Array, { answers, answered }: Observer): string[] {
  const view = new DataView(disk.buffer, disk.byteOffset, disk.byteLength)
  const violations: string[] = []
  for (let number = Math.max(1, answered - SECTORS + 2); number <= answered; number += 1) {
    const [line, token] = [view.getUint32((number % SECTORS) * 512), view.getUint32((number % SECTORS) * 512 + 4)]
    if (line !== number || token !== answers[number]) violations.push(`the journal has ${line} with ${token} in the place of answer ${number}, which was ${answers[number]}`)
  }
  return violations
}

const same = (one: Uint8Array, other: Uint8Array | undefined): boolean => other !== undefined && one.every((byte, i) => byte === other[i])

/** Bytes of a store in memory. */
function bytesOf(store: MemoryBlockStore): Uint8Array {
  const bytes = new Uint8Array(DISK)
  void store.read(0, bytes)
  return bytes
}

/** Runs one seed. */
export async function protectionHistory(seed: number): Promise<ProtectionHistory> {
  const world = new World(seed)
  const { clock, sides, observer } = world
  const fault = FAULTS[seed % FAULTS.length]!
  const disks = { primary: new MemoryBlockStore(DISK), standby: new MemoryBlockStore(DISK) }
  const latency = world.between(0.1, 4)
  const wire = new SimWire(clock, [sides.primary, sides.standby], () => latency)
  const arbiterOf = distantArbiter(clock, sides, () => latency)
  const [primary, standby] = [await world.boot(sides.primary, disks.primary, seed), await world.boot(sides.standby, disks.standby, seed ^ 0x5555)]
  try {
    let domain: Domain | undefined
    void primary.createDomain({ name: 'served', memory: 2, kernel: server, nics: [{ mac: MAC }], disks: [{ target: '/journal', vdev: 'xvda' }] })
      .then((made) => { domain = made })
    await world.run(() => domain?.console.text().includes('serving') === true, END)
    const lineOf = (side: Side, kind: ProtectionSide): object => ({
      clock: { after: (milliseconds: number, act: () => void) => clock.after(side, milliseconds, act) }, heartbeat: '10ms', peerTimeout: '60ms', arbiter: arbiterOf(kind),
    })
    let [survivor, ended]: [Domain | undefined, unknown] = [undefined, undefined]
    const standing = standby.standBy(wire.ends[1], { ...lineOf(sides.standby, 'standby'), kernel: server, trust: 'all' })
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
