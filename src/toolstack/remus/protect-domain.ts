/**
 * The primary of a protected domain: it runs the domain in epochs. Behind each the domain stands still for as long as it takes to put
 * aside what has changed; then it runs on while that is sent. What it has sent to the network in an epoch leaves the host when the
 * standby has acknowledged the epoch, never before; so whoever sees output of the domain sees what the standby knows, too.
 *
 * When the two lose each other, output stays back until it is known who goes on. The way back to an unprotected domain is the same
 * question, asked of the standby first.
 * Reference: Cully et al., Remus (NSDI 2008); tools/libs/light/libxl_remus.c (what it does, not the code).
 */
import type { OutputHold, ServedNic } from '../../drivers/index.ts'
import { XenError, type DomId, type Duration, parseDuration } from '../../util/index.ts'
import { copyRound, dirtyPages, precopy, type PrecopyJob, type PrecopyLimits, type PrecopyProgress } from '../migrate/precopy.ts'
import type { SendHost } from '../migrate/send.ts'
import type { MigrationTransport } from '../migrate/transport.ts'
import { abortable, type OperationContext } from '../run/operation.ts'
import { checkLives, turn } from '../run/run-loop.ts'
import { imageWriter } from '../save/image-of.ts'
import type { ImageWriter } from '../save/image-writer.ts'
import { currentConfig, type SavedDomain } from '../save/save-domain.ts'
import { resumeInPlace, suspendGuest, type SuspendOptions, type SuspendProgress } from '../save/suspend.ts'
import { writeHead } from '../stream/index.ts'
import type { Arbiter } from './arbiter.ts'
import { CheckpointStream } from './checkpoint-stream.ts'
import { DiskMirror, storageOf, type NamedDisk } from './disk-mirror.ts'
import type { ProtectionFrame } from './frames.ts'
import { Line, type LineOptions } from './line.ts'

/** What protecting needs of the host. */
export interface ProtectHost extends SendHost {
  /** The domain's network interfaces and writable disks. Throws NOT_SUPPORTED for one that dom0's own back-end does not serve. */
  outputs(domid: DomId): { readonly nics: readonly ServedNic[]; readonly disks: readonly NamedDisk[] }
  /** Does something when a paused domain is let run on; nothing, when it is destroyed before. */
  onUnpaused(domid: DomId, act: () => void): void
}

/** How a domain is protected. */
export interface ProtectOptions extends SuspendOptions, LineOptions, Pick<PrecopyLimits, 'maxRounds' | 'dirtyPages'> {
  /** Host time from the beginning of one checkpoint to that of the next. Default 200 ms, as of `xl remus`. The next one never begins before the last one is acknowledged. */
  readonly interval?: Duration | undefined
  /**
   * Who says which side goes on when the two have lost each other. Without one the standby goes on, and the domain here is paused:
   * PROTECTION_UNDECIDED.
   */
  readonly arbiter?: Arbiter | undefined
  /**
   * Leaves the domain paused from its first epoch on: the standby has all that it has ever done, and there is no second epoch. For whoever moves it;
   * `unpause` lets it go on when the protection has ended here. Default false.
   */
  readonly paused?: boolean | undefined
}

/** What is told of a protected domain. */
export type ProtectProgress =
  /** The standby is there. */
  | { readonly type: 'connected' }
  | PrecopyProgress
  /** All that was on the disks has been sent. */
  | { readonly type: 'disks-copied'; readonly bytes: number }
  | SuspendProgress
  /** What has changed is put aside, and the domain runs again: `pause` is nanoseconds of host time from the request to suspend to here. */
  | { readonly type: 'captured'; readonly epoch: number; readonly pages: number; readonly bytes: number; readonly pause: number }
  /** The standby can go on from this epoch; its output is let go. */
  | { readonly type: 'acknowledged'; readonly epoch: number; readonly frames: number }
  /** The first epoch is acknowledged: from now on the domain outlives this host. */
  | { readonly type: 'protected' }
  /** The standby is lost; output stays back until it is known who goes on. */
  | { readonly type: 'standby-lost'; readonly error: unknown }

