/**
 * What happens to a domain when it ends, by the reason why it ended.
 * Reference: xl.cfg(5), "Event actions"; xmdomain.cfg(5) for `restart`.
 */

/** The actions by their names in description files. */
export const ACTIONS = [
  'destroy', 'restart', 'rename-restart', 'preserve', 'coredump-destroy', 'coredump-restart', 'soft-reset',
] as const
/** What to do with a domain that has ended. */
export type Action = (typeof ACTIONS)[number]

/** The action for each way in which a domain can end. */
export interface Actions {
  readonly poweroff: Action
  readonly reboot: Action
  readonly crash: Action
  readonly watchdog: Action
  readonly softReset: Action
}

/** Whose habits a description follows: today's xl, or the xm of 2005. */
export type Era = 'xl' | 'xm'

/** What xl does unless told otherwise. */
const XL: Actions = {
  poweroff: 'destroy',
  reboot: 'restart',
  crash: 'destroy',
  watchdog: 'destroy',
  softReset: 'soft-reset',
}

/** Defaults of an era: xm restarted a crashed domain, xl destroys it. */
export const defaultActions = (era: Era): Actions => (era === 'xm' ? { ...XL, crash: 'restart' } : XL)

/** Words of the `restart` option of 2005. */
export const RESTART_WORDS = ['onreboot', 'always', 'never'] as const

/** The three actions that one word of the `restart` option stood for. */
export function actionsFromRestart(
  word: (typeof RESTART_WORDS)[number],
): Pick<Actions, 'poweroff' | 'reboot' | 'crash'> {
  if (word === 'always') return { poweroff: 'restart', reboot: 'restart', crash: 'restart' }
  if (word === 'never') return { poweroff: 'destroy', reboot: 'destroy', crash: 'destroy' }
  return { poweroff: 'destroy', reboot: 'restart', crash: 'destroy' }
}
