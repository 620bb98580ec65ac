/** What domains are shown as the time where somebody has meddled with it: at a rate from a host time on, until another, and then at the usual one. */

/** A domain's clock from a change on. */
interface Clock {
  /** Host time of the change, and what was shown then. */
  readonly at: number
  readonly shown: number
  readonly rate: number
  /** Host time from which on it runs at the usual rate. */
  readonly until: number
}

/** Slower than this no clock runs: it never stands still. */
const LEAST_RATE = 0.001

/** What a clock shows at a host time; none shows the host's. */
function shownBy(clock: Clock | undefined, now: number): number {
  if (clock === undefined) return now
  const { at, shown, rate, until } = clock
  const changed = Math.max(0, Math.min(now, until) - at)
  return Math.floor(shown + changed * rate + Math.max(0, now - Math.max(at, until)))
}

/** Clocks by domain. */
export class GuestClocks {
  private readonly clocks = new Map<number, Clock>()

  /** What a domain is shown at a host time. */
  shown(domid: number, now: number): number {
    if (this.clocks.size === 0) return now
    return shownBy(this.clocks.get(domid), now)
  }

  /** How many nanoseconds a domain is shown for each of the host's, from a host time on. */
  rate(domid: number, now: number): number {
    const clock = this.clocks.get(domid)
    return clock === undefined || now >= clock.until ? 1 : clock.rate
  }

  /** What it is shown, as its clock is now, whatever becomes of it. */
  of(domid: number): (now: number) => number {
    const clock = this.clocks.get(domid)
    return (now) => shownBy(clock, now)
  }

  /** The host time at which a domain is shown this. */
  hostTime(domid: number, shown: number): number {
    const clock = this.clocks.get(domid)
    if (clock === undefined) return shown
    const passed = shown - clock.shown
    const within = (clock.until - clock.at) * clock.rate
    return Math.ceil(passed <= within ? clock.at + passed / clock.rate : clock.until + passed - within)
  }

  /** Changes a domain's clock now: by a jump, at another rate, for a while or for good. */
  change(domid: number, now: number, { by = 0, rate = 1, over = Infinity }: { readonly by?: number; readonly rate?: number; readonly over?: number }): void {
    this.clocks.set(domid, { at: now, shown: this.shown(domid, now) + by, rate: Math.max(LEAST_RATE, rate), until: now + over })
  }

  /** Domains whose clocks were set wrong. */
  get domains(): readonly number[] {
    return [...this.clocks.keys()]
  }

  /** All clocks are right again. */
  clear(): void {
    this.clocks.clear()
  }
}
