/**
 * The network between hosts: a link for each pair, with a latency that may vary and frames that get lost, by one seed; links that are cut carry
 * nothing. It knows no host: it says when which frame arrives where.
 */
import { checkOptions, duration, listOf, parseDuration, real, SeededRandom, shown, text, XenError, type Duration, type OptionChecks } from '../../util/index.ts'

/** What a link is like. */
export interface LinkOptions {
  /** How long each frame takes. Default 1 ms; at least 1 microsecond. */
  readonly latency?: Duration | undefined
  /** By how much it takes longer at most, by chance. Default 0. */
  readonly jitter?: Duration | undefined
  /** The share of frames that get lost, from 0 to 1. Default 0. */
  readonly loss?: number | undefined
}

/** A link between two hosts that is not like the others. */
export interface PairLinkOptions extends LinkOptions {
  readonly between: readonly [string, string]
}

/** The network of a world. */
export interface NetworkOptions extends LinkOptions {
  /** The bridge of each host that is connected. Default `xenbr0`. */
  readonly bridge?: string | undefined
  readonly links?: readonly PairLinkOptions[] | undefined
}

const LINK_CHECKS = { latency: /* @__PURE__ */ duration({ least: 1000 }), jitter: /* @__PURE__ */ duration(), loss: /* @__PURE__ */ real(0, 1) } as const
const PAIR_CHECKS: OptionChecks<PairLinkOptions> = { ...LINK_CHECKS, between: /* @__PURE__ */ listOf(text) }
const NETWORK_CHECKS: OptionChecks<NetworkOptions> = {
  ...LINK_CHECKS, bridge: text, links: (value) => (Array.isArray(value) ? undefined : `must be a list, got ${shown(value)}`),
}

/** A frame that is to arrive. */
export interface Arrival {
  readonly to: string
  /** Nanoseconds of the world's time. */
  readonly time: number
  readonly sequence: number
  readonly bytes: Uint8Array
}

interface Link {
  readonly latency: number
  readonly jitter: number
  readonly loss: number
  readonly random: SeededRandom
  cuts: number
}

/** Counts of frames. */
export interface NetworkCounts {
  readonly sent: number
  /** Lost by chance. */
  readonly lost: number
  /** Lost on links that were cut. */
  readonly cut: number
}

const pairOf = (one: string, other: string): string => (one < other ? `${one}\n${other}` : `${other}\n${one}`)

/** A network at work. */
export class Network {
  readonly bridge: string
  /** The shortest latency: so far hosts may run ahead of each other. */
  readonly lookahead: number
  private readonly names: readonly string[]
  private readonly links = new Map<string, Link>()
  private arrivals: Arrival[] = []
  private sequence = 0
  private counts = { sent: 0, lost: 0, cut: 0 }

  /** Throws INVALID_ARGUMENT, naming what is wrong. */
  constructor(names: readonly string[], options: NetworkOptions, seed: number) {
    checkOptions('the network', options, NETWORK_CHECKS)
    this.names = names
    this.bridge = options.bridge ?? 'xenbr0'
    const own = new Map((options.links ?? []).map((link) => [this.checkedPair(link), link]))
    const seeds = new SeededRandom(seed)
    for (const [at, one] of names.entries()) {
      for (const other of names.slice(at + 1)) {
        const { latency = '1ms', jitter = 0, loss = 0 } = { ...options, ...own.get(pairOf(one, other)) }
        this.links.set(pairOf(one, other), {
          latency: parseDuration(latency, 'latency'), jitter: parseDuration(jitter, 'jitter'), loss, random: new SeededRandom(seeds.next()), cuts: 0,
        })
      }
    }
    this.lookahead = Math.min(1_000_000, ...[...this.links.values()].map(({ latency }) => latency))
  }

  /** Takes a frame from a host's bridge: it goes to all others that it can reach. The bytes are kept. */
  send(from: string, time: number, bytes: Uint8Array): void {
    for (const to of this.names) {
      const link = to === from ? undefined : this.links.get(pairOf(from, to))
      if (link === undefined) continue
      this.counts.sent += 1
      // Both are drawn for each frame, so that a cut changes nothing of what comes behind it.
      const [fate, extra] = [link.random.next() / 2 ** 32, link.random.next() / 2 ** 32]
      if (link.cuts > 0) this.counts.cut += 1
      else if (fate < link.loss) this.counts.lost += 1
      else this.arrivals.push({ to, time: time + link.latency + Math.floor(extra * link.jitter), sequence: this.sequence += 1, bytes })
    }
  }

  /** Takes out what arrives at a host before a time, in its order. Frames on a link that was cut meanwhile arrive: they had left. */
  take(to: string, before: number): readonly Arrival[] {
    const due = this.arrivals.filter((arrival) => arrival.to === to && arrival.time < before)
    if (due.length > 0) this.arrivals = this.arrivals.filter((arrival) => !due.includes(arrival))
    return due.sort((a, b) => a.time - b.time || a.sequence - b.sequence)
  }

  /** Cuts all links between two groups until the returned function is called. Throws INVALID_ARGUMENT for a host that is none. */
  cut(one: readonly string[], other: readonly string[]): () => void {
    for (const name of [...one, ...other]) this.checkName(name)
    const links = one.flatMap((left) => other.flatMap((right) => this.links.get(pairOf(left, right)) ?? []))
    for (const link of links) link.cuts += 1
    let isCut = true
    return () => {
      if (isCut) for (const link of links) link.cuts -= 1
      isCut = false
    }
  }

  /** Frames so far. */
  count(): NetworkCounts {
    return { ...this.counts }
  }

  private checkedPair(link: PairLinkOptions): string {
    checkOptions('a link of the network', link, PAIR_CHECKS)
    const [one, other] = link.between
    if (link.between.length !== 2 || one === other) throw new XenError('INVALID_ARGUMENT', `a link is between two hosts, got ${shown(link.between)}`)
    for (const name of link.between) this.checkName(name)
    return pairOf(one, other)
  }

  private checkName(name: string): void {
    if (!this.names.includes(name)) throw new XenError('INVALID_ARGUMENT', `there is no host ${name} in the world; it has ${this.names.join(', ')}`, { details: { name } })
  }
}
