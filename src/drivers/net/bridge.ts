/**
 * A learning bridge: frames go to the port behind which their destination was last seen, and to all others while it is
 * unknown. Ports hand frames in synchronously and are told at the end of a batch, so that rings are notified once.
 *
 * A port or a tap that throws, or rejects later, loses what it was given and nothing else: whoever sent the frame, the
 * other ports and the domain that runs the bridge go on. The bridge tells it as an event.
 *
 * hot path: one look-up for each end of a frame and no allocation; time is read once for a batch. 110 ns for a frame of
 * 1500 bytes, with the two copies that its ports make.
 */
import {
  type EventNames, EventHub, XenError, badState, callGuarded, watchAnswer, anything, callable, checkOptions, part, shape, text, whole,
  type Part, type StateOf,
} from '../../util/index.ts'
import type { EventSource, Quiescible } from '../../util/index.ts'
import { AddressTable, addressTableState } from './address-table.ts'
import { FrameQueue, frameQueueState } from './frame-queue.ts'
import type { NetFrame } from './frame.ts'
import type { NetInterference, NetServices } from './interference.ts'
import { ETHERNET_HEADER, addressAt, completeChecksum, isGroupAddress } from './frame.ts'
import { cutSegments } from './segments.ts'

/** The seam to whatever takes frames from a bridge: a guest's interface, user code, a tunnel. */
export interface NetPort {
  /** Takes a frame, or drops it. The bytes are valid until `flush` returns. */
  deliver(frame: NetFrame): void
  /** The batch is over: send on what was delivered. */
  flush(): void
  /**
   * True where the port takes this frame as it is, although its TCP is still to be cut into segments (`segmentSize`). A port that does not, or does not
   * say, gets the segments, each with a whole checksum and of the bridge's size.
   */
  takesLarge?(frame: NetFrame): boolean
}

/** A port that has been attached to a bridge. */
export interface BridgeLink {
  /** Its number, by which it is attached again after a load. */
  readonly number: number
  /** Hands a frame in. Call `flush` when there are no more for now. */
  send(frame: NetFrame): void
  /** Ends a batch. */
  flush(): void
  /** Takes the port off the bridge; its addresses are forgotten. */
  detach(): void
}

/** What happens on a bridge. */
export type BridgeEvent =
  | { readonly type: 'attached'; readonly bridge: string; readonly ports: number }
  | { readonly type: 'detached'; readonly bridge: string; readonly ports: number }
  /** An address was seen for the first time, or behind another port than before. */
  | { readonly type: 'learned'; readonly bridge: string; readonly address: number }
  /** A port or a tap has thrown or rejected; it stays where it is. */
  | { readonly type: 'failed'; readonly bridge: string; readonly by: 'port' | 'tap'; readonly error: unknown }

/** Names of the events of a bridge. */
export const BRIDGE_EVENTS: EventNames<BridgeEvent> = {
  attached: true, detached: true, learned: true, failed: true,
}

/** What a bridge needs. */
export interface BridgeOptions {
  readonly name?: string
  /** Largest payload of a frame in bytes; told to guests. Default 1500. */
  readonly mtu?: number
  /** Host time in nanoseconds. */
  now(): number
  /** Runs a task where the bridge's frames are handled, for frames from user code. Default: at once. */
  post?(task: () => void): void
  /** Hears of a frame that user code sends by the port of a number, before it is taken in; whoever keeps the bytes copies. */
  input?(port: number, bytes: Uint8Array): void
  /** A reader in user code was woken: JavaScript is to have a turn. */
  turn?(): void
  /** What comes between its ports, for tests. */
  readonly interference?: NetInterference | undefined
  /** Does something so many nanoseconds from now, where somebody interferes. */
  after?(nanoseconds: number, act: () => void): void
}

/** Hears every frame that enters a bridge. */
export type BridgeTap = (frame: NetFrame) => void

/** Ports by number in the order in which frames reach them, what user code has of them, and where addresses were seen. */
const bridgeState = /* @__PURE__ */ shape.record({
  mtu: /* @__PURE__ */ shape.whole(68, 0xffff),
  lastNumber: shape.time,
  ports: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
    number: shape.time, user: /* @__PURE__ */ shape.optional(frameQueueState),
  }), 2 ** 16),
  addresses: addressTableState,
})
type BridgeState = StateOf<typeof bridgeState>

