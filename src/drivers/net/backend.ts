/**
 * The network back-end: what netback does. It runs in dom0 or in a driver domain, shakes hands with the front-ends of
 * `vif` devices, and puts each on the bridge that its nodes name. Attaching to the bridge stands for the hotplug script
 * of a real host, and leaves the same nodes behind.
 *
 * Reference: public/io/netif.h; the captures of Linux and xl on Xen 4.17.
 */
import type { XenbusStateName } from '../../abi/index.ts'
import { RateLimit, mappedPageState, rateLimitState, type Rate } from '../../guest/index.ts'
import type { BackendDevice, BackendDriver, BackendInstance, DriverState, GuestKernel, MappedPage } from '../../guest/index.ts'
import { type DomId, type EventPort, type GrantRef, type Part, type StateOf, sameState } from '../../util/index.ts'
import { badState, part, shape, XenError } from '../../util/index.ts'
import type { Bridge, BridgeLink, NetPort } from './bridge.ts'
import { parseMac, type NetFrame } from './frame.ts'
import type { ReceiveFeatures } from './receive.ts'
import { ReceiveServer, receiveState } from './receive.ts'
import { Staging, stagingState } from './staging.ts'
import { HeldOutput, type FrameTarget, type OutputHold } from './held-output.ts'
import type { NetStatistics } from './transmit.ts'
import { TransmitServer, transmitState } from './transmit.ts'

/** How the back-end is made. */
export interface NetBackendOptions {
  /** The bridge of a name; undefined is told to the toolstack in `hotplug-error`. */
  bridge(name: string): Bridge | undefined
}

/** One interface that is being served. */
export interface ServedNic {
  readonly domid: DomId
  /** Number of the interface in its domain. */
  readonly handle: string
  readonly mac: string
  readonly statistics: NetStatistics
  /** True while a front-end is connected. */
  readonly connected: boolean
  /** True when the front-end broke one of its rings. */
  readonly broken: boolean
  /** How much the guest may send: bytes in an interval; undefined where there is no limit. */
  readonly rate: Rate | undefined
  /** False while its cable is pulled: nothing passes in either direction, and is counted as dropped. */
  readonly isUp: boolean
  /** Sets another limit, or none. */
  setRate(rate: Rate | undefined): void
  /** Pulls its cable, or plugs it in again. */
  setUp(isUp: boolean): void
  /** Keeps back what the guest sends, until it is let go. Throws BUSY while somebody does already. */
  holdOutput(): OutputHold
}

interface Connection {
  readonly transmit: TransmitServer
  readonly receive: ReceiveServer
  readonly link: BridgeLink
  readonly rings: OpenRings
  readonly features: ReceiveFeatures
  release(): void
}

/** A front-end's rings, mapped, and the ports by which they are told of. */
interface OpenRings {
  readonly transmitPage: MappedPage
  readonly receivePage: MappedPage
  readonly transmitPort: EventPort
  /** The same port where the front-end uses one for both rings. */
  readonly receivePort: EventPort
}

const netConnectionState = /* @__PURE__ */ shape.record({
  transmitPage: mappedPageState, receivePage: mappedPageState, transmitPort: shape.word, receivePort: shape.word,
  features: /* @__PURE__ */ shape.record<ReceiveFeatures>({ scatter: shape.flag, checksumBlank: shape.flag, checksumBlankIpv6: shape.flag }),
  /** Its number on the bridge. */
  link: shape.time,
  transmit: transmitState, receive: receiveState,
})
const count = shape.time
const instanceState = /* @__PURE__ */ shape.record({
  mac: /* @__PURE__ */ shape.text(64),
  bridge: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(256)),
  statistics: /* @__PURE__ */ shape.record<NetStatistics>({
    framesIn: count, bytesIn: count, framesOut: count, bytesOut: count, errors: count, dropped: count,
  }),
  connection: /* @__PURE__ */ shape.optional(netConnectionState),
  limit: /* @__PURE__ */ shape.optional(rateLimitState), isUp: shape.flag,
})
type InstanceState = StateOf<typeof instanceState>

/** What the node `rate` says: bytes, and microseconds in which as many may be sent. What is no rate is none, as to netback. */
function rateOf(text: string | undefined): Rate | undefined {
  const [, bytes, microseconds] = /^([0-9]{1,10}),([0-9]{1,10})$/.exec(text ?? '') ?? []
  const rate = { amount: Number(bytes), interval: Number(microseconds) * 1000 }
  return rate.amount >= 1 && rate.interval >= 1 ? rate : undefined
}

/** Where the front-end's rings are. */
interface RingNodes {
  readonly transmit: GrantRef
  readonly receive: GrantRef
  readonly transmitPort: EventPort
  /** The same port where the front-end uses one for both rings. */
  readonly receivePort: EventPort
}

