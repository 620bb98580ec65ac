/**
 * The standby of a protected domain: it keeps the last complete epoch, applies its disk writes, and acknowledges it. When the primary is
 * lost it takes over, if the arbiter lets it; then the domain goes on from that epoch, and nothing that came behind it ever was.
 */
import { XenError } from '../../util/index.ts'
import type { BlockStore } from '../../drivers/index.ts'
import type { DiskConfig } from '../device-kinds/disk/disk-specification.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import type { CreateHost } from '../create/domain-shell.ts'
import { PAGES_PER_MEBIBYTE, SLACK_PAGES } from '../domains/memory-settings.ts'
import { transportPair, type MigrationTransport } from '../migrate/transport.ts'
import { abortable, type OperationContext } from '../run/operation.ts'
import { configFromJson } from '../save/config-json.ts'
import { checkRestorable, restoreDomain, type RestoredDomain, type RestoreOptions, type RestoreProgress } from '../save/restore-domain.ts'
import { openOutput, SaveStreamReader } from '../stream/index.ts'
import type { Arbiter } from './arbiter.ts'
import type { ProtectionFrame } from './frames.ts'
import { Line, type LineOptions } from './line.ts'
import { Pipe } from './pipe.ts'
import { StandbyDisks } from './standby-disks.ts'
import { StandbyImage } from './standby-image.ts'

/** How a host stands by. */
export interface StandByOptions extends Pick<RestoreOptions, 'kernel' | 'trust' | 'cpuPolicy'>, LineOptions {
  /** Who says which side goes on when the two have lost each other. Without one the standby goes on. */
  readonly arbiter?: Arbiter | undefined
  /** Stores that take the contents of the domain's disks, by their names in the domain: `{ xvda: store }`. Default: the host's `openDisk` is asked for each target. */
  readonly disks?: Readonly<Record<string, BlockStore>> | undefined
  /** Leaves a domain that is taken over paused: whoever stands by lets it run. Default false. */
  readonly paused?: boolean | undefined
}

/** What is told of standing by. */
export type StandByProgress =
  /** The primary is there. */
  | { readonly type: 'connected' }
  /** An epoch is complete: from now on the domain can go on from it. */
  | { readonly type: 'committed'; readonly epoch: number; readonly pages: number; readonly diskBytes: number }
  /** The primary is lost. */
  | { readonly type: 'primary-lost'; readonly error: unknown }
  /** This host goes on with the domain. */
  | { readonly type: 'taking-over'; readonly epoch: number }
  | RestoreProgress

/** What standing by needs of the host. */
export interface StandByHost extends CreateHost {
  /** Opens a disk's target, for writing. */
  openDisk(disk: DiskConfig): Promise<BlockStore>
  /** Starts the domain. */
  start(domain: RestoredDomain, name: string): void
}

/** What standing by works with. */
export interface StandByWork {
  readonly transport: MigrationTransport
  readonly options: StandByOptions
  readonly context: OperationContext<StandByProgress>
}

/** One domain that is stood by for. */
export class Standby {
  private readonly host: StandByHost
  private readonly options: StandByOptions
  private readonly context: OperationContext<StandByProgress>
  private readonly line: Line
  private readonly pipe = new Pipe()
  private readonly reader: SaveStreamReader
  private readonly image = new StandbyImage()
  private readonly disks: StandbyDisks
  private config: DomainConfig<string> | undefined
  private begun: Promise<void> = Promise.resolve()
  /** A disk has taken only a part of an epoch, or is not opened. */
  private isTorn = false

  constructor(host: StandByHost, { transport, options, context }: StandByWork) {
    this.host = host
    this.options = options
    this.context = context
    this.line = new Line(transport, options)
    this.reader = new SaveStreamReader(this.pipe)
    this.disks = new StandbyDisks()
  }

  /** Stands by until the protection has ended; whether this host runs the domain now. */
  async run(): Promise<boolean> {
    const { line, context } = this
    const release = followAbort(context.signal, () => void this.giveUp('the standby was given up'))
    try {
      await line.greet()
      context.report({ type: 'connected' })
      this.begun = this.readStart()
      this.begun.catch(() => undefined)
      while (await this.take(await line.receive()));
      return false
    } catch (error) {
      context.check()
      return await this.lost(error)
    } finally {
      release()
      this.pipe.end()
      await line.close()
      await this.disks.close()
    }
  }

