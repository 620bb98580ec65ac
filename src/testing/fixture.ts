/**
 * Fixtures: hosts that are built once - booted, brought to where tests begin - and begin there from then on. The first run
 * keeps a moment in a cache, by what it was built from; later ones load it.
 */
import { Host, type BranchOptions, type ByteInput, type ByteOutput, type Compression, type LoadMomentOptions, type Moment } from '../toolstack/index.ts'
import { XenError } from '../util/index.ts'

/** Where moments are kept. `paravirt/node` has a folder. */
export interface FixtureCache {
  /** How its files are packed. */
  readonly compression: Compression
  /** What was kept under a key; undefined when nothing was. */
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

/** Separates inputs from each other in what is hashed. */
const encoder = /* @__PURE__ */ new TextEncoder()

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
  moment(): Promise<Moment<Host>> {
    this.ready ??= this.find()
    return this.ready
  }

  /** A host of one's own that begins there; whoever has it shuts it down. */
  async host(options: BranchOptions = {}): Promise<Host> {
    return (await this.moment()).branch(options)
  }

  private async find(): Promise<Moment<Host>> {
    const { cache } = this.options
    if (cache === undefined) return this.make()
    const key = await this.key()
    return (await this.load(cache, key)) ?? this.keep(cache, key)
  }

  private async load(cache: FixtureCache, key: string): Promise<Moment<Host> | undefined> {
    const file = await cache.read(key)
    if (file === undefined) return undefined
    try {
      const moment = await Host.loadMoment(file, { ...this.options.load, compression: cache.compression })
      // Whether a host stands up from it is found out here, while it can still be built.
      await (await moment.branch()).shutdown()
      return moment
    } catch (error) {
      if (STALE.some((code) => XenError.is(error, code))) return undefined
      throw error
    }
  }

  private async keep(cache: FixtureCache, key: string): Promise<Moment<Host>> {
    const moment = await this.make()
    await cache.write(key, (target) => moment.save(target, { compression: cache.compression }))
    return moment
  }

  private async make(): Promise<Moment<Host>> {
    const host = await this.build()
    const moment = await host.checkpoint({ label: this.name })
    await host.shutdown()
    return moment
  }

  /** SHA-256 of the name and of each input's own. */
  private async key(): Promise<string> {
    const digests = [encoder.encode(this.name)]
    for (const input of this.options.inputs ?? []) {
      const bytes = typeof input === 'string' ? encoder.encode(input) : new Uint8Array(input)
      digests.push(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)))
    }
    const all = new Uint8Array(digests.reduce((sum, each) => sum + each.length, 0))
    let at = 0
    for (const each of digests) {
      all.set(each, at)
      at += each.length
    }
    return [...new Uint8Array(await crypto.subtle.digest('SHA-256', all))].map((byte) => byte.toString(16).padStart(2, '0')).join('')
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
