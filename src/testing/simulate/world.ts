/**
 * Several hosts on one clock. Nothing runs but while somebody waits for the world: then hosts take turns, each as far as no frame of another can
 * reach it yet, and frames are handed in at their times. The same seed gives the same world, to the last bit.
 */
import type { UserPort } from '../../drivers/index.ts'
import type { Domain, HeldHost, Host } from '../../toolstack/index.ts'
import { callable, checkArgument, parseDuration, XenError, type Duration } from '../../util/index.ts'
import { migrateBetween, type MigrateBetweenOptions, type MigrationOutcome } from '../host/migrate-between.ts'
import type { Network, NetworkCounts } from './network.ts'

/** How long the world is waited for. */
export interface WorldWaitOptions {
  /** The world's time. Default 60 seconds. */
  readonly timeout?: Duration | undefined
}

/** A host in the world. */
interface Place {
  readonly name: string
  readonly host: Host
  readonly held: HeldHost
  readonly port: UserPort
  /** Where its own clock stood when the world began. */
  readonly start: number
}

/** Lets everything that is ready in JavaScript go on. */
const turn = (): Promise<void> => new Promise((resolve) => {
  if (typeof setImmediate === 'function') setImmediate(resolve)
  else setTimeout(resolve, 0)
})

let make: (places: readonly Place[], network: Network) => World

/** Makes a world; `simulate` does for users. */
export async function worldOf(hosts: ReadonlyMap<string, Host>, network: Network): Promise<World> {
  const places: Place[] = []
  for (const [name, host] of hosts) {
    const held = await host.hold()
    const start = held.now
    const port = host.bridge(network.bridge).open({ onFrame: (bytes) => network.send(name, held.now - start, bytes.slice()) })
    places.push({ name, host, held, port, start })
  }
  return make(places, network)
}

/** Hosts on one clock, and the network between them. */
export class World {
  private readonly places: readonly Place[]
  private readonly network: Network
  private readonly healing = new Set<() => void>()
  private time = 0
  private isMoving = false
  private isReleased = false

  static {
    make = (places, network) => new World(places, network)
  }

  private constructor(places: readonly Place[], network: Network) {
    this.places = places
    this.network = network
  }

  /** Nanoseconds since the world began. */
  get now(): number {
    return this.time
  }

  /** Names of the hosts. */
  get names(): readonly string[] {
    return this.places.map(({ name }) => name)
  }

  /** The host of a name. Throws INVALID_ARGUMENT. */
  host(name: string): Host {
    return this.place(name).host
  }

  /** Frames that hosts have sent to each other. */
  frames(): NetworkCounts {
    return this.network.count()
  }

  /** Lets time pass. Rejects with BUSY while it passes already. */
  advance(duration: Duration): Promise<void> {
    const end = this.time + parseDuration(duration, 'the duration of advance')
    return this.moving(async () => {
      while (this.time < end) await this.step(Math.min(end, this.time + this.network.lookahead))
    })
  }

  /**
   * Lets the world go on until a promise is settled or a condition holds, which is asked after each step. Gives what the promise gives. Rejects
   * with what it rejects with, with TIMED_OUT, and with BUSY while the world goes on already.
   *
   * @example
   * await world.until(world.host('a').domain('linux').console.waitFor('ready'))
   */
  async until<T>(awaited: Promise<T> | (() => boolean), { timeout = '60s' }: WorldWaitOptions = {}): Promise<T | undefined> {
    if (!(awaited instanceof Promise)) checkArgument('what until waits for', awaited, callable)
    const end = this.time + parseDuration(timeout, 'timeout')
    let isOver = false
    const outcome = awaited instanceof Promise ? awaited.finally(() => { isOver = true }) : undefined
    outcome?.catch(() => undefined)
    await this.moving(async () => {
      for (;;) {
        await turn()
        if (typeof awaited === 'function' ? awaited() : isOver) return
        if (this.time >= end) throw new XenError('TIMED_OUT', 'what the world was waited for did not happen in time', { details: { time: this.time } })
        await this.step(Math.min(end, this.time + this.network.lookahead))
      }
    })
    return outcome
  }

  /**
   * Cuts the network between two groups of hosts; frames that have left arrive. The returned function heals it. Throws INVALID_ARGUMENT.
   *
   * @example
   * const heal = world.partition(['a'], ['b', 'c'])
   */
  partition(one: readonly string[], other: readonly string[]): () => void {
    const mend = this.network.cut(one, other)
    const heal = (): void => {
      this.healing.delete(heal)
      mend()
    }
    this.healing.add(heal)
    return heal
  }

  /** Heals all that was cut. */
  heal(): void {
    for (const heal of [...this.healing]) heal()
  }

  /** Moves a domain to another host while the world goes on; the pipe may be cut at any byte. */
  async migrate(domain: Domain, to: string, options: MigrateBetweenOptions & WorldWaitOptions = {}): Promise<MigrationOutcome> {
    const { timeout, ...migrate } = options
    const source = this.places.find(({ host }) => host.domains().includes(domain))
    if (source === undefined) throw new XenError('DOMAIN_NOT_FOUND', `domain ${domain.name} is on no host of the world`)
    // A promise that is awaited gives its outcome.
    return (await this.until(migrateBetween(source.host, this.host(to), domain, migrate), timeout === undefined ? {} : { timeout }))!
  }

  /** Lets each host go on by itself; the network is gone. */
  release(): void {
    if (this.isReleased) return
    this.isReleased = true
    for (const { port, held } of this.places) {
      port.close()
      held.release()
    }
  }

  /** Ends the world and all of its hosts. */
  async shutdown(): Promise<void> {
    this.release()
    for (const { host } of this.places) await host.shutdown()
  }

  /** The same, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.shutdown()
  }

  /** Brings every host to a time, one after the other, and hands in the frames that arrive before it. */
  private async step(end: number): Promise<void> {
    for (const { name, held, port, start } of this.places) {
      for (const { time, bytes } of this.network.take(name, end)) {
        await held.runTo(start + time)
        port.send(bytes)
      }
      await held.runTo(start + end)
    }
    this.time = end
  }

  private place(name: string): Place {
    const found = this.places.find((place) => place.name === name)
    if (found === undefined) throw new XenError('INVALID_ARGUMENT', `there is no host ${name} in the world; it has ${this.names.join(', ')}`, { details: { name } })
    return found
  }

  private async moving(work: () => Promise<void>): Promise<void> {
    if (this.isReleased) throw new XenError('CLOSED', 'the world has ended')
    if (this.isMoving) throw new XenError('BUSY', 'the world goes on already: wait for both by Promise.all in one until')
    this.isMoving = true
    try {
      await work()
    } finally {
      this.isMoving = false
    }
  }
}
