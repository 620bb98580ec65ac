/** A user-mode network at a bridge of its own, with a guest of raw packets and a time of their own: what the network sends is looked at frame by frame. */
import {
  Bridge, decodePacket, encodePacket, hasRightChecksums, UserNetwork, type NetFrame, type OutsideInput, type Packet, type UserNetworkOptions,
} from '../../src/drivers/index.ts'
import { SeededRandom } from '../../src/util/index.ts'

/** The guest's Ethernet address. */
export const GUEST_MAC = '00:16:3e:00:00:07'
/** Addresses of the network as it is where nobody says. */
export const GUEST = '10.0.2.15'
export const GATEWAY = '10.0.2.2'
export const DNS = '10.0.2.3'
export const GATEWAY_MAC = '52:55:0a:00:02:02'

/** The world. */
export class NetworkWorld {
  now = 0
  readonly bridge: Bridge
  readonly network: UserNetwork
  /** Frames that came to the guest and were not looked at. */
  readonly received: Packet[] = []
  readonly failures: unknown[] = []
  readonly inputs: OutsideInput[] = []
  private readonly tasks: (() => void)[] = []
  private readonly timers = new Set<{ readonly deadline: number; readonly order: number; readonly act: () => void; cancel(): void }>()
  private readonly link: ReturnType<Bridge['attach']>
  private order = 0

  constructor(options: UserNetworkOptions) {
    this.bridge = new Bridge({ now: () => this.now })
    this.network = new UserNetwork(this.bridge, options, {
      now: () => this.now, post: (task) => void this.tasks.push(task), turn: () => undefined, random: new SeededRandom(7),
      after: (nanoseconds, act) => this.after(nanoseconds, act), attachTimer: (_, act) => this.after(0, act),
      input: (input, act) => {
        this.inputs.push(input)
        act()
      },
      failed: (error) => void this.failures.push(error),
    })
    this.network.start()
    this.link = this.bridge.attach({
      deliver: ({ bytes }) => {
        if (!hasRightChecksums(bytes, 'checked')) this.failures.push(new Error('a frame of the network has wrong checksums'))
        this.received.push(decodePacket(bytes))
      },
      flush: () => undefined,
    })
  }

  private after(nanoseconds: number, act: () => void): { readonly deadline: number; readonly order: number; readonly act: () => void; cancel(): void } {
    const timer = { deadline: this.now + nanoseconds, order: this.order += 1, act, cancel: () => void this.timers.delete(timer) }
    this.timers.add(timer)
    return timer
  }

  /** Timers that are set. */
  get waiting(): number {
    return this.timers.size
  }

  /** Sends a frame as the guest, and has what it leads to done. */
  send(frame: Uint8Array | Packet, how: Partial<NetFrame> = {}): void {
    this.link.send({ bytes: frame instanceof Uint8Array ? frame : encodePacket(frame), checksumBlank: false, validated: false, ...how })
    this.link.flush()
    this.settle()
  }

  /** Does what was posted. */
  settle(): void {
    for (let task = this.tasks.shift(); task !== undefined; task = this.tasks.shift()) task()
  }

  /** Lets promises and what was posted go on. */
  async turn(): Promise<void> {
    for (let turns = 0; turns < 20; turns += 1) {
      await Promise.resolve()
      this.settle()
    }
  }

  /** Lets time pass. */
  pass(nanoseconds: number): void {
    const end = this.now + nanoseconds
    for (;;) {
      const [first] = [...this.timers].sort((a, b) => a.deadline - b.deadline || a.order - b.order)
      if (first === undefined || first.deadline > end) break
      this.timers.delete(first)
      this.now = Math.max(this.now, first.deadline)
      first.act()
      this.settle()
    }
    this.now = end
  }

  /** Gives what came to the guest since it was last asked. */
  take(): readonly Packet[] {
    return this.received.splice(0)
  }

  /** The guest says who it is. */
  introduce(ip = GUEST): void {
    this.send({ kind: 'arp', destination: 'ff:ff:ff:ff:ff:ff', source: GUEST_MAC, operation: 'request', senderMac: GUEST_MAC, sender: ip, targetMac: '00:00:00:00:00:00', target: GATEWAY })
    this.take()
  }
}

/** What every packet of the guest to the gateway has. */
export const HEAD = { destination: GATEWAY_MAC, source: GUEST_MAC, from: GUEST, to: GATEWAY } as const
