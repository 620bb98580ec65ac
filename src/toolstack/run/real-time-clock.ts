/**
 * Host time that follows the wall: for hosts that people or other machines talk to while they run. Within a run time passes
 * with the instructions, as on the virtual clock; between runs the host is brought up to the wall, by `wall.ts`.
 */
import { VirtualClock } from '../../hypervisor/index.ts'

/** A virtual clock that does not jump over idle time, once it follows the wall. */
export class RealTimeClock extends VirtualClock {
  /** Milliseconds of the machine underneath at which host time was 0; undefined while it is not looked at. */
  private start: number | undefined
  private waits = false

  /** Host time as the wall has it, in nanoseconds; the host's own while the wall is not looked at. */
  get wall(): number {
    return this.start === undefined ? this.now() : Math.floor((performance.now() - this.start) * 1e6)
  }

  /** Follows the wall from the present host time on: what has passed outside so far has not passed here. */
  follow(): void {
    this.waits = true
    this.start = performance.now() - this.now() / 1e6
  }

  /** Looks at the wall no more, and jumps over nothing all the same: whoever knows the readings gives them. */
  hold(): void {
    this.start = undefined
  }

  override skipTo(time: number): boolean {
    return this.waits ? time <= this.now() : super.skipTo(time)
  }
}
