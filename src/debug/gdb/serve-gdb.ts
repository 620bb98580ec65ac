/** Domains for GDB, over any way for bytes in both directions. */
import { Host, checkTransport, iterateBytes, openOutput, type DomainReference, type ServiceTransport } from '../../toolstack/index.ts'
import { checkOptions, XenError } from '../../util/index.ts'
import { RecordedRun } from '../history/recorded-run.ts'
import { claimDomains } from '../inferior/claims.ts'
import { FreeGround } from '../inferior/free-ground.ts'
import { HeldGround } from '../inferior/held-ground.ts'
import { GdbSession } from './session.ts'

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
}

/**
 * Lets a debugger that speaks GDB's remote protocol have a domain, or several: they stand until the debugger lets them go on, and go on by themselves when the
 * connection ends. A domain is a process, its vCPUs are threads. Breakpoints and watchpoints are nothing that the guest could see. Other domains of the host go on, unless
 * a recorded run is given, whose host stands as a whole. Throws DOMAIN_NOT_FOUND, INVALID_STATE for a guest in TypeScript, which has no
 * registers, BUSY where another debugger has it, INVALID_ARGUMENT.
 *
 * @example
 * const { closed } = serveGdb(host, 'web', { readable: socket, writable: socket }, { run: await recordRun(host) })
 * // gdb -ex 'target remote localhost:1234' vmlinux
 */
export function serveGdb(host: Host, reference: DomainReference | readonly DomainReference[], transport: ServiceTransport, options: DebugOptions = {}): DebugConnection {
  if (!(host instanceof Host)) throw new XenError('INVALID_ARGUMENT', 'serveGdb wants a host')
  checkTransport('serveGdb', transport)
  checkOptions('serveGdb', options, { run: (value) => (value instanceof RecordedRun && value.host === host ? undefined : 'must be a recorded run of this host') })
  const claim = claimDomains(host, 'serveGdb', reference)

  const output = openOutput(transport.writable)
  const release = host.expectInput()
  let end = (): void => undefined
  const closed = new Promise<void>((resolve) => { end = resolve })
  let isOver = false
  const close = (): void => {
    if (isOver) return
    isOver = true
    session.close()
    release()
    void output.close().catch(() => undefined)
    end()
  }
  const ground = options.run === undefined ? new FreeGround(host) : new HeldGround(options.run)
  const session = new GdbSession({ host, domids: claim.domids, ground, send: (bytes) => void output.write(bytes).catch(close), left: (domid) => claim.leave(domid), ended: close })
  void listen(session, transport, close)
  return { close, closed }
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
