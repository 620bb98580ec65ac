/**
 * The sending side of a live migration. Until it gives the permission away the domain is its own, and any failure lets
 * the domain go on here. Afterwards it never runs the domain again by itself: only the receiver's word, that its copy
 * is destroyed, gives the domain back.
 * Reference: xl(1), "migrate"; a capture of Xen 4.17.
 */
import { XenError, type DomId } from '../../util/index.ts'
import { imageWriter } from '../save/image-of.ts'
import type { ImageOptions } from '../save/image-writer.ts'
import { abortableWriter, currentConfig, finishImage, type SavedDomain, type SaveHost } from '../save/save-domain.ts'
import { checkSuspended, resumeInPlace, suspendGuest, type SuspendOptions, type SuspendProgress } from '../save/suspend.ts'
import { abortable, alteredContext, type OperationContext } from '../run/operation.ts'
import { checkLives } from '../run/run-loop.ts'
import { SaveStreamReader, writeHead, type OpenOutput, type SaveStreamWriter } from '../stream/index.ts'
import { expectMessage, expectReport, MESSAGE, STATUS } from './handshake.ts'
import { copyRound, dirtyPages, precopy, type PrecopyJob, type PrecopyLimits, type PrecopyProgress } from './precopy.ts'
import { beforeHandover, openPeer, peerGone, type PeerOptions } from './peer.ts'
import type { MigrationTransport } from './transport.ts'

/** What sending needs of the host. */
export interface SendHost extends SaveHost {
  rename(domid: DomId, name: string): void
  /**
   * Has the disks that dom0 serves to a suspended domain take nothing more; resolves when nothing is under way and all is durable. Rejects with what their stores say.
   */
  holdDisks(domid: DomId): Promise<void>
  /** They are served again; nothing for a domain that is gone, or whose disks were not held. */
  releaseDisks(domid: DomId): Promise<void>
  /** Nanoseconds of host time. */
  now(): number
}

/** How a domain is sent. */
export interface MigrateOptions extends SuspendOptions, PrecopyLimits, PeerOptions, ImageOptions {
  /** False suspends the domain before anything is copied. Default true; guests in TypeScript are always copied so. */
  readonly live?: boolean | undefined
}

/** Steps of a migration, seen from the sender. */
export type MigrateProgress =
  /** The receiver is there. */
  | { readonly type: 'connected' }
  | PrecopyProgress
  | SuspendProgress
  /** The receiver has everything; the domain is given to it. */
  | { readonly type: 'handed-over' }
  /** The receiver runs the domain. */
  | { readonly type: 'running-there' }

/** What a migration came to. */
export interface MigrationSummary {
  /** Rounds while the domain ran. */
  readonly rounds: number
  /** Pages sent, those that were sent again included. */
  readonly pages: number
  readonly bytes: number
  /** Pages sent while the domain stood still. */
  readonly finalPages: number
  /** Nanoseconds of host time from the request to suspend to the receiver's report. */
  readonly downtime: number
}

/** Suffix of the name of a domain that has been given away. */
const GONE = '--migratedaway'

/** One migration on its way. */
interface Journey {
  readonly host: SendHost
  readonly domain: SavedDomain
  readonly reader: SaveStreamReader
  readonly writer: SaveStreamWriter
  readonly output: OpenOutput
  readonly options: MigrateOptions
  readonly context: OperationContext<MigrateProgress>
}

/** Notices while pages are written that the receiver has said something or is gone. */
class Listener {
  private failure: unknown
  readonly ready: Promise<void>

  constructor(reader: SaveStreamReader) {
    this.ready = expectMessage(reader, 'READY').catch((cause: unknown) => {
      if (XenError.is(cause, 'ABORTED') || XenError.is(cause, 'TIMED_OUT') || XenError.is(cause, 'CLOSED')) throw cause
      throw peerGone(cause)
    })
    this.ready.catch((error: unknown) => { this.failure = error })
  }

  check(): void {
    if (this.failure !== undefined) throw this.failure
  }
}

