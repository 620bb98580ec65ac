/**
 * The receiving side of a live migration. The copy is made under another name and stays paused until the sender gives
 * it free; a receiver that cannot run it destroys it and says so.
 * Reference: xl(1), "migrate-receive"; a capture of Xen 4.17.
 */
import { XenError } from '../../util/index.ts'
import type { CreateHost } from '../create/domain-shell.ts'
import { abortable, type OperationContext } from '../run/operation.ts'
import {
  restoreDomain,
  type RestoredDomain,
  type RestoreOptions,
  type RestoreProgress,
} from '../save/restore-domain.ts'
import { SaveStreamReader, type OpenOutput } from '../stream/index.ts'
import { expectMessage, MESSAGE, STATUS } from './handshake.ts'
import { beforeHandover, openPeer, type PeerOptions } from './peer.ts'
import type { MigrationTransport } from './transport.ts'

/** Steps of a migration, seen from the receiver. */
export type ReceiveProgress =
  | RestoreProgress
  /** Everything is here; the sender has been asked for its permission. */
  | { readonly type: 'permission-asked' }
  /** The domain is ours. */
  | { readonly type: 'permission-given' }

/** How a domain is received. */
export type ReceiveOptions = Pick<RestoreOptions, 'kernel' | 'trust' | 'cpuPolicy'> & PeerOptions

/** What receiving needs of the host besides restoring. */
export interface ReceiveHost extends CreateHost {
  /** Gives the domain its final name and starts it. Throws DOMAIN_EXISTS. */
  start(domain: RestoredDomain, name: string): void
}

/** Suffix of the name of a domain that is not ours yet. */
const INCOMING = '--incoming'

/** Milliseconds that a failed receiver waits at most for the sender to take its last words. */
const PATIENCE = 5000

/** Tells the sender that its domain does not run here, and, the copy being destroyed, that it may have it back. */
async function giveBack(output: OpenOutput): Promise<void> {
  await output.write(MESSAGE.REPORT)
  await output.write(new Uint8Array([STATUS.FAILED]))
  await output.write(MESSAGE.PERMISSION)
  await output.close()
}

/** Waits for `work`, but not for ever; whether it was done. */
async function withPatience(work: Promise<void>): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const enough = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), PATIENCE)
  })
  const done = await Promise.race([work.then(() => true, () => false), enough])
  clearTimeout(timer)
  return done
}

/** Waits for the permission to run the domain. */
async function askPermission(
  reader: SaveStreamReader,
  output: OpenOutput,
  context: OperationContext<ReceiveProgress>,
): Promise<void> {
  await abortable(beforeHandover(output).write(MESSAGE.READY), 'receiving a domain', context.signal)
  context.report({ type: 'permission-asked' })
  await expectMessage(reader, 'PERMISSION')
  context.report({ type: 'permission-given' })
}

/** Receives a domain and runs it. What it has done is undone by the context when a later step throws. */
export async function receiveDomain(
  host: ReceiveHost,
  transport: MigrationTransport,
  options: ReceiveOptions & { readonly context: OperationContext<ReceiveProgress> },
): Promise<RestoredDomain> {
  const { context, kernel, trust, cpuPolicy } = options
  const { output, readable } = openPeer(transport, options)
  const reader = new SaveStreamReader(readable, context.signal, 'reused')
  let asked = false
  // The first step to be remembered is the last to be undone: by then the copy is destroyed.
  context.undo(async (cause) => {
    // Neither side may wait for the other for ever, in whatever it is doing.
    if (!asked || !await withPatience(giveBack(output))) void output.abort(cause).catch(() => undefined)
    void reader.close().catch(() => undefined)
  })
  await abortable(beforeHandover(output).write(MESSAGE.BANNER), 'receiving a domain', context.signal)
  const restored = await restoreDomain(host, reader, { kernel, trust, cpuPolicy, context, rename: (name) => `${name}${INCOMING}` })
  asked = true
  await askPermission(reader, output, context)
  if (context.signal?.aborted === true)
    throw new XenError('ABORTED', 'receiving a domain was aborted', { cause: context.signal.reason })
  host.start(restored, restored.savedName)
  context.commit()
  // The domain runs, whether or not the sender hears of it.
  await output
    .write(new Uint8Array([...MESSAGE.REPORT, STATUS.RUNNING]))
    .then(() => output.close())
    .catch(() => undefined)
  void reader.close().catch(() => undefined)
  return restored
}
