/**
 * Saving a domain: it is suspended, its image is written in the format of `xl save`, and then it is destroyed, or goes
 * on. When anything fails it goes on as if nothing had happened.
 * Reference: xl(1), "save"; xen/docs/specs/libxl-migration-stream.pandoc.
 */
import type { DomId } from '../../util/index.ts'
import { kernelName, ramdiskName } from '../domains/kernel-source.ts'
import { liveConfig, type ConfiguredDomain, type LiveHost } from '../create/live-config.ts'
import { abortable, abortedError, type OperationContext } from '../run/operation.ts'
import type { DeviceKinds } from '../device-kinds/device-kinds.ts'
import { openOutput, SaveStreamWriter, writeHead, writeTail, type ByteOutput, type OpenOutput } from '../stream/index.ts'
import { configToJson } from './config-json.ts'
import { imageWriter } from './image-of.ts'
import type { ImageWriter } from './image-writer.ts'
import { resumeInPlace, suspendGuest, type SuspendHost, type SuspendOptions, type SuspendProgress } from './suspend.ts'

/** What saving needs of the host. */
export interface SaveHost extends SuspendHost, LiveHost {
  readonly deviceKinds: DeviceKinds
  destroy(domid: DomId, reason: 'saved' | 'migrated'): Promise<unknown>
}

/** The domain to be saved. */
export type SavedDomain = ConfiguredDomain

/** How a domain is saved. */
export interface SaveOptions extends SuspendOptions {
  /**
   * What becomes of the domain once the image is complete. Default `destroy`; `resume` is `xl save -c`, `pause` is `xl
   * save -p`.
   */
  readonly afterwards?: 'destroy' | 'resume' | 'pause' | undefined
}

/** Steps of saving a domain. */
export type SaveProgress =
  | SuspendProgress
  /** `pages` of `total` have been written. */
  | { readonly type: 'pages'; readonly pages: number; readonly total: number; readonly bytes: number }
  /** The target has everything. */
  | { readonly type: 'written'; readonly pages: number; readonly bytes: number }

/** The configuration that goes along, as it is now. */
export function currentConfig(host: LiveHost & { readonly deviceKinds: DeviceKinds }, domain: SavedDomain): string {
  const config = liveConfig(host, domain)
  return configToJson(config, { kernel: kernelName(config.kernel), ramdisk: ramdiskName(config.ramdisk) }, host.deviceKinds)
}

/** A writer whose every write fails once the operation is aborted, even when the target takes its time. */
export function abortableWriter(output: OpenOutput, what: string, signal: AbortSignal | undefined): SaveStreamWriter {
  if (signal === undefined) return new SaveStreamWriter(output)
  let onAbort: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(abortedError(what, signal))
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
  })
  aborted.catch(() => undefined)
  return new SaveStreamWriter({
    keepsNothing: output.keepsNothing,
    keepsLast: output.keepsLast,
    write: (chunk) => Promise.race([output.write(chunk), aborted]),
  })
}

/** Writes what is left of a suspended domain behind its pages, and the end of the stream. */
export async function finishImage(image: ImageWriter, writer: SaveStreamWriter): Promise<void> {
  writer.gather()
  await image.writeEnd()
  await image.writeFinish()
  await writeTail(writer)
}

async function writeImage(
  host: SaveHost,
  domain: SavedDomain,
  writer: SaveStreamWriter,
  context: OperationContext<SaveProgress>,
): Promise<number> {
  await writeHead(writer, currentConfig(host, domain))
  const image = imageWriter(host.control, domain.id, writer)
  const all = image.pages()
  const total = all.length
  let pages = 0
  await image.writeStart()
  await image.writePages(all, {
    onBatch: (count) => {
      context.check()
      pages += count
      context.report({ type: 'pages', pages, total, bytes: writer.offset })
    },
  })
  await finishImage(image, writer)
  return pages
}

/** Saves a domain. What it has done is undone by the context when a later step throws; `target` is aborted then. */
export async function saveDomain(
  host: SaveHost,
  domain: SavedDomain,
  target: ByteOutput,
  options: SaveOptions & { readonly context: OperationContext<SaveProgress> },
): Promise<void> {
  const { context, afterwards = 'destroy' } = options
  const output = openOutput(target)
  context.undo((cause) => output.abort(cause).catch(() => undefined))
  await suspendGuest(host, domain.id, context, options)
  const writer = abortableWriter(output, `saving domain ${domain.id}`, context.signal)
  const pages = await writeImage(host, domain, writer, context)
  await abortable(output.close(), `saving domain ${domain.id}`, context.signal)
  context.check()
  context.report({ type: 'written', pages, bytes: writer.offset })
  if (afterwards === 'destroy') {
    context.leave()
    await host.destroy(domain.id, 'saved')
    return
  }
  if (afterwards === 'pause') host.control.pauseDomain(domain.id)
  resumeInPlace(host, domain.id)
}
