/**
 * Keyframes of a recorded run: moments of its host, from which it is executed again to wherever somebody wants to look. They come so often
 * that no way is longer than the time of a seek; where they would need more memory than they may have, the way gets longer where that
 * costs least.
 */
import type { Host, Moment } from '../../toolstack/index.ts'

/** One of them. */
export interface Keyframe {
  readonly moment: Moment<Host>
  /** Instructions that guests had executed. */
  readonly instruction: number
  /** Host time in nanoseconds. */
  readonly time: number
  /** Entries of the log before it. */
  readonly entries: number
  /** Milliseconds that it took to execute what lies between it and the one before. */
  readonly cost: number
  /** Frames that were written since the one before; undefined where nobody knows. */
  readonly written: ReadonlySet<number> | undefined
}

/** Pages of a MiB. */
const PAGES_PER_MEBIBYTE = 256

/** Frames that were written between two moments of a host, by the moments between. */
export function writtenBetween(from: Moment<Host> | undefined, to: Moment<Host>): ReadonlySet<number> | undefined {
  const written = new Set<number>()
  for (let moment: Moment<Host> | undefined = to; moment !== from; moment = moment.parent) {
    if (moment === undefined) return undefined
    for (const frame of moment.written) written.add(frame)
  }
  return written
}

/** The keyframes of one run, ascending. */
export class Keyframes {
  private list: Keyframe[] = []
  private readonly memory: number

  /** `memory`: MiB that those behind the first may take. */
  constructor(memory: number) {
    this.memory = memory
  }

  get count(): number {
    return this.list.length
  }

  all(): readonly Keyframe[] {
    return this.list
  }

  /** MiB of pages that were copied for those behind the first, which holds all of the machine's memory. */
  get mebibytes(): number {
    return this.list.slice(1).reduce((sum, one) => sum + pagesOf(one), 0) / PAGES_PER_MEBIBYTE
  }

  /** Milliseconds that the longest way from one to the next took. */
  get longest(): number {
    return Math.max(0, ...this.list.map(({ cost }) => cost))
  }

  /** The last one at or before a place; the first where there is none. */
  before(instruction: number): Keyframe | undefined {
    return this.list[this.indexBefore(instruction)]
  }

  /** Where the last one at or before a place stands in the list. */
  indexBefore(instruction: number): number {
    let [low, high] = [0, this.list.length - 1]
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.list[middle]!.instruction <= instruction) low = middle
      else high = middle - 1
    }
    return low
  }

  /** Adds one behind all others; makes room for it. */
  add(keyframe: Keyframe): void {
    this.list.push(keyframe)
    while (this.list.length > 2 && this.mebibytes > this.memory) this.thin()
  }

  /** Takes away one between the first and the last: that without which the longest way is the shortest. False where there is none. */
  thin(): boolean {
    let best = 0
    for (let i = 1; i < this.list.length - 1; i += 1) {
      if (best === 0 || this.costWithout(i) < this.costWithout(best)) best = i
    }
    if (best === 0) return false
    const [gone, next] = [this.list[best]!, this.list[best + 1]!]
    const written = gone.written === undefined || next.written === undefined ? undefined : new Set([...gone.written, ...next.written])
    this.list.splice(best, 2, { ...next, cost: gone.cost + next.cost, written })
    gone.moment.dispose()
    return true
  }

  private costWithout(index: number): number {
    return this.list[index]!.cost + this.list[index + 1]!.cost
  }

  /** Forgets those behind a place of the log. */
  truncate(entries: number, instruction: number): void {
    for (const gone of this.list.filter((one) => one.entries > entries || one.instruction > instruction)) gone.moment.dispose()
    this.list = this.list.filter((one) => one.entries <= entries && one.instruction <= instruction)
  }

  /** Lets all go. */
  dispose(): void {
    for (const { moment } of this.list.splice(0)) moment.dispose()
  }
}

/** Pages that one keeps and the one before it does not. */
const pagesOf = ({ written, moment }: Keyframe): number => (written === undefined ? moment.newPages : Math.min(written.size, Math.max(moment.newPages, written.size)))
