/**
 * A host that goes again over what was recorded: a branch of a keyframe, with memory of its own, that stands wherever it is wanted to. What it does
 * reaches nobody.
 */
import { DrivenHost, type Host, type HostInput, type InputRecord } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'
import type { Keyframe } from './keyframes.ts'
import type { LogEntry, RunLog } from './log.ts'

/** Where going on has ended. */
export type Arrival =
  /** At the place that was asked for, or at the first behind it. */
  | { readonly type: 'there' }
  /** A hook has stopped a vCPU. */
  | { readonly type: 'stopped'; readonly domid: number; readonly vcpu: number }
  /** Nothing more was recorded. */
  | { readonly type: 'end' }

const THERE: Arrival = { type: 'there' }
const END: Arrival = { type: 'end' }

/** Goes over a log on one host. */
export class Player {
  private readonly log: RunLog
  private readonly driven: DrivenHost
  /** The next entry, and the host's count of instructions at which the run's was 0. */
  private next = 0
  private origin = 0

  constructor(log: RunLog, driven: DrivenHost) {
    this.log = log
    this.driven = driven
  }

  get host(): Host {
    return this.driven.host
  }

  /** Instructions of the run that guests have executed. */
  get instruction(): number {
    return this.driven.executed - this.origin
  }

  /** Entries that it has begun with. */
  get entries(): number {
    return this.next
  }

  /** The host has been brought to a keyframe. */
  async placed({ entries, instruction }: Pick<Keyframe, 'entries' | 'instruction'>): Promise<void> {
    await this.driven.heldAgain()
    this.next = entries
    this.origin = this.driven.executed - instruction
  }

  /** Goes on until guests have executed so many instructions of the run, right before the next. Rejects with INVALID_STATE where the run does not go as it did. */
  async playTo(instruction: number): Promise<Arrival> {
    for (;;) {
      const entry = this.log.at(this.next)
      if (this.driven.isStanding) {
        if (entry?.isWithin === true && this.instruction >= entry.instruction) {
          await this.put(entry)
          continue
        }
        if (this.instruction >= instruction) return THERE
        const arrival = await this.arrive(this.driven.goOnTo(this.room(instruction)))
        if (arrival !== undefined) return arrival
        continue
      }
      if (entry === undefined) return END
      const run = runOf(entry)
      if (run === undefined) {
        await this.put(entry)
        continue
      }
      this.next += 1
      const arrival = await this.arrive(await this.driven.play(this.room(instruction), run))
      if (arrival !== undefined) return arrival
    }
  }

  /** Instructions until it is to stand: at the place that is wanted, or where something came in while the host stood. */
  private room(instruction: number): number {
    const entry = this.log.at(this.next)
    const end = entry?.isWithin === true ? Math.min(instruction, entry.instruction) : instruction
    return Math.max(0, end - this.instruction)
  }

  private async arrive(result: ReturnType<DrivenHost['goOnTo']>): Promise<Arrival | undefined> {
    if (result.kind !== 'standing') {
      await this.driven.endPlay()
      return undefined
    }
    return result.isStopped ? { type: 'stopped', domid: result.domid, vcpu: result.vcpu } : undefined
  }

  /** The host is not driven any more. */
  release(): void {
    this.driven.release()
  }

  private async put({ what }: LogEntry): Promise<void> {
    this.next += 1
    if (what.type === 'change') {
      what.change.apply(this.host)
      return
    }
    await this.driven.feed(what.record)
  }
}

/** The record of a run of the loop; undefined for anything else. */
function runOf({ what }: LogEntry): InputRecord | undefined {
  if (what.type !== 'input') return undefined
  const { input }: { readonly input: HostInput } = what.record
  return input.source === 'run' ? what.record : undefined
}

/** A branch that goes over a log. */
export class Replica {
  private readonly player: Player

  private constructor(player: Player) {
    this.player = player
  }

  /** Makes one. Rejects with what branching rejects with. */
  static async of(log: RunLog, keyframe: Keyframe): Promise<Replica> {
    const host = await keyframe.moment.branch()
    const driven = await DrivenHost.hold(host)
    const replica = new Replica(new Player(log, driven))
    await replica.player.placed(keyframe)
    return replica
  }

  get host(): Host {
    return this.player.host
  }

  /** Instructions of the run that guests have executed. */
  get instruction(): number {
    return this.player.instruction
  }

  /** Brings it to a keyframe. */
  async reset(keyframe: Keyframe): Promise<void> {
    await this.host.reset(keyframe.moment)
    await this.player.placed(keyframe)
  }

  /** Goes on; see {@link Player.playTo}. */
  async playTo(instruction: number): Promise<Arrival> {
    try {
      return await this.player.playTo(instruction)
    } catch (error) {
      if (!XenError.is(error)) throw error
      throw new XenError('INVALID_STATE', `the run does not go again as it was recorded: ${error.message}`, { cause: error, details: { instruction: this.instruction } })
    }
  }

  /** It is not needed any more. */
  async end(): Promise<void> {
    this.player.release()
    await this.host.shutdown()
  }
}
