/**
 * The balloon: follows `memory/target`, giving free pages back to the hypervisor or asking for more. It gives only
 * what the guest does not use, never asks for more than the domain may own, and tries again while it is off target.
 *
 * Reference: docs/misc/xenstore-paths.pandoc, memory/target.
 */
import type { HypercallPort } from '../abi/index.ts'
import { shape, type StateOf } from '../util/index.ts'
import type { FrameAllocator } from './pages.ts'
import type { Attachments } from './attachments.ts'
import type { GuestStore } from './store.ts'
import { readOptional } from './store.ts'
import type { Timer } from './timers.ts'

const TARGET = 'memory/target'
/** Pages moved in one step, so that a large change does not take the guest's whole slice. */
export const BALLOON_BATCH = 512
/**
 * Nanoseconds before asking again when the host had too little memory; doubled each time up to {@link
 * BALLOON_RETRY_MAX}.
 */
export const BALLOON_RETRY = 1_000_000_000
/** The longest pause between two attempts, in nanoseconds. */
export const BALLOON_RETRY_MAX = 32_000_000_000

/** How memory stands. All in pages. */
export interface BalloonState {
  readonly current: number
  readonly target: number
  readonly maximum: number
  /** Pages that the guest does not use. */
  readonly free: number
}

const pages = /* @__PURE__ */ shape.whole(0, 2 ** 40)

/** The target, whether the guest uses more than it leaves, the pause before the next attempt, and the timer for it. */
export const balloonState = /* @__PURE__ */ shape.record({
  target: /* @__PURE__ */ shape.optional(pages), short: shape.flag, pause: shape.time, retry: /* @__PURE__ */ shape.optional(shape.time),
})

/** A saved balloon: one without a step under way. */
export type SavedBalloon = StateOf<typeof balloonState>

/** What to do next: positive takes pages in, negative gives pages back, 0 is nothing. */
export function balloonStep(state: BalloonState): number {
  const goal = Math.min(state.target, state.maximum)
  if (goal < state.current) return -Math.min(state.current - goal, state.free, BALLOON_BATCH)
  return Math.min(goal - state.current, BALLOON_BATCH)
}

/** What the balloon needs of its guest. */
export interface BalloonServices {
  readonly hypercalls: Pick<HypercallPort,
    'currentReservation' | 'maximumReservation' | 'decreaseReservation' | 'increaseReservation'>
  readonly frames: FrameAllocator
  readonly store: GuestStore | undefined
  /** Calls `handler` once, `nanoseconds` of host time from now. */
  after(nanoseconds: number, handler: () => void): Pick<Timer, 'cancel' | 'keep' | 'order'>
  /** Runs `task` as one of the guest's next steps. */
  post(task: () => void): void
}

/** The balloon of one guest. */
export class Balloon {
  private readonly services: BalloonServices
  private pages: number | undefined
  private working = false
  /** The guest uses more pages than the target leaves it; each page that it releases is given back. */
  private short = false
  private retry: Pick<Timer, 'cancel' | 'order'> | undefined
  private pause = BALLOON_RETRY

  constructor(services: BalloonServices) {
    this.services = services
    services.frames.onRelease = () => {
      if (this.short) this.continue()
    }
  }

  /** Pages that the guest is to have; undefined before the first target was read. */
  get target(): number | undefined {
    return this.pages
  }

  /** Starts following `memory/target` in XenStore. */
  async start(): Promise<void> {
    const { store } = this.services
    if (store === undefined) return
    await store.watch(TARGET, () => void this.readTarget(store), { kept: true })
  }

  /** Where the balloon is and where it is going, for a save of the kernel. */
  save(): SavedBalloon {
    return { target: this.pages, short: this.short, pause: this.pause, retry: this.retry?.order }
  }

  /** Whether it is what a save of it said, so that nothing has to be brought back. */
  isAsSaved({ target, short, pause, retry }: SavedBalloon): boolean {
    return target === this.pages && short === this.short && pause === this.pause && retry === this.retry?.order
  }

  /** Goes on from a saved state, with its watch and its timer attached again. */
  load({ target, short, pause, retry }: SavedBalloon, { attachWatch, attachTimer }: Attachments): void {
    const { store } = this.services
    this.pages = target
    this.short = short
    this.pause = pause
    if (retry !== undefined) this.retry = attachTimer(retry, () => this.continue())
    if (store !== undefined) attachWatch(TARGET, () => void this.readTarget(store))
  }

  /** Sets the target by hand, in pages. */
  setTarget(pages: number): void {
    this.pages = Math.max(0, Math.floor(pages))
    this.pause = BALLOON_RETRY
    this.continue()
  }

  private async readTarget(store: GuestStore): Promise<void> {
    const text = await readOptional(store, TARGET)
    // The node holds KiB; what is no number is ignored, as other guests do.
    const kibibytes = text === undefined ? Number.NaN : Number(text)
    if (text !== '' && Number.isInteger(kibibytes) && kibibytes >= 0) this.setTarget(kibibytes / 4)
  }

  private continue(): void {
    if (this.working) return
    this.working = true
    this.retry?.cancel()
    this.retry = undefined
    this.services.post(() => this.step())
  }

  private step(): void {
    this.working = false
    const { hypercalls, frames } = this.services
    const current = hypercalls.currentReservation()
    const maximum = hypercalls.maximumReservation()
    const step = balloonStep({ current, target: this.pages ?? current, maximum, free: frames.free })
    const moved = step > 0 ? this.takeIn(step) : step < 0 ? this.giveBack(-step) : 0
    this.short = step <= 0 && moved === 0 && current > Math.min(this.pages ?? current, maximum)
    if (moved > 0) this.continue()
    else if (step > 0) this.tryLater()
  }

  private tryLater(): void {
    this.retry = this.services.after(this.pause, () => this.continue()).keep()
    this.pause = Math.min(this.pause * 2, BALLOON_RETRY_MAX)
  }

  private takeIn(count: number): number {
    const frames = this.services.hypercalls.increaseReservation(count)
    this.services.frames.putIn(frames)
    return frames.length
  }

  /** Gives up to `count` free pages back; those that the hypervisor refuses stay ours. */
  private giveBack(count: number): number {
    const frames = this.services.frames.takeOut(count)
    const given = Math.max(0, this.services.hypercalls.decreaseReservation(frames))
    if (given < frames.length) this.services.frames.putIn(frames.slice(given))
    return given
  }
}
