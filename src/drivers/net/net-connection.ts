/**
 * What connects an interface's back-end with a front-end: one queue or several, each with its two rings, their event channels and their servers. A
 * front-end says what it has within what was offered; what it says is checked, and when one of its rings cannot be had, none is kept.
 *
 * Reference: public/io/netif.h.
 */
import { mappedPageState, type BackendDevice, type MappedPage } from '../../guest/index.ts'
import { badState, shape, XenError, type EventPort, type GrantRef, type StateOf } from '../../util/index.ts'
import { queueOf } from './flow.ts'
import type { NetFrame } from './frame.ts'
import type { FrameTarget } from './held-output.ts'
import type { MulticastFilter } from './multicast-filter.ts'
import { MAX_NIC_QUEUES } from './protocol.ts'
import { ReceiveServer, receiveFeatures, receiveState, takesLarge, type ReceiveFeatures } from './receive.ts'
import type { Staging } from './staging.ts'
import { TransmitServer, transmitState, type NetStatistics } from './transmit.ts'

/** Where one queue is, in the front-end's words. */
export interface QueueNodes {
  readonly transmit: GrantRef
  readonly receive: GrantRef
  readonly transmitPort: EventPort
  /** The same port where the front-end uses one for both rings. */
  readonly receivePort: EventPort
}

/** What a connection needs of the interface that it belongs to. */
export interface ConnectionServices {
  readonly device: BackendDevice
  readonly staging: Staging
  readonly statistics: NetStatistics
  readonly groups: MulticastFilter
}

/** A queue's rings, mapped, and the ports by which they are told of. */
interface OpenQueue {
  readonly transmitPage: MappedPage
  readonly receivePage: MappedPage
  readonly transmitPort: EventPort
  /** The same port where the front-end uses one for both rings. */
  readonly receivePort: EventPort
}

interface Queue extends OpenQueue {
  readonly transmit: TransmitServer
  readonly receive: ReceiveServer
}

const queueState = /* @__PURE__ */ shape.record({
  transmitPage: mappedPageState, receivePage: mappedPageState, transmitPort: shape.word, receivePort: shape.word, transmit: transmitState, receive: receiveState,
})
/** A saved connection. */
export const netConnectionState = /* @__PURE__ */ shape.record({
  features: receiveFeatures, queues: /* @__PURE__ */ shape.list(queueState, MAX_NIC_QUEUES),
})
/** A saved connection: no frames on their way in any of its queues. */
export type NetConnectionState = StateOf<typeof netConnectionState>

/** The queues of one front-end. */
export class NetConnection {
  private readonly services: ConnectionServices
  private readonly features: ReceiveFeatures
  private readonly queues: Queue[] = []
  /** The first queue, which most interfaces have alone. */
  private first: Queue | undefined
  private target: FrameTarget

  private constructor(services: ConnectionServices, features: ReceiveFeatures, target: FrameTarget) {
    this.services = services
    this.features = features
    this.target = target
  }

  /** Maps all rings and takes up their event channels. Throws HYPERCALL_FAILED, with nothing kept, when one cannot be. */
  static map(services: ConnectionServices, { queues, features, target }: { readonly queues: readonly QueueNodes[]; readonly features: ReceiveFeatures; readonly target: FrameTarget }): NetConnection {
    const connection = new NetConnection(services, features, target)
    try {
      for (const queue of queues) connection.open(queue)
    } catch (error) {
      connection.release()
      throw error
    }
    return connection
  }

  /** The connection that was saved. */
  static load(services: ConnectionServices, { features, queues }: NetConnectionState, target: FrameTarget): NetConnection {
    if (queues.length === 0) throw badState('a connection has no queue')
    const connection = new NetConnection(services, features, target)
    const { attachPage, attachPort } = services.device.kernel.attachments
    for (const saved of queues) {
      const { onTransmit, onReceive, onBoth } = connection.handlers(connection.queues.length)
      const split = saved.transmitPort !== saved.receivePort
      const transmitPort = attachPort(saved.transmitPort, split ? onTransmit : onBoth)
      const queue = connection.add({
        transmitPage: attachPage(saved.transmitPage), receivePage: attachPage(saved.receivePage), transmitPort,
        receivePort: split ? attachPort(saved.receivePort, onReceive) : transmitPort,
      })
      queue.transmit.load(saved.transmit)
      queue.receive.load(saved.receive)
    }
    return connection
  }

  save(): NetConnectionState {
    const place = ({ frame, handle }: MappedPage): StateOf<typeof mappedPageState> => ({ frame, handle })
    return {
      features: { ...this.features },
      queues: this.queues.map(({ transmitPage, receivePage, transmitPort, receivePort, transmit, receive }) => ({
        transmitPage: place(transmitPage), receivePage: place(receivePage), transmitPort, receivePort, transmit: transmit.save(), receive: receive.save(),
      })),
    }
  }

  /** What is done at the events of a queue. */
  private handlers(index: number): { onTransmit(): void; onReceive(): void; onBoth(): void } {
    const onTransmit = (): void => this.queues[index]?.transmit.serve()
    const onReceive = (): void => this.queues[index]?.receive.serve()
    return {
      onTransmit, onReceive,
      onBoth: () => {
        onTransmit()
        onReceive()
      },
    }
  }

