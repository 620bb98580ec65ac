/**
 * The real XenStore for unit tests of guests and drivers, reached as guests reach it, with the nodes and permissions that
 * a toolstack prepares, and a transcript of who did what.
 */
import type { GuestKernel, GuestStore, StoreAccess } from '../guest/index.ts'
import { connectStore } from '../guest/index.ts'
import { XenError } from '../util/index.ts'
import type { LocalStore } from '../xenstore/index.ts'
import { XenStore, XenStoreServer, storeErrorName } from '../xenstore/index.ts'

/**
 * A store, its server, and dom0's toolstack.
 *
 * @example
 * const store = new TestStore()
 * const hub = new FakeHypervisor()
 * hub.createDomain(1, (kernel) => kernel.store?.write('data/answer', '42'), { store: store.connect(1, 'guest') })
 * await hub.settle()
 * expect(store.transcript).toContain('guest WRITE data/answer = "42"')
 */
export class TestStore {
  readonly store: XenStore
  readonly server: XenStoreServer
  /** Dom0's own handle, which may do everything. */
  readonly toolstack: LocalStore
  /** What the kernels have done, as `name OP path = "value"`; transactions between `TX_START` and `TX_END`. */
  readonly transcript: string[] = []
  /** The next so many transactions that write meet a conflict. */
  conflicts = 0
  private milliseconds = 0

  constructor() {
    // Time flies here, so that the limit on writes for each second is never met.
    const now = (): number => (this.milliseconds += 1000) * 1e6
    this.store = new XenStore({ clock: { now } })
    this.server = new XenStoreServer({ store: this.store, onWork: () => queueMicrotask(() => this.server.process()) })
    this.toolstack = this.store.local()
    this.toolstack.mkdir('/local/domain/0')
  }

  /** How a kernel of `domain` reaches the store; its directory is prepared as a toolstack does. */
  connect(domid: number, name = `dom${domid}`): (kernel: GuestKernel) => GuestStore {
    if (domid !== 0) this.prepare(domid)
    return (kernel) => this.recorded(name, connectStore(this.server.connectLocal(domid), () => kernel.turn()))
  }

  /** Writes nodes as the toolstack; a directory that `permissions` names gets them before what is below it. */
  seed(nodes: Readonly<Record<string, string>>, permissions: Readonly<Record<string, readonly string[]>> = {}): void {
    this.toolstack.transaction((transaction) => {
      for (const [path, list] of Object.entries(permissions)) {
        transaction.mkdir(path)
        transaction.setPermissions(path, list)
      }
      for (const [path, value] of Object.entries(nodes)) transaction.write(path, value)
    })
  }

  /** Removes a node and all below it, as the toolstack does. */
  drop(path: string): void {
    this.toolstack.tryRm(path)
  }

  /** The value of a node, as the toolstack sees it; undefined when there is none. */
  get(path: string): string | undefined {
    return this.toolstack.tryRead(path)
  }

  private prepare(domid: number): void {
    const home = `/local/domain/${domid}`
    const readable = [`n0`, `r${domid}`]
    const own = [`n${domid}`]
    const children = ['data', 'drivers', 'feature', 'attr', 'error', 'control/shutdown', 'control/feature-poweroff',
      'control/feature-reboot', 'control/feature-suspend', 'control/sysrq']
    this.seed({ [`${home}/memory/target`]: '' }, {
      [home]: readable, ...Object.fromEntries(children.map((name) => [`${home}/${name}`, own])),
    })
  }

  private recorded(name: string, store: GuestStore): GuestStore {
    const note = (text: string): void => { this.transcript.push(`${name} ${text}`) }
    const record = (access: StoreAccess): StoreAccess => ({
      read: async (path) => {
        try {
          const value = await access.read(path)
          note(`READ ${path} = "${value}"`)
          return value
        } catch (error) {
          note(`READ ${path} -> ${storeErrorName(error) ?? 'failed'}`)
          throw error
        }
      },
      write: async (path, value) => {
        note(`WRITE ${path} = "${value}"`)
        await access.write(path, value)
      },
      directory: (path) => access.directory(path),
      remove: async (path) => {
        note(`RM ${path}`)
        await access.remove(path)
      },
      getPermissions: (path) => access.getPermissions(path),
      setPermissions: async (path, permissions) => {
        note(`SET_PERMS ${path}`)
        await access.setPermissions(path, permissions)
      },
    })
    return {
      ...record(store),
      watch: async (path, handler) => {
        note(`WATCH ${path}`)
        const end = await store.watch(path, handler)
        return async () => {
          note(`UNWATCH ${path}`)
          await end()
        }
      },
      transaction: (body) => this.recordedTransaction(store, note, (transaction) => body(record(transaction))),
    }
  }

  private async recordedTransaction<T>(
    store: GuestStore, note: (text: string) => void, body: (transaction: StoreAccess) => Promise<T>,
  ): Promise<T> {
    let tries = 0
    const result = await store.transaction(async (transaction) => {
      if (tries > 0) note('TX_END commit -> EAGAIN')
      tries += 1
      note('TX_START')
      const written: string[] = []
      const watched: StoreAccess = {
        ...transaction,
        write: async (path, value) => {
          written.push(path)
          await transaction.write(path, value)
        },
      }
      const value = await body(watched).catch((error: unknown) => {
        note('TX_END abort')
        throw error
      })
      if (this.conflicts > 0 && written.length > 0) {
        this.conflicts -= 1
        this.disturb(written[0]!)
      }
      return value
    })
    note('TX_END commit')
    return result
  }

  /** Changes a node behind a transaction's back without changing its value. */
  private disturb(path: string): void {
    const absolute = path.startsWith('/') ? path : `/local/domain/0/${path}`
    const value = this.toolstack.tryRead(absolute)
    if (value === undefined) throw new XenError('INVALID_STATE', `${absolute} is not there to be disturbed`)
    this.toolstack.write(absolute, value)
  }
}
