/**
 * How a domain sees the time-stamp counter: the host's, or one of a frequency and a count of its own, as it had elsewhere. A
 * translated domain scales in its own half; of such a one only what tools set is kept here.
 * Reference: xen/arch/x86/time.c, tsc_set_info, tsc_get_info, gtime_to_gtsc; xen/include/public/arch-x86/xen.h, XEN_CPUID_TSC_MODE_*.
 */
import { TWO_32, badState, bigFromParts, shape } from '../../util/index.ts'
import type { StateOf, Stateful } from '../../util/index.ts'
import type { RecordedTime } from './time-records.ts'
import { TSC_KILOHERTZ, TscScale, type WideValue } from './tsc-scale.ts'

/** As the host has it unless it was another frequency elsewhere; a counter of its own; the host's whatever it was elsewhere. */
export const TSC_MODE = { DEFAULT: 0, ALWAYS_EMULATE: 1, NEVER_EMULATE: 2 } as const

/** What a domain's time-stamp counter is, as it is told to it and saved with it. */
export interface TscInfo {
  /** How it counts: Xen's number of the mode, 0 to 2. */
  readonly mode: number
  /** Ticks in a millisecond; 0 for the host's. */
  readonly kilohertz: number
  /** What the counter has counted, in nanoseconds. */
  readonly nanoseconds: bigint
  /** How often it was set, over all hosts. */
  readonly incarnation: number
}

/** What CPUID tells of it. */
export interface TscFacts {
  readonly mode: number
  readonly isEmulated: boolean
  /** Its own where it has one; else as it was set, 0 for the host's. */
  readonly kilohertz: number
  readonly incarnation: number
  /** What is added to the ticks of its own frequency, in halves. */
  readonly offset: readonly [low: number, high: number]
}

const NEW: TscFacts = /* @__PURE__ */ Object.freeze({ mode: TSC_MODE.DEFAULT, isEmulated: false, kilohertz: 0, incarnation: 1, offset: [0, 0] as const })

/** What is kept of it. */
export const domainTscShape = /* @__PURE__ */ shape.record({
  mode: /* @__PURE__ */ shape.whole(0, 2), isEmulated: shape.flag, kilohertz: shape.word, incarnation: shape.word,
  offset: /* @__PURE__ */ shape.tuple<readonly [number, number]>(shape.word, shape.word),
})

type DomainTscState = StateOf<typeof domainTscShape>

const halves = (value: bigint): readonly [low: number, high: number] =>
  [Number(BigInt.asUintN(32, value)), Number(BigInt.asUintN(64, value) >> 32n)]

const PER_MILLISECOND = 1_000_000n

const isFrequency = (kilohertz: number): boolean => kilohertz >= TSC_KILOHERTZ[0] && kilohertz <= TSC_KILOHERTZ[1]

/** One domain's. */
export class DomainTsc implements Stateful<DomainTscState> {
  /** Replaced as a whole where it changes. */
  facts: TscFacts = NEW
  private own: RecordedTime['counter']

  /** Its own counter; undefined where it sees the host's. */
  get counter(): RecordedTime['counter'] {
    return this.own
  }

  /** What RDTSC reads at host time `now`, where the host's counter is one of `host`. */
  countAt(now: number, host: TscScale): WideValue {
    const { own } = this
    if (own === undefined) return host.ticksAt(now)
    const ticks = own.tsc.ticksAt(now)
    const low = ticks.low + own.timestampOffset[0]
    return { low: low >>> 0, high: (ticks.high + own.timestampOffset[1] + (low >= TWO_32 ? 1 : 0)) >>> 0 }
  }

  /** What its counter has counted at host time `now`, in nanoseconds. */
  nanosecondsAt(now: number): bigint {
    const { own } = this
    if (own === undefined) return BigInt(Math.floor(now))
    const { low, high } = this.countAt(now, own.tsc)
    return bigFromParts(low, high) * PER_MILLISECOND / BigInt(own.tsc.kilohertz)
  }

  /**
   * Sets it at host time `now`, of a host with `host` kilohertz. `scales`: its own half makes its counter, if it has one. False, with nothing
   * changed, for a mode or a frequency that there is not.
   */
  set({ mode, kilohertz, nanoseconds, incarnation }: TscInfo, { now, host, scales }: { readonly now: number; readonly host: number; readonly scales: boolean }): boolean {
    if (mode !== TSC_MODE.DEFAULT && mode !== TSC_MODE.ALWAYS_EMULATE && mode !== TSC_MODE.NEVER_EMULATE) return false
    const wanted = kilohertz === 0 ? host : kilohertz
    const isEmulated = !scales && (mode === TSC_MODE.ALWAYS_EMULATE || mode === TSC_MODE.DEFAULT && wanted !== host)
    if (isEmulated && !isFrequency(wanted)) return false
    let offset: TscFacts['offset'] = [0, 0]
    if (isEmulated) {
      const present = new TscScale(wanted).ticksAt(now)
      offset = halves(nanoseconds * BigInt(wanted) / PER_MILLISECOND - bigFromParts(present.low, present.high))
    }
    this.take({ mode, isEmulated, kilohertz: isEmulated ? wanted : kilohertz, incarnation: (incarnation + 1) >>> 0, offset })
    return true
  }

  save(): DomainTscState {
    const { offset, ...rest } = this.facts
    return { ...rest, offset: [...offset] }
  }

  load(state: DomainTscState): void {
    if (state.isEmulated && !isFrequency(state.kilohertz)) throw badState(`no time-stamp counter runs at ${state.kilohertz} kHz`)
    this.take({ ...state, offset: [...state.offset] })
  }

  private take(facts: TscFacts): void {
    this.facts = facts
    this.own = facts.isEmulated ? { tsc: new TscScale(facts.kilohertz), timestampOffset: facts.offset } : undefined
  }
}