  private async readStart(): Promise<void> {
    const { kinds } = this.host.devices
    await this.image.readStart(this.reader, (json) => {
      const config = configFromJson(json, kinds)
      checkRestorable(this.host, config, this.options)
      this.host.claimName(config.name)
      this.config = config
      return config.maxMemory * PAGES_PER_MEBIBYTE + SLACK_PAGES
    })
  }

  /** Takes a frame; false when there are no more. */
  private async take(frame: ProtectionFrame): Promise<boolean> {
    switch (frame.type) {
      case 'stream': this.pipe.push(frame.bytes); return true
      case 'disks':
        await this.begun
        await this.disks.open(frame.disks, (name) => this.openDisk(name))
        return true
      case 'write': case 'discard':
        await this.disks.take(frame, this.image.epochs === 0)
        return true
      case 'epoch':
        await this.commit(frame.epoch)
        return true
      case 'end':
        // From here on it is never run.
        await this.line.close({ type: 'end', why: 'the domain is not run here' })
        return false
      default: throw new XenError('INVALID_STREAM', `the primary says what it cannot: ${frame.type}`, { details: { type: frame.type } })
    }
  }

  private async openDisk(name: string): Promise<BlockStore> {
    const given = this.options.disks?.[name]
    if (given !== undefined) return given
    const disk = this.config?.disks.find(({ vdev }) => vdev.name === name)
    if (disk === undefined) throw new XenError('INVALID_STREAM', `the domain has no disk ${name}`, { details: { disk: name } })
    return this.host.openDisk(disk)
  }

  private async commit(epoch: number): Promise<void> {
    const { image, disks, line, context } = this
    await this.begun
    if (epoch !== image.epochs + 1) throw new XenError('INVALID_STREAM', `epoch ${epoch} follows ${image.epochs}`, { details: { epoch } })
    const pages = await image.readEpoch(this.reader)
    this.isTorn = true
    // The domain stands still at the primary, and what it has written to them is durable.
    if (epoch === 1) await disks.openShared((name) => this.openDisk(name))
    const diskBytes = await disks.commit()
    this.isTorn = false
    context.report({ type: 'committed', epoch, pages, diskBytes })
    // One that is lost meanwhile is noticed by the next frame that does not come.
    await line.send({ type: 'acknowledge', epoch }).catch(() => undefined)
  }

  private async giveUp(why: string): Promise<void> {
    await this.line.close({ type: 'end', why })
  }

  /** Something has failed: the primary is lost, or says what cannot be. */
  private async lost(error: unknown): Promise<boolean> {
    const { context, image, line, options: { arbiter } } = this
    // It is there and well: it goes on alone.
    if (line.failure === undefined) {
      await this.giveUp(XenError.is(error) ? error.message : 'the standby has failed')
      throw error
    }
    context.report({ type: 'primary-lost', error })
    if (image.epochs === 0 || this.isTorn) throw error
    // Whoever is granted the domain has to run it.
    context.ignoreCaller()
    if (arbiter !== undefined && !await abortable(arbiter.claim('standby', { signal: context.signal }), 'standing by', context.signal)) return false
    await this.takeOver()
    return true
  }

  private async takeOver(): Promise<void> {
    const { host, image, context, options } = this
    context.report({ type: 'taking-over', epoch: image.epochs })
    const { ends } = transportPair()
    const output = openOutput(ends[0].writable)
    const writing = image.write(output)
    writing.catch((error: unknown) => output.abort(error))
    const reader = new SaveStreamReader(ends[1].readable, undefined, 'reused')
    const { kernel, trust, cpuPolicy } = options
    const restored = await restoreDomain(host, reader, { kernel, trust, cpuPolicy, context, openedDisks: this.disks.handOver() })
    await writing
    void reader.close().catch(() => undefined)
    host.start(restored, restored.savedName)
    context.commit()
  }
}

/** Calls `act` when a signal fires, until the returned function is called. */
function followAbort(signal: AbortSignal | undefined, act: () => void): () => void {
  if (signal?.aborted === true) act()
  signal?.addEventListener('abort', act)
  return () => signal?.removeEventListener('abort', act)
}