/** What an interface needs of its back-end. */
interface NetServices extends NetBackendOptions {
  /** The pages through which frames pass. */
  staging(device: BackendDevice): Staging
  /** The interface of a path is gone. */
  forget(path: string): void
}

class NetInstance implements BackendInstance, ServedNic, NetPort {
  readonly statistics: NetStatistics = { framesIn: 0, bytesIn: 0, framesOut: 0, bytesOut: 0, errors: 0, dropped: 0 }
  mac = ''
  private readonly device: BackendDevice
  private readonly backend: NetServices
  private bridge: Bridge | undefined
  private connection: Connection | undefined
  private limit: RateLimit | undefined
  private held: HeldOutput | undefined
  isUp = true

  constructor(device: BackendDevice, backend: NetServices) {
    this.device = device
    this.backend = backend
  }

  get domid(): DomId {
    return this.device.otherEnd
  }

  get handle(): string {
    return this.device.id
  }

  get connected(): boolean {
    return this.connection !== undefined
  }

  get rate(): Rate | undefined {
    return this.limit?.rate
  }

  setRate(rate: Rate | undefined): void {
    this.limit?.stop()
    this.limit = rate && new RateLimit(rate, this.device.kernel, this.onTransmit)
    if (this.connection === undefined) return
    this.connection.transmit.limit = this.limit
    // Within the kernel, whose timers are set behind its own steps.
    this.device.kernel.post(this.onTransmit)
  }

  private get ratePath(): string {
    return `${this.device.path}/rate`
  }

  /** The toolstack has written another rate, as netback looks for it while it serves. */
  private readonly rateChanged = async (): Promise<void> => {
    const rate = rateOf(await this.device.read('rate'))
    if (rate?.amount !== this.rate?.amount || rate?.interval !== this.rate?.interval) this.setRate(rate)
  }

  setUp(isUp: boolean): void {
    this.isUp = isUp
    this.connection?.transmit.setLink(this.output(this.connection.link))
  }

  /** Where the guest's frames go. */
  private output(link: BridgeLink): FrameTarget {
    return this.held ?? (this.isUp ? link : this.noLink)
  }

  holdOutput(): OutputHold {
    if (this.held !== undefined) throw new XenError('BUSY', `the output of interface ${this.handle} of domain ${this.domid} is kept back already`, { details: { domid: this.domid, doing: 'kept back' } })
    const held = new HeldOutput(() => (this.isUp ? this.connection?.link : undefined), () => void (this.statistics.dropped += 1))
    const { kernel } = this.device
    const relink = (): void => this.connection?.transmit.setLink(this.output(this.connection.link))
    this.held = held
    relink()
    return {
      get frames() {
        return held.frames
      },
      get bytes() {
        return held.bytes
      },
      seal: () => held.seal(),
      // Where the bridge's frames are handled.
      release: () => kernel.post(() => held.release()),
      end: (waiting) => {
        if (this.held !== held) return
        this.held = undefined
        kernel.post(() => {
          // Before anything that comes behind.
          held.empty(waiting)
          relink()
        })
      },
    }
  }

  /** Where frames go while the cable is pulled. */
  private readonly noLink = { send: (): void => void (this.statistics.dropped += 1), flush: (): void => undefined }

  get broken(): boolean {
    return this.connection !== undefined && (this.connection.transmit.broken || this.connection.receive.broken)
  }

  async announce(): Promise<void> {
    await this.device.writeTogether({
      'feature-sg': '1', 'feature-ipv6-csum-offload': '1', 'feature-rx-copy': '1', 'feature-rx-flip': '0',
    })
    await this.device.write({ 'feature-split-event-channels': '1', 'multi-queue-max-queues': '1' })
  }

  /** Finds the bridge, as the hotplug script would. */
  async prepare(): Promise<void> {
    const { device } = this
    this.mac = (await device.read('mac')) ?? ''
    this.setRate(rateOf(await device.read('rate')))
    await device.watch(this.ratePath, this.rateChanged)
    const name = await device.read('bridge')
    this.bridge = name === undefined ? undefined : this.backend.bridge(name)
    if (this.bridge === undefined) {
      await device.write({ 'hotplug-error': `no bridge ${name ?? 'is named'}`, 'hotplug-status': 'error' })
      return
    }
    await device.writeOther({ mtu: String(this.bridge.mtu) })
    await device.write({ 'hotplug-status': 'connected' })
  }

