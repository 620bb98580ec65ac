/**
 * Defined domains: descriptions that are kept whether a domain runs or not, as a real host keeps files in /etc/xen, and links to those
 * that are to be started with it in /etc/xen/auto. Where they are kept is a store's.
 * Reference: xendomains(8); xl.cfg(5).
 */
import { abortSignal, checkArgument, checkOptions, flag, having, text, XenError, type XenErrorCode } from '../../util/index.ts'
import { parseDescription, type ConfigWarning } from '../config/description-file.ts'
import { resolveDomainOptions, type DomainConfig, type DomainOptions } from '../config/domain-config.ts'
import { formatDescription } from '../config/format-description.ts'
import { MemoryCatalogueStore, type CatalogueEntry, type CatalogueStore } from './catalogue-store.ts'

/** A description that is kept. */
export interface DefinedDomain {
  /** The domain's name; of a description that cannot be read, the file's. */
  readonly name: string
  /** What it is kept under. */
  readonly file: string
  readonly text: string
  /** Started with its host, and when: those of lower texts first. */
  readonly autostart: string | undefined
  /** What it says; undefined where it cannot be read. */
  readonly config: DomainConfig | undefined
  readonly warnings: readonly ConfigWarning[]
  /** Why it cannot be read; undefined where it can. */
  readonly error: XenError | undefined
}

/** How a domain is defined. */
export interface DefineOptions {
  /** Starts it with its host: true behind all others, or a text by which they are put in order. Default: as it was, or not. */
  readonly autostart?: boolean | string | undefined
  /** What it is kept under. Default: its name with `.cfg`. */
  readonly file?: string | undefined
}

/** A change of the catalogue, whoever made it. */
export interface CatalogueChange {
  readonly type: 'defined' | 'updated' | 'undefined'
  readonly name: string
}

/** What starting defined domains needs of a host. */
export interface CatalogueHost<D> {
  /** Makes and starts a domain of a description; `source` is what errors call the description. */
  createDomain(config: string, options: { readonly source: string }): Promise<D>
  /** The domains that there are. */
  listDomains(): readonly { readonly name: string }[] | Promise<readonly { readonly name: string }[]>
}

/** What became of a domain that was to be started. */
export type StartResult<D> = { readonly name: string } & (
  | { readonly domain: D; readonly error?: undefined }
  /** DOMAIN_EXISTS for one that runs already, or what starting it has failed with. */
  | { readonly domain?: undefined; readonly error: unknown })

const FILE = /^[^/\u0000-\u001f.][^/\u0000-\u001f]{0,250}$/

function read(entry: CatalogueEntry): DefinedDomain {
  try {
    const { config, warnings } = parseDescription(entry.text, { source: entry.file })
    return { ...entry, name: config.name, config, warnings, error: undefined }
  } catch (error) {
    if (!XenError.is(error)) throw error
    return { ...entry, name: entry.file, config: undefined, warnings: [], error }
  }
}

/** Descriptions of domains. */
export class Catalogue {
  private readonly store: CatalogueStore

  /**
   * @example
   * const catalogue = new Catalogue(catalogueFolder('/etc/xen'))
   * await catalogue.define({ name: 'web', memory: 64 }, { autostart: true })
   * await catalogue.startAll(host)
   */
  constructor(store: CatalogueStore = new MemoryCatalogueStore()) {
    checkArgument('the store of a catalogue', store, having('list', 'write', 'remove', 'setAutostart'))
    this.store = store
  }