  private open(nodes: QueueNodes): void {
    const { kernel: { grants, events }, otherEnd: domid } = this.services.device
    const undo: (() => void)[] = []
    const mapped = (ref: GrantRef): MappedPage => {
      const page = grants.map(domid, ref)
      undo.push(() => grants.unmap(page))
      return page
    }
    const bound = (remote: EventPort, handler: () => void): EventPort => {
      const port = events.keep(events.bindInterdomain(domid, remote, handler))
      undo.push(() => events.close(port))
      return port
    }
    try {
      const { onTransmit, onReceive, onBoth } = this.handlers(this.queues.length)
      const transmitPage = mapped(nodes.transmit)
      const receivePage = mapped(nodes.receive)
      const split = nodes.transmitPort !== nodes.receivePort
      const transmitPort = bound(nodes.transmitPort, split ? onTransmit : onBoth)
      const receivePort = split ? bound(nodes.receivePort, onReceive) : transmitPort
      this.add({ transmitPage, receivePage, transmitPort, receivePort })
    } catch (error) {
      for (const step of undo.reverse()) step()
      throw error
    }
  }

  private add(rings: OpenQueue): Queue {
    const { device: { kernel, otherEnd: domid }, staging, statistics, groups } = this.services
    const services = { grants: kernel.hypercalls, domid, staging, statistics }
    const queue = {
      ...rings,
      transmit: new TransmitServer(services, rings.transmitPage.base, { link: this.target, groups, notify: () => void kernel.events.notify(rings.transmitPort) }),
      receive: new ReceiveServer(services, rings.receivePage.base, { features: this.features, notify: () => void kernel.events.notify(rings.receivePort) }),
    }
    this.queues.push(queue)
    this.first = this.queues.length === 1 ? queue : undefined
    return queue
  }

  /** How many queues it has. */
  get size(): number {
    return this.queues.length
  }

  /** True when the front-end has broken one of its rings. */
  get broken(): boolean {
    return this.queues.some(({ transmit, receive }) => transmit.broken || receive.broken)
  }

  underWay(): string | undefined {
    for (const { receive } of this.queues) {
      const why = receive.underWay()
      if (why !== undefined) return why
    }
    return undefined
  }

  /** Where the guest's frames go from now on. */
  setTarget(target: FrameTarget): void {
    this.target = target
    for (const { transmit } of this.queues) transmit.setLink(target)
  }

  /** How much the guest may send, by all queues together. */
  setLimit(limit: TransmitServer['limit']): void {
    for (const { transmit } of this.queues) transmit.limit = limit
  }

  /** True where the front-end takes a frame whose TCP is still to be cut. */
  takesLarge(frame: NetFrame): boolean {
    return takesLarge(this.features, frame)
  }

  /** Takes a frame for the guest; it is on its way with the next `flush`. */
  deliver(frame: NetFrame): void {
    const { first, queues } = this
    const queue = first ?? queues[queueOf(frame.bytes, queues.length)]!
    queue.receive.deliver(frame)
  }

  /** Sends on what was delivered. */
  flush(): void {
    for (const { receive } of this.queues) receive.serve()
  }

  /** Takes what is in the transmit rings. */
  serveTransmit(): void {
    for (const { transmit } of this.queues) transmit.serve()
  }

  /** Lets everything go. */
  release(): void {
    const { events, grants } = this.services.device.kernel
    for (const { transmitPort, receivePort, transmitPage, receivePage } of this.queues.splice(0).reverse()) {
      for (const port of new Set([receivePort, transmitPort])) events.close(port)
      for (const page of [receivePage, transmitPage]) grants.unmap(page)
    }
    this.first = undefined
  }
}

/**
 * What a front-end says of its queues, of which `offered` may be. Rejects with INVALID_ARGUMENT, and the node's name, for what is missing, no number, or more
 * than was offered.
 */
export async function readQueues(device: BackendDevice, offered: number): Promise<readonly QueueNodes[]> {
  const name = 'multi-queue-num-queues'
  const count = (await device.readOther(name)) === undefined ? 1 : await device.requireOther(name, { minimum: 1, maximum: offered })
  const queues: QueueNodes[] = []
  // A single queue's nodes stand in the device's own directory.
  for (let index = 0; index < count; index += 1) queues.push(await readQueue(device, count === 1 ? '' : `queue-${index}/`))
  return queues
}

async function readQueue(device: BackendDevice, folder: string): Promise<QueueNodes> {
  const shared = await device.readOtherNumber(`${folder}event-channel`, { minimum: 1 })
  const port = async (name: string): Promise<EventPort> => (shared ?? await device.requireOther(`${folder}${name}`, { minimum: 1 })) as EventPort
  // What is no grant or port of the front-end's is refused where it is mapped and bound.
  return {
    transmit: (await device.requireOther(`${folder}tx-ring-ref`)) as GrantRef, receive: (await device.requireOther(`${folder}rx-ring-ref`)) as GrantRef,
    transmitPort: await port('event-channel-tx'), receivePort: await port('event-channel-rx'),
  }
}

/** What a front-end says that it can take. Rejects with NOT_SUPPORTED where it would have pages flipped. */
export async function readFeatures(device: BackendDevice): Promise<ReceiveFeatures> {
  const flag = async (name: string): Promise<boolean> => (await device.readOtherNumber(name)) === 1
  const [copies, scatter, isWhole, checksumBlankIpv6, large, largeIpv6] = await Promise.all(FEATURE_NODES.map(flag))
  if (!copies) throw new XenError('NOT_SUPPORTED', 'only receiving by copy was offered')
  return { scatter: scatter!, checksumBlank: !isWhole, checksumBlankIpv6: checksumBlankIpv6!, large: large!, largeIpv6: largeIpv6! }
}

const FEATURE_NODES = ['request-rx-copy', 'feature-sg', 'feature-no-csum-offload', 'feature-ipv6-csum-offload', 'feature-gso-tcpv4', 'feature-gso-tcpv6'] as const