  async connect(frontend: XenbusStateName): Promise<boolean> {
    const { device, bridge } = this
    if (frontend !== 'Connected' || bridge === undefined) return false
    this.disconnect()
    const flag = async (name: string): Promise<boolean> => (await device.readOtherNumber(name)) === 1
    const queues = (await device.readOtherNumber('multi-queue-num-queues')) ?? 1
    if (!(await flag('request-rx-copy')) || queues !== 1) {
      throw new XenError('NOT_SUPPORTED', 'only receiving by copy over one queue was offered', { details: { queues } })
    }
    const features: ReceiveFeatures = {
      scatter: await flag('feature-sg'), checksumBlank: !(await flag('feature-no-csum-offload')),
      checksumBlankIpv6: await flag('feature-ipv6-csum-offload'),
    }
    this.map(await this.ringNodes(), features, bridge)
    return true
  }

  private async ringNodes(): Promise<RingNodes> {
    const { device } = this
    const shared = await device.readOtherNumber('event-channel', { minimum: 1 })
    const port = async (name: string): Promise<EventPort> =>
      (shared ?? await device.requireOther(name, { minimum: 1 })) as EventPort
    return {
      transmit: (await device.requireOther('tx-ring-ref')) as GrantRef,
      receive: (await device.requireOther('rx-ring-ref')) as GrantRef,
      transmitPort: await port('event-channel-tx'), receivePort: await port('event-channel-rx'),
    }
  }

  private map(nodes: RingNodes, features: ReceiveFeatures, bridge: Bridge): void {
    const { kernel, otherEnd: domid } = this.device
    const undo: (() => void)[] = []
    const release = (): void => { for (const step of undo.splice(0).reverse()) step() }
    const mapped = (ref: GrantRef): MappedPage => {
      const page = kernel.grants.map(domid, ref)
      undo.push(() => kernel.grants.unmap(page))
      return page
    }
    const bound = (remote: EventPort, handler: () => void): EventPort => {
      const port = kernel.events.keep(kernel.events.bindInterdomain(domid, remote, handler))
      undo.push(() => kernel.events.close(port))
      return port
    }
    try {
      const transmitPage = mapped(nodes.transmit)
      const receivePage = mapped(nodes.receive)
      const split = nodes.transmitPort !== nodes.receivePort
      const transmitPort = bound(nodes.transmitPort, split ? this.onTransmit : this.onBoth)
      const receivePort = split ? bound(nodes.receivePort, this.onReceive) : transmitPort
      // The pages before the port on the bridge, as they may be short.
      this.backend.staging(this.device)
      const link = bridge.attach(this)
      undo.push(() => link.detach())
      this.serve({ transmitPage, receivePage, transmitPort, receivePort }, { features, link, release })
    } catch (error) {
      release()
      throw error
    }
  }

  private serve(rings: OpenRings, rest: Pick<Connection, 'features' | 'link' | 'release'>): Connection {
    const { kernel, otherEnd: domid } = this.device
    const { features, link } = rest
    const services = { grants: kernel.hypercalls, domid, staging: this.backend.staging(this.device), statistics: this.statistics }
    const transmit = new TransmitServer(services, rings.transmitPage.base, {
      link, notify: () => void kernel.events.notify(rings.transmitPort),
    })
    const receive = new ReceiveServer(services, rings.receivePage.base, {
      features, notify: () => void kernel.events.notify(rings.receivePort),
    })
    transmit.limit = this.limit
    transmit.setLink(this.output(link))
    return (this.connection = { transmit, receive, rings, ...rest })
  }

  // State

  underWay(): string | undefined {
    return this.held === undefined ? this.connection?.receive.underWay() : 'frames that are kept back'
  }

  save(): InstanceState {
    const { connection, mac, bridge, statistics } = this
    const place = ({ frame, handle }: MappedPage): StateOf<typeof mappedPageState> => ({ frame, handle })
    return {
      mac, bridge: bridge?.name, statistics: { ...statistics }, limit: this.limit?.save(), isUp: this.isUp,
      connection: connection && {
        transmitPage: place(connection.rings.transmitPage), receivePage: place(connection.rings.receivePage),
        transmitPort: connection.rings.transmitPort, receivePort: connection.rings.receivePort,
        features: { ...connection.features }, link: connection.link.number,
        transmit: connection.transmit.save(), receive: connection.receive.save(),
      },
    }
  }