  /** All that is kept, by name; what cannot be read is there with its error. */
  async list(): Promise<readonly DefinedDomain[]> {
    const all = (await this.store.list()).map(read)
    return all.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.file < b.file ? -1 : 1))
  }

  /** The description of this name. Throws DOMAIN_NOT_FOUND. */
  async get(name: string): Promise<DefinedDomain> {
    checkArgument('the name of a defined domain', name, text)
    const found = (await this.list()).find((defined) => defined.name === name)
    if (found !== undefined) return found
    throw new XenError('DOMAIN_NOT_FOUND', `no domain ${name} is defined`, { details: { domain: name } })
  }

  /**
   * Keeps a description: a text, or an object that a file can say. Throws DOMAIN_EXISTS where another one has its name or its file,
   * INVALID_CONFIG for what is none; then nothing is kept.
   */
  async define(description: string | DomainOptions, options: DefineOptions = {}): Promise<DefinedDomain> {
    checkDefine(options)
    const { name, text: written } = described(description)
    const file = options.file ?? `${name}.cfg`
    const taken = (await this.list()).find((defined) => defined.name === name || defined.file === file)
    if (taken !== undefined) throw conflict('DOMAIN_EXISTS', name, taken)
    return this.keep(file, written, options)
  }

  /** Keeps another description in the place of one; its name may be another. Throws DOMAIN_NOT_FOUND, DOMAIN_EXISTS, INVALID_CONFIG. */
  async update(name: string, description: string | DomainOptions, options: Omit<DefineOptions, 'file'> = {}): Promise<DefinedDomain> {
    checkDefine(options)
    const { file } = await this.get(name)
    const next = described(description)
    const taken = (await this.list()).find((defined) => defined.name === next.name && defined.file !== file)
    if (taken !== undefined) throw conflict('DOMAIN_EXISTS', next.name, taken)
    return this.keep(file, next.text, options)
  }

  /** Forgets a description; a domain that runs goes on. Throws DOMAIN_NOT_FOUND. */
  async undefine(name: string): Promise<void> {
    await this.store.remove((await this.get(name)).file)
  }

  /** Says whether, and in which order, one is started with its host. Throws DOMAIN_NOT_FOUND. */
  async setAutostart(name: string, autostart: boolean | string): Promise<void> {
    checkDefine({ autostart })
    await this.store.setAutostart((await this.get(name)).file, await this.orderOf(autostart))
  }

  /** Starts one. Throws DOMAIN_NOT_FOUND, the error of a description that cannot be read, and what creating rejects with. */
  async start<D>(host: CatalogueHost<D>, name: string): Promise<D> {
    checkArgument('the host of start', host, having('createDomain'))
    const { text: written, file, error } = await this.get(name)
    if (error !== undefined) throw error
    return host.createDomain(written, { source: file })
  }

  /** Starts those that are to be started with their host, one behind the other in their order; one that fails stops no other. */
  async startAll<D>(host: CatalogueHost<D>): Promise<readonly StartResult<D>[]> {
    checkArgument('the host of startAll', host, having('createDomain'))
    const wanted = (await this.list()).filter(({ autostart }) => autostart !== undefined)
      .sort((a, b) => (a.autostart! < b.autostart! ? -1 : a.autostart! > b.autostart! ? 1 : 0))
    const results: StartResult<D>[] = []
    for (const { name, text: written, file, error } of wanted) {
      try {
        if (error !== undefined) throw error
        results.push({ name, domain: await host.createDomain(written, { source: file }) })
      } catch (failure) {
        results.push({ name, error: failure })
      }
    }
    return results
  }

  /** What changes from now on, whoever changes it, until the signal fires. */
  watch(options: { readonly signal?: AbortSignal | undefined } = {}): AsyncGenerator<CatalogueChange, void> {
    checkOptions('watch', options, { signal: abortSignal })
    return this.changes(options)
  }

  private async *changes({ signal }: { readonly signal?: AbortSignal | undefined }): AsyncGenerator<CatalogueChange, void> {
    let dirty = false
    let wake: () => void = () => undefined
    const changed = (): void => {
      dirty = true
      wake()
    }
    const end = this.store.watch?.(changed)
    const stop = (): void => wake()
    signal?.addEventListener('abort', stop)
    try {
      let before = await this.texts()
      while (signal?.aborted !== true) {
        if (!dirty) await new Promise<void>((resolve) => { wake = resolve })
        if (!dirty) continue
        dirty = false
        const now = await this.texts()
        yield* changesOf(before, now)
        before = now
      }
    } finally {
      end?.()
      signal?.removeEventListener('abort', stop)
    }
  }

  private async texts(): Promise<ReadonlyMap<string, string>> {
    return new Map((await this.list()).map(({ name, text: written, autostart }) => [name, `${autostart ?? ''}\n${written}`]))
  }

  private async keep(file: string, written: string, { autostart }: DefineOptions): Promise<DefinedDomain> {
    await this.store.write(file, written)
    if (autostart !== undefined) await this.store.setAutostart(file, await this.orderOf(autostart))
    const entry = (await this.store.list()).find((one) => one.file === file)
    return read(entry ?? { file, text: written, autostart: undefined })
  }

  /** A place behind all others, unless one was said. */
  private async orderOf(autostart: boolean | string): Promise<string | undefined> {
    if (typeof autostart === 'string') return autostart
    if (!autostart) return undefined
    const numbers = (await this.store.list()).map((entry) => Number.parseInt(entry.autostart ?? '', 10)).filter((number) => !Number.isNaN(number))
    return String(Math.max(0, ...numbers) + 10).padStart(3, '0')
  }
}

function* changesOf(before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): Generator<CatalogueChange> {
  for (const name of before.keys()) if (!now.has(name)) yield { type: 'undefined', name }
  for (const [name, written] of now) {
    const known = before.get(name)
    if (known === undefined) yield { type: 'defined', name }
    else if (known !== written) yield { type: 'updated', name }
  }
}

/** A description as a text, and the domain's name. Throws INVALID_CONFIG. */
function described(description: string | DomainOptions): { readonly name: string; readonly text: string } {
  if (typeof description === 'string') return { name: parseDescription(description).config.name, text: description }
  const config = resolveDomainOptions(description)
  return { name: config.name, text: formatDescription(config) }
}

function checkDefine(options: DefineOptions): void {
  const order = (value: unknown): string | undefined => (typeof value === 'string' ? (FILE.test(value) ? undefined : 'must be a text without a slash') : flag(value))
  const file = (value: unknown): string | undefined => text(value) ?? (FILE.test(value as string) ? undefined : 'must be the name of a file, without a slash or a dot in front')
  checkOptions('define', options, { autostart: order, file })
}

const conflict = (code: XenErrorCode, name: string, taken: DefinedDomain): XenError =>
  new XenError(code, `${taken.name === name ? `a domain ${name}` : `the file ${taken.file}`} is defined already`, { details: { domain: name, file: taken.file } })
