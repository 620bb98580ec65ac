/**
 * The connection between the two hosts of a protected domain: frames in both directions, a sign of life at intervals, and the end as
 * soon as the other host is silent for too long or the pipe breaks. It never throws behind its end: it tells once why it is over.
 */
import { parseDuration, XenError, type Duration } from '../../util/index.ts'
import type { MigrationTransport } from '../migrate/transport.ts'
import { ByteSource, openOutput, type OpenOutput } from '../stream/index.ts'
import { decodeFrame, decodeHeader, encodeFrame, FRAME_HEADER, PROTECTION_VERSION, type ProtectionFrame } from './frames.ts'

/** Time as it passes for the connection. */
export interface LineClock {
  /** Does something so many milliseconds from now; the returned function calls it off. */
  after(milliseconds: number, act: () => void): () => void
}

/** How the other host is watched. */
export interface LineOptions {
  /** How often it is told that this host lives, while there is nothing else to say. Default 100 ms, by the wall. */
  readonly heartbeat?: Duration | undefined
  /** How long it may be silent; then it counts as lost. Default 2 s, by the wall. */
  readonly peerTimeout?: Duration | undefined
  /** What the two are measured by. Default: the wall; a simulation gives its own. */
  readonly clock?: LineClock | undefined
}

const HEARTBEAT = 100e6
const PATIENCE = 2e9
/** Longest time of a timer, in milliseconds. */
const LONGEST = 0x7fff_ffff

/** The wall. */
const WALL: LineClock = {
  after: (milliseconds, act) => {
    const timer = setTimeout(act, milliseconds)
    return () => clearTimeout(timer)
  },
}

/** The error of a connection that is no more. */
const lost = (why: string, cause?: unknown): XenError => new XenError('CLOSED', `the other host of a protected domain is lost: ${why}`, { cause })

/** The connection, as one of its ends has it. */
export class Line {
  /** Resolves with the reason when the connection is over, and never rejects. */
  readonly over: Promise<XenError>
  private readonly source: ByteSource
  private readonly output: OpenOutput
  private readonly clock: LineClock
  private readonly patience: number
  private readonly heartbeat: number
  private end!: (why: XenError) => void
  private ended: XenError | undefined
  private sending: Promise<void> = Promise.resolve()
  private readonly stops = new Set<(why: XenError) => void>()
  /** There is somebody who understands last words. */
  private isGreeted = false
  private quiet = true
  private heard = true
  private stopBeat: () => void = () => undefined
  private stopWatch: () => void = () => undefined
  /** Bytes that were sent. */
  sent = 0

  /** Throws INVALID_ARGUMENT for times that are none. */
  constructor({ readable, writable }: MigrationTransport, { heartbeat, peerTimeout, clock = WALL }: LineOptions) {
    this.heartbeat = parseDuration(heartbeat ?? HEARTBEAT, 'heartbeat', { least: 1e6 }) / 1e6
    this.patience = parseDuration(peerTimeout ?? PATIENCE, 'peerTimeout', { least: 1e6, most: Infinity }) / 1e6
    this.clock = clock
    this.source = new ByteSource(readable)
    this.output = openOutput(writable)
    this.over = new Promise((resolve) => { this.end = resolve })
    this.beat()
    this.watch()
  }

  /** True when nothing of what was sent is kept. */
  get keepsNothing(): boolean {
    return this.output.keepsNothing
  }

  /** Why it is over; undefined while it is not. */
  get failure(): XenError | undefined {
    return this.ended
  }

  /** Sends a frame; resolves when the pipe has taken it. Rejects with CLOSED when the connection is over. */
  send(frame: ProtectionFrame): Promise<void> {
    this.quiet = false
    const work = this.sending.then(async () => {
      for (const piece of encodeFrame(frame)) {
        if (this.ended !== undefined) throw this.ended
        await this.whileUp(this.output.write(piece))
        this.sent += piece.length
      }
    }).catch((cause: unknown) => { throw this.fail('it takes nothing any more', cause) })
    this.sending = work.catch(() => undefined)
    return work
  }

  /** The next frame that is no sign of life. Rejects with CLOSED when the connection is over, INVALID_STREAM for what is no frame. */
  async receive(): Promise<ProtectionFrame> {
    for (;;) {
      const frame = await this.read()
      this.heard = true
      if (frame.type !== 'beat') return frame
    }
  }

  /** Both say which version they speak. Rejects with INVALID_STREAM for another one. */
  async greet(): Promise<void> {
    const sent = this.send({ type: 'hello', version: PROTECTION_VERSION })
    sent.catch(() => undefined)
    const first = await this.receive()
    if (first.type === 'hello' && first.version === PROTECTION_VERSION) {
      await sent
      this.isGreeted = true
      return
    }
    const said = first.type === 'hello' ? `version ${first.version}` : first.type
    throw new XenError('INVALID_STREAM', `the other host speaks another protocol of protection: ${said}, not version ${PROTECTION_VERSION}`, { details: { said } })
  }

  /** Ends it: with its last words, if there are any, for which nobody waits for long. */
  async close(lastWords?: ProtectionFrame): Promise<void> {
    if (lastWords !== undefined && this.isGreeted && this.ended === undefined) {
      const said = this.send(lastWords).then(() => this.output.close())
      let callOff: () => void = () => undefined
      const patience = new Promise<void>((resolve) => { callOff = this.patiently(resolve) })
      await Promise.race([said.catch(() => undefined), patience])
      callOff()
    }
    this.fail('this host has ended the connection')
  }

  /** Does something when so much time has passed as the other host may be silent for; the returned function calls it off. */
  patiently(act: () => void): () => void {
    return this.clock.after(Math.min(this.patience, LONGEST), act)
  }

  private async read(): Promise<ProtectionFrame> {
    try {
      const { type, size } = decodeHeader(await this.piece(FRAME_HEADER))
      return decodeFrame(type, await this.piece(size))
    } catch (error) {
      if (XenError.is(error, 'INVALID_STREAM') && error.details['what'] === undefined) throw error
      throw this.fail('it says nothing any more', error)
    }
  }

  private piece(size: number): Promise<Uint8Array> {
    return this.whileUp(this.source.read(size, 'a frame'))
  }

  /** The same, but rejects as soon as the connection is over, whether or not a pipe says so. */
  private whileUp<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = <V>(tell: (value: V) => void) => (value: V): void => {
        this.stops.delete(reject)
        tell(value)
      }
      this.stops.add(reject)
      work.then(settle(resolve), settle(reject))
    })
  }

  private fail(why: string, cause?: unknown): XenError {
    if (this.ended !== undefined) return this.ended
    this.ended = lost(why, cause)
    this.stopBeat()
    this.stopWatch()
    this.end(this.ended)
    for (const stop of this.stops) stop(this.ended)
    void this.output.abort(this.ended).catch(() => undefined)
    void this.source.close().catch(() => undefined)
    return this.ended
  }

  /** Says at intervals that this host lives. */
  private beat(): void {
    this.stopBeat = this.clock.after(this.heartbeat, () => {
      if (this.ended !== undefined) return
      if (this.quiet) this.send({ type: 'beat' }).catch(() => undefined)
      this.quiet = true
      this.beat()
    })
  }

  private watch(): void {
    if (this.patience === Infinity) return
    this.stopWatch = this.clock.after(this.patience, () => {
      if (this.ended !== undefined) return
      if (!this.heard) return void this.fail(`it has said nothing for ${this.patience / 1000} s`)
      this.heard = false
      this.watch()
    })
  }
}
