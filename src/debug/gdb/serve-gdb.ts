/** Domains for GDB, over any way for bytes in both directions. */
import { Host, checkTransport, iterateBytes, openOutput, type DomainReference, type ServiceTransport } from '../../toolstack/index.ts'
import { checkOptions, listOf, XenError, type DomId } from '../../util/index.ts'
import { RecordedRun } from '../history/recorded-run.ts'
import { claimDomains } from '../inferior/claims.ts'
import { FreeGround } from '../inferior/free-ground.ts'
import { HeldGround } from '../inferior/held-ground.ts'
import type { Ground } from '../inferior/ground.ts'
import { DomainTarget } from './domain-target.ts'
import { ProcessTarget } from './process-target.ts'
import { GdbSession } from './session.ts'
import type { GdbTarget } from './target.ts'

/** A debugger that is connected. */
export interface DebugConnection {
  /** Takes leave in the debugger's place: the guest goes on. */
  close(): void
  /** Resolves when it is over, whoever has ended it. */
  readonly closed: Promise<void>
}

/** How domains are debugged. */
export interface DebugOptions {
  /**
   * A recorded run of the host: the debugger can go back in it. The whole host stands where a domain stands, and goes on as one. Without it the host's other domains
   * go on, and there is no way back.
   */
  readonly run?: RecordedRun | undefined
  /**
   * Has the debugger see the processes of a domain's Linux in place of the domain: all of them, or those of these names and numbers. Its kernel's threads are not among them.
   * Default: none, a domain is a process and its vCPUs are threads.
   */
  readonly processes?: 'all' | readonly (string | number)[] | undefined
}

const NAMES = listOf((value) => (typeof value === 'number' || typeof value === 'string' ? undefined : 'must be names and numbers of processes'))
const CHECKS = {
  processes: (value: unknown) => (value === 'all' ? undefined : NAMES(value)),
}

/**
 * Lets a debugger that speaks GDB's remote protocol have a domain, or several: they stand until the debugger lets them go on, and go on by themselves when the
 * connection ends. A domain is a process, its vCPUs are threads. Breakpoints and watchpoints are nothing that the guest could see. Other domains of the host go on, unless
 * a recorded run is given, whose host stands as a whole. Throws DOMAIN_NOT_FOUND, INVALID_STATE for a guest in TypeScript, which has no
 * registers, BUSY where another debugger has it, INVALID_ARGUMENT, and, where processes are asked for, NOT_SUPPORTED for a domain without a 64-bit Linux that carries its types and
 * symbols with it, or without one of these processes.
 *
 * @example
 * const { closed } = serveGdb(host, 'web', { readable: socket, writable: socket }, { run: await recordRun(host) })
 * // gdb -ex 'target remote localhost:1234' vmlinux
 */
export function serveGdb(host: Host, reference: DomainReference | readonly DomainReference[], transport: ServiceTransport, options: DebugOptions = {}): DebugConnection {
  if (!(host instanceof Host)) throw new XenError('INVALID_ARGUMENT', 'serveGdb wants a host')
  checkTransport('serveGdb', transport)
  checkOptions('serveGdb', options, { ...CHECKS, run: (value) => (value instanceof RecordedRun && value.host === host ? undefined : 'must be a recorded run of this host') })
  const claim = claimDomains(host, 'serveGdb', reference)
  const release = host.expectInput()
  const leaveAll = (): void => {
    for (const domid of claim.domids) claim.leave(domid)
    release()
  }
  let target: GdbTarget
  try {
    target = targetOf(host, claim.domids, options)
  } catch (error) {
    leaveAll()
    throw error
  }

  const output = openOutput(transport.writable)
  let end = (): void => undefined
  const closed = new Promise<void>((resolve) => { end = resolve })
  let isOver = false
  const close = (): void => {
    if (isOver) return
    isOver = true
    session.close()
    leaveAll()
    void output.close().catch(() => undefined)
    end()
  }
  const left = (process: number): void => { if (options.processes === undefined) claim.leave(process) }
  const session = new GdbSession({ target, send: (bytes) => void output.write(bytes).catch(close), left, ended: close })
  void listen(session, transport, close)
  return { close, closed }
}

/** What the debugger sees. Throws INVALID_ARGUMENT for processes of several domains, NOT_SUPPORTED where there are none. */
function targetOf(host: Host, domids: readonly DomId[], { run, processes }: DebugOptions): GdbTarget {
  const ground: Ground = run === undefined ? new FreeGround(host) : new HeldGround(run)
  if (processes === undefined) return new DomainTarget(host, ground, domids)
  try {
    const [domid, ...others] = domids
    if (domid === undefined || others.length > 0) throw new XenError('INVALID_ARGUMENT', 'processes are those of one domain')
    return new ProcessTarget(ground, domid, processes)
  } catch (error) {
    ground.release()
    throw error
  }
}

/** Hands over what comes, until nothing comes any more. */
async function listen(session: GdbSession, { readable }: ServiceTransport, close: () => void): Promise<void> {
  try {
    const chunks = iterateBytes(readable, 'fresh')
    for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) session.take(next.value)
  } catch {
    // A connection that breaks is one that ends.
  }
  close()
}