/** How a protection has ended, where it has not failed. */
export type ProtectionEnd =
  /** `unprotect` was called: the domain runs here. */
  | 'unprotected'
  /** The standby has given up; the domain runs here. */
  | 'standby-ended'
  /** The standby was lost, and the domain goes on here. */
  | 'standby-lost'
  /** The standby has taken over: the domain is destroyed here. */
  | 'failed-over'

/** What a protection has done so far. */
export interface ProtectionStatistics {
  /** Epochs that were captured, and those that the standby has acknowledged. */
  readonly epochs: number
  readonly acknowledged: number
  /** Pages and bytes that were sent, the first copy included. */
  readonly pages: number
  readonly bytes: number
  /** Bytes of disk writes in epochs. */
  readonly diskBytes: number
  /** Frames of the domain's that wait for an acknowledgement. */
  readonly heldFrames: number
  /** Nanoseconds of host time for which the domain was suspended for checkpoints: of the last one, and of all. */
  readonly lastPause: number
  readonly totalPause: number
}

/** What a protection came to. */
export interface ProtectionSummary extends ProtectionStatistics {
  readonly end: ProtectionEnd
}

/** Bytes of a piece of the stream: each is a sign of life. */
const PIECE = 1 << 18
const INTERVAL = 200e6
/**
 * Pages of a guest with registers that are remembered, to be left out of an epoch where they are written and come to be what they were: 16 MiB. Of those that Linux writes from one checkpoint to the next
 * two of three do.
 */
const REMEMBERED = 4096
/** A standby is of this library. */
const ZEROS = { zeros: 'omitted' } as const

/** Why the loop of epochs ends without an error. */
class Ended extends Error {
  readonly end: ProtectionEnd

  constructor(end: ProtectionEnd) {
    super(end)
    this.end = end
  }
}

/** The protection of one domain. */
export class Protection {
  private readonly host: ProtectHost
  private readonly domain: SavedDomain
  private readonly options: ProtectOptions
  private readonly context: OperationContext<ProtectProgress>
  private readonly line: Line
  private readonly mirror: DiskMirror
  private readonly nics: readonly ServedNic[]
  private readonly interval: number
  private readonly stream: CheckpointStream
  private holds: readonly OutputHold[] = []
  private image!: ImageWriter
  private isStopping = false
  /** This has paused the domain. */
  private isStill = false
  private heardEnd: string | undefined
  /** Something has happened that somebody may wait for. */
  private wake: () => void = () => undefined
  private captured = 0
  private counts = { epochs: 0, acknowledged: 0, pages: 0, diskBytes: 0, lastPause: 0, totalPause: 0 }

  /** Throws INVALID_ARGUMENT, NOT_SUPPORTED. */
  constructor(
    host: ProtectHost, domain: SavedDomain,
    { transport, options, context }: { readonly transport: MigrationTransport; readonly options: ProtectOptions; readonly context: OperationContext<ProtectProgress> },
  ) {
    this.host = host
    this.domain = domain
    this.options = options
    this.context = context
    this.interval = parseDuration(options.interval ?? INTERVAL, 'interval', { least: 1e6 })
    const { nics, disks } = host.outputs(domain.id)
    const shared = disks.find((each) => storageOf(each) !== undefined)
    if (shared !== undefined && options.paused !== true) {
      throw new XenError('NOT_SUPPORTED', `domain ${domain.id} cannot be protected: its disk ${shared.name} lies in storage ${storageOf(shared)!}, and would be newer than an epoch`, { details: { domid: domain.id, disk: shared.name } })
    }
    this.nics = nics
    this.mirror = new DiskMirror(disks)
    this.line = new Line(transport, options)
    const { hasRegisters } = host.control.domainInfo(domain.id)
    void this.line.over.then(() => this.wake())
    this.stream = new CheckpointStream((chunk) => this.sendStream([chunk]), { remembered: hasRegisters ? REMEMBERED : Infinity, keepsNothing: this.line.keepsNothing })
  }

  get statistics(): ProtectionStatistics {
    return { ...this.counts, bytes: this.line.sent, heldFrames: this.holds.reduce((sum, { frames }) => sum + frames, 0) }
  }

