/**
 * Serves the rings of one front-end: takes messages out of them, has them carried out (session.ts), and puts the answers back. It knows rings and
 * messages, nothing of XenStore. The front-end is hostile: each message is copied out of its ring once, its length is checked before it is believed, and
 * rings whose indices or lengths contradict themselves are not served any more.
 *
 * Messages are carried out one at a time. An answer that does not fit into its ring waits there, and its ring with it, until the front-end has taken what
 * is in it; the others go on.
 *
 * Reference: docs/misc/9pfs.pandoc; Linux, net/9p/trans_xen.c; QEMU, hw/9pfs/xen-9p-backend.c.
 */
import { PAGE_SIZE } from '../../abi/index.ts'
import type { HypercallPort } from '../../guest/index.ts'
import { ScatteredConsumer, ScatteredProducer, flexRing, scatteredIndexState, type FlexPlace } from '../../rings/index.ts'
import { badState, shape, type Quiescible, type StateOf } from '../../util/index.ts'
import type { Answer, FileStore, OpenFile } from './file-store.ts'
import type { FileCounts } from './fids.ts'
import type { FolderEffect } from './interference.ts'
import { HEADER, MAX_MESSAGE, MAX_RINGS } from './protocol.ts'
import { headerOf, Session, sessionState, type ReopeningStore } from './session.ts'

/** Bytes that are moved in one go, and messages: whoever shares the thread waits for them. */
export const TURN_BYTES = 4 << 20
const TURN_MESSAGES = 1024

/** What a message costs the back-end's domain in virtual time, in instructions, and each of its pages beside. */
export const MESSAGE_COST = 5000
const PAGE_COST = 1000

/** Where the rings are, answers that wait for room, and the session. */
export const fileServerState = /* @__PURE__ */ shape.record({
  rings: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
    taken: scatteredIndexState, written: scatteredIndexState, waiting: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.array(Uint8Array, 0, MAX_MESSAGE)),
  }), MAX_RINGS),
  session: sessionState,
  broken: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(200)),
})
/** A saved server: no message is being carried out. */
export type FileServerState = StateOf<typeof fileServerState>

/** What the server works with. */
export interface FileServerOptions {
  readonly memory: HypercallPort['memory']
  readonly rings: readonly FlexPlace[]
  readonly store: FileStore
  /** Wakes the front-end of a ring, by the ring's place. */
  notify(ring: number): void
  /** A store has not answered at once: time is to stand still until the returned function is called. */
  hold(): () => void
  /** Charges virtual time, in instructions. */
  spend?(instructions: number): void
  /** Lets everybody else have a turn. */
  pause?(): Promise<void>
  /** The store has answered what was asked before: `take` carries that on. Default: at once. */
  answered?(take: () => void): void
  /** What becomes of a message, by its type, for tests. */
  interfere?(type: number): FolderEffect | undefined
  /** Does something so many nanoseconds from now. */
  after?(nanoseconds: number, act: () => void): void
  /** The store has thrown what is no error of a file. */
  onStoreFailed?(error: unknown): void
}

interface ServedRing {
  readonly requests: ScatteredConsumer
  readonly answers: ScatteredProducer
  /** An answer that has no room yet. */
  waiting: Uint8Array | undefined
}

/** Serves the rings of one front-end. */
export class FileServer implements Quiescible {
  readonly session: Session
  private readonly options: FileServerOptions
  private readonly rings: readonly ServedRing[]
  private why: string | undefined
  /** A message whose store has not answered; resolves when it has. */
  private working: { readonly done: Promise<void>; readonly release: () => void } | undefined
  /** Rings whose front-end is to be woken at the end of a turn. */
  private readonly toNotify = new Set<number>()
  private resting = false
  private stopped = false

  constructor(options: FileServerOptions) {
    this.options = options
    this.rings = options.rings.map((place) => ({ requests: new ScatteredConsumer(flexRing(place, 'out')), answers: new ScatteredProducer(flexRing(place, 'in')), waiting: undefined }))
    this.session = new Session({
      store: options.store, mostBytes: Math.min(...this.rings.map(({ requests }) => requests.size)), onStoreFailed: (error) => options.onStoreFailed?.(error),
    })
  }

  /** Why nothing is served any more; undefined while all is well. */
  get broken(): string | undefined {
    return this.why
  }

  /** What has been done. */
  get counts(): FileCounts & { readonly fids: number; readonly openFiles: number } {
    return { ...this.session.counts, fids: this.session.fids.size, openFiles: this.session.fids.open }
  }

  /** True while the store has not answered. */
  get isAwaited(): boolean {
    return this.working !== undefined
  }

  underWay(): string | undefined {
    if (this.working !== undefined) return 'a request to its store'
    return this.resting ? 'a turn of its rings' : undefined
  }

  /** Serves what is in the rings, a turn's worth at a time. To be called for each event. */
  serve(): void {
    this.serveTurn()
    for (const at of this.toNotify) this.options.notify(at)
    this.toNotify.clear()
  }

