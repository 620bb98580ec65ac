/**
 * Soft reset: a guest that has shut down goes on in the same domain with all of its memory, and with everything else as at its
 * beginning - event channels, the rings of console and XenStore, devices - because its kernel has put another one into memory, as kexec does.
 * Only kinds of guests with a physical map of their own have it, as in Xen.
 * Reference: tools/libs/light/libxl_create.c, do_domain_soft_reset; xen/common/domain.c, domain_soft_reset.
 */
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE, HVM_PARAM } from '../../abi/index.ts'
import type { ControlInterface } from '../../hypervisor/index.ts'
import { XenError, type DomId, type GrantRef, type Mfn } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import type { Devices } from '../devices/devices.ts'
import type { Dom0 } from '../dom0/dom0.ts'
import { renewRingNodes, forgetConsoleRing } from '../domains/domain-nodes.ts'
import type { ShutdownRequests } from '../domains/shutdown-requests.ts'
import type { OperationContext } from '../run/operation.ts'
import type { RunLoop } from '../run/run-loop.ts'

/** What it works on. */
export interface SoftResetHost {
  readonly control: ControlInterface
  readonly dom0: Dom0
  readonly store: LocalStore
  readonly loop: RunLoop
  readonly devices: Devices
  readonly requests: ShutdownRequests
}

/** Steps of a soft reset. */
export type SoftResetProgress =
  /** Its back-ends have let its devices go and wait for the next kernel. */
  | { readonly type: 'devices-renewed' }
  /** The hypervisor has reset it: it goes on. */
  | { readonly type: 'reset' }

const DOM0 = 0 as DomId
/** How long dom0's console may take to read the last words. Nanoseconds of host time. */
const PATIENCE = 10e9

/** Throws NOT_SUPPORTED for a kind of guests without it, INVALID_STATE for a domain that has not shut down. */
function checkSoftReset({ control }: Pick<SoftResetHost, 'control'>, domid: DomId): void {
  const { translated, shutdown, crashed } = control.domainInfo(domid)
  if (!translated) throw new XenError('NOT_SUPPORTED', `domain ${domid} is of a kind of guests that has no soft reset: only those with a physical map of their own have, as in Xen`, { details: { domid } })
  // One that has crashed has shut down as well.
  if (!shutdown && !crashed) throw new XenError('INVALID_STATE', `domain ${domid} has not shut down: its guest asks for a soft reset by that`, { details: { domid } })
}

/** A page of the guest's that a parameter names, emptied; its number. */
function emptied(control: ControlInterface, domid: DomId, parameter: number): number {
  const gfn = Number(control.getHvmParam(domid, parameter))
  const frame = control.frameOfGfn(domid, gfn)
  if (frame === undefined) throw new XenError('INVALID_STATE', `domain ${domid} has no page at frame ${gfn}, where a ring is to be`, { details: { domid, gfn } })
  control.frameBytes(domid, frame).fill(0)
  control.markWritten(frame)
  return gfn
}

/** Resets a domain, and lets it go on. There is no way back from its devices' on. */
export async function softReset(host: SoftResetHost, domid: DomId, context: OperationContext<SoftResetProgress>): Promise<void> {
  const { control, dom0, store, loop, devices } = host
  checkSoftReset(host, domid)
  context.check()
  context.commit()
  context.ignoreCaller()
  control.pauseDomain(domid)
  await devices.renewAll(domid, {})
  context.report({ type: 'devices-renewed' })
  // What the guest has said last is read before its ring is emptied.
  forgetConsoleRing(store, domid)
  await loop.until(`the console of domain ${domid} to be let go`, () => dom0.consoles.get(domid)?.connected !== true, { timeout: PATIENCE })
  control.softResetDomain(domid)
  const [storeFrame, consoleFrame] = [emptied(control, domid, HVM_PARAM.STORE_PFN), emptied(control, domid, HVM_PARAM.CONSOLE_PFN)]
  const [storePort, consolePort] = [control.allocUnbound(domid, DOM0), control.allocUnbound(domid, DOM0)]
  control.setHvmParam(domid, HVM_PARAM.STORE_EVTCHN, BigInt(storePort))
  control.setHvmParam(domid, HVM_PARAM.CONSOLE_EVTCHN, BigInt(consolePort))
  // The guest may have made something else of them. The cast: they name frames of its own.
  for (const [ref, frame] of [[GNTTAB_RESERVED_CONSOLE, consoleFrame], [GNTTAB_RESERVED_XENSTORE, storeFrame]] as const) {
    control.seedGrant(domid, ref as GrantRef, { remote: DOM0, frame: frame as Mfn })
  }
  dom0.reconnectStore(domid, storePort)
  renewRingNodes(store, domid, { storeFrame, consoleFrame, storePort, consolePort })
  host.requests.forget(domid)
  control.unpauseDomain(domid)
  context.report({ type: 'reset' })
  loop.kick()
}