  load({ mac, bridge, statistics, connection, limit, isUp }: InstanceState): void {
    this.mac = mac
    this.isUp = isUp
    if (limit !== undefined) {
      this.limit = new RateLimit({ amount: limit.amount, interval: limit.interval }, this.device.kernel, this.onTransmit)
      this.limit.load(limit, this.device.kernel.attachments)
    }
    this.device.attachWatch(this.ratePath, this.rateChanged)
    this.bridge = bridge === undefined ? undefined : this.backend.bridge(bridge)
    Object.assign(this.statistics, statistics)
    if (connection === undefined) return
    if (this.bridge === undefined) throw badState('a connected interface is on no bridge')
    const { kernel } = this.device
    const { attachPage, attachPort } = kernel.attachments
    const split = connection.transmitPort !== connection.receivePort
    const transmitPort = attachPort(connection.transmitPort, split ? this.onTransmit : this.onBoth)
    const rings = {
      transmitPage: attachPage(connection.transmitPage), receivePage: attachPage(connection.receivePage), transmitPort,
      receivePort: split ? attachPort(connection.receivePort, this.onReceive) : transmitPort,
    }
    const link = this.bridge.reattach(this, connection.link)
    const release = (): void => {
      link.detach()
      for (const port of new Set([rings.receivePort, rings.transmitPort])) kernel.events.close(port)
      for (const page of [rings.receivePage, rings.transmitPage]) kernel.grants.unmap(page)
    }
    const { transmit, receive } = this.serve(rings, { features: connection.features, link, release })
    transmit.load(connection.transmit)
    receive.load(connection.receive)
  }

  // Frames

  /** Takes a frame from the bridge. */
  deliver(frame: NetFrame): void {
    if (this.isUp) this.connection?.receive.deliver(frame)
    else this.statistics.dropped += 1
  }

  /** Sends on what the bridge has delivered. */
  flush(): void {
    this.connection?.receive.serve()
  }

  private readonly onTransmit = (): void => {
    this.connection?.transmit.serve()
  }

  private readonly onReceive = (): void => {
    this.connection?.receive.serve()
  }

  private readonly onBoth = (): void => {
    this.onTransmit()
    this.onReceive()
  }

  disconnect(): void {
    const { connection } = this
    this.connection = undefined
    connection?.release()
  }

  async remove(): Promise<void> {
    this.limit?.stop()
    this.backend.forget(this.device.path)
    try {
      await this.device.store.remove(`${this.device.path}/hotplug-status`)
    } catch (error) {
      // The toolstack was faster and has removed the whole directory.
      if (!XenError.is(error, 'XENSTORE')) throw error
    }
  }
}

/**
 * The driver for `vif` devices, to be registered with the guest kit's `BackendBus`.
 *
 * @example
 * const bridge = new Bridge({ now: () => kernel.now(), post: (task) => kernel.post(task) })
 * await new BackendBus(kernel).register(new NetBackend({ bridge: (name) => (name === 'xenbr0' ? bridge : undefined) }))
 */
export class NetBackend implements BackendDriver {
  readonly type = 'vif'
  readonly closesInSteps = true
  private readonly services: NetServices
  private readonly instances = new Map<string, NetInstance>()
  private pages: Staging | undefined

  constructor(options: NetBackendOptions) {
    this.services = {
      bridge: (name) => options.bridge(name),
      staging: ({ kernel }) => (this.pages ??= new Staging(kernel)),
      forget: (path) => void this.instances.delete(path),
    }
  }

  // State

  readonly state: DriverState = {
    version: 3,
    shape: instanceState,
    load: (device, state) => {
      const instance = new NetInstance(device, this.services)
      this.instances.set(device.path, instance)
      // The shape has been checked.
      instance.load(state as InstanceState)
      return instance
    },
  }

  /** What all interfaces share: the pages through which frames pass. To be loaded before the devices. */
  part(kernel: Pick<GuestKernel, 'frames'>): Part {
    return part({ name: 'staging', version: 1, shape: shape.record({ pages: shape.optional(stagingState) }) }, {
      save: () => ({ pages: this.pages?.save() }),
      isAsSaved: ({ pages }) => (this.pages === undefined ? pages === undefined : pages !== undefined && sameState(this.pages.save(), pages)),
      load: ({ pages }) => {
        if (pages !== undefined) this.pages = new Staging(kernel, pages)
      },
    })
  }

  // Interfaces

  /** Called by the bus. */
  probe(device: BackendDevice): BackendInstance {
    const instance = new NetInstance(device, this.services)
    this.instances.set(device.path, instance)
    return instance
  }

  /** The interfaces that are served now. */
  get nics(): readonly ServedNic[] {
    return [...this.instances.values()]
  }

  /** The interface of a domain with this number or address. */
  nic(domid: DomId, handle: string | number): ServedNic | undefined {
    if (typeof handle === 'string' && parseMac(handle) !== undefined) {
      return this.nics.find((nic) => nic.domid === domid && nic.mac.toLowerCase() === handle.toLowerCase())
    }
    return this.instances.get(`backend/vif/${domid}/${handle}`)
  }
}
