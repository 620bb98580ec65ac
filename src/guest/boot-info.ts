/**
 * What a guest in TypeScript is told when it starts: the facts that a binary guest reads from its start_info page.
 * The frames are real; the toolstack's domain builder fills them in as it does for any other guest.
 *
 * Reference: public/xen.h, struct start_info.
 */
import type { EventPort, Mfn } from '../util/index.ts'

/** A page shared with a back-end from the start, and the event channel that belongs to it. */
export interface BootRing {
  readonly frame: Mfn
  readonly port: EventPort
}

/** Everything a guest knows at its first instruction. */
export interface BootInfo {
  /** The frame of shared_info. It belongs to the hypervisor and is not in `frames`. */
  readonly sharedInfo: Mfn
  /** The guest's own frames by pseudo-physical number; undefined where its balloon is. */
  readonly frames: readonly (Mfn | undefined)[]
  /** XenStore's ring; absent in a domain that is given its client ready-made, as dom0 may be. */
  readonly store?: BootRing
  /** The console's ring; absent in a domain without a console. */
  readonly console?: BootRing
  /** The start_info page, which a suspend hypercall names; in use from the start. */
  readonly startInfo?: Mfn
  /** The domain was saved and has been restored: its program's state is in its memory. */
  readonly restored?: boolean
  /** What stands behind `extra=` in the description file. */
  readonly commandLine: string
}
