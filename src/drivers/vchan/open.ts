/**
 * How the two ends of a vchan come about: the server publishes where its page and its event channel are, the client reads that. Both can be taken up again in a kernel
 * that was loaded.
 *
 * Reference: tools/libs/vchan/init.c.
 */
import { LAST_DOMID } from '../../abi/index.ts'
import { readOptional, type GuestKernel, type GuestStore, type StoreWatchOptions } from '../../guest/index.ts'
import { badState, callable, checkOptions, flag, text, whole, XenError, type Check, type DomId, type EventPort, type GrantRef } from '../../util/index.ts'
import { grantedPage, makePages, mapPages, mappedPage, releasePages, type NamedPage, type VchanPages } from './pages.ts'
import { checkOrders, chooseOrders, ownPages, VCHAN_NODES, VCHAN_RING_LIMIT } from './protocol.ts'
import { vchanState, type VchanState } from './saved.ts'
import { makeVchan, type Vchan, type VchanDoor, type VchanParts } from './vchan.ts'

/** What both ends are opened with. */
export interface VchanOptions {
  /** Called behind each event of the other end: for code that tries instead of waiting. */
  readonly onEvent?: (() => void) | undefined
  /** Whoever opens it saves its state and attaches it again in a loaded kernel. Default: nobody does, and a host with it cannot be saved. */
  readonly kept?: boolean | undefined
}

/** How a server is opened. */
export interface VchanServerOptions extends VchanOptions {
  /** The domain that may come as the client. */
  readonly client: number
  /** Where the nodes go in XenStore, such as `data/vchan/log` below the domain's own directory. */
  readonly path: string
  /** Bytes that the ring from the client holds at least, up to 1 MiB. Default 1024: rings up to 2048 and 1024 bytes, either way, share one page with everything else. */
  readonly receive?: number | undefined
  /** Bytes that the ring to the client holds at least. Default 2048. */
  readonly send?: number | undefined
  /** Goes on when its client goes, and waits for the next. Default false. */
  readonly persistent?: boolean | undefined
}

/** How a client is opened. */
export interface VchanClientOptions extends VchanOptions {
  /** The domain of the server. */
  readonly server: number
  /** The server's path, such as `/local/domain/3/data/vchan/log`. */
  readonly path: string
}

const domain: Check = /* @__PURE__ */ whole(0, LAST_DOMID)
const bytes: Check = /* @__PURE__ */ whole(1, VCHAN_RING_LIMIT)

function storeOf({ store, domid }: GuestKernel): GuestStore {
  if (store === undefined) throw new XenError('INVALID_STATE', `domain ${domid} has no XenStore by which a vchan could be found`)
  return store
}

/** Does not mind nodes that are gone, or whose domain is. */
async function ignoreStore(work: Promise<unknown>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!XenError.is(error, 'XENSTORE') && !XenError.is(error, 'CLOSED')) throw error
  }
}

/** Opens a port whose events go to the end that is made behind it. */
function portOf(open: (handler: () => void) => EventPort): { readonly port: EventPort; readonly make: (parts: VchanParts) => VchanDoor } {
  let door: VchanDoor | undefined
  return { port: open(() => door?.onEvent()), make: (parts) => (door = makeVchan(parts)) }
}

/**
 * Opens the server's end of a vchan for one domain, and says in XenStore where it is; its client may come at any time, also before the promise resolves. Rejects with
 * INVALID_ARGUMENT, OUT_OF_MEMORY or OUT_OF_RESOURCES (no pages, grants or ports), or XENSTORE (the path may not be written); nothing is left behind then.
 *
 * @example
 * const vchan = await openVchanServer(kernel, { client: 4, path: 'data/vchan/log' })
 * const greeting = await vchan.read()
 * await vchan.write(greeting)
 * await vchan.close()
 */
export async function openVchanServer(kernel: GuestKernel, options: VchanServerOptions): Promise<Vchan> {
  checkOptions<VchanServerOptions>('openVchanServer', options, { client: domain, path: text, receive: bytes, send: bytes, persistent: flag, onEvent: callable, kept: flag })
  const { client, path, receive = 1024, send = 2048, persistent = false, kept = false, onEvent } = options
  const store = storeOf(kernel)
  const peer = client as DomId
  const pages = makePages(kernel, peer, chooseOrders(receive, send))
  let opened: EventPort | undefined
  try {
    const { port, make } = portOf((handler) => kernel.events.allocateUnbound(kernel.domid, peer, handler))
    opened = port
    if (kept) kernel.events.keep(port)
    const { vchan } = make({ kernel, role: 'server', peer, path, pages, port, persistent, onEvent, unpublish: () => ignoreStore(store.remove(path)) })
    await publish(store, path, { ref: pages.head.name, port, permissions: [`n${kernel.domid}`, `r${client}`] })
    return vchan
  } catch (error) {
    if (opened !== undefined) kernel.events.close(opened)
    releasePages(pages)
    throw error
  }
}

function publish(store: GuestStore, path: string, { ref, port, permissions }: { readonly ref: number; readonly port: EventPort; readonly permissions: readonly string[] }): Promise<void> {
  return store.transaction(async (transaction) => {
    for (const [name, value] of [[VCHAN_NODES.ring, ref], [VCHAN_NODES.port, port]] as const) {
      await transaction.write(`${path}/${name}`, String(value))
      await transaction.setPermissions(`${path}/${name}`, permissions)
    }
  })
}

