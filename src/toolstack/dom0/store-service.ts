/**
 * XenStore's server as a part of dom0: it works inside dom0's kernel, when there is work or when a client is due. Dom0's own
 * connection to it goes through memory.
 */
import { connectStore, type GuestKernel, type StatefulStore, type Timer } from '../../guest/index.ts'
import { badState, callGuarded, shape, type Part, type StateOf, type Quiescible } from '../../util/index.ts'
import { MemoryTransport, XenStoreServer, type Reconnection, type StoreInterference, type StoreRing, type StoreTransport, type XenStore } from '../../xenstore/index.ts'
import type { TellFailure } from '../run/callback-failures.ts'

/** The number of dom0's own connection, and the timer for the client that is due next. */
export const storeServiceState = /* @__PURE__ */ shape.record({
  connection: shape.time, timer: /* @__PURE__ */ shape.optional(shape.time),
})

/** Dom0's connection: a handler of a watch that throws is told and harms nobody, as any program's in dom0. */
function guardWatches(store: StatefulStore, tell: TellFailure): StatefulStore {
  const guarded = (path: string, handler: (path: string) => void) => (changed: string): void =>
    callGuarded(() => handler(changed), (error) => tell({ callback: 'store-watch', subject: path, error }))
  return {
    ...store,
    watch: (path, handler, options) => store.watch(path, guarded(path, handler), options),
    attach: (path, handler) => store.attach(path, guarded(path, handler)),
  }
}

/** The service. */
export class StoreService implements Quiescible {
  readonly server: XenStoreServer
  /** Connects a domain that a client introduces. */
  connectDomain: (domid: number, port: number) => StoreRing | undefined = () => undefined
  private readonly tell: TellFailure
  /** Dom0's end of its connection, until its kernel takes it, and the number of the connection. */
  private own: { readonly transport: StoreTransport; readonly id: number } | undefined
  private kernel: GuestKernel | undefined
  private timer: Timer | undefined

  constructor(store: XenStore, tell: TellFailure, interference?: StoreInterference) {
    this.tell = tell
    this.server = new XenStoreServer({
      store,
      onWork: () => this.kernel?.post(() => this.serve()),
      connectDomain: (domid, _frame, port) => this.connectDomain(domid, port), interference,
    })
  }

  /** Dom0's own connection: a new one, or the one that was loaded. */
  connect(kernel: GuestKernel): StatefulStore {
    if (this.own === undefined) {
      const [transport, server] = MemoryTransport.pair()
      this.own = { transport, id: this.server.addConnection(server, { domid: 0 }).id }
    }
    return guardWatches(connectStore(this.own.transport, () => kernel.turn()), this.tell)
  }

  /** Begins to work in `kernel`. */
  start(kernel: GuestKernel): void {
    this.kernel = kernel
    kernel.post(() => this.serve())
  }

  serve(): void {
    const { kernel, server } = this
    if (kernel === undefined) return
    server.process()
    this.timer?.cancel()
    this.timer = undefined
    const deadline = server.nextDeadline()
    if (Number.isFinite(deadline)) this.timer = kernel.after(Math.max(0, deadline * 1e6 - kernel.now()), () => this.serve()).keep()
  }

  // State

  /** What keeps the service from being saved: requests, or a client from outside of the host. */
  underWay(): string | undefined {
    const stranger = this.server.streams.find(({ id }) => id !== this.own?.id)
    if (stranger !== undefined) return `connection ${stranger.id} to XenStore from outside of the host`
    return this.server.underWay()
  }

  save(): StateOf<typeof storeServiceState> {
    return { connection: this.own!.id, timer: this.timer?.order }
  }

  isAsSaved({ connection, timer }: StateOf<typeof storeServiceState>): boolean {
    return this.own?.id === connection && this.timer?.order === timer
  }

  /** Works on in a kernel that was loaded. */
  load({ connection, timer }: StateOf<typeof storeServiceState>, kernel: GuestKernel): void {
    if (this.own?.id !== connection) throw badState(`XenStore has no connection ${connection} of dom0's`)
    this.kernel = kernel
    if (timer !== undefined) this.timer = kernel.attachments.attachTimer(timer, () => this.serve())
  }

  /** The server and its store. The only stream is dom0's own; `ringOf` finds the page of a domain. */
  part(ringOf: NonNullable<Reconnection['ringOf']>): Part {
    return this.server.part({
      asLeft: true, ringOf,
      transportOf: ({ id }) => {
        const [transport, server] = MemoryTransport.pair()
        this.own = { transport, id }
        return server
      },
    })
  }
}