/** The bridge. */
export class Bridge implements Quiescible {
  readonly name: string
  readonly mtu: number
  readonly events: EventSource<BridgeEvent>
  private readonly hub: EventHub<BridgeEvent>
  private readonly options: BridgeOptions
  private readonly ports = new Set<NetPort>()
  private readonly numbers = new Map<NetPort, number>()
  private lastNumber = 0
  /** A loaded bridge whose ports have not all come back. */
  private awaited: BridgeState | undefined
  private readonly table = new AddressTable<NetPort>()
  private readonly taps = new Set<BridgeTap>()
  /** Ports that were given frames in the present batch, and the last of them. */
  private readonly touched = new Set<NetPort>()
  private lastTouched: NetPort | undefined
  /** The address table knows the time of the present batch. */
  private hasTime = false
  private flushing = false

  constructor(options: BridgeOptions) {
    checkOptions('Bridge', options, { name: text, mtu: whole(68, 0xffff), now: callable, post: callable, input: callable, turn: callable, interference: anything, after: callable })
    this.options = options
    this.name = options.name ?? 'xenbr0'
    this.mtu = options.mtu ?? 1500
    this.hub = new EventHub<BridgeEvent>(() => options.now(), undefined, { names: BRIDGE_EVENTS })
    this.events = this.hub
  }

  /** Addresses that are known. */
  get addresses(): number {
    return this.table.size
  }

  /** Puts a port on the bridge. */
  attach(port: NetPort): BridgeLink {
    if (this.ports.has(port)) throw new XenError('INVALID_STATE', `a port is on bridge ${this.name} already`)
    this.lastNumber += 1
    this.ports.add(port)
    this.numbers.set(port, this.lastNumber)
    this.hub.emit({ type: 'attached', bridge: this.name, ports: this.ports.size })
    return this.link(port, this.lastNumber)
  }

  private link(port: NetPort, number: number): BridgeLink {
    const { interference } = this.options
    return {
      number,
      send: interference === undefined ? (frame) => this.forward(port, frame) : this.interfered(port, number, interference),
      flush: () => this.flush(),
      detach: () => this.detach(port),
    }
  }

  /** Lets frames in as somebody else decides; one that comes later makes a batch of its own. */
  private interfered(port: NetPort, number: number, interference: NetInterference): (frame: NetFrame) => void {
    const services: NetServices = { now: () => this.options.now(), after: (nanoseconds, act) => this.options.after?.(nanoseconds, act) }
    return (frame) => {
      if (interference.asks === false) return this.forward(port, frame)
      // What is lost or spoilt on a wire is a segment.
      for (const one of frame.segmentSize === undefined ? [frame] : cutSegments(frame, this.mtu)) {
        let isNow = true
        interference.frame({ bridge: this.name, port: number, frame: one }, (passed) => {
          this.forward(port, passed)
          if (!isNow) this.flush()
        }, services)
        isNow = false
      }
    }
  }

  // State

  /** What keeps the bridge from being saved: frames in the middle of a batch, or a user's port that is a function. */
  underWay(): string | undefined {
    if (this.touched.size > 0 || this.flushing) return `bridge ${this.name}: frames on their way`
    const isCode = [...this.ports].some((port) => port instanceof UserPort && userPort.isCode(port))
    return isCode ? `bridge ${this.name}: a port of code that cannot be saved` : undefined
  }

  /** The bridge under its name. Whoever had a port puts it back by {@link Bridge.reattach}; ports of user code come by themselves. */
  part(): Part {
    return part({ name: this.name, version: 1, shape: bridgeState }, { save: () => this.save(), load: (state) => this.load(state) })
  }

  private save(): BridgeState {
    const ports = [...this.ports].map((port) => ({
      number: this.numbers.get(port)!, user: port instanceof UserPort ? userPort.save(port) : undefined,
    }))
    return { mtu: this.mtu, lastNumber: this.lastNumber, ports, addresses: this.table.save((port) => this.numbers.get(port)!) }
  }

  private load(state: BridgeState): void {
    if (state.mtu !== this.mtu) throw badState(`its largest payload was ${state.mtu} bytes, not ${this.mtu}`)
    this.lastNumber = state.lastNumber
    this.awaited = state
    for (const { number, user } of state.ports) {
      if (user === undefined) continue
      userPort.load(userPort.open((port) => this.reattach(port, number), this.options, { limit: user.limit }), user)
    }
    this.checkAttached(false)
  }

