/**
 * What a toolstack says of a domain's time-stamp counter, and is told of it. Nothing throws.
 * Reference: xen/arch/x86/time.c, tsc_set_info, tsc_get_info; xen/arch/x86/domctl.c, XEN_DOMCTL_settscinfo.
 */
import { ERRNO } from '../../../abi/index.ts'
import type { Domain } from '../../domains/domain.ts'
import type { HostClock } from '../../time/host-clock.ts'
import { TSC_MODE, type TscInfo, type TscScale } from '../../time/index.ts'

/** What these operations work on. */
export interface TscParts {
  readonly clock: HostClock
  readonly tsc: TscScale
}

/** XEN_DOMCTL_gettscinfo: what is to be saved with a domain. */
export function tscInfo({ clock, tsc: host }: TscParts, { tsc, guest }: Domain): TscInfo {
  const { mode, isEmulated, kilohertz, incarnation } = tsc.facts
  if (mode === TSC_MODE.NEVER_EMULATE) return { mode, incarnation, kilohertz: 0, nanoseconds: 0n }
  return { mode, incarnation, kilohertz: guest?.tscKilohertz ?? (isEmulated ? kilohertz : host.kilohertz), nanoseconds: tsc.nanosecondsAt(clock.now()) }
}

/** XEN_DOMCTL_settscinfo: 0, or -EINVAL with nothing changed. */
export function setTscInfo({ clock, tsc: host }: TscParts, { tsc, guest }: Domain, info: TscInfo): number {
  const before = guest?.tscKilohertz ?? 0
  const error = info.kilohertz === 0 ? 0 : guest?.setTscKilohertz(info.kilohertz) ?? 0
  if (error !== 0) return error
  if (tsc.set(info, { now: clock.now(), host: host.kilohertz, scales: guest !== undefined })) return 0
  guest?.setTscKilohertz(before)
  return -ERRNO.EINVAL
}
