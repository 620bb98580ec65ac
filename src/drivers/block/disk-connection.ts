/**
 * What connects a disk's back-end with a front-end: one ring or several, each with its pages, its event channel and its
 * server. A front-end says what it has within what was offered; what it says is checked, and when one of its rings
 * cannot be had, none is kept.
 *
 * Reference: public/io/blkif.h.
 */
import type { BackendDevice, MappedPage } from '../../guest/index.ts'
import { mappedPageState } from '../../guest/index.ts'
import type { EventPort, GrantRef, StateOf } from '../../util/index.ts'
import { badState, shape } from '../../util/index.ts'
import { MAX_QUEUES, MAX_DISK_RING_ORDER, layoutOf } from './protocol.ts'
import type { BlockLimits, BlockServerOptions, BlockStatistics } from './server.ts'
import { BlockServer, blockServerState } from './server.ts'
import type { RecordedAnswer, StoreAnswer } from './waiting-requests.ts'

/** How a front-end speaks. */
export interface RingTerms {
  /** What it names; undefined for the layout of 64-bit guests. */
  readonly protocol: string | undefined
  /** It uses the same grants again and again. */
  readonly persistent: boolean
}

/** Where one ring is, in the front-end's words. */
export interface RingNodes {
  readonly refs: readonly GrantRef[]
  readonly remotePort: EventPort
}

/** What a connection asks of the disk that it belongs to. */
export interface ConnectionServices {
  readonly device: BackendDevice
  /** A front-end has raised an event, before its ring is looked at. */
  woken(): void
  /** A store has answered what it was asked before; `take` carries that to the guest. */
  answered(answer: StoreAnswer, take: () => void): void
}

/** What all servers of a disk work with. */
export type ServerBase = Omit<BlockServerOptions, 'layout' | 'ring' | 'persistent' | 'notify' | 'answered'>

interface Queue {
  readonly pages: readonly MappedPage[]
  readonly port: EventPort
  server: BlockServer
}

const queueState = /* @__PURE__ */ shape.record({
  pages: /* @__PURE__ */ shape.list(mappedPageState, 2 ** MAX_DISK_RING_ORDER), port: shape.word, server: blockServerState,
})
/** A saved connection. */
export const diskConnectionState = /* @__PURE__ */ shape.record({
  protocol: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(64)), persistent: shape.flag,
  queues: /* @__PURE__ */ shape.list(queueState, MAX_QUEUES),
})
/** A saved connection: no request of any of its rings under way. */
export type DiskConnectionState = StateOf<typeof diskConnectionState>

/** The rings of one front-end. */
export class DiskConnection {
  private readonly services: ConnectionServices
  private readonly terms: RingTerms
  private readonly queues: Queue[] = []

  private constructor(services: ConnectionServices, terms: RingTerms) {
    this.services = services
    this.terms = terms
  }

  /** Maps all rings and takes up their event channels. Throws HYPERCALL_FAILED, with nothing kept, when one cannot be. */
  static map(services: ConnectionServices, { rings, terms, base }: { readonly rings: readonly RingNodes[]; readonly terms: RingTerms; readonly base: ServerBase }): DiskConnection {
    const connection = new DiskConnection(services, terms)
    try {
      for (const ring of rings) connection.add(ring, base)
    } catch (error) {
      connection.letGo()
      throw error
    }
    return connection
  }

  /** The connection that was saved. */
  static load(services: ConnectionServices, state: DiskConnectionState, base: ServerBase): DiskConnection {
    const { attachments } = services.device.kernel
    const connection = new DiskConnection(services, { protocol: state.protocol, persistent: state.persistent })
    for (const [index, { pages, port, server }] of state.queues.entries()) {
      if (pages.length === 0) throw badState('a ring has no page')
      const mapped = pages.map((page) => attachments.attachPage(page))
      const queue: Queue = { pages: mapped, port: attachments.attachPort(port, () => connection.onEvent(index)), server: connection.makeServer(index, mapped, base) }
      queue.server.load(server)
      connection.queues.push(queue)
    }
    return connection
  }

  save(): DiskConnectionState {
    const { terms: { protocol, persistent }, queues } = this
    return {
      protocol, persistent,
      queues: queues.map(({ pages, port, server }) => ({ pages: pages.map(({ frame, handle }) => ({ frame, handle })), port, server: server.save() })),
    }
  }

  private add({ refs, remotePort }: RingNodes, base: ServerBase): void {
    const { kernel, otherEnd } = this.services.device
    const index = this.queues.length
    const pages: MappedPage[] = []
    try {
      for (const ref of refs) pages.push(kernel.grants.map(otherEnd, ref))
      const server = this.makeServer(index, pages, base)
      const port = kernel.events.keep(kernel.events.bindInterdomain(otherEnd, remotePort, () => this.onEvent(index)))
      this.queues.push({ pages, port, server })
    } catch (error) {
      for (const page of pages) kernel.grants.unmap(page)
      throw error
    }
  }

  private makeServer(index: number, pages: readonly MappedPage[], base: ServerBase): BlockServer {
    const { terms: { protocol, persistent }, services } = this
    const layout = layoutOf(protocol)
    if (layout === undefined) throw badState(`protocol ${protocol} is not spoken here`)
    return new BlockServer({
      ...base, layout, persistent, ring: pages.map((page) => page.base),
      notify: () => {
        const queue = this.queues[index]
        if (queue !== undefined) services.device.kernel.events.notify(queue.port)
      },
      answered: (answer, take) => services.answered({ request: this.numberOf(answer.request, index), okay: answer.okay, bytes: () => answer.bytes() }, take),
    })
  }

