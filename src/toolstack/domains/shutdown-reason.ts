/** Why domains end and why they are gone, by name. Reference: public/sched.h, SHUTDOWN_*. */
import { SHUTDOWN } from '../../abi/index.ts'

/** Why a domain ended. */
export type ShutdownReasonName = 'poweroff' | 'reboot' | 'suspend' | 'crash' | 'watchdog' | 'soft-reset'

/**
 * Why a domain is gone: it ended itself (`shutdown`) or crashed (`crashed`, also when its watchdog expired) and its action was
 * to let it go; somebody asked for it (`destroyed`); it was `saved`; it runs on another host (`migrated`); what was to
 * bring it here or to start it `failed`; or the whole host was shut down (`host-shutdown`).
 */
export type DestructionReason =
  | 'shutdown' | 'crashed' | 'destroyed' | 'saved' | 'migrated' | 'failed' | 'host-shutdown'

/** Names of shutdown reasons by number. */
const REASONS: Readonly<Record<number, ShutdownReasonName>> = {
  [SHUTDOWN.poweroff]: 'poweroff', [SHUTDOWN.reboot]: 'reboot', [SHUTDOWN.suspend]: 'suspend',
  [SHUTDOWN.crash]: 'crash', [SHUTDOWN.watchdog]: 'watchdog', [SHUTDOWN.soft_reset]: 'soft-reset',
}

/** The name of a shutdown reason; numbers that Xen does not know count as crashes, as they do for xl. */
export const shutdownReasonName = (reason: number): ShutdownReasonName => REASONS[reason] ?? 'crash'