  /** Back to an unprotected domain, at the next moment at which it is not suspended. */
  stop(): void {
    this.isStopping = true
    this.wake()
  }

  /** Protects the domain until one of its ends. What ends it by an error leaves the domain running here, wherever that is safe. */
  async run(): Promise<ProtectionSummary> {
    let why: unknown
    try {
      await this.begin()
      for (;;) await this.epoch()
    } catch (error) {
      why = error
    }
    const end = await this.settle(why)
    return { ...this.statistics, end }
  }

  /** Meets the standby, and copies disks and memory while the domain runs. */
  private async begin(): Promise<void> {
    const { context, host, domain, stream: { writer } } = this
    await abortable(this.line.greet(), `protecting domain ${domain.id}`, context.signal)
    context.report({ type: 'connected' })
    void this.listen()
    await writeHead(writer, currentConfig(host, domain))
    if (this.isNoted) {
      host.control.enableLogDirty(domain.id)
      this.image = imageWriter(host.control, domain.id, writer, ZEROS)
      await this.image.writeStart()
    }
    await writer.flush()
    await this.copyDisks()
    await this.checkpoint(this.isNoted ? await this.copyPages() : [])
    context.report({ type: 'protected' })
  }

  private async copyDisks(): Promise<void> {
    const { mirror, line } = this
    await line.send({ type: 'disks', disks: mirror.disks })
    await mirror.observe()
    await mirror.copyAll((frames) => this.sendAll(frames))
    const bytes = mirror.disks.reduce((sum, { size }) => sum + size, 0)
    this.context.report({ type: 'disks-copied', bytes })
  }

  /** Copies the memory while the domain runs; pages that are left. */
  private async copyPages(): Promise<readonly number[]> {
    const release = this.host.loop.share()
    return (await precopy(this.job).finally(release)).left
  }

  private get job(): PrecopyJob {
    const { host, domain, context, options } = this
    return {
      control: host.control, domid: domain.id, image: this.image, limits: options, breathe: turn,
      report: (event) => {
        if (event.type === 'round') this.counts.pages += event.pages
        context.report(event)
      },
      check: () => this.check(),
    }
  }

  /** Whether the guest's writes are noted; a guest in TypeScript says where its memory is only when it is suspended. */
  private get isNoted(): boolean {
    return this.host.control.domainInfo(this.domain.id).hasRegisters
  }

  /** One epoch: the domain runs for a while, and is captured. */
  private async epoch(): Promise<void> {
    const { host: { loop, control }, domain: { id } } = this
    if (this.isStill) {
      await this.abortable(this.somethingHeard())
      return this.check()
    }
    const rest = new AbortController()
    const due = loop.until('the next checkpoint', () => false, { timeout: this.nextIn(), signal: rest.signal }).catch(() => undefined)
    await this.abortable(Promise.race([due, this.somethingHeard()])).finally(() => rest.abort())
    this.check()
    checkLives(control, id, `protecting domain ${id}`)
    await this.checkpoint([])
  }

  /** Nanoseconds until the next checkpoint is due: from the beginning of one to that of the next. */
  private nextIn(): number {
    return Math.max(0, this.captured + this.interval - this.host.now())
  }

  /** Captures the domain, lets it run on, sends what was captured, and waits until the standby has it. */
  private async checkpoint(left: readonly number[]): Promise<void> {
    const { context, line } = this
    const epoch = this.counts.epochs + 1
    const { chunks, frames, pages } = await this.capture(left)
    this.counts.epochs = epoch
    const bytes = chunks.reduce((sum, { length }) => sum + length, 0)
    context.report({ type: 'captured', epoch, pages, bytes, pause: this.counts.lastPause })
    await this.sendStream(chunks)
    await this.sendAll(frames)
    await line.send({ type: 'epoch', epoch })
    await this.abortable(this.acknowledged(epoch))
    const released = this.holds.reduce((sum, hold) => sum + hold.frames, 0)
    for (const hold of this.holds) hold.release()
    context.report({ type: 'acknowledged', epoch, frames: released })
  }

