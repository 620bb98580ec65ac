/**
 * The door between a network and its outside: what is asked of the outside goes through at once, under numbers; what the outside says comes in as plain
 * data, in the network's own steps, and can be fed from a record in its place. Code of an outside that throws loses what it was given and nothing else.
 */
import { callGuarded } from '../../../util/index.ts'
import type {
  ListenAt, NameAnswer, NameQuestion, Outside, OutsideAddress, OutsideFailure, OutsideInput, OutsideListener, OutsideSocket, OutsideStream, OutsideStreamHears,
} from './outside.ts'

/** What a door needs. */
export interface DoorServices {
  /** Lets something in: it is `take`n in a step of the network's own. */
  enter(input: OutsideInput): void
  /** Code of the outside has thrown or cannot do what it has to. */
  failed(error: unknown): void
}

/** What stands for a stream that code of the outside could not open. */
const NO_STREAM: OutsideStream = { write: () => undefined, end: () => undefined, reset: () => undefined, pause: () => undefined, resume: () => undefined }

/** The door. */
export class OutsideDoor {
  private readonly outside: Outside
  private readonly services: DoorServices
  private readonly streams = new Map<number, OutsideStream>()
  private readonly sockets = new Map<number, OutsideSocket>()
  private readonly questions = new Set<number>()
  private listeners: readonly (OutsideListener | undefined)[] = []
  private isClosed = false
  /** The last number that was given. */
  last: number

  constructor(outside: Outside, services: DoorServices, last = 0) {
    this.outside = outside
    this.services = services
    this.last = last
  }

  /** True while the outside may have something to say in its own time. */
  get isAwaited(): boolean {
    return this.outside.follows === 'wall' && this.streams.size + this.sockets.size + this.questions.size > 0
  }

  /** True while code of the outside has anything at all. */
  get isUsed(): boolean {
    return this.streams.size + this.sockets.size + this.questions.size > 0
  }

  private hears(stream: number): OutsideStreamHears {
    const say = (input: OutsideInput): void => {
      if (!this.isClosed && this.streams.has(stream)) this.services.enter(input)
    }
    return {
      opened: () => say({ event: 'opened', stream }), data: (bytes) => say({ event: 'data', stream, bytes }), ended: () => say({ event: 'ended', stream }),
      taken: (count) => say({ event: 'taken', stream, count }), failed: (why) => say({ event: 'failed', stream, why }),
    }
  }

  private guarded(act: () => void): void {
    callGuarded(act, (error) => this.services.failed(error))
  }

  /** Opens a stream; gives its number. */
  connectTcp(to: OutsideAddress): number {
    const number = this.last += 1
    // What is said before the stream is there belongs to it, too.
    this.streams.set(number, NO_STREAM)
    let opened: OutsideStream | undefined
    this.guarded(() => { opened = this.outside.connectTcp(to, this.hears(number)) })
    if (opened !== undefined) this.streams.set(number, opened)
    else this.services.enter({ event: 'failed', stream: number, why: 'unreachable' })
    return number
  }

  /** Does something to a stream, where it is there. */
  stream(number: number, act: (stream: OutsideStream) => void): void {
    const known = this.streams.get(number)
    if (known !== undefined) this.guarded(() => act(known))
  }

  /** Lets go of a stream. */
  reset(number: number): void {
    const known = this.streams.get(number)
    this.streams.delete(number)
    if (known !== undefined) this.guarded(() => known.reset())
  }

  /** Both ends of a stream are over: what is on its way arrives, and nothing is heard of it any more. */
  release(number: number): void {
    this.streams.delete(number)
  }

  /** Opens a way for datagrams; gives its number. */
  connectUdp(to: OutsideAddress): number {
    const number = this.last += 1
    const say = (input: OutsideInput): void => { if (!this.isClosed) this.services.enter(input) }
    this.guarded(() => {
      this.sockets.set(number, this.outside.connectUdp(to, {
        data: (bytes) => say({ event: 'datagram', socket: number, bytes }), failed: (why: OutsideFailure) => say({ event: 'unreachable', socket: number, why }),
      }))
    })
    return number
  }

  /** Sends a datagram. */
  send(number: number, bytes: Uint8Array): void {
    this.guarded(() => this.sockets.get(number)?.send(bytes))
  }

  /** Lets go of a way for datagrams. */
  closeSocket(number: number): void {
    const known = this.sockets.get(number)
    this.sockets.delete(number)
    this.guarded(() => known?.close())
  }

  /** Asks a name; gives the question's number. */
  resolve(question: NameQuestion): number {
    const number = this.last += 1
    this.questions.add(number)
    this.guarded(() => this.outside.resolve(question, (answer: NameAnswer) => {
      if (!this.isClosed && this.questions.delete(number)) this.services.enter({ event: 'resolved', question: number, answer })
    }))
    return number
  }

  /** A question was answered, or nobody wants its answer any more. */
  forget(question: number): void {
    this.questions.delete(question)
  }

  /** Whether somebody answers pings there. */
  answersPing(host: string): boolean {
    let answers = false
    this.guarded(() => { answers = this.outside.answersPing?.(host) === true })
    return answers
  }

  /** Listens at all forwarded ports. */
  listen(ports: readonly ListenAt[]): void {
    this.listeners = ports.map((at, forward) => {
      let listener: OutsideListener | undefined
      this.guarded(() => { listener = this.outside.listen?.(at, this.listenHears(forward)) })
      return listener
    })
  }

  private listenHears(forward: number): Parameters<NonNullable<Outside['listen']>>[1] {
    return {
      accepted: (opened, from) => {
        const stream = this.last += 1
        this.streams.set(stream, opened)
        if (this.isClosed) this.reset(stream)
        else this.services.enter({ event: 'accepted', stream, forward, from })
        return this.hears(stream)
      },
      datagram: (bytes, from) => { if (!this.isClosed) this.services.enter({ event: 'forwarded', forward, from, bytes }) },
      failed: (error) => this.services.failed(error),
    }
  }

  /** An input comes out of a record: a stream that somebody had opened has its number, and nobody behind it. */
  expect(input: OutsideInput): void {
    if (input.event !== 'accepted') return
    this.last = Math.max(this.last, input.stream)
    this.streams.set(input.stream, NO_STREAM)
  }

  /** Answers a datagram that came to a forwarded port. */
  reply(forward: number, bytes: Uint8Array, to: OutsideAddress): void {
    this.guarded(() => this.listeners[forward]?.reply(bytes, to))
  }

  /** Lets go of everything: nothing comes in any more. */
  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    for (const listener of this.listeners) this.guarded(() => listener?.close())
    for (const number of [...this.streams.keys()]) this.reset(number)
    for (const number of [...this.sockets.keys()]) this.closeSocket(number)
    this.questions.clear()
  }
}
