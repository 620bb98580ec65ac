/**
 * The network back-end: what netback does. It runs in dom0 or in a driver domain, shakes hands with the front-ends of
 * `vif` devices, and puts each on the bridge that its nodes name. Attaching to the bridge stands for the hotplug script
 * of a real host, and leaves the same nodes behind.
 *
 * Reference: public/io/netif.h; the captures of Linux and xl on Xen 4.17.
 */
import type { XenbusStateName } from '../../abi/index.ts'
import { RateLimit, rateLimitState, readNumber, type Rate } from '../../guest/index.ts'
import type { BackendDevice, BackendDriver, BackendInstance, DriverState, GuestKernel } from '../../guest/index.ts'
import { badState, part, sameState, shape, XenError, type DomId, type Part, type StateOf } from '../../util/index.ts'
import type { Bridge, BridgeLink, NetPort } from './bridge.ts'
import { parseMac, type NetFrame } from './frame.ts'
import { HeldOutput, type FrameTarget, type OutputHold } from './held-output.ts'
import { MulticastFilter, multicastFilterState } from './multicast-filter.ts'
import { NetConnection, netConnectionState, readFeatures, readQueues, type ConnectionServices } from './net-connection.ts'
import { MAX_NIC_QUEUES, USUAL_NIC_QUEUES } from './protocol.ts'
import { Staging, stagingState } from './staging.ts'
import { noStatistics, type NetStatistics } from './transmit.ts'

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
  /** How many queues the front-end has; 0 while none is connected. */
  readonly queues: number
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

/** What the back-end offers of what it has. */
interface Offer {
  readonly queues: number
  /** Frames whose TCP is cut later. */
  readonly large: boolean
}

const count = shape.time
const instanceState = /* @__PURE__ */ shape.record({
  mac: /* @__PURE__ */ shape.text(64),
  bridge: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(256)),
  statistics: /* @__PURE__ */ shape.record<NetStatistics>({
    framesIn: count, bytesIn: count, framesOut: count, bytesOut: count, errors: count, dropped: count,
    largeIn: count, largeOut: count, filtered: count,
  }),
  /** The connection, and its number on the bridge. */
  connection: /* @__PURE__ */ shape.optional(netConnectionState), link: /* @__PURE__ */ shape.optional(shape.time),
  groups: multicastFilterState,
  offer: /* @__PURE__ */ shape.record<Offer>({ queues: /* @__PURE__ */ shape.whole(1, MAX_NIC_QUEUES), large: shape.flag }),
  limit: /* @__PURE__ */ shape.optional(rateLimitState), isUp: shape.flag,
})
type InstanceState = StateOf<typeof instanceState>

/** What the node `rate` says: bytes, and microseconds in which as many may be sent. What is no rate is none, as to netback. */
function rateOf(text: string | undefined): Rate | undefined {
  const [, bytes, microseconds] = /^([0-9]{1,10}),([0-9]{1,10})$/.exec(text ?? '') ?? []
  const rate = { amount: Number(bytes), interval: Number(microseconds) * 1000 }
  return rate.amount >= 1 && rate.interval >= 1 ? rate : undefined
}

/** What an interface needs of its back-end. */
interface NetServices extends NetBackendOptions {
  /** The pages through which frames pass. */
  staging(device: BackendDevice): Staging
  /** The interface of a path is gone. */
  forget(path: string): void
}

class NetInstance implements BackendInstance, ServedNic, NetPort {
  readonly statistics: NetStatistics = noStatistics()
  mac = ''
  private readonly device: BackendDevice
  private readonly backend: NetServices
  private bridge: Bridge | undefined
  private connection: NetConnection | undefined
  /** Its place on the bridge while a front-end is connected. */
  private link: BridgeLink | undefined
  private readonly groups = new MulticastFilter()
  private offer: Offer = { queues: USUAL_NIC_QUEUES, large: true }
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

  get queues(): number {
    return this.connection?.size ?? 0
  }

  get rate(): Rate | undefined {
    return this.limit?.rate
  }

  setRate(rate: Rate | undefined): void {
    this.limit?.stop()
    this.limit = rate && new RateLimit(rate, this.device.kernel, this.onTransmit)
    if (this.connection === undefined) return
    this.connection.setLimit(this.limit)
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
    this.connection?.setTarget(this.output)
  }

  /** Where the guest's frames go. */
  private get output(): FrameTarget {
    return this.held ?? (this.isUp ? this.link : undefined) ?? this.noLink
  }

  holdOutput(): OutputHold {
    if (this.held !== undefined) throw new XenError('BUSY', `the output of interface ${this.handle} of domain ${this.domid} is kept back already`, { details: { domid: this.domid, doing: 'kept back' } })
    const held = new HeldOutput(() => (this.isUp ? this.link : undefined), () => void (this.statistics.dropped += 1))
    const { kernel } = this.device
    const relink = (): void => this.connection?.setTarget(this.output)
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
    return this.connection?.broken === true
  }

