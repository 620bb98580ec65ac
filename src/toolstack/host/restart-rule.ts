/**
 * When a domain that has ended is started anew, and when that has gone on for long enough. xl waits two seconds before it
 * starts a domain again and goes on for ever; xend waited for nothing and refused a domain that came back within twenty
 * seconds of the start before. Both are kept: the pause, so that a guest that reboots at once costs a turn in two seconds,
 * and the refusal, after several such lives in a row. A restart that somebody has asked for counts for nothing.
 * Reference: tools/xl/xl_vmcontrol.c (create_domain); xend's XendDomainInfo (MINIMUM_RESTART_TIME).
 */

/** Nanoseconds between the end of a domain and its next start. */
export const RESTART_PAUSE = 2e9
/** A life of a domain that is shorter than this counts as one of a loop. Nanoseconds. */
export const SHORT_LIFE = 20e9
/** Starts anew in a row behind short lives; the next one is refused. */
export const MOST_SHORT_LIVES = 10
/** Names that are counted at most: those that were destroyed meanwhile are never heard of again. */
const NAMES = 1000

/** How a domain's life has ended. */
export interface EndedLife {
  /** Nanoseconds of host time. */
  readonly life: number
  /** Somebody has asked the guest to reboot. */
  readonly wasAsked: boolean
}

/** Counts the short lives of domains, by name: a domain that is started anew keeps that alone for certain. */
export class RestartRule {
  private readonly shortLives = new Map<string, number>()

  /** Whether a domain may be started anew; counts it when it may. */
  allows(name: string, { life, wasAsked }: EndedLife): boolean {
    if (wasAsked || life >= SHORT_LIFE) {
      this.shortLives.delete(name)
      return true
    }
    const count = (this.shortLives.get(name) ?? 0) + 1
    if (count > MOST_SHORT_LIVES) {
      this.shortLives.delete(name)
      return false
    }
    this.shortLives.set(name, count)
    for (const oldest of this.shortLives.keys()) if (this.shortLives.size > NAMES) this.shortLives.delete(oldest)
    return true
  }

  /** The domain ends and is not started anew. */
  forget(name: string): void {
    this.shortLives.delete(name)
  }

  /** The counts, the oldest name first. */
  save(): readonly { readonly name: string; readonly count: number }[] {
    return [...this.shortLives].map(([name, count]) => ({ name, count }))
  }

  load(state: ReturnType<RestartRule['save']>): void {
    for (const { name, count } of state) this.shortLives.set(name, count)
  }

  /** Names that are counted. */
  get size(): number {
    return this.shortLives.size
  }
}