  /** Puts a port back where it was on the bridge that was saved. */
  reattach(port: NetPort, number: number): BridgeLink {
    const isAwaited = this.awaited?.ports.some((each) => each.number === number) === true
    if (!isAwaited || [...this.numbers.values()].includes(number)) throw badState(`there is no port ${number} of bridge ${this.name} to be attached`)
    this.numbers.set(port, number)
    this.checkAttached(false)
    return this.link(port, number)
  }

  /** Ports of user code, the oldest first: how to find those of a loaded bridge. */
  get userPorts(): readonly UserPort[] {
    return [...this.ports].filter((port) => port instanceof UserPort)
  }

  /** Begins to work once all ports are back. Throws INVALID_STATE when some must be and are not. */
  checkAttached(must = true): void {
    const { awaited, numbers } = this
    if (awaited === undefined) return
    const byNumber = new Map([...numbers].map(([port, number]) => [number, port]))
    const missing = awaited.ports.find(({ number }) => !byNumber.has(number))
    if (missing !== undefined) {
      if (must) throw badState(`nobody owns port ${missing.number} of bridge ${this.name}`)
      return
    }
    this.awaited = undefined
    for (const { number } of awaited.ports) this.ports.add(byNumber.get(number)!)
    this.table.load(awaited.addresses, (number) => byNumber.get(number))
  }

  // Frames

  /** Hears every frame that enters, as it is; the returned function ends that. */
  tap(listener: BridgeTap): () => void {
    this.taps.add(listener)
    return () => void this.taps.delete(listener)
  }

  /** Opens a port for user code. */
  open(options: UserPortOptions = {}): UserPort {
    checkOptions('bridge.open', options, { limit: whole(1, 1e6), onFrame: callable })
    return userPort.open((port) => this.attach(port), this.options, options)
  }

  private userPort(number: number): UserPort {
    const port = this.userPorts.find((each) => this.numbers.get(each) === number)
    if (port !== undefined) return port
    throw new XenError('CLOSED', `there is no port ${number} of user code on bridge ${this.name}`)
  }

  /** Sends a frame by the port of a number, as the user code does that has it. */
  send(number: number, bytes: Uint8Array): void {
    this.userPort(number).send(bytes)
  }

  private forward(source: NetPort, frame: NetFrame): void {
    const { bytes } = frame
    if (bytes.length < ETHERNET_HEADER || !this.ports.has(source)) return
    if (this.taps.size > 0) for (const tap of this.taps) callGuarded(() => tap(frame), this.tapFailed)
    if (!this.hasTime) this.readTime()
    if (!isGroupAddress(bytes, 6)) this.learn(bytes, source)
    const known = isGroupAddress(bytes, 0) ? undefined : this.table.find(bytes, 0)
    if (known === source) return
    if (frame.segmentSize !== undefined) return this.forwardLarge(source, known, frame)
    if (known !== undefined) this.hand(known, frame)
    else for (const port of this.ports) if (port !== source) this.hand(port, frame)
  }

  /** Hands on a frame whose TCP is still to be cut: as it is to ports that take it so, in its segments to the others. */
  private forwardLarge(source: NetPort, known: NetPort | undefined, frame: NetFrame): void {
    let cut: readonly NetFrame[] | undefined
    for (const port of known === undefined ? this.ports : [known]) {
      if (port === source) continue
      if (port.takesLarge?.(frame) === true) this.hand(port, frame)
      else for (const segment of cut ??= cutSegments(frame, this.mtu)) this.hand(port, segment)
    }
  }

  private hand(port: NetPort, frame: NetFrame): void {
    if (port !== this.lastTouched) this.touched.add(port)
    this.lastTouched = port
    try {
      // A function that answers nothing by its type may answer a promise all the same.
      const answer: unknown = port.deliver(frame)
      if (answer !== undefined) watchAnswer(answer, this.portFailed)
    } catch (error) {
      this.portFailed(error)
    }
  }

  private flush(): void {
    // A port that answers while it is flushed is flushed by the call that is at work already.
    if (this.flushing) return
    this.flushing = true
    while (this.touched.size > 0) {
      const batch = [...this.touched]
      this.touched.clear()
      this.lastTouched = undefined
      for (const port of batch) callGuarded(() => port.flush(), this.portFailed)
    }
    this.hasTime = false
    this.flushing = false
  }

  private readonly portFailed = (error: unknown): void => {
    this.hub.emit({ type: 'failed', bridge: this.name, by: 'port', error })
  }

  private readonly tapFailed = (error: unknown): void => {
    this.hub.emit({ type: 'failed', bridge: this.name, by: 'tap', error })
  }

