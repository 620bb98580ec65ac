/**
 * A host under a debugger: halted, it runs only as it is told, stands between any two instructions of its guests, and goes again over what was
 * recorded of it or of the host that it is a branch of. What guests come to is the same whether it stands in between or not.
 */
import type { RunResult, StandingRun } from '../../hypervisor/index.ts'
import { XenError } from '../../util/index.ts'
import type { HostInput, InputRecord } from '../run/inputs.ts'
import type { Drive } from '../run/run-loop.ts'
import { InputFeeder, runOf } from './feed-input.ts'
import { insidesOf, type Host } from './host.ts'

/** Milliseconds by the clock of the process: what debuggers measure ways through a run by. Nothing that a guest sees depends on it. */
export const stopwatch = (): number => performance.now()

/** Drives one host. */
export class DrivenHost {
  readonly host: Host
  private feeder: InputFeeder
  private goOn: () => void

  private constructor(host: Host, goOn: () => void) {
    this.host = host
    this.goOn = goOn
    this.feeder = new InputFeeder(host)
  }

  /** Halts a host for a debugger. Rejects with NOT_SUPPORTED for a host that follows the wall. */
  static async hold(host: Host): Promise<DrivenHost> {
    const { loop, wall } = insidesOf(host).parts
    if (wall !== undefined) throw new XenError('NOT_SUPPORTED', 'a host that follows the wall cannot be held')
    return new DrivenHost(host, await loop.halt())
  }

  /** Takes it up again behind `host.reset`, with which another loop may have come, and to which no recorded call belongs. */
  async heldAgain(): Promise<void> {
    const { goOn } = this
    this.goOn = await this.loop.halt()
    goOn()
    this.feeder = new InputFeeder(this.host)
  }

  private get loop(): ReturnType<typeof insidesOf>['parts']['loop'] {
    return insidesOf(this.host).parts.loop
  }

  /** Instructions that its guests have executed; it begins anew where the host is stood up. */
  get executed(): number {
    return this.host.hypervisor.executedInstructions()
  }

  /** True while it stands in the midst of a run. */
  get isStanding(): boolean {
    return this.host.hypervisor.isStanding()
  }

  /** Lets it run by itself until it stands, or `isOver`, which is asked between runs. */
  drive(how: Drive): Promise<StandingRun | undefined> {
    return this.loop.drive(how)
  }

  /** Lets guests run so many instructions of a recorded run, or go on with the run in which they stand. */
  async play(stand: number, run?: InputRecord): Promise<RunResult> {
    // Nothing follows, but promises that wait for a turn.
    if (run !== undefined) await this.feeder.approach(run)
    return this.loop.playTo(stand, run === undefined ? undefined : runOf(run.input as Extract<HostInput, { readonly source: 'run' }>))
  }

  /** Goes on with the run in which it stands. */
  goOnTo(stand: number): RunResult {
    return this.loop.playTo(stand)
  }

  /** A played run is over. */
  endPlay(): Promise<void> {
    return this.loop.endPlay()
  }

  /** Puts a recorded input in. What comes of a call is nobody's to hear. */
  feed(record: InputRecord): Promise<void> {
    return this.feeder.feed([record], { answered: (_, answer) => void Promise.resolve(answer).catch(() => undefined) })
  }

  /** Has it look again whether it is to go on. */
  wake(): void {
    this.loop.kick()
  }

  /** Lets it go on by itself. */
  release(): void {
    this.goOn()
  }
}
