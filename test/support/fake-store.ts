/**
 * XenStore in memory for unit tests of guests and drivers: one tree, a connection for each domain, watches, transactions
 * with conflicts, and a transcript of who did what in the form of the captures of real Xen. No permissions, no quotas.
 */
import type { GuestStore, StoreAccess } from '../../src/guest/index.ts'
import { XenError } from '../../src/util/index.ts'

interface Watch {
  readonly path: string
  readonly shown: string
  readonly connection: string
  readonly handler: (path: string) => void
}

const missing = (path: string): XenError =>
  new XenError('XENSTORE', `${path}: ENOENT`, { details: { error: 'ENOENT', path } })

/** The tree that all connections share. */
export class FakeStore {
  readonly nodes = new Map<string, string>([['', '']])
  /** `name OP path = "value"`, transactions marked as in the captures. */
  readonly transcript: string[] = []
  /** The next so many commits fail with EAGAIN. */
  conflicts = 0
  private readonly watches = new Set<Watch>()

  /** Opens a connection; relative paths lie under /local/domain/N. */
  connect(domain: number, name = `dom${domain}`): GuestStore {
    const absolute = (path: string): string => (path.startsWith('/') ? path : `/local/domain/${domain}/${path}`)
    const note = (text: string): void => { this.transcript.push(`${name} ${text}`) }
    const access = (tree: Map<string, string>, touched: Set<string>): StoreAccess => ({
      read: async (path) => {
        const value = tree.get(absolute(path))
        note(value === undefined ? `READ ${path} -> ENOENT` : `READ ${path} = "${value}"`)
        if (value === undefined) throw missing(path)
        return value
      },
      write: async (path, value) => {
        note(`WRITE ${path} = "${value}"`)
        FakeStore.put(tree, absolute(path), value)
        touched.add(absolute(path))
      },
      directory: async (path) => {
        const prefix = `${absolute(path)}/`
        if (!tree.has(absolute(path))) throw missing(path)
        return [...tree.keys()].filter((key) => key.startsWith(prefix) && !key.slice(prefix.length).includes('/'))
          .map((key) => key.slice(prefix.length))
      },
      remove: async (path) => {
        note(`RM ${path}`)
        const root = absolute(path)
        for (const key of [...tree.keys()]) if (key === root || key.startsWith(`${root}/`)) tree.delete(key)
        touched.add(root)
      },
    })
    const commit = async <T>(body: (transaction: StoreAccess) => Promise<T>): Promise<T> => {
      for (;;) {
        note('TX_START')
        const touched = new Set<string>()
        const result = await body(access(new Map(this.nodes), touched)).catch((error: unknown) => {
          note('TX_END abort')
          throw error
        })
        if (this.conflicts > 0) {
          this.conflicts -= 1
          note('TX_END commit -> EAGAIN')
          continue
        }
        note('TX_END commit')
        return result
      }
    }
    return {
      ...this.immediate(access, absolute),
      watch: async (path, handler) => {
        const watch: Watch = { path: absolute(path), shown: path, connection: name, handler }
        note(`WATCH ${path}`)
        this.watches.add(watch)
        queueMicrotask(() => this.deliver(watch, watch.path))
        return async () => {
          note(`UNWATCH ${path}`)
          this.watches.delete(watch)
        }
      },
      transaction: async (body) => {
        const log: (() => Promise<void>)[] = []
        const result = await commit(async (transaction) => {
          log.length = 0
          return body({
            ...transaction,
            write: async (path, value) => {
              await transaction.write(path, value)
              log.push(async () => this.change(absolute(path), () => FakeStore.put(this.nodes, absolute(path), value)))
            },
            remove: async (path) => {
              await transaction.remove(path)
              log.push(async () => this.drop(absolute(path)))
            },
          })
        })
        for (const change of log) await change()
        return result
      },
    }
  }

  /** Sets nodes without a transcript, as the toolstack's preparation of a test. */
  seed(nodes: Readonly<Record<string, string>>): void {
    for (const [path, value] of Object.entries(nodes)) this.change(path, () => FakeStore.put(this.nodes, path, value))
  }

  /** Removes a node and all below it, as the toolstack does. */
  drop(path: string): void {
    const gone = [...this.nodes.keys()].filter((key) => key === path || key.startsWith(`${path}/`))
    for (const key of gone) this.nodes.delete(key)
    for (const watch of [...this.watches]) {
      if (gone.includes(watch.path) || path.startsWith(`${watch.path}/`)) {
        queueMicrotask(() => this.deliver(watch, gone.includes(watch.path) ? watch.path : path))
      }
    }
  }

  get(path: string): string | undefined {
    return this.nodes.get(path)
  }

  private static put(tree: Map<string, string>, path: string, value: string): void {
    const parts = path.split('/')
    for (let length = 1; length < parts.length; length += 1) {
      const parent = parts.slice(0, length).join('/')
      if (!tree.has(parent)) tree.set(parent, '')
    }
    tree.set(path, value)
  }

  private immediate(
    access: (tree: Map<string, string>, touched: Set<string>) => StoreAccess,
    absolute: (path: string) => string,
  ): StoreAccess {
    const direct = access(this.nodes, new Set())
    return {
      ...direct,
      write: async (path, value) => {
        await direct.write(path, value)
        this.change(absolute(path), () => undefined)
      },
      remove: async (path) => {
        await direct.remove(path)
        this.drop(absolute(path))
      },
    }
  }

  private change(path: string, apply: () => void): void {
    apply()
    for (const watch of [...this.watches]) {
      if (path === watch.path || path.startsWith(`${watch.path}/`)) queueMicrotask(() => this.deliver(watch, path))
    }
  }

  private deliver(watch: Watch, path: string): void {
    if (!this.watches.has(watch)) return
    watch.handler(watch.shown + path.slice(watch.path.length))
  }
}
