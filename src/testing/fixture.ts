/**
 * Fixtures: hosts that are built once - booted, brought to where tests begin - and begin there from then on. The first run
 * keeps a moment in a cache, by what it was built from; later ones load it.
 */
import {
  Host, knowBytes, type BranchOptions, type ByteInput, type ByteOutput, type Compression, type KnownBytes, type LoadMomentOptions, type Moment,
} from '../toolstack/index.ts'
import { prepareProcessors } from '../machine/index.ts'
import { joinBytes, XenError } from '../util/index.ts'

/** Where moments are kept. `paravirt/node` has a folder. */
export interface FixtureCache {
  /** How its files are packed. */
  readonly compression: Compression
  /** What was kept under a key, as `write` has written it; undefined when nothing was. Whoever keeps it answers for nobody else having touched it. */
  read(key: string): Promise<ByteInput | undefined>
  /** Keeps what `save` writes, whole or not at all. */
  write(key: string, save: (target: ByteOutput) => Promise<void>): Promise<void>
}

/** How a fixture is made. */
export interface FixtureOptions {
  /** Without one the fixture is built by each process that uses it. */
  readonly cache?: FixtureCache | undefined
  /**
   * All that it is built from: texts, and contents of files. Another content is another fixture; so is another version of how hosts
   * are saved.
   */
  readonly inputs?: readonly (string | Uint8Array)[] | undefined
  /** What a host is given anew where its moment is loaded: disks, files, programs of guests in TypeScript. */
  readonly load?: LoadMomentOptions | undefined
}

/** Codes of moments that were kept by another version, or not whole: they are built anew. */
const STALE = ['INVALID_STREAM', 'INVALID_STATE', 'NOT_SUPPORTED'] as const

const isStale = (error: unknown): boolean => STALE.some((code) => XenError.is(error, code))

/** Separates inputs from each other in what is hashed. */
const encoder = /* @__PURE__ */ new TextEncoder()

/** A moment, and the first host that begins there. */
interface Ready {
  readonly moment: Moment<Host>
  readonly first: Promise<Host>
}

/** What was asked for with wrong options rejects alone. */
function firstOf(moment: Moment<Host>, options: BranchOptions): Ready {
  const first = moment.branch(options)
  first.catch(() => undefined)
  return { moment, first }
}

/** A host that is built once. */
export class Fixture {
  readonly name: string
  private readonly build: () => Promise<Host>
  private readonly options: FixtureOptions
  private ready: Promise<Moment<Host>> | undefined

  constructor(name: string, build: () => Promise<Host>, options: FixtureOptions) {
    this.name = name
    this.build = build
    this.options = options
  }

  /** The moment, built or loaded when it is first asked for. Rejects with what building rejects with. */
  async moment(): Promise<Moment<Host>> {
    if (this.ready === undefined) await (await this.host()).shutdown()
    return this.ready!
  }

  /** A host of one's own that begins there; whoever has it shuts it down. */
  async host(options: BranchOptions = {}): Promise<Host> {
    if (this.ready !== undefined) return (await this.ready).branch(options)
    const found = this.find(options)
    this.ready = found.then(({ moment }) => moment)
    // Whoever asks next hears of it, too.
    this.ready.catch(() => undefined)
    return (await found).first
  }

  /** The moment, with the first host of it. */
  private async find(options: BranchOptions): Promise<Ready> {
    const { cache, inputs = [] } = this.options
    if (cache === undefined) return firstOf(await this.make(), options)
    const hashing = Promise.all(inputs.map((input) => knowBytes(typeof input === 'string' ? encoder.encode(input) : input)))
    // Whatever it takes to hash, which other threads do, processors take a while, too.
    prepareProcessors()
    const known = await hashing
    const key = await this.key(known)
    // What it is built from need not be kept with it.
    const apart = known.filter((_, i) => typeof inputs[i] !== 'string')
    return (await this.load(await cache.read(key), apart, options)) ?? firstOf(await this.keep(cache, key, apart), options)
  }

  /** What was kept; undefined where there is nothing, or something from which no host stands up, which is found out while it can still be built. */
  private async load(file: ByteInput | undefined, apart: readonly KnownBytes[], options: BranchOptions): Promise<Ready | undefined> {
    if (file === undefined) return undefined
    try {
      const loading = { ...this.options.load, compression: this.options.cache?.compression, apart, trusted: true }
      const ready = firstOf(await Host.loadMoment(file, loading), options)
      const failure = await ready.first.then(() => undefined, (error: unknown) => error)
      return isStale(failure) ? undefined : ready
    } catch (error) {
      if (isStale(error)) return undefined
      throw error
    }
  }

  private async keep(cache: FixtureCache, key: string, known: readonly KnownBytes[]): Promise<Moment<Host>> {
    const moment = await this.make()
    const apart = known.map(({ bytes }) => bytes)
    await cache.write(key, (target) => moment.save(target, { compression: cache.compression, apart }))
    return moment
  }

  private async make(): Promise<Moment<Host>> {
    const host = await this.build()
    const moment = await host.checkpoint({ label: this.name })
    await host.shutdown()
    return moment
  }

  /** SHA-256 of the name and of each input's own. */
  private async key(known: readonly KnownBytes[]): Promise<string> {
    const { sha256 } = await knowBytes(joinBytes([encoder.encode(this.name), ...known.map((each) => each.sha256)]))
    return [...sha256].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  }
}

/**
 * A host that is built once and begins there from then on.
 *
 * @example
 * const ready = fixture('two domains', async () => {
 *   const host = await Host.boot()
 *   await (await host.createDomain({ name: 'one', memory: 8 })).console.waitFor('mini> ')
 *   return host
 * })
 * test('...', async () => { await using host = await ready.host() })
 */
export const fixture = (name: string, build: () => Promise<Host>, options: FixtureOptions = {}): Fixture => new Fixture(name, build, options)
