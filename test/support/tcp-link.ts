/**
 * Two ends of TCP and a wire between them, in a time of their own: frames are encoded and taken apart, and lost, doubled, delayed and damaged as a
 * seed says.
 */
import { decodePacket, encodePacket, hasRightChecksums, TcpStack, type TcpConnection, type TcpEnds, type TcpHears, type TcpLimits, type TcpPacket } from '../../src/drivers/index.ts'
import { SeededRandom } from '../../src/util/index.ts'

/** What happens to frames, in parts of 1. */
export interface Weather {
  readonly loss?: number
  readonly doubled?: number
  readonly reordered?: number
  readonly damaged?: number
}

const LIMITS: TcpLimits = { connections: 256, halfOpen: 64, buffer: 64 << 10, segment: 1460 }
/** Nanoseconds on the wire. */
const LATENCY = 50_000
const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02'] as const

/** One end: what it has heard, and what is done about it. */
export interface EndOptions {
  readonly limits?: Partial<TcpLimits>
  readonly listen?: (connection: TcpConnection, ends: TcpEnds) => TcpHears | undefined
}

/** A wire with an end at either side. */
export class TcpLink {
  now = 0
  readonly stacks: readonly [TcpStack, TcpStack]
  /** Every segment that was sent, the oldest first. */
  readonly sent: { readonly from: 0 | 1; readonly packet: TcpPacket; readonly at: number }[] = []
  weather: Weather
  /** Asked for each segment: true loses it. */
  lose: ((packet: TcpPacket, from: 0 | 1) => boolean) | undefined
  private readonly random: SeededRandom
  private readonly queue: { readonly at: number; readonly order: number; readonly to: 0 | 1; readonly frame: Uint8Array }[] = []
  private order = 0

  constructor(ends: readonly [EndOptions, EndOptions], { seed = 1, weather = {} }: { readonly seed?: number; readonly weather?: Weather } = {}) {
    this.random = new SeededRandom(seed)
    this.weather = weather
    this.stacks = [this.stack(0, ends[0]), this.stack(1, ends[1])]
  }

  private stack(side: 0 | 1, { limits, listen = () => undefined }: EndOptions): TcpStack {
    return new TcpStack({
      limits: { ...LIMITS, ...limits }, random: this.random, listen,
      send: ({ local, localPort, remote, remotePort }, segment) => this.transmit(side, {
        kind: 'tcp', source: MACS[side], destination: MACS[1 - side]!, from: local, fromPort: localPort, to: remote, toPort: remotePort, ...segment,
      }),
    })
  }

  private chance(part = 0): boolean {
    return part > 0 && this.random.next() / 2 ** 32 < part
  }

  private transmit(from: 0 | 1, packet: TcpPacket): void {
    const { loss, doubled, reordered, damaged } = this.weather
    this.sent.push({ from, packet, at: this.now })
    if (this.lose?.(packet, from) === true || this.chance(loss)) return
    const frame = encodePacket(packet)
    if (this.chance(damaged)) frame[this.random.next() % frame.length]! ^= 1 << this.random.next() % 8
    for (let copies = this.chance(doubled) ? 2 : 1; copies > 0; copies -= 1) {
      const late = this.chance(reordered) ? this.random.next() % 2_000_000 : 0
      this.queue.push({ at: this.now + LATENCY + late, order: this.order += 1, to: (1 - from) as 0 | 1, frame })
    }
  }

  /** Puts a segment on the wire that no end has sent. */
  inject(to: 0 | 1, packet: Partial<TcpPacket> & Pick<TcpPacket, 'flags' | 'sequence' | 'fromPort' | 'toPort'>): void {
    const { stacks } = this
    stacks[to].receive({
      kind: 'tcp', source: MACS[1 - to]!, destination: MACS[to], from: to === 1 ? '10.0.0.1' : '10.0.0.2', to: to === 1 ? '10.0.0.2' : '10.0.0.1',
      acknowledged: 0, window: 0xffff, data: new Uint8Array(0), ...packet,
    }, this.now)
    stacks[to].flush(this.now)
  }

  /** Lets both ends send what owners gave them. */
  flush(): void {
    for (const stack of this.stacks) {
      for (const { connection } of stack) stack.touch(connection)
      stack.flush(this.now)
    }
  }

  /** Lets time pass until nothing is on the wire and nobody waits for anything, or `until` holds. True where it does. */
  run(until: () => boolean = () => false, limit = 4 * 3600e9): boolean {
    this.flush()
    while (!until()) {
      const next = this.queue.reduce<(typeof this.queue)[number] | undefined>((first, one) => (first === undefined || one.at < first.at || (one.at === first.at && one.order < first.order) ? one : first), undefined)
      const at = Math.min(next?.at ?? Infinity, ...this.stacks.map(({ deadline }) => deadline ?? Infinity))
      if (at === Infinity || at > limit) return until()
      this.now = Math.max(this.now, at)
      if (next?.at === at) this.arrive(next)
      else for (const stack of this.stacks) stack.tick(this.now)
    }
    return true
  }

  private arrive(one: (typeof this.queue)[number]): void {
    this.queue.splice(this.queue.indexOf(one), 1)
    const packet = decodePacket(one.frame)
    if (packet.kind !== 'tcp' || !hasRightChecksums(one.frame, 'checked')) return
    this.stacks[one.to].receive(packet, this.now)
    this.stacks[one.to].flush(this.now)
  }
}

/** Ends of a connection as the first stack opens it. */
export const ENDS: TcpEnds = { local: '10.0.0.1', localPort: 4000, remote: '10.0.0.2', remotePort: 80 }

/** Somebody who takes what comes, and may send something in the room that there is. */
export class Talker implements TcpHears {
  connection: TcpConnection | undefined
  readonly received: Uint8Array[] = []
  isEnded = false
  isOpen = false
  how: string | undefined
  /** Whether what comes is taken at once. */
  takes = true
  private readonly text: Uint8Array
  private at = 0
  private readonly endsAt: 'its end' | 'the other\'s end' | 'never'

  constructor(text: Uint8Array = new Uint8Array(0), endsAt: 'its end' | 'the other\'s end' | 'never' = 'its end') {
    this.text = text
    this.endsAt = endsAt
  }

  opened(): void {
    this.isOpen = true
    this.talk()
  }

  data(bytes: Uint8Array): void {
    this.received.push(bytes.slice())
    if (this.takes) this.connection?.taken(bytes.length)
  }

  ended(): void {
    this.isEnded = true
    if (this.endsAt === 'the other\'s end') this.connection?.end()
  }

  room(): void {
    this.talk()
  }

  over(how: string): void {
    this.how = how
  }

  /** Whether what came is this, to the last byte. */
  hasHeard(text: Uint8Array): boolean {
    return Buffer.concat(this.received).equals(text)
  }

  get length(): number {
    return this.received.reduce((sum, { length }) => sum + length, 0)
  }

  private talk(): void {
    const { connection, text } = this
    if (connection === undefined) return
    const piece = text.slice(this.at, this.at + connection.room)
    this.at += piece.length
    if (piece.length > 0) connection.write(piece)
    if (this.at === text.length && this.endsAt === 'its end') connection.end()
  }
}
