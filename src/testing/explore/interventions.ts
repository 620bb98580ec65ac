/**
 * What a run does otherwise than a plain one, counted: preemptions, late timers, faults, in the order in which they come. A window of them
 * is in effect and the others are not, so that a failure can be narrowed to those that it needs.
 */

/** Which interventions are in effect: from `from` on and before `to`. */
export interface Window {
  readonly from: number
  readonly to: number
}

/** All of them. */
export const EVERYTHING: Window = /* @__PURE__ */ Object.freeze({ from: 0, to: Number.MAX_SAFE_INTEGER })

/** What one is. */
export interface Intervention {
  readonly what: 'preemption' | 'late timer' | 'order' | 'fault'
  /** Number of the host in the run, in the order in which they joined it. */
  readonly host: number
  /** Host time in nanoseconds. */
  readonly time: number
  /** What it does, in words. */
  readonly text: string
  /** How late, where a timer is. */
  readonly nanoseconds?: number | undefined
  /** Whose things come in another order, and which of them goes first, where a guest in TypeScript has several. */
  readonly order?: { readonly domid: number; readonly first: number } | undefined
  /** Who was stopped, where the machine stopped somebody. */
  readonly stopped?: { readonly domid: number; readonly vcpu: number } | undefined
  /** Who goes on, and for how many nanoseconds at most. */
  readonly next?: { readonly domid: number; readonly vcpu: number; readonly nanoseconds: number } | undefined
}

/** Interventions of which a trace keeps the numbers: some 25 bytes each, so that a replay file stays below 100 kB. */
const MOST_TRACED = 2048

/**
 * What a trace keeps of one: its host, host time, domain and vCPU that go on, and nanoseconds; -1 for both where it is a timer or a fault, for the
 * vCPU where it is an order, with which of the things goes first in the place of nanoseconds.
 */
export type TraceEntry = readonly [host: number, time: number, domid: number, vcpu: number, nanoseconds: number]

/** The interventions of one run. */
export class Interventions {
  private readonly window: Window
  private readonly mark: number
  private readonly onMark: (intervention: Intervention) => void
  private readonly traced: TraceEntry[] = []
  private made = 0
  private silent = false

  /** `mark`: the number of the one that `onMark` hears of. */
  constructor(window: Window, { mark, onMark }: { readonly mark: number; readonly onMark: (intervention: Intervention) => void }) {
    this.window = window
    this.mark = mark
    this.onMark = onMark
  }

  /** How many there were, in effect or not. */
  get count(): number {
    return this.made
  }

  /** Those that were in effect, in their order; of very many the first. */
  get trace(): readonly TraceEntry[] {
    return this.traced
  }

  /** None is in effect any more. */
  quiet(): void {
    this.silent = true
  }

  /** Counts one that is to be made; whether it is. */
  take(describe: () => Intervention): boolean {
    if (this.silent) return false
    const number = this.made
    this.made += 1
    if (number < this.window.from || number >= this.window.to) return false
    if (number === this.mark || this.traced.length < MOST_TRACED) {
      const one = describe()
      if (this.traced.length < MOST_TRACED) this.traced.push(entryOf(one))
      if (number === this.mark) this.onMark(one)
    }
    return true
  }
}

const entryOf = ({ host, time, next, order, nanoseconds = 0 }: Intervention): TraceEntry =>
  [host, time, next?.domid ?? order?.domid ?? -1, next?.vcpu ?? -1, next?.nanoseconds ?? order?.first ?? nanoseconds]