  private serveTurn(): void {
    let [messages, bytes] = [0, 0]
    for (let isIdle = false; !isIdle;) {
      isIdle = true
      for (const [at, ring] of this.rings.entries()) {
        if (this.isBusy) return
        const taken = this.takeOne(ring, at)
        if (taken === 0) continue
        isIdle = false
        messages += 1
        bytes += taken
        if ((messages >= TURN_MESSAGES || bytes >= TURN_BYTES) && this.rest()) return
      }
    }
  }

  private get isBusy(): boolean {
    return this.stopped || this.resting || this.why !== undefined || this.working !== undefined
  }

  /** Goes on behind a turn of everybody else; false where nobody gives one. */
  private rest(): boolean {
    const pause = this.options.pause?.()
    if (pause === undefined) return false
    this.resting = true
    void pause.then(() => {
      this.resting = false
      this.serve()
    })
    return true
  }

  /** Carries one message of a ring out; bytes that were moved, 0 where there was nothing to be done. */
  private takeOne(ring: ServedRing, at: number): number {
    if (ring.waiting !== undefined && !this.put(ring, at, ring.waiting)) return 0
    const message = this.nextMessage(ring)
    if (message === undefined) return 0
    const effect = this.options.interfere?.(message[4]!)
    const answer = effect?.errno === undefined ? this.session.handle(message) : this.session.refused(message, effect.errno)
    if (effect?.delay !== undefined) {
      this.delay(effect.delay, answer, (late) => this.finish(ring, at, late))
      return message.length
    }
    if (answer instanceof Promise) {
      this.workOn(answer, (late) => this.finish(ring, at, late))
      return message.length
    }
    this.finish(ring, at, answer)
    return message.length + answer.length
  }

  /** A copy of the next message, taken out of its ring; undefined while there is none whole. */
  private nextMessage({ requests }: ServedRing): Uint8Array | undefined {
    const queued = requests.queued()
    if (queued === undefined) return this.breakOff('its index is beyond the ring')
    if (queued < HEADER) return undefined
    const header = new Uint8Array(HEADER)
    requests.peek(header)
    const length = headerOf(header)
    if (length < HEADER || length > this.session.limit) return this.breakOff(`a message says that it has ${length} bytes`)
    if (queued < length) return undefined
    const message = new Uint8Array(length)
    requests.peek(message)
    // The length may have been changed between the two looks.
    message.set(header)
    requests.advance(length)
    return message
  }

  private breakOff(why: string): undefined {
    this.why ??= why
  }

  private finish(ring: ServedRing, at: number, answer: Uint8Array): void {
    this.options.spend?.(MESSAGE_COST + Math.ceil(answer.length / PAGE_SIZE) * PAGE_COST)
    this.put(ring, at, answer)
  }

  /** Puts an answer into its ring; false where it has to wait for room. */
  private put(ring: ServedRing, at: number, answer: Uint8Array): boolean {
    const isWritten = ring.answers.write(answer)
    // The front-end has got the room that the message took, whatever becomes of the answer.
    this.toNotify.add(at)
    ring.waiting = isWritten === false ? answer.slice() : undefined
    if (isWritten === undefined) this.breakOff('its index is beyond the ring')
    return isWritten === true
  }

  /** Waits for an answer, during which time stands still. */
  private workOn(answer: Promise<Uint8Array>, done: (answer: Uint8Array) => void): void {
    const release = this.options.hold()
    const take = (late: Uint8Array): void => {
      this.working = undefined
      release()
      if (this.stopped) return
      done(late)
      this.serve()
    }
    const { answered } = this.options
    this.working = { release, done: answer.then((late) => (answered === undefined ? take(late) : answered(() => take(late)))) }
  }

  /** Has an answer wait while everybody else goes on. */
  private delay(nanoseconds: number, answer: Answer<Uint8Array>, done: (answer: Uint8Array) => void): void {
    let release = (): void => undefined
    const passed = new Promise<void>((resolve) => {
      release = resolve
      this.options.after?.(nanoseconds, resolve)
    })
    this.working = {
      release,
      done: passed.then(() => answer).then((late) => {
        this.working = undefined
        if (this.stopped) return
        done(late)
        this.serve()
      }),
    }
  }

  /**
   * Takes no more messages; resolves when none is being carried out any more and all that was open is closed. A store that does not answer keeps time
   * from passing no longer.
   */
  async stop(): Promise<void> {
    this.stopped = true
    this.working?.release()
    await this.working?.done
    await this.session.end()
  }

  // State

  /** The rings' places, answers that wait, and the session. */
  save(identityOf: (file: OpenFile) => number): FileServerState {
    return {
      rings: this.rings.map(({ requests, answers, waiting }) => ({ taken: requests.save(), written: answers.save(), waiting: waiting?.slice() })),
      session: this.session.save(identityOf), broken: this.why,
    }
  }

  /** Goes on where the saved one was. Throws INVALID_STATE. */
  load({ rings, session, broken }: FileServerState, store: ReopeningStore): void {
    if (rings.length !== this.rings.length) throw badState(`there are ${this.rings.length} rings, not ${rings.length}`)
    this.session.load(session, store)
    for (const [at, ring] of this.rings.entries()) {
      const { taken, written, waiting } = rings[at]!
      ring.requests.load(taken)
      ring.answers.load(written)
      ring.waiting = waiting?.slice()
    }
    this.why = broken
  }
}
