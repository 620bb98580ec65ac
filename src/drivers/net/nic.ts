/**
 * One network interface of a guest in TypeScript: its queues (nic-queue.ts), sending and receiving. Its pages stay granted and are used
 * again and again; a back-end that breaks the rules loses the interface, no more.
 *
 * hot path: nothing is allocated for a frame of one slot that goes to a handler; figure in transmit.ts.
 * Reference: public/io/netif.h.
 */
import { PAGE_SIZE } from '../../abi/index.ts'
import type { FrontendDevice, FrontendInstance } from '../../guest/index.ts'
import { XenError } from '../../util/index.ts'
import { queueOf } from './flow.ts'
import { FrameQueue } from './frame-queue.ts'
import { completeChecksum, formatMac, isGroupAddress, isIpv6, parseMac } from './frame.ts'
import type { NicPage } from './incoming-frames.ts'
import { NicQueue, type FrameMarks } from './nic-queue.ts'
import { MAX_FRAME_SIZE, MAX_NIC_QUEUES } from './protocol.ts'
import { prepareLarge } from './segments.ts'

/** Pages that one queue puts up before the others have a turn, so that a small guest's are shared by all. */
const PAGES_IN_TURN = 32

/** What a front-end asks for, where its back-end offers as much. */
export interface NetFrontendOptions {
  /** Queues of each interface, 1 to 8. Default: 1, as in Linux on one CPU. */
  readonly maxQueues?: number
  /** Takes frames whose TCP is still to be cut into segments, up to 64 KiB each, as Linux does. Default: false, all frames are of the bridge's size. */
  readonly large?: boolean
  /** Gets frames to the groups that it has joined only ({@link Nic.join}). Default: false, those to all groups. */
  readonly multicastControl?: boolean
}

/** What a program says about a frame that it sends. */
export interface SendOptions {
  /** The transport checksum holds only the pseudo-header's sum; the other end completes it where it matters. */
  readonly checksumBlank?: boolean
  /** The frame is a TCP packet that is still to be cut, into segments of so many bytes of data, 1 to 65,535; whoever needs segments cuts it. */
  readonly segmentSize?: number
}

/** What the back-end of an interface offers, and has been agreed on. */
export interface NicFeatures {
  /** How many queues there are. */
  readonly queues: number
  /** Frames may be longer than a page. */
  readonly scatter: boolean
  /** Frames over IPv4 may have their TCP cut later ({@link SendOptions.segmentSize}). */
  readonly large: boolean
  /** The same over IPv6. */
  readonly largeIpv6: boolean
  /** Groups can be joined. */
  readonly multicastControl: boolean
}

/** Gets each frame as it comes, and how many bytes of data each segment has of a frame that stands for several; undefined for a frame that is one. */
export type FrameHandler = (frame: Uint8Array, segmentSize?: number) => void

const NOTHING: NicFeatures = /* @__PURE__ */ Object.freeze({ queues: 0, scatter: false, large: false, largeIpv6: false, multicastControl: false })
const [WHOLE, BLANK]: readonly FrameMarks[] = [{ checksumBlank: false, segmentSize: 0 }, { checksumBlank: true, segmentSize: 0 }]

/** Makes the interface of a device, with what the bus does with it; for the driver alone. */
export let openNic: (device: FrontendDevice, options: NetFrontendOptions, before: Nic | undefined) => { readonly nic: Nic; readonly instance: FrontendInstance }

/** One network interface of a guest: `send`, and an AsyncIterable of frames. */
export class Nic implements AsyncIterable<Uint8Array> {
  /** Its address. */
  mac: Uint8Array = new Uint8Array(6)
  /** What has been agreed on with its back-end. */
  features: NicFeatures = NOTHING
  private readonly device: FrontendDevice
  private readonly options: NetFrontendOptions
  private queues: readonly NicQueue[] = []
  private up = false
  private broken = false
  private readonly freePages: NicPage[] = []
  /** Groups that have been joined, as texts: a back-end that comes anew is told. */
  private readonly groups = new Set<string>()
  private readonly queue = new FrameQueue()
  private handler: FrameHandler | undefined
  private wake: (() => void) | undefined
  private roomHandler: (() => void) | undefined
  private readonly roomWaiters: (() => void)[] = []
  private readonly waiting: ((nic: Nic) => void)[] = []