/** Gives the run loop its turn: the domain runs between two batches. */
const breathe = (): Promise<void> => new Promise((resolve) => {
  if (typeof setImmediate === 'function') setImmediate(resolve)
  else setTimeout(resolve, 0)
})

/** Copies while the domain runs; what is left, and the image to write it to. */
async function copyLive(
  journey: Journey,
  listener: Listener,
): Promise<{ job: PrecopyJob; rounds: number; left: readonly number[] }> {
  const { host, domain, writer, options, context } = journey
  host.control.enableLogDirty(domain.id)
  context.undo(() => {
    if (host.control.hasDomain(domain.id)) host.control.disableLogDirty(domain.id)
  })
  const job: PrecopyJob = {
    control: host.control,
    domid: domain.id,
    image: imageWriter(host.control, domain.id, writer, { zeros: options.zeros }),
    limits: options,
    report: (event) => context.report(event),
    check: () => {
      listener.check()
      context.check()
      checkLives(host.control, domain.id, `migrating domain ${domain.id}`)
    },
    breathe,
  }
  await job.image.writeStart()
  return { job, ...(await precopy(job)) }
}

/** Sends what is left of a suspended domain, and the end of the stream; how many pages that were. */
async function finish(journey: Journey, job: PrecopyJob, left: readonly number[], round: number): Promise<number> {
  const { writer, context } = journey
  job.image.refresh()
  const pages = new Set([...left, ...dirtyPages(job), ...job.image.retyped(), ...job.image.ringPages()])
  await copyRound(job, round, { pages: [...pages], live: false })
  await finishImage(job.image, writer)
  context.check()
  return pages.size
}

/** Suspends the domain, and has all that it has written stand in its disks: the receiver opens them as soon as it has the rest of the stream. */
async function suspend({ host, domain, context, options }: Journey): Promise<void> {
  await suspendGuest(host, domain.id, context, options)
  context.undo(() => host.releaseDisks(domain.id))
  await abortable(host.holdDisks(domain.id), `migrating domain ${domain.id}`, context.signal)
}

type Copied = Pick<MigrationSummary, 'rounds' | 'pages' | 'finalPages'> & { readonly stopped: number }

async function sendLive(journey: Journey, listener: Listener): Promise<Copied> {
  const { host, context } = journey
  let pages = 0
  const counted = counting(context, (count) => { pages += count })
  const release = host.loop.share()
  context.undo(release)
  const { job, rounds, left } = await copyLive({ ...journey, context: counted }, listener)
  const stopped = host.now()
  await suspend(journey)
  release()
  const finalPages = await finish(journey, job, left, rounds + 1)
  return { rounds, pages: pages + finalPages, finalPages, stopped }
}

/** A context that counts the pages of each round as it is announced. */
function counting(
  context: OperationContext<MigrateProgress>,
  count: (pages: number) => void,
): OperationContext<MigrateProgress> {
  return alteredContext(context, {
    report: (event) => {
      if (event.type === 'round') count(event.pages)
      context.report(event)
    },
  })
}

async function sendStopped(journey: Journey): Promise<Copied> {
  const { host, domain, writer, context, options } = journey
  const stopped = host.now()
  await suspend(journey)
  const image = imageWriter(host.control, domain.id, writer, { zeros: options.zeros })
  await image.writeStart()
  const job: PrecopyJob = {
    control: host.control, domid: domain.id, image, limits: options, report: (event) => context.report(event),
    check: () => context.check(), breathe,
  }
  const pages = image.pages()
  await copyRound(job, 1, { pages, live: false })
  await finishImage(image, writer)
  return { rounds: 0, pages: pages.length, finalPages: pages.length, stopped }
}

const undecided = (domain: SavedDomain, cause: unknown): XenError =>
  new XenError(
    'MIGRATION_UNDECIDED',
    `nobody here knows whether the other host runs domain ${domain.id}; it stays suspended as ${domain.name}${GONE}: `
      + 'resume or destroy it once you do',
    { details: { domid: domain.id, name: `${domain.name}${GONE}` }, cause },
  )

