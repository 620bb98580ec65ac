/**
 * set_timer_op: the one-shot timer of 2005, which raises VIRQ_TIMER.
 * Reference: xen/common/sched/core.c, do_set_timer_op.
 */
import type { GuestAbi } from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import type { HypercallRow } from '../domains/hypercall.ts'
import type { HostClock } from '../time/host-clock.ts'
import { FULL } from '../domains/hypercall-rows.ts'

/** Makes the row of set_timer_op(deadline), or (low half, high half) of a 32-bit guest. */
export function setTimerOp(clock: HostClock, abi: GuestAbi): HypercallRow {
  return {
    name: 'set_timer_op', source: 'public/xen.h, HYPERVISOR_set_timer_op; do_set_timer_op', support: FULL,
    handler: (caller, args) => caller.timers.setTimerOp(signedFromParts(args.low[0]!, args.highHalf(0, abi)), clock.now()),
  }
}