  static {
    openNic = (device, options, before) => {
      const nic = new Nic(device, options)
      // Who waits for one that went away waits for the one that has come in its place.
      nic.waiting.push(...before?.waiting.splice(0) ?? [])
      const instance = { publish: () => nic.publish(), connected: async () => nic.begin(), disconnect: () => nic.disconnect() }
      return { nic, instance }
    }
  }

  private constructor(device: FrontendDevice, options: NetFrontendOptions) {
    this.device = device
    this.options = options
  }

  /** Number of the interface. */
  get id(): string {
    return this.device.id
  }

  /** True while frames can be sent. */
  get connected(): boolean {
    return this.up && !this.broken
  }

  /** Frames that were dropped because the program was too slow. */
  get lost(): number {
    return this.queue.lost
  }

  /** Resolves when the interface can be used. */
  ready(): Promise<Nic> {
    if (this.up) return Promise.resolve(this)
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  /** Hands every frame to `handler` as it comes, instead of the queue. The bytes are valid during the call only. */
  onFrame(handler: FrameHandler): void {
    this.handler = handler
    for (const frame of this.queue.drain()) handler(frame)
  }

  /**
   * Sends a frame; false when there is no room in the ring, or no page, and the frame was not taken. Throws INVALID_ARGUMENT for a frame of more than 65,535
   * bytes or one that cannot be cut as it says, NOT_SUPPORTED for what the back-end does not offer ({@link Nic.features}), CLOSED.
   */
  send(frame: Uint8Array, options: SendOptions = {}): boolean {
    const queue = this.queueFor(frame)
    if (!this.queueFrame(queue, frame, options)) return false
    queue.kick()
    return true
  }

  /** Sends frames with one notification for each queue; how many were taken. Throws as {@link Nic.send}, with what came before on its way. */
  sendAll(frames: Iterable<Uint8Array>, options: SendOptions = {}): number {
    let taken = 0
    try {
      for (const frame of frames) {
        if (!this.queueFrame(this.queueFor(frame), frame, options)) break
        taken += 1
      }
    } finally {
      if (taken > 0) for (const queue of this.queues) queue.kick()
    }
    return taken
  }

  /**
   * Asks for frames to a group, as `01:00:5e:00:00:fb`; resolves with false where the back-end refuses, which notes 64 of them. Only a front-end with
   * `multicastControl` gets fewer frames by it. Rejects with INVALID_ARGUMENT, NOT_SUPPORTED or CLOSED.
   */
  join(group: string): Promise<boolean> {
    return this.changeGroup(group, true)
  }

  /** Wants no frames to a group any more; resolves with false where the back-end knows no groups. Rejects as {@link Nic.join}. */
  leave(group: string): Promise<boolean> {
    return this.changeGroup(group, false)
  }

  private async changeGroup(text: string, joins: boolean): Promise<boolean> {
    const group = typeof text === 'string' ? parseMac(text) : undefined
    if (group === undefined || !isGroupAddress(group, 0)) throw new XenError('INVALID_ARGUMENT', `${String(text)} is no address of a group`, { details: { value: text } })
    for (;;) {
      const queue = this.openQueue()
      if (!this.features.multicastControl) throw this.notOffered('groups')
      const answer = this.askGroup(queue, group, joins)
      if (answer === undefined) {
        if (queue.hasRoom) throw new XenError('OUT_OF_MEMORY', `there is no page for what interface ${this.id} asks of its back-end`)
        await this.room()
        continue
      }
      const okay = await answer
      if (okay && joins) this.groups.add(formatMac(group))
      else if (!joins) this.groups.delete(formatMac(group))
      return okay
    }
  }

  /** What becomes of a wish about a group; undefined when there is no room for it. */
  private askGroup(queue: NicQueue, group: Uint8Array, joins: boolean): Promise<boolean> | undefined {
    let done: (okay: boolean) => void = () => undefined
    const answer = new Promise<boolean>((resolve) => { done = resolve })
    const { kernel } = this.device
    const tell = (okay: boolean): void => {
      kernel.turn()
      done(okay)
    }
    if (!queue.queueGroup(group, joins, tell)) return undefined
    queue.kick()
    return answer
  }

  private notOffered(what: string): XenError {
    return new XenError('NOT_SUPPORTED', `the back-end of interface ${this.id} does not offer ${what}`, { details: { what } })
  }

  /** Calls `handler` whenever frames have been sent and there is room again. */
  onRoom(handler: () => void): void {
    this.roomHandler = handler
  }

  /** Resolves when there is room for a frame, or the interface is gone. */
  room(): Promise<void> {
    if (!this.connected || this.hasRoom()) return Promise.resolve()
    return new Promise((resolve) => this.roomWaiters.push(resolve))
  }

  private hasRoom(): boolean {
    return this.queues.every((queue) => queue.hasRoom)
  }

  /** Frames as they come; ends when the interface goes. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void> {
    for (;;) {
      const frame = this.queue.shift()
      if (frame !== undefined) yield frame
      else if (!this.connected) return
      else await new Promise<void>((resolve) => { this.wake = resolve })
    }
  }

  /** Ends the connection from the guest's side. */
  close(): Promise<void> {
    return this.device.close()
  }

  // The handshake

  /** Makes the rings and publishes them. */
  private async publish(): Promise<'Connected'> {
    const { device, options } = this
    const offers = async (name: string): Promise<boolean> => (await device.readOtherNumber(name)) === 1
    if (!(await offers('feature-rx-copy'))) throw new XenError('NOT_SUPPORTED', 'the back-end does not copy received frames')
    const split = await offers('feature-split-event-channels')
    const most = (await device.readOtherNumber('multi-queue-max-queues', { minimum: 1, maximum: 0xffff })) ?? 1
    const scatter = await offers('feature-sg')
    const features = {
      queues: Math.min(options.maxQueues ?? 1, most, MAX_NIC_QUEUES), scatter, large: scatter && await offers('feature-gso-tcpv4'),
      largeIpv6: scatter && await offers('feature-gso-tcpv6'), multicastControl: await offers('feature-multicast-control'),
    }
    this.mac = parseMac((await device.read('mac')) ?? '') ?? this.mac
    this.disconnect()
    this.features = features
    this.makeQueues(features.queues, split)
    await device.writeTogether({ 'multi-queue-num-queues': String(features.queues), ...this.queueNodes(), ...this.wishes() })
    this.broken = false
    this.putUp()
    return 'Connected'
  }

  /** What it says that it takes. */
  private wishes(): Readonly<Record<string, string>> {
    const { large = false, multicastControl = false } = this.options
    return {
      'request-rx-copy': '1', 'feature-rx-notify': '1', 'feature-sg': '1', ...(large ? { 'feature-gso-tcpv4': '1', 'feature-gso-tcpv6': '1' } : {}),
      'feature-ipv6-csum-offload': '1', ...(multicastControl && this.features.multicastControl ? { 'request-multicast-control': '1' } : {}),
    }
  }

  /** A single queue's nodes stand in the device's own directory. */
  private queueNodes(): Readonly<Record<string, string>> {
    const { queues } = this
    if (queues.length === 1) return queues[0]!.nodes
    return Object.fromEntries(queues.flatMap(({ nodes }, index) => Object.entries(nodes).map(([name, value]) => [`queue-${index}/${name}`, value])))
  }

  private makeQueues(count: number, split: boolean): void {
    const { device, options: { large = false }, freePages } = this
    const made: NicQueue[] = []
    this.queues = made
    try {
      while (made.length < count) made.push(new NicQueue(device, { split, freePages, large, accept: this.accept, onEvent: () => this.onEvent() }))
    } catch (error) {
      this.disconnect()
      throw error
    }
  }

  /** The back-end is connected. */
  private begin(): void {
    this.up = true
    this.putUp()
    this.device.kernel.turn()
    // What was joined before a suspension is to be known to the back-end that comes behind it.
    for (const group of this.groups) void this.askGroup(this.queues[0]!, parseMac(group)!, true)
    for (const resolve of this.waiting.splice(0)) resolve(this)
  }

  /** Lets the rings go. */
  private disconnect(): void {
    const { queues } = this
    if (queues.length === 0) return
    this.queues = []
    this.up = false
    for (const queue of queues) queue.release()
    for (const page of this.freePages.splice(0)) page.shared.release()
    this.wakeReader()
    this.tellRoom()
  }

  // Frames

  private openQueue(): NicQueue {
    const [queue] = this.queues
    if (queue === undefined || !this.connected) throw new XenError('CLOSED', `interface ${this.id} is not connected`)
    return queue
  }

  /** The queue of a frame: those of one flow keep their order. */
  private queueFor(frame: Uint8Array): NicQueue {
    const { queues } = this
    if (frame.length > MAX_FRAME_SIZE) {
      throw new XenError('INVALID_ARGUMENT', `a frame of ${frame.length} bytes is longer than ${MAX_FRAME_SIZE}`, { details: { length: frame.length } })
    }
    return queues.length > 1 && this.connected ? queues[queueOf(frame, queues.length)]! : this.openQueue()
  }

  private queueFrame(queue: NicQueue, frame: Uint8Array, { checksumBlank, segmentSize }: SendOptions): boolean {
    if (segmentSize !== undefined) return queue.queueFrame(this.prepared(frame, segmentSize), { checksumBlank: true, segmentSize })
    if (frame.length > PAGE_SIZE && !this.features.scatter) throw this.notOffered('frames longer than a page')
    return queue.queueFrame(frame, checksumBlank === true ? BLANK! : WHOLE!)
  }

  /** A copy of a frame that is to be cut later, with the sum that it has to have. */
  private prepared(frame: Uint8Array, segmentSize: number): Uint8Array {
    const version = isIpv6(frame) ? 6 : 4
    if (!(version === 6 ? this.features.largeIpv6 : this.features.large)) throw this.notOffered('to cut frames')
    const copy = frame.slice()
    const isSize = Number.isInteger(segmentSize) && segmentSize >= 1 && segmentSize <= 0xffff
    if (isSize && prepareLarge(copy, { size: segmentSize, version })) return copy
    throw new XenError('INVALID_ARGUMENT', `a frame cannot be cut into segments of ${String(segmentSize)} bytes`, { details: { segmentSize } })
  }

  private onEvent(): void {
    const { queues } = this
    if (queues.length === 0 || this.broken) return
    let freed = false
    for (const queue of queues) {
      const before = queue.room
      if (!queue.take()) return this.giveUp()
      freed ||= queue.room > before
    }
    this.wakeReader()
    this.putUp()
    if (freed) this.tellRoom()
  }

  /** The back-end has broken the rules. */
  private giveUp(): void {
    this.broken = true
    this.wakeReader()
    this.tellRoom()
    void this.device.close()
  }

  private tellRoom(): void {
    if (this.roomWaiters.length > 0) {
      this.device.kernel.turn()
      for (const resolve of this.roomWaiters.splice(0)) resolve()
    }
    if (this.connected) this.roomHandler?.()
  }

  /** Takes a whole frame, which may lie in a page that is put up again afterwards. */
  private readonly accept = (frame: Uint8Array, checksumBlank: boolean, segmentSize: number): void => {
    if (checksumBlank) completeChecksum(frame)
    if (this.handler === undefined) return this.queue.push(frame.slice())
    if (segmentSize === 0) this.handler(frame)
    else this.handler(frame, segmentSize)
  }

  /** Puts up pages for receiving. */
  private putUp(): void {
    const { queues } = this
    if (queues.length === 1) {
      queues[0]!.putUp(Infinity)
      return
    }
    for (let placed = 1; placed > 0;) {
      placed = 0
      for (const queue of queues) placed += queue.putUp(PAGES_IN_TURN)
    }
  }

  private wakeReader(): void {
    const { wake } = this
    if (wake === undefined || (this.queue.length === 0 && this.connected)) return
    this.wake = undefined
    this.device.kernel.turn()
    wake()
  }
}