/**
 * Gives the domain away and hears what became of it. True when the receiver runs it; false when the receiver has
 * destroyed its copy and given the domain back. Throws MIGRATION_UNDECIDED when nobody can know.
 */
async function handOver({ host, domain, reader, output, context }: Journey): Promise<boolean> {
  const lost = (cause: unknown): XenError => {
    context.commit()
    if (host.control.hasDomain(domain.id)) host.control.disableLogDirty(domain.id)
    // The other side must not wait for ever, either.
    void output.close().catch(() => undefined)
    void reader.close().catch(() => undefined)
    return undecided(domain, cause)
  }
  host.rename(domain.id, `${domain.name}${GONE}`)
  context.undo(() => {
    if (host.control.hasDomain(domain.id)) host.rename(domain.id, domain.name)
  })
  context.report({ type: 'handed-over' })
  // A receiver that has given up reports without taking the permission, so one does not wait for the other.
  const report = expectReport(reader)
  const written = output.write(MESSAGE.PERMISSION)
  for (const promise of [report, written]) promise.catch(() => undefined)
  try {
    // A pipe that is closed tells both; the write knows more.
    await Promise.race([written, report.then(() => undefined, breathe)])
  } catch (error) {
    // Only a pipe that was closed before has certainly not delivered it.
    if (XenError.is(error, 'CLOSED')) return false
    // The receiver may still be able to say what it has got.
    void output.abort(error).catch(() => undefined)
  }
  try {
    if (await report === STATUS.RUNNING) return true
    await expectMessage(reader, 'PERMISSION')
    return false
  } catch (error) {
    throw lost(error)
  }
}

/** Hands the domain over for good. Throws IO when the receiver has given it back. */
async function giveAway(journey: Journey): Promise<void> {
  const { domain, context } = journey
  // A domain that has been given away cannot be called back.
  context.ignoreCaller()
  if (!await handOver(journey)) {
    throw new XenError('IO', `the other host could not run domain ${domain.id}; it goes on here`, {
      details: { domid: domain.id },
    })
  }
  context.commit()
  context.report({ type: 'running-there' })
}

/**
 * Sends a domain to the host at the other end. What it has done is undone by the context when a step before the
 * handover throws.
 */
export async function sendDomain(
  host: SendHost,
  domain: SavedDomain,
  transport: MigrationTransport,
  options: MigrateOptions & { readonly context: OperationContext<MigrateProgress> },
): Promise<MigrationSummary> {
  const { context } = options
  const { output, readable, turn } = openPeer(transport, options)
  const reader = new SaveStreamReader(readable, context.signal)
  context.undo((cause) => output.abort(cause).catch(() => undefined))
  context.undo(() => void reader.close().catch(() => undefined))
  await expectMessage(reader, 'BANNER')
  context.report({ type: 'connected' })
  // It has nothing to say until it has everything.
  turn.ours = true
  const writer = abortableWriter(beforeHandover(output), `the migration of domain ${domain.id}`, context.signal)
  const journey: Journey = { host, domain, reader, writer, output, options, context }
  const listener = new Listener(reader)
  await writeHead(writer, currentConfig(host, domain))
  const live = options.live !== false && host.control.domainInfo(domain.id).hasRegisters
  const copied = live ? await sendLive(journey, listener) : await sendStopped(journey)
  turn.ours = false
  await listener.ready
  context.check()
  await giveAway(journey)
  const { stopped, ...figures } = copied
  const summary: MigrationSummary = { ...figures, bytes: writer.offset, downtime: host.now() - stopped }
  context.leave()
  await host.destroy(domain.id, 'migrated')
  await output.close().catch(() => undefined)
  void reader.close().catch(() => undefined)
  return summary
}

/**
 * Ends a suspend that nobody else will: for a domain whose migration was undecided and that is known not to run
 * elsewhere.
 */
export function takeBack(host: SendHost, domain: SavedDomain): void {
  checkSuspended(host, domain.id)
  if (domain.name.endsWith(GONE)) host.rename(domain.id, domain.name.slice(0, -GONE.length))
  void host.releaseDisks(domain.id)
  resumeInPlace(host, domain.id)
}
