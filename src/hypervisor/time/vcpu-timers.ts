/**
 * The timers of one vCPU: one-shot (set_timer_op and VCPUOP_set_singleshot_timer share it), periodic, and the time
 * limit of SCHEDOP_poll. The first two raise VIRQ_TIMER.
 *
 * The periodic timer only runs while the vCPU runs, and catches up when it is switched in: a tick never wakes a
 * sleeping guest.
 *
 * Reference: xen/common/sched/core.c (do_set_timer_op, vcpu_periodic_timer_work), xen/common/domain.c (common_vcpu_op).
 */
import { ERRNO } from '../../abi/index.ts'
import { type StateOf, type Stateful, shape } from '../../util/index.ts'
import { type Timer, type TimerQueue, timerShape } from './timer-queue.ts'

const MILLISECOND = 1_000_000
/** Tick of a PV vCPU that has not chosen one. */
const DEFAULT_PERIOD = 10 * MILLISECOND
/** Shortest period that a guest may ask for: it keeps it from spending the host's time on ticks. */
const MIN_PERIOD = MILLISECOND
/** Longest period (STIME_DELTA_MAX). */
const MAX_PERIOD = 2 ** 62 - 1
/** Deadlines further away than this are taken for the wrap of a guest's own counter. */
const FAR_FUTURE = 2 ** 50
const FAR_FUTURE_DELAY = 100 * MILLISECOND

/** An unsigned deadline as Xen's signed time: one beyond 2^63 lies in the past, and is due at once. */
const asSigned = (deadline: number): number => (deadline >= 2 ** 63 ? 0 : deadline)

/** What a vCPU's timers do. */
export interface VcpuTimerActions {
  /** Raises VIRQ_TIMER in the vCPU. */
  raiseTimer(): void
  /** The time limit of SCHEDOP_poll is over. */
  pollTimedOut(): void
  /** The host time of a time that the guest was shown; absent where it is shown the host's. */
  hostTime?(shown: number): number
}

/** What a vCPU's saved timers look like. */
export const vcpuTimersShape = /* @__PURE__ */ shape.record({
  period: /* @__PURE__ */ shape.where(/* @__PURE__ */ shape.real(0, MAX_PERIOD), (period) => (
    period === 0 || period >= MIN_PERIOD ? undefined : `must be 0 or at least ${MIN_PERIOD}, got ${period}`
  )),
  lastTick: shape.time, oneShot: timerShape, periodic: timerShape, poll: timerShape,
})

/** A vCPU's timers as plain data. */
export type VcpuTimersState = StateOf<typeof vcpuTimersShape>

/** The timers of one vCPU. Times are host nanoseconds. */
export class VcpuTimers implements Stateful<VcpuTimersState> {
  private readonly queue: TimerQueue
  private readonly actions: VcpuTimerActions
  private readonly oneShot: Timer
  private readonly periodic: Timer
  private readonly poll: Timer
  private period = DEFAULT_PERIOD
  private lastTick = 0

  constructor(queue: TimerQueue, actions: VcpuTimerActions) {
    this.queue = queue
    this.actions = actions
    this.oneShot = queue.create(() => actions.raiseTimer())
    this.periodic = queue.create((now) => this.tick(now))
    this.poll = queue.create(() => actions.pollTimedOut())
  }

  /** When the one-shot timer is due, or -1. */
  get oneShotDeadline(): number {
    return this.oneShot.deadline
  }

  /** set_timer_op: the deadline is signed, as the guest's 64-bit argument is; 0 stops the timer. */
  setTimerOp(given: number, now: number): number {
    const deadline = given > 0 ? this.hostTime(given) : given
    if (deadline === 0) this.queue.stop(this.oneShot)
    else if (deadline < 0 || deadline - now >= FAR_FUTURE) this.queue.set(this.oneShot, now + FAR_FUTURE_DELAY)
    else this.queue.setForGuest(this.oneShot, deadline, now)
    return 0
  }

  /**
   * VCPUOP_set_singleshot_timer. A deadline that has passed raises the event at once (VCPU_SSHOTTMR_future is ignored
   * by 4.17).
   */
  setOneShot(given: number, now: number): number {
    const deadline = this.hostTime(given)
    if (deadline < now) {
      this.queue.stop(this.oneShot)
      this.actions.raiseTimer()
    } else this.queue.setForGuest(this.oneShot, asSigned(deadline), now)
    return 0
  }

  /** VCPUOP_stop_singleshot_timer. */
  stopOneShot(): number {
    this.queue.stop(this.oneShot)
    return 0
  }

  /** VCPUOP_set_periodic_timer. */
  setPeriodic(period: number, now: number): number {
    if (period < MIN_PERIOD || period > MAX_PERIOD) return -ERRNO.EINVAL
    this.queue.stop(this.periodic)
    this.period = period
    this.tick(now)
    return 0
  }

  /** VCPUOP_stop_periodic_timer. */
  stopPeriodic(): number {
    this.queue.stop(this.periodic)
    this.period = 0
    return 0
  }

  /** Limits the time that the vCPU polls; 0 is no limit. */
  startPoll(deadline: number): void {
    if (deadline !== 0) this.queue.set(this.poll, asSigned(this.hostTime(deadline)))
  }

  /** The vCPU polls no more. */
  stopPoll(): void {
    this.queue.stop(this.poll)
  }

  /** The vCPU starts to run. */
  switchIn(now: number): void {
    if (this.period !== 0) this.tick(now)
  }

  /** The vCPU stops running. */
  switchOut(): void {
    this.queue.stop(this.periodic)
  }

  /** Sets the timers that the guest has set to other host times: what it is shown as the time has changed. */
  move(change: (deadline: number) => number): void {
    for (const timer of [this.oneShot, this.poll]) if (timer.deadline >= 0) this.queue.set(timer, change(timer.deadline))
  }

  /** Stops everything: the vCPU goes away. */
  stopAll(): void {
    for (const timer of [this.oneShot, this.periodic, this.poll]) this.queue.stop(timer)
  }

  save(): VcpuTimersState {
    return {
      period: this.period,
      lastTick: this.lastTick,
      oneShot: this.oneShot.save(),
      periodic: this.periodic.save(),
      poll: this.poll.save(),
    }
  }

  isAsSaved({ period, lastTick, oneShot, periodic, poll }: VcpuTimersState): boolean {
    return this.period === period && this.lastTick === lastTick && this.oneShot.isAsSaved(oneShot) && this.periodic.isAsSaved(periodic) && this.poll.isAsSaved(poll)
  }

  load(state: VcpuTimersState): void {
    this.period = state.period
    this.lastTick = state.lastTick
    this.oneShot.load(state.oneShot)
    this.periodic.load(state.periodic)
    this.poll.load(state.poll)
  }

  private hostTime(shown: number): number {
    const { actions } = this
    return actions.hostTime === undefined ? shown : actions.hostTime(shown)
  }

  private tick(now: number): void {
    let next = this.lastTick + this.period
    if (now >= next) {
      this.actions.raiseTimer()
      this.lastTick = now
      next = now + this.period
    }
    this.queue.set(this.periodic, next)
  }
}
