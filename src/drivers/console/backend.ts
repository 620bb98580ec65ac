/**
 * The console back-end: what xenconsoled does. It runs in dom0 or in any kernel that may map the other's ring, watches
 * each console's directory, and goes on when the domain comes back with another ring. What moves through a ring is
 * console-stream.ts.
 *
 * Reference: public/io/console.h; docs/misc/console.txt.
 */
import { readOptional } from '../../guest/index.ts'
import type { DomId } from '../../util/index.ts'
import { XenError, partSet, type Part } from '../../util/index.ts'
import type { ConsoleAccess, ConsoleBackendServices, ConsoleStream } from './console-stream.ts'
import { openConsole } from './console-stream.ts'
import type { ConsoleNodes } from './protocol.ts'
import { CONSOLE_LOG_LIMIT, consolePath, parseConsoleNodes } from './protocol.ts'

/** How a console is opened. */
export interface ConsoleOpenOptions {
  /** Written to `console/tty`, where tools look for the console's name, as soon as there is the directory. */
  readonly tty?: string
  /** Where the ring is, for those who know it before its nodes are noticed: it is connected at once. */
  readonly ring?: Pick<ConsoleNodes, 'ringFrame' | 'port'>
}

interface Served {
  readonly console: ConsoleAccess
  readonly unwatch: Promise<() => Promise<void>>
}

/** Reading a console's nodes: at most one is under way, and however often they change meanwhile, one follows. */
interface Refreshing {
  underWay: boolean
  again: boolean
}

/** What of a console's directory says where its ring is. */
const CONSOLE_NODES = ['ring-ref', 'port', 'limit', 'type'] as const

/** Serves the consoles of other domains. */
export class ConsoleBackend {
  private readonly services: ConsoleBackendServices
  private readonly streams = new Map<DomId, Served>()
  /** Names of consoles whose directories are not there yet. */
  private readonly unnamed = new Map<DomId, string>()

  constructor(services: ConsoleBackendServices) {
    this.services = services
  }

  /** Serves the console of `domain`, which may not be ready yet; the same stream again when it is served already. */
  open(domid: DomId, options: ConsoleOpenOptions = {}): ConsoleStream {
    const known = this.streams.get(domid)
    if (known !== undefined) return known.console.stream
    const { store } = this.services
    if (store === undefined) throw new XenError('INVALID_STATE', 'a console back-end needs XenStore')
    const path = consolePath(domid)
    const served = this.serve(domid, (handler) => store.watch(path, handler, { kept: true }))
    const { tty, ring } = options
    if (ring !== undefined) served.update({ limit: CONSOLE_LOG_LIMIT, ...ring })
    if (tty !== undefined) {
      this.unnamed.set(domid, tty)
      this.services.spawn(() => this.nameTerminal(domid))
    }
    return served.stream
  }

  private serve(domid: DomId, watch: (handler: () => void) => Promise<() => Promise<void>>): ConsoleAccess {
    const console = openConsole(domid, this.services)
    const refreshing: Refreshing = { underWay: false, again: false }
    const unwatch = watch(() => this.services.spawn(() => this.refresh(console, refreshing)))
    this.streams.set(domid, { console, unwatch })
    return console
  }

  /** The consoles that are served, to be saved with the kernel and loaded into one that was loaded. */
  part(): Part {
    const { attachments } = this.services
    return partSet({ name: 'consoles', version: 1 }, {
      present: () => [...this.streams.values()].map(({ console }) => console.part()),
      make: (name) => {
        if (!/^\d{1,5}$/.test(name)) return undefined
        const domid = Number(name) as DomId
        return this.serve(domid, (handler) => Promise.resolve(attachments.attachWatch(consolePath(domid), handler))).part()
      },
    })
  }

  /** The stream of a console that is served. */
  get(domid: DomId): ConsoleStream | undefined {
    return this.streams.get(domid)?.console.stream
  }

  /** Stops serving a console: the domain is gone. What is left in its ring is still read. */
  async close(domid: DomId): Promise<void> {
    const known = this.streams.get(domid)
    if (known === undefined) return
    this.streams.delete(domid)
    this.unnamed.delete(domid)
    known.console.end()
    await (await known.unwatch)()
  }

  /** Says what the console is called. Its directory may have gone meanwhile: then it does not come back. */
  private async nameTerminal(domid: DomId): Promise<void> {
    const [tty, path] = [this.unnamed.get(domid), consolePath(domid)]
    if (tty === undefined) return
    await this.services.store?.transaction(async (transaction) => {
      if (await readOptional(transaction, path) === undefined) return
      this.unnamed.delete(domid)
      await transaction.write(`${path}/tty`, tty)
    })
  }

  private async refresh(console: ConsoleAccess, refreshing: Refreshing): Promise<void> {
    refreshing.again = true
    if (refreshing.underWay) return
    refreshing.underWay = true
    while (refreshing.again) {
      refreshing.again = false
      await this.readNodes(console)
      await this.nameTerminal(console.stream.domid)
    }
    refreshing.underWay = false
  }

  private async readNodes({ stream, update }: ConsoleAccess): Promise<void> {
    const { store } = this.services
    if (store === undefined) return
    const path = consolePath(stream.domid)
    // All at once: a message at a time would be a turn of this kernel for each.
    const read = async (name: string): Promise<readonly [string, string | undefined]> => [name, await readOptional(store, `${path}/${name}`)]
    const nodes = Object.fromEntries(await Promise.all(CONSOLE_NODES.map(read)))
    this.services.post(() => update(parseConsoleNodes(nodes)))
  }
}
