/**
 * One virtual clock for all that takes part in a simulation: timers, messages on their way, and the hosts themselves. Each of those that
 * take part has a side, which can be killed or put to sleep: then nothing reaches it, and what is due waits.
 */

/** Who takes part: what happens to it happens while it is awake. */
export class Side {
  readonly name: string
  isDead = false
  /** Nothing happens to it before. */
  asleepUntil = 0
  /** Milliseconds by which its own clock is ahead. */
  ahead = 0

  constructor(name: string) {
    this.name = name
  }

  isAwake(now: number): boolean {
    return !this.isDead && now >= this.asleepUntil
  }
}

interface Due {
  time: number
  readonly order: number
  readonly side: Side
  act: (() => void) | undefined
}

/** The clock, in milliseconds. */
export class SimClock {
  now = 0
  private queue: Due[] = []
  private order = 0

  /** Does something to a side so many milliseconds from now; the returned function calls it off. */
  after(side: Side, milliseconds: number, act: () => void): () => void {
    this.order += 1
    const due: Due = { time: this.now + milliseconds, order: this.order, side, act }
    this.queue.push(due)
    return () => { due.act = undefined }
  }

  /** The earliest time at which something happens to anybody; Infinity when nothing is left. */
  next(): number {
    let next = Infinity
    for (const { act, time, side } of this.queue) if (act !== undefined && !side.isDead) next = Math.min(next, Math.max(time, side.asleepUntil))
    return next
  }

  /** Puts a side to sleep for so many milliseconds. */
  sleep(side: Side, milliseconds: number): void {
    side.asleepUntil = this.now + milliseconds
    // Its waking is something that happens, whether or not it has anything to do then.
    this.after(side, milliseconds, () => undefined)
  }

  /** A side's own clock jumps forward: what it waits for comes as much earlier. */
  jump(side: Side, milliseconds: number): void {
    side.ahead += milliseconds
    for (const due of this.queue) if (due.side === side) due.time = Math.max(this.now, due.time - milliseconds)
  }

  /** Moves on, and does what is due. */
  advance(milliseconds: number): void {
    this.now += milliseconds
    const [due, left]: [Due[], Due[]] = [[], []]
    for (const each of this.queue) {
      if (each.act === undefined) continue
      if (each.time <= this.now && each.side.isAwake(this.now)) due.push(each)
      else left.push(each)
    }
    this.queue = left
    for (const each of due.sort((a, b) => a.time - b.time || a.order - b.order)) each.act?.()
  }
}

/** Lets all promises go on that can. */
export const settle = async (turns = 2): Promise<void> => {
  for (let count = 0; count < turns; count += 1) await new Promise((resolve) => setImmediate(resolve))
}
