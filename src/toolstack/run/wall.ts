/**
 * A host on the wall clock: each reading of the wall that reaches it is an input. It is read between runs and when something
 * comes from outside, never within a run, where time passes with the instructions. So a run of such a host is as
 * repeatable as any other once its readings are known.
 */
import type { ControlInterface, RunLimits, RunResult } from '../../hypervisor/index.ts'
import type { Inputs } from './inputs.ts'
import type { RealTimeClock } from './real-time-clock.ts'

/** Nanoseconds by which a host may be ahead of the wall before it waits: a turn of JavaScript's timers. */
const MOST_AHEAD = 1e6

/** What follows the wall. */
export interface WallHost {
  readonly control: Pick<ControlInterface, 'run'>
  readonly clock: RealTimeClock
  readonly inputs: Inputs
}

/** Brings one host up to the wall. */
export class Wall {
  private readonly host: WallHost
  private running = false

  constructor(host: WallHost) {
    this.host = host
  }

  /** Host time as the wall has it, in nanoseconds. */
  get time(): number {
    return this.host.clock.wall
  }

  /** True while the host, whose guests have executed more than there was time for, has to wait for the wall. */
  get mustWait(): boolean {
    const { clock } = this.host
    return clock.now() - clock.wall > MOST_AHEAD
  }

  /** The host follows the wall from now on, beginning at its own time. */
  follow(): void {
    this.host.clock.follow()
  }

  /** The host's time stands but for what {@link Wall.moveTo} is given. */
  hold(): void {
    this.host.clock.hold()
  }

  /** Brings the host up to the wall, for what comes from outside. Within a run it is where the run is. */
  present(): void {
    if (this.running) return
    const time = this.host.clock.wall
    if (time > this.host.clock.now()) this.moveTo(time)
  }

  /** Takes a reading in, of the wall or from a record. */
  moveTo(time: number): void {
    const { control, inputs } = this.host
    inputs.note(() => ({ source: 'clock', time }))
    control.run({ at: time, instructions: 0 })
  }

  /** Runs the host, as it stands. */
  run(limits: RunLimits): RunResult {
    const { control, inputs } = this.host
    inputs.note(() => ({ source: 'run', ...limits }))
    this.running = true
    try {
      return control.run(limits)
    } finally {
      this.running = false
    }
  }
}
