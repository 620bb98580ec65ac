/**
 * Where regions were left for code that they have not, by samples: for addresses that they had worked out, in calls and jumps by
 * registers and returns, and for others. A region that is left so again and again is made anew with the code behind it: that shows
 * what comes next, so each time it takes twice as many samples as the time before.
 */
import type { Leads } from '../form/region.ts'

/** A jump, and where it led: the same address where that is known while code is written. */
export interface Lead {
  readonly from: number
  readonly to: number
}

/** Most jumps and addresses that are told apart. */
const [MOST_JUMPS, MOST_TARGETS] = [4096, 32]
/** Times that a region is made anew at most. */
const MOST_TIMES = 4
/** What is one in more of all samples of a jump is not worth a comparison. */
const RARE = 32

interface Made {
  times: number
  /** Samples since then. */
  since: number
}

/** The leads of a machine's regions. */
export class SeenLeads implements Leads {
  private readonly targets = new Map<number, Map<number, number>>()
  private readonly led = new Set<number>()
  /** By the decoded blocks at the regions' entries. */
  private readonly made = new Map<number, Made>()

  /** Notes one of a block's region; true when with it there are `enough` to make the region anew. */
  note(block: number, { from, to }: Lead, enough: number): boolean {
    if (this.led.size < MOST_JUMPS) this.led.add(to)
    if (from !== to) this.count(from, to)
    let made = this.made.get(block)
    if (made === undefined) this.made.set(block, (made = { times: 0, since: 0 }))
    made.since += 1
    if (made.times === MOST_TIMES || made.since < enough * 2 ** made.times) return false
    made.since = 0
    made.times += 1
    return true
  }

  private count(from: number, to: number): void {
    let targets = this.targets.get(from)
    if (targets === undefined) {
      if (this.targets.size === MOST_JUMPS) return
      this.targets.set(from, (targets = new Map<number, number>()))
    }
    const count = targets.get(to)
    if (count !== undefined || targets.size < MOST_TARGETS) targets.set(to, (count ?? 0) + 1)
  }

  isLed(to: number): boolean {
    return this.led.has(to)
  }

  /** Where a jump was seen to lead, the most frequent first. */
  of(from: number): readonly number[] {
    const targets = this.targets.get(from)
    if (targets === undefined) return []
    let all = 0
    for (const count of targets.values()) all += count
    return [...targets].filter(([, count]) => count * RARE >= all).sort(([, one], [, other]) => other - one).map(([to]) => to)
  }

  /** Decoded code is gone: blocks that come to lie at the same addresses are others. */
  clear(): void {
    this.targets.clear()
    this.led.clear()
    this.made.clear()
  }
}