  /** Suspends the domain, puts aside what has changed, and lets it go on. */
  private async capture(left: readonly number[]): Promise<{ readonly chunks: readonly Uint8Array[]; readonly frames: readonly ProtectionFrame[]; readonly pages: number }> {
    const { host, domain, stream, options, context } = this
    const started = host.now()
    this.captured = started
    await stream.putAside()
    const back: ((cause: unknown) => void | Promise<void>)[] = []
    try {
      await suspendGuest(host, domain.id, { report: (event) => context.report(event), signal: context.signal, undo: (step) => back.push(step) }, options)
      await this.mirror.holdShared()
      const pages = await (this.isNoted ? this.putNoted(left) : this.putAll())
      await this.image.writeEnd()
      const chunks = await stream.endEpoch()
      const { frames, bytes } = this.mirror.take()
      this.counts.diskBytes += bytes
      if (this.holds.length === 0) this.holds = this.nics.map((nic) => nic.holdOutput())
      else for (const hold of this.holds) hold.seal()
      if (options.paused === true) this.standStill()
      resumeInPlace(host, domain.id)
      this.counts.lastPause = host.now() - started
      this.counts.totalPause += this.counts.lastPause
      return { chunks, frames, pages }
    } catch (error) {
      await this.mirror.releaseShared()
      for (const step of back.reverse()) await step(error)
      throw error
    }
  }

  private standStill(): void {
    if (!this.isStill) this.host.control.pauseDomain(this.domain.id)
    this.isStill = true
  }

  private async putNoted(left: readonly number[]): Promise<number> {
    const { image } = this
    const pages = new Set([...left, ...dirtyPages(this.job)])
    // Before the first epoch the guest ran between the look and the log.
    image.refresh(this.counts.epochs === 0 ? undefined : (pfn) => pages.has(pfn))
    for (const pfn of [...image.retyped(), ...image.ringPages()]) pages.add(pfn)
    return this.put(pages)
  }

  /** Every page is looked at; only those that have changed are written. */
  private async putAll(): Promise<number> {
    const { host: { control }, domain: { id }, stream: { writer } } = this
    this.image = imageWriter(control, id, writer, ZEROS)
    if (this.counts.epochs === 0) await this.image.writeStart()
    else await this.image.writeLayout()
    return this.put(new Set(this.image.pages()))
  }

  private async put(pages: ReadonlySet<number>): Promise<number> {
    await copyRound(this.job, this.counts.epochs + 1, { pages: [...pages], live: false })
    const unchanged = this.stream.takeUnchanged()
    this.counts.pages -= unchanged
    return pages.size - unchanged
  }

  /** Hears acknowledgements, and the standby's end. */
  private async listen(): Promise<void> {
    try {
      for (;;) {
        const frame = await this.line.receive()
        if (frame.type === 'acknowledge' && frame.epoch === this.counts.acknowledged + 1 && frame.epoch <= this.counts.epochs) this.counts.acknowledged = frame.epoch
        else if (frame.type === 'end') this.heardEnd = frame.why
        else throw new XenError('INVALID_STREAM', `the standby says what it cannot: ${frame.type}`, { details: { type: frame.type } })
        this.wake()
        if (frame.type === 'end') return
      }
    } catch {
      // What is no frame of this protocol is no standby.
      void this.line.close()
    }
  }

  /** Resolves when the standby has acknowledged an epoch. Rejects when it is lost or has ended. */
  private async acknowledged(epoch: number): Promise<void> {
    while (this.counts.acknowledged < epoch) {
      if (this.heardEnd !== undefined) throw new Ended('standby-ended')
      if (this.line.failure !== undefined) throw this.line.failure
      await this.somethingHeard()
    }
  }

  /** Resolves when the standby has said something or is lost, or when this is to stop. One waits at a time. */
  private somethingHeard(): Promise<void> {
    return new Promise((resolve) => { this.wake = resolve })
  }

  /** Throws when there is no going on. */
  private check(): void {
    if (this.isStopping) throw new Ended('unprotected')
    if (this.heardEnd !== undefined) throw new Ended('standby-ended')
    if (this.line.failure !== undefined) throw this.line.failure
    this.context.check()
  }

