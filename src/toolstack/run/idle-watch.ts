/**
 * Finds out when a host that stands still will never go on: nothing can run, no timer is set, and nothing from outside is
 * expected. Code of the application may still be about to do something that nobody here can know of, so that it is given a
 * while of the wall's time first.
 */
export class IdleWatch {
  /** Milliseconds of patience; Infinity never gives up. */
  patience = Infinity
  private readonly giveUp: () => void
  private expected = 0
  private isStanding = false
  private timer: ReturnType<typeof setTimeout> | undefined

  /** `giveUp` is called when patience is over. */
  constructor(giveUp: () => void) {
    this.giveUp = giveUp
  }

  /** Something may come from outside until the returned function is called. */
  expectInput(): () => void {
    this.expected += 1
    this.disarm()
    let isExpected = true
    return () => {
      if (!isExpected) return
      isExpected = false
      this.expected -= 1
      if (this.isStanding) this.arm()
    }
  }

  /** The host stands still, and somebody waits. */
  standStill(): void {
    this.isStanding = true
    this.arm()
  }

  /** The host goes on. */
  goOn(): void {
    this.isStanding = false
    this.disarm()
  }

  private arm(): void {
    if (this.expected > 0 || this.timer !== undefined || !Number.isFinite(this.patience)) return
    this.timer = setTimeout(() => {
      this.timer = undefined
      if (this.isStanding) this.giveUp()
    }, this.patience)
  }

  private disarm(): void {
    clearTimeout(this.timer)
    this.timer = undefined
  }
}
