/**
 * Suspending a guest: the toolstack asks, the guest gets ready and shuts itself down with reason "suspend". Until it is
 * destroyed it can be let go on where it is, as if nothing had happened.
 * Reference: docs/misc/xenstore-paths.pandoc, control/shutdown; sched.h, SHUTDOWN_suspend.
 */
import { HVM_PARAM, SHUTDOWN } from '../../abi/index.ts'
import type { ControlInterface } from '../../hypervisor/index.ts'
import { parseDuration, XenError, type DomId, type Duration } from '../../util/index.ts'
import type { OperationContext } from '../run/operation.ts'
import type { RunLoop } from '../run/run-loop.ts'
import type { ShutdownRequests } from '../domains/shutdown-requests.ts'

/** What suspending needs of the host. */
export interface SuspendHost {
  readonly control: ControlInterface
  readonly loop: RunLoop
  readonly requests: ShutdownRequests
  /** True when somebody is taking the domain apart: it will not get anywhere any more. */
  isGoing(domid: DomId): boolean
  /** The domain runs on: whoever took its suspend for an end should forget it. */
  onResumed(domid: DomId): void
}

/** Steps of suspending a guest. */
export type SuspendProgress =
  /** The request stands in XenStore. */
  | { readonly type: 'suspend-requested' }
  /** The guest has stopped; its memory does not change any more. */
  | { readonly type: 'suspended' }

/** How a guest is asked. */
export interface SuspendOptions {
  /** Host time after which the guest is taken not to listen. Default: a minute, as libxl has it. */
  readonly timeout?: Duration | undefined
}

const MINUTE = 60e9
/** What SCHEDOP_shutdown returns in a guest whose suspend was cancelled. */
const CANCELLED = 1

/** Throws INVALID_STATE for a domain that is not suspended: one that has ended in another way must not run again. */
export function checkSuspended(host: Pick<SuspendHost, 'control'>, domid: DomId): void {
  if (isSuspended(host, domid)) return
  throw new XenError('INVALID_STATE', `domain ${domid} is not suspended`, { details: { domid } })
}

/** Lets a suspended domain go on where it is. */
export function resumeInPlace(host: SuspendHost, domid: DomId): void {
  host.control.resumeDomain(domid, isAware(host, domid) ? CANCELLED : undefined)
  host.onResumed(domid)
  host.loop.kick()
}

const isSuspended = ({ control }: Pick<SuspendHost, 'control'>, domid: DomId): boolean =>
  control.domainInfo(domid).shutdownReason === SHUTDOWN.suspend

/**
 * False for a PVH guest whose kernel has no drivers for a host that suspends it: it has set no callback, as every kernel with
 * such drivers does. It is stopped where it is, as libxl does, and nobody has to tell it that it goes on.
 */
const isAware = ({ control }: Pick<SuspendHost, 'control'>, domid: DomId): boolean =>
  !control.domainInfo(domid).translated || control.getHvmParam(domid, HVM_PARAM.CALLBACK_IRQ) !== 0n

/** Stops such a guest. */
function stopUnaware(host: SuspendHost, domid: DomId, { undo }: Pick<OperationContext<SuspendProgress>, 'undo'>): void {
  const { control } = host
  checkRunning(host, domid)
  undo(() => {
    if (control.hasDomain(domid) && !host.isGoing(domid) && isSuspended(host, domid)) resumeInPlace(host, domid)
  })
  control.shutdownDomain(domid, SHUTDOWN.suspend)
}

/** Throws when a domain cannot be suspended as it is. */
function checkRunning({ control }: SuspendHost, domid: DomId): void {
  const { paused, shutdownReason, dying } = control.domainInfo(domid)
  const why =
    dying || shutdownReason !== undefined
      ? 'has ended'
      : paused
        ? 'is paused: it cannot get ready to be suspended'
        : undefined
  if (why !== undefined) throw new XenError('INVALID_STATE', `domain ${domid} ${why}`, { details: { domid } })
}

/**
 * Suspends a guest. If the operation fails later, the guest goes on. A guest that has taken the request but is not done
 * when the caller gives up is waited for, so that it does not stop behind everybody's back.
 */
export async function suspendGuest(
  host: SuspendHost,
  domid: DomId,
  context: Pick<OperationContext<SuspendProgress>, 'report' | 'undo' | 'signal'>,
  options: SuspendOptions = {},
): Promise<void> {
  const { loop, control, requests } = host
  const timeout = parseDuration(options.timeout ?? MINUTE, `the time-out of suspending domain ${domid}`, { most: Infinity })
  const ended = (): boolean => !control.hasDomain(domid) || control.domainInfo(domid).shutdownReason !== undefined
  // One that is suspended already stays so whatever happens: somebody left it like that, and it may run elsewhere.
  if (!isSuspended(host, domid) && !isAware(host, domid)) {
    stopUnaware(host, domid, context)
  } else if (!isSuspended(host, domid)) {
    checkRunning(host, domid)
    const request = requests.place(domid, 'suspend')
    context.undo(async () => {
      if (!control.hasDomain(domid) || request.withdraw()) return
      const over = (): boolean => ended() || host.isGoing(domid)
      await loop.until(`domain ${domid} to finish its suspend`, over, { timeout }).catch(() => undefined)
      if (!host.isGoing(domid) && control.hasDomain(domid) && isSuspended(host, domid)) resumeInPlace(host, domid)
    })
    context.report({ type: 'suspend-requested' })
    await loop.until(`domain ${domid} to be suspended`, ended, { timeout, signal: context.signal })
  }
  if (!control.hasDomain(domid) || !isSuspended(host, domid)) {
    throw new XenError('INVALID_STATE', `domain ${domid} ended instead of being suspended`, {
      details: { domid },
    })
  }
  context.report({ type: 'suspended' })
}