  /** Reads what its description has the back-end offer. */
  private async readOffer(): Promise<Offer> {
    const number = (name: string, maximum: number): Promise<number | undefined> => readNumber(this.device.store, `${this.device.path}/${name}`, { minimum: 0, maximum })
    const [queues = 0, gso = 1] = await Promise.all([number('queues', MAX_NIC_QUEUES), number('gso', 1)])
    return { queues: queues === 0 ? USUAL_NIC_QUEUES : queues, large: gso === 1 }
  }

  async announce(): Promise<void> {
    const { queues, large } = this.offer = await this.readOffer()
    await this.device.writeTogether({
      'feature-sg': '1', ...(large ? { 'feature-gso-tcpv4': '1', 'feature-gso-tcpv6': '1' } : {}), 'feature-ipv6-csum-offload': '1', 'feature-rx-copy': '1',
      'feature-rx-flip': '0', 'feature-multicast-control': '1', 'feature-dynamic-multicast-control': '1',
    })
    await this.device.write({ 'feature-split-event-channels': '1', 'multi-queue-max-queues': String(queues) })
  }

  /** Finds the bridge, as the hotplug script would. */
  async prepare(): Promise<void> {
    const { device } = this
    this.mac = (await device.read('mac')) ?? ''
    this.setRate(rateOf(await device.read('rate')))
    await device.watch(this.ratePath, this.rateChanged)
    await device.watch(this.filterPath, this.sampleFilter)
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
    const features = await readFeatures(device)
    const { large } = this.offer
    const queues = await readQueues(device, this.offer.queues)
    await this.sampleFilter()
    // The pages before the port on the bridge, as they may be short.
    this.backend.staging(device)
    const connection = NetConnection.map(this.services, { queues, features: large ? features : { ...features, large, largeIpv6: large }, target: this.noLink })
    this.take(connection, bridge.attach(this))
    return true
  }

  private get services(): ConnectionServices {
    return { device: this.device, staging: this.backend.staging(this.device), statistics: this.statistics, groups: this.groups }
  }

  private take(connection: NetConnection, link: BridgeLink): void {
    this.link = link
    this.connection = connection
    connection.setLimit(this.limit)
    connection.setTarget(this.output)
  }

  private get filterPath(): string {
    return `${this.device.otherPath}/request-multicast-control`
  }

  /** Whether the front-end wants to be spared the groups that it has not joined: it may say so at any time. */
  private readonly sampleFilter = async (): Promise<void> => {
    this.groups.isOn = (await this.device.readOtherNumber('request-multicast-control')) === 1
  }

  // State

  underWay(): string | undefined {
    return this.held === undefined ? this.connection?.underWay() : 'frames that are kept back'
  }

  save(): InstanceState {
    const { connection, mac, bridge, statistics, link } = this
    return {
      mac, bridge: bridge?.name, statistics: { ...statistics }, limit: this.limit?.save(), isUp: this.isUp, connection: connection?.save(), link: link?.number,
      groups: this.groups.save(), offer: { ...this.offer },
    }
  }

  load({ mac, bridge, statistics, connection, link, limit, isUp, groups, offer }: InstanceState): void {
    this.mac = mac
    this.offer = offer
    this.isUp = isUp
    this.groups.load(groups)
    if (limit !== undefined) {
      this.limit = new RateLimit({ amount: limit.amount, interval: limit.interval }, this.device.kernel, this.onTransmit)
      this.limit.load(limit, this.device.kernel.attachments)
    }
    this.device.attachWatch(this.ratePath, this.rateChanged)
    this.device.attachWatch(this.filterPath, this.sampleFilter)
    this.bridge = bridge === undefined ? undefined : this.backend.bridge(bridge)
    Object.assign(this.statistics, statistics)
    if (connection === undefined || link === undefined) return
    if (this.bridge === undefined) throw badState('a connected interface is on no bridge')
    this.take(NetConnection.load(this.services, connection, this.noLink), this.bridge.reattach(this, link))
  }

  // Frames

  /** Takes a frame from the bridge. */
  deliver(frame: NetFrame): void {
    if (!this.isUp) this.statistics.dropped += 1
    else if (this.groups.isOn && this.groups.keepsOut(frame.bytes)) this.statistics.filtered += 1
    else this.connection?.deliver(frame)
  }

  takesLarge(frame: NetFrame): boolean {
    return this.connection?.takesLarge(frame) === true
  }

  /** Sends on what the bridge has delivered. */
  flush(): void {
    this.connection?.flush()
  }

  private readonly onTransmit = (): void => {
    this.connection?.serveTransmit()
  }

  disconnect(): void {
    const { connection, link } = this
    this.connection = undefined
    this.link = undefined
    this.groups.load({ isOn: false, groups: [] })
    link?.detach()
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
    version: 4,
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
