/**
 * What a user-mode network reaches: somebody opens connections and sends datagrams on its behalf, as any program may, asks names, and listens where
 * ports are forwarded. `paravirt/node` has the one of this machine, `paravirt/testing` a simulated one.
 *
 * Nothing here answers by returning: what an outside has to say it says by the functions that it was given, at once or later. An outside that
 * depends on anything but what it is asked says so (`follows: 'wall'`): what it says is then noted with the host's other inputs, and idle time of
 * the host passes no faster than that of the wall while it may have something to say.
 */

/** Where something is: an IPv4 address and a port. `127.0.0.1` is the machine of the outside itself, which guests reach at the gateway's address. */
export interface OutsideAddress {
  readonly host: string
  readonly port: number
}

/** Why something does not go on. */
export type OutsideFailure = 'refused' | 'forbidden' | 'unreachable' | 'timed-out' | 'reset'

/** Hears of a stream. */
export interface OutsideStreamHears {
  /** It is connected. */
  opened(): void
  /** Bytes have come; they are the hearer's. Fewer than 1 MiB at once, and soon none, once it was paused. */
  data(bytes: Uint8Array): void
  /** So many of the bytes that were written have gone on: no more than were written. */
  taken(count: number): void
  /** No more bytes come. */
  ended(): void
  /** It is over in disorder, or has never come to be. */
  failed(why: OutsideFailure): void
}

/** A stream of bytes both ways. */
export interface OutsideStream {
  /** Sends bytes, which are the stream's from now on. */
  write(bytes: Uint8Array): void
  /** There will be no more. */
  end(): void
  /** Ends it at once; nothing is heard of it any more. */
  reset(): void
  /** Keeps what comes back, soon. */
  pause(): void
  /** Lets it come again. */
  resume(): void
}

/** Hears of datagrams. */
export interface OutsideSocketHears {
  /** A datagram has come; its bytes are the hearer's. */
  data(bytes: Uint8Array): void
  /** Nobody takes datagrams there, or none may go. */
  failed(why: OutsideFailure): void
}

/** Datagrams to one place, and from there. */
export interface OutsideSocket {
  /** Sends a datagram. */
  send(bytes: Uint8Array): void
  /** No more come, or go. */
  close(): void
}

/** What is asked about a name: its addresses, or the names of an address. */
export interface NameQuestion {
  readonly type: 'A' | 'PTR'
  /** A name in lower case, or an address. */
  readonly name: string
}

/** What is known of a name. */
export interface NameAnswer {
  readonly code: 'okay' | 'no-name' | 'refused' | 'failure'
  /** Addresses or names. */
  readonly answers: readonly string[]
}

/** A port of the outside that is forwarded. */
export interface ListenAt {
  readonly protocol: 'tcp' | 'udp'
  readonly port: number
  /** The address at which it listens. */
  readonly host: string
  /** Its place among the forwarded ports of its network: what it is known by where any port will do. */
  readonly forward: number
}

/** Hears of what comes to a port that is forwarded. */
export interface ListenHears {
  /** Somebody has connected; gives who hears of it. */
  accepted(stream: OutsideStream, from: OutsideAddress): OutsideStreamHears
  /** A datagram has come. */
  datagram(bytes: Uint8Array, from: OutsideAddress): void
  /** It cannot listen there. */
  failed(error: unknown): void
}

/** A port that is listened at. */
export interface OutsideListener {
  /** Answers a datagram. */
  reply(bytes: Uint8Array, to: OutsideAddress): void
  /** Listens no more; what is connected stays. */
  close(): void
}

/** What a network reaches. */
export interface Outside {
  /** `wall`: it answers in its own time. Absent: at once, and alike in every run. */
  readonly follows?: 'wall' | undefined
  /** Opens a stream. */
  connectTcp(to: OutsideAddress, hears: OutsideStreamHears): OutsideStream
  /** Opens a way for datagrams. */
  connectUdp(to: OutsideAddress, hears: OutsideSocketHears): OutsideSocket
  /** Asks a name, and is answered once. */
  resolve(question: NameQuestion, answered: (answer: NameAnswer) => void): void
  /** Listens at a port. Absent: nothing is forwarded. */
  listen?(at: ListenAt, hears: ListenHears): OutsideListener
  /** Whether somebody answers pings there. Absent: nobody does. */
  answersPing?(host: string): boolean
}

/** What an outside has said, as plain data; streams, sockets and questions by their numbers, which count up in the order in which they were opened. */
export type OutsideInput =
  | { readonly event: 'opened' | 'ended'; readonly stream: number }
  | { readonly event: 'data'; readonly stream: number; readonly bytes: Uint8Array }
  | { readonly event: 'taken'; readonly stream: number; readonly count: number }
  | { readonly event: 'failed'; readonly stream: number; readonly why: OutsideFailure }
  /** Somebody has connected to the forwarded port of this place in the list. */
  | { readonly event: 'accepted'; readonly stream: number; readonly forward: number; readonly from: OutsideAddress }
  | { readonly event: 'datagram'; readonly socket: number; readonly bytes: Uint8Array }
  | { readonly event: 'unreachable'; readonly socket: number; readonly why: OutsideFailure }
  | { readonly event: 'forwarded'; readonly forward: number; readonly from: OutsideAddress; readonly bytes: Uint8Array }
  | { readonly event: 'resolved'; readonly question: number; readonly answer: NameAnswer }

const silentStream: OutsideStream = { write: () => undefined, end: () => undefined, reset: () => undefined, pause: () => undefined, resume: () => undefined }

/**
 * An outside that says nothing by itself: for a host that is fed the inputs which were recorded on one with another.
 *
 * @example
 * const again = await Host.boot({ networks: { xenbr0: { outside: silentOutside() } } })
 * await feedInputs(again, records)
 */
export const silentOutside = (): Outside => ({
  connectTcp: () => silentStream,
  connectUdp: () => ({ send: () => undefined, close: () => undefined }),
  resolve: () => undefined,
  listen: () => ({ reply: () => undefined, close: () => undefined }),
})