/** A number that a server has published. Rejects with XENSTORE where there is none or it may not be read, with INVALID_ARGUMENT for what is no such number. */
async function published(store: GuestStore, path: string, most: number): Promise<number> {
  const value = await store.read(path)
  if (/^\d{1,10}$/.test(value) && Number(value) >= 1 && Number(value) <= most) return Number(value)
  throw new XenError('INVALID_ARGUMENT', `${path} is no number from 1 to ${most}`, { details: { path, value } })
}

/**
 * Opens the client's end of a vchan. Rejects with XENSTORE (`ENOENT`: there is no server yet), with HYPERCALL_FAILED where what the server has published leads nowhere,
 * with INVALID_ARGUMENT where its page is none of a vchan, with CLOSED where it is over; nothing is left behind then. Two clients of one server take each other's bytes.
 *
 * @example
 * const vchan = await openVchanClient(kernel, { server: 3, path: '/local/domain/3/data/vchan/log' })
 * await vchan.write(new TextEncoder().encode('hello'))
 */
export async function openVchanClient(kernel: GuestKernel, options: VchanClientOptions): Promise<Vchan> {
  checkOptions<VchanClientOptions>('openVchanClient', options, { server: domain, path: text, onEvent: callable, kept: flag })
  const { server, path, kept = false, onEvent } = options
  const store = storeOf(kernel)
  const peer = server as DomId
  const ref = await published(store, `${path}/${VCHAN_NODES.ring}`, 0xffff_ffff)
  const remote = await published(store, `${path}/${VCHAN_NODES.port}`, 2 ** 17)
  const { port, make } = portOf((handler) => kernel.events.bindInterdomain(peer, remote as EventPort, handler))
  let pages: VchanPages | undefined
  try {
    if (kept) kernel.events.keep(port)
    pages = mapPages(kernel, peer, ref as GrantRef)
    const watching = new ServerWatch(store, `${path}/${VCHAN_NODES.ring}`)
    const door = make({ kernel, role: 'client', peer, path, pages, port, persistent: false, onEvent, unpublish: () => watching.end() })
    if (door.vchan.state === 'closed') throw new XenError('CLOSED', `the server of the vchan ${path} has closed it`, { details: { path } })
    await watching.begin(door, kept ? { kept } : {})
    door.arrive()
    return door.vchan
  } catch (error) {
    kernel.events.close(port)
    if (pages !== undefined) releasePages(pages)
    throw error
  }
}

/** A server that dies with its domain sends no event, but its nodes go. */
class ServerWatch {
  private readonly store: GuestStore
  private readonly path: string
  private unwatch: (() => Promise<void>) | undefined

  constructor(store: GuestStore, path: string) {
    this.store = store
    this.path = path
  }

  async begin(door: VchanDoor, options: StoreWatchOptions): Promise<void> {
    this.unwatch = await this.store.watch(this.path, () => this.look(door), options)
  }

  /** Takes up what a loaded connection has. */
  attach(kernel: GuestKernel, door: VchanDoor): void {
    this.unwatch = kernel.attachments.attachWatch(this.path, () => this.look(door))
  }

  end(): Promise<void> {
    return ignoreStore(this.unwatch?.() ?? Promise.resolve())
  }

  private look(door: VchanDoor): void {
    void readOptional(this.store, this.path).then((value) => {
      if (value === undefined) door.peerGone()
    }, () => undefined)
  }
}

/**
 * Takes up an end that {@link Vchan.save} gave, opened with `kept`, in a kernel that was loaded with its host (`kernel.isLoaded`); the other end sees nothing of it.
 * Throws INVALID_STATE for anything else: a domain that was saved by itself, or moved, has none of its pages and ports any more, and opens a new one.
 */
export function attachVchan(kernel: GuestKernel, state: VchanState, { onEvent }: Pick<VchanClientOptions, 'onEvent'> = {}): Vchan {
  const wrong = vchanState(state)
  if (wrong !== undefined) throw badState(`the vchan${wrong}`)
  if (!kernel.isLoaded) throw badState(`the vchan ${state.path} has not come along with its domain`)
  checkOrders(state.orders)
  const left = ownPages(state.orders.left)
  if (state.pages.length !== 1 + left + ownPages(state.orders.right)) throw badState(`the vchan ${state.path} has ${state.pages.length} pages`)
  const { role, peer, path, persistent, orders } = state
  const isServer = role === 'server'
  const [head, ...rings] = state.pages.map(({ frame, name }): NamedPage => (isServer
    ? grantedPage(kernel, kernel.frames.page(frame as never), name) : mappedPage(kernel, kernel.attachments.attachPage({ frame, handle: name }))))
  const pages: VchanPages = { orders, head: head!, left: rings.slice(0, left), right: rings.slice(left) }
  const { port, make } = portOf((handler) => kernel.attachments.attachPort(state.port, handler))
  const store = storeOf(kernel)
  const watching = isServer ? undefined : new ServerWatch(store, `${path}/${VCHAN_NODES.ring}`)
  const parts: VchanParts = {
    kernel, role, peer: peer as DomId, path, pages, port, persistent, onEvent,
    unpublish: () => (watching === undefined ? ignoreStore(store.remove(path)) : watching.end()),
  }
  const door = make(parts)
  watching?.attach(kernel, door)
  door.load(state)
  return door.vchan
}
