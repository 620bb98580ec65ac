/** Host time that follows the wall: for hosts that people or other machines talk to while they run. */
import type { ClockState, HostClock } from '../../hypervisor/index.ts'

/** Nanoseconds since the clock was made, as the machine underneath counts them. */
export class RealTimeClock implements HostClock {
  private readonly instructionsPerSecond: number
  private start = performance.now()
  private last = 0

  /** `instructionsPerSecond` is what a slice's length in time is guessed from. */
  constructor(instructionsPerSecond: number) {
    this.instructionsPerSecond = instructionsPerSecond
  }

  now(): number {
    this.last = Math.max(this.last, Math.floor((performance.now() - this.start) * 1e6))
    return this.last
  }

  /** Time passes by itself. */
  charge(): void {}

  instructionsUntil(time: number): number {
    return Math.max(1, Math.ceil((time - this.now()) * this.instructionsPerSecond / 1e9))
  }

  skipTo(time: number): boolean {
    return time <= this.now()
  }

  /** Time goes on for all physical CPUs alike. */
  set(): void {}

  save(): ClockState {
    return { time: this.now(), rest: 0 }
  }

  /** Goes on from the saved time: what has passed outside since then has not passed here. */
  load({ time }: ClockState): void {
    this.start = performance.now() - time / 1e6
    this.last = time
  }
}