  private onEvent(index: number): void {
    this.services.woken()
    this.queues[index]?.server.serve()
  }

  /** Requests that wait are numbered for each ring; for the disk each has a number of its own, which tells the ring. */
  private numberOf(request: number, index: number): number {
    return (request - 1) * this.queues.length + index + 1
  }

  private waiting(request: number): { readonly server: BlockServer | undefined; readonly request: number } {
    const { length } = this.queues
    return { server: this.queues[(request - 1) % length]?.server, request: Math.floor((request - 1) / length) + 1 }
  }

  /** True while the request with this number waits for its store. */
  waitsFor(number: number): boolean {
    const { server, request } = this.waiting(number)
    return server?.waitsFor(request) === true
  }

  /** Answers a waiting request as its store did in another run. */
  answer({ request: number, okay, bytes }: RecordedAnswer): void {
    const { server, request } = this.waiting(number)
    if (server === undefined) throw badState(`no request ${number} waits for its store`)
    server.answerFrom({ request, okay, bytes })
  }

  /** What has been done for all rings together. */
  get statistics(): BlockStatistics {
    const sum = { reads: 0, writes: 0, flushes: 0, discards: 0, indirect: 0, sectorsRead: 0, sectorsWritten: 0, errors: 0 }
    const names = Object.keys(sum) as (keyof BlockStatistics)[]
    for (const { server } of this.queues) for (const name of names) sum[name] += server.statistics[name]
    return sum
  }

  /** True when the front-end has overrun one of its rings. */
  get broken(): boolean {
    return this.queues.some(({ server }) => server.broken)
  }

  get isAwaited(): boolean {
    return this.queues.some(({ server }) => server.isAwaited)
  }

  underWay(): string | undefined {
    for (const { server } of this.queues) {
      const why = server.underWay()
      if (why !== undefined) return why
    }
    return undefined
  }

  /** Serves what is in the rings. */
  serve(): void {
    for (const { server } of this.queues) server.serve()
  }

  /** How much the front-end may ask for, by all rings together. */
  setLimits(limits: BlockLimits | undefined): void {
    for (const { server } of this.queues) server.limits = limits
  }

  /** Takes nothing more out of the rings, and answers what is under way; resolves when nothing is any more. */
  async conclude(): Promise<void> {
    await Promise.all(this.queues.map(({ server }) => server.conclude()))
  }

  /** Has other servers take the rings up where the present ones leave them. */
  async serveAnew(base: ServerBase, limits: BlockLimits | undefined): Promise<void> {
    await this.conclude()
    for (const [index, queue] of this.queues.entries()) {
      const server = this.makeServer(index, queue.pages, base)
      server.load(queue.server.save())
      server.limits = limits
      queue.server = server
    }
  }

  /** Hears no more of the front-end; resolves when no request is under way any more and everything has been let go. */
  async stop(): Promise<void> {
    for (const { port } of this.queues) this.services.device.kernel.events.close(port)
    await Promise.all(this.queues.map(({ server }) => server.stop()))
    this.unmap()
  }

  /** Gives up what has been mapped of a connection that is not to be. */
  private letGo(): void {
    for (const { port } of this.queues) this.services.device.kernel.events.close(port)
    this.unmap()
  }

  private unmap(): void {
    for (const { pages } of this.queues) for (const page of pages) this.services.device.kernel.grants.unmap(page)
  }
}

/**
 * What a front-end says of its rings. Throws INVALID_ARGUMENT, with the node's name, for what is missing, no number, or
 * more than was offered.
 */
export async function readRings(device: BackendDevice): Promise<readonly RingNodes[]> {
  const number = async (name: string, limits: { readonly minimum: number; readonly maximum: number }): Promise<number | undefined> =>
    ((await device.readOther(name)) === undefined ? undefined : device.requireOther(name, limits))
  const queues = (await number('multi-queue-num-queues', { minimum: 1, maximum: MAX_QUEUES })) ?? 1
  const order = await number('ring-page-order', { minimum: 0, maximum: MAX_DISK_RING_ORDER })
  const rings: RingNodes[] = []
  // A single ring's nodes stand in the device's own directory.
  for (let index = 0; index < queues; index += 1) rings.push(await readRing(device, queues === 1 ? '' : `queue-${index}/`, order))
  return rings
}

async function readRing(device: BackendDevice, folder: string, order: number | undefined): Promise<RingNodes> {
  const remotePort = await device.requireOther(`${folder}event-channel`, { minimum: 1 })
  const refs: number[] = []
  // Xen's header names the only page of a ring `ring-ref`; Linux's back-end, where an order is given, `ring-ref0`.
  const isOnly = (order ?? 0) === 0 && (order === undefined || (await device.readOther(`${folder}ring-ref`)) !== undefined)
  const names = isOnly ? ['ring-ref'] : Array.from({ length: 2 ** (order ?? 0) }, (_, page) => `ring-ref${page}`)
  for (const name of names) refs.push(await device.requireOther(`${folder}${name}`))
  // What is no grant or port of the front-end's is refused where it is mapped and bound.
  return { refs: refs as GrantRef[], remotePort: remotePort as EventPort }
}