  private abortable<T>(work: Promise<T>): Promise<T> {
    return abortable(work, `protecting domain ${this.domain.id}`, this.context.signal)
  }

  private async sendAll(frames: readonly ProtectionFrame[]): Promise<void> {
    for (const frame of frames) await this.abortable(this.line.send(frame))
    this.check()
  }

  private async sendStream(chunks: readonly Uint8Array[]): Promise<void> {
    for (const chunk of chunks) {
      for (let at = 0; at < chunk.length; at += PIECE) await this.line.send({ type: 'stream', bytes: chunk.subarray(at, at + PIECE) })
    }
  }

  /** Says what became of it: only when it is certain that the standby never runs the domain does it run here with its output. */
  private async settle(why: unknown): Promise<ProtectionEnd> {
    const { host: { control }, domain: { id } } = this
    if (control.hasDomain(id)) this.stopNoting()
    await this.mirror.end().catch(() => undefined)
    // One that is asked to end for another reason ends as well, below.
    const [isLost, hasEnded] = [this.line.failure !== undefined, this.heardEnd !== undefined]
    if (isLost && this.context.signal?.aborted !== true) this.context.report({ type: 'standby-lost', error: why })
    const owner = await this.owner()
    await this.line.close()
    const end = (waiting: 'send' | 'drop'): void => { for (const hold of this.holds) hold.end(waiting) }
    if (owner === 'there') {
      this.context.leave()
      if (control.hasDomain(id)) await this.host.destroy(id, 'migrated')
      // Not before: what is still in its rings has not been seen, either.
      end('drop')
      return 'failed-over'
    }
    const goOn = (): void => {
      end('send')
      void this.mirror.releaseShared()
    }
    if (owner === 'unknown') {
      if (control.hasDomain(id)) this.standStill()
      // Whoever lets it run on knows that the standby does not.
      this.host.onUnpaused(id, goOn)
      throw this.undecided(why)
    }
    goOn()
    if (why instanceof Ended) return why.end
    if (hasEnded && this.context.signal?.aborted !== true) return 'standby-ended'
    if (isLost && this.context.signal?.aborted !== true) return 'standby-lost'
    throw why
  }

  private stopNoting(): void {
    if (!this.isNoted) return
    try {
      this.host.control.disableLogDirty(this.domain.id)
    } catch (error) {
      // It was never begun.
      if (!XenError.is(error, 'INVALID_STATE')) throw error
    }
  }

  /** Who may run the domain: the standby says so, or the arbiter where the standby does not answer. */
  private async owner(): Promise<'here' | 'there' | 'unknown'> {
    // It has promised never to run it, or has nothing to run.
    if (this.heardEnd !== undefined || this.counts.epochs === 0) {
      await this.line.close({ type: 'end', why: 'the protection has ended' })
      return 'here'
    }
    if (this.line.failure === undefined) {
      this.line.send({ type: 'end', why: 'the protection has ended' }).catch(() => undefined)
      while (this.heardEnd === undefined && this.line.failure === undefined) {
        await this.somethingHeard()
      }
      if (this.heardEnd !== undefined) return 'here'
    }
    return this.ask()
  }

  /** Asks the arbiter. Nobody waits for ever for one that does not answer once the protection is to end. */
  private async ask(): Promise<'here' | 'there' | 'unknown'> {
    const { options: { arbiter }, context: { signal } } = this
    if (arbiter === undefined) return 'unknown'
    const answer = arbiter.claim('primary', { signal }).then((isOurs): 'here' | 'there' => (isOurs ? 'here' : 'there'), (): 'unknown' => 'unknown')
    const givenUp = new Promise<'unknown'>((resolve) => {
      const wait = (): void => void this.line.patiently(() => resolve('unknown'))
      if (signal?.aborted === true) wait()
      else signal?.addEventListener('abort', wait, { once: true })
    })
    return Promise.race([answer, givenUp])
  }

  private undecided(cause: unknown): XenError {
    const { id, name } = this.domain
    return new XenError('PROTECTION_UNDECIDED', `nobody here knows whether the standby runs domain ${id}; it is paused: unpause or destroy it once you do`, { details: { domid: id, name }, cause })
  }
}