  private readTime(): void {
    this.table.now = this.options.now()
    this.hasTime = true
  }

  private learn(bytes: Uint8Array, port: NetPort): void {
    if (!this.table.learn(bytes, 6, port) || !this.hub.wants('learned')) return
    this.hub.emit({ type: 'learned', bridge: this.name, address: addressAt(bytes, 6) })
  }

  private detach(port: NetPort): void {
    if (!this.ports.delete(port)) return
    this.numbers.delete(port)
    this.touched.delete(port)
    if (this.lastTouched === port) this.lastTouched = undefined
    this.table.forgetPort(port)
    this.hub.emit({ type: 'detached', bridge: this.name, ports: this.ports.size })
  }
}

/** How a port for user code is opened. */
export interface UserPortOptions {
  /** Frames that wait for the reader; older ones are dropped and counted. Default {@link FRAME_QUEUE_LIMIT}. */
  readonly limit?: number
  /** Takes the frames as they come, instead of the queue. */
  readonly onFrame?: (frame: Uint8Array) => void
}

/** What a port for user code needs of its bridge. */
type PortServices = Pick<BridgeOptions, 'input' | 'post' | 'turn'>

/** What the bridge does with a port for user code, and nobody else. */
interface UserPortAccess {
  open(attach: (port: NetPort) => BridgeLink, services: PortServices, options: UserPortOptions): UserPort
  /** True where a function takes the frames, not the queue. */
  isCode(port: UserPort): boolean
  save(port: UserPort): StateOf<typeof frameQueueState>
  load(port: UserPort, state: StateOf<typeof frameQueueState>): void
}

let userPort: UserPortAccess

/**
 * A port of a bridge for user code: an AsyncIterable of frames, and `send`. Frames are whole: checksums are completed,
 * bytes are the reader's own.
 *
 * @example
 * const port = bridge.open()
 * port.send(request)
 * for await (const frame of port) if (isReply(frame)) break
 */
export class UserPort implements NetPort, AsyncIterable<Uint8Array> {
  private readonly onFrame: ((frame: Uint8Array) => void) | undefined
  private readonly link: BridgeLink
  private readonly services: PortServices
  private readonly queue: FrameQueue
  private wake: (() => void) | undefined
  private closed = false

  static {
    userPort = {
      open: (attach, services, options) => new UserPort(attach, services, options),
      isCode: (port) => port.onFrame !== undefined,
      save: (port) => port.queue.save(),
      load: (port, state) => port.queue.load(state),
    }
  }

  private constructor(
    attach: (port: NetPort) => BridgeLink, services: PortServices, options: UserPortOptions,
  ) {
    this.queue = new FrameQueue(options.limit)
    this.onFrame = options.onFrame
    this.services = services
    this.link = attach(this)
  }

  /** Frames that were dropped because the reader was too slow. */
  get lost(): number {
    return this.queue.lost
  }

  /** Sends a frame. The bytes are the caller's again when it returns. */
  send(frame: Uint8Array): void {
    if (this.closed) throw new XenError('CLOSED', 'the port is closed')
    const { services, link } = this
    services.input?.(link.number, frame)
    if (services.post === undefined) return this.forward(frame)
    const bytes = frame.slice()
    services.post(() => this.forward(bytes))
  }

  /** Takes the port off the bridge and ends its readers. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.link.detach()
    this.flush()
  }

  deliver(frame: NetFrame): void {
    const bytes = frame.bytes.slice()
    if (frame.checksumBlank) completeChecksum(bytes)
    // What it answers is the bridge's to look at: it may be a promise that rejects.
    if (this.onFrame !== undefined) return this.onFrame(bytes)
    this.queue.push(bytes)
    return undefined
  }

  flush(): void {
    // Whether a reader waits makes no difference to how far a run of the host goes.
    if (this.onFrame === undefined) this.services.turn?.()
    const { wake } = this
    this.wake = undefined
    wake?.()
  }

  /** Hands a frame to the bridge, where its frames are handled. */
  private forward(bytes: Uint8Array): void {
    this.link.send({ bytes, checksumBlank: false, validated: false })
    this.link.flush()
  }

  /** The frames in the order in which they came; ends when the port is closed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    for (;;) {
      const frame = this.queue.shift()
      if (frame !== undefined) yield frame
      else if (this.closed) return
      else await new Promise<void>((resolve) => { this.wake = resolve })
    }
  }
}
