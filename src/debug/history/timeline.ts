/**
 * A host that a debugger has with its past: it stands now, or at a place of its recorded run, on a replica. Going on from the past comes to now as it was;
 * a change in the past brings the host itself there, and what came after is forgotten: it goes on from there as another run.
 */
import type { TracedInstruction } from '../../machine/index.ts'
import { DrivenHost, type Host } from '../../toolstack/index.ts'
import type { DomId } from '../../util/index.ts'
import { attempt } from '../memory/virtual-memory.ts'
import { followVcpus, type HooksOf } from './lookout.ts'
import { recorderOf, type RecordedRun } from './recorded-run.ts'
import { seek, type Recorder } from './recorder.ts'
import { Player, Replica, type Arrival } from './replica.ts'
import { findLast, lastInstruction, type Sought } from './search.ts'

/** Instructions between two looks at whether it is to stop, while it goes over what was recorded. */
const PIECE = 20_000_000

/** Whose instruction is stepped back. */
export interface TimelineStep {
  readonly domid: number
  readonly vcpu: number
  /** Address of the instruction that comes next; the vCPU's where it is not given. */
  readonly next?: number | undefined
  accepts?(event: TracedInstruction, where: { readonly host: Host; readonly vcpu: number }): boolean
}

/** A run's host under a debugger. */
export class Timeline {
  private readonly run: RecordedRun
  private readonly recorder: Recorder
  private readonly live: DrivenHost
  private replica: Replica | undefined
  private isPast = false

  private constructor(run: RecordedRun, live: DrivenHost) {
    this.run = run
    this.recorder = recorderOf(run)
    this.live = live
    this.recorder.isDriven = true
  }

  /** Has a recorded run's host stand. Rejects with CLOSED where the recording has ended. */
  static async of(run: RecordedRun): Promise<Timeline> {
    return new Timeline(run, await DrivenHost.hold(run.host))
  }

  /** The host as it is at the present place. */
  get host(): Host {
    return this.isPast && this.replica !== undefined ? this.replica.host : this.live.host
  }

  /** True where it stands in the past. */
  get isBack(): boolean {
    return this.isPast
  }

  /** Instructions of the run at the present place. */
  get instruction(): number {
    return this.isPast && this.replica !== undefined ? this.replica.instruction : this.run.instruction
  }

  /** Goes on until a hook stops a vCPU, or until `isOver`; `end` is what comes then. */
  async forward(hooksOf: HooksOf, isOver: () => boolean): Promise<Arrival> {
    if (this.isPast && this.replica !== undefined) {
      const arrival = await this.overPast(this.replica, { hooksOf, isOver })
      if (arrival.type === 'stopped' || isOver()) return arrival
      this.isPast = false
    }
    const forget = followVcpus(this.live.host, hooksOf)
    try {
      const standing = await this.live.drive({ stand: Number.MAX_SAFE_INTEGER, isOver, between: () => this.recorder.whenDue() })
      return standing === undefined ? { type: 'end' } : { type: 'stopped', domid: standing.domid, vcpu: standing.vcpu }
    } finally {
      forget()
    }
  }

  private async overPast(replica: Replica, { hooksOf, isOver }: { readonly hooksOf: HooksOf; readonly isOver: () => boolean }): Promise<Arrival> {
    const forget = followVcpus(replica.host, hooksOf)
    const end = this.run.instruction
    try {
      for (;;) {
        const arrival = await replica.playTo(Math.min(end, replica.instruction + PIECE))
        if (arrival.type !== 'there' || replica.instruction >= end || isOver()) return arrival
      }
    } finally {
      forget()
    }
  }

  /** Goes back to the last of what is sought; false where there is none, and it stands at the beginning. */
  async back<E>(sought: Sought<E>): Promise<E | undefined> {
    const replica = await this.ownReplica()
    const found = await findLast(replica, this.recorder.keyframes, { sought, stretch: { from: 0, to: this.instruction } })
    await this.goTo(found?.instruction ?? 0)
    return found?.event
  }

  /** Goes back to before the last instruction of a vCPU, or to the last that is accepted on any of its domain's; false where there is none, and it stands at the beginning. */
  async stepBack({ domid, vcpu, next, accepts }: TimelineStep): Promise<boolean> {
    const rip = attempt(() => this.host.hypervisor.getVcpuContext(domid as DomId, vcpu).user.rip)
    const replica = await this.ownReplica()
    const found = await lastInstruction(replica, this.recorder.keyframes, {
      before: this.instruction, from: 0, next: next ?? (rip === undefined ? undefined : Number(BigInt.asIntN(64, rip))),
      isOwn: (place) => place.domid === domid && (accepts !== undefined || place.vcpu === vcpu), accepts: accepts ?? (() => true),
    })
    await this.goTo(found ?? 0)
    return found !== undefined
  }

  /** Goes to a place of the run; what lies ahead of now is now. */
  async goTo(instruction: number): Promise<void> {
    if (instruction >= this.run.instruction) {
      this.isPast = false
      return
    }
    const replica = await this.ownReplica()
    await seek(replica, this.recorder, instruction)
    this.isPast = true
  }

  /** `instruction` is read before: a search moves the replica. */
  private async ownReplica(): Promise<Replica> {
    return (this.replica ??= await Replica.of(this.recorder.log, this.recorder.keyframes.all()[0]!))
  }

  /**
   * Changes the host at the present place; false where `apply` refuses, and nothing has changed. In the past the host itself is brought there first, and what came
   * after is forgotten.
   */
  async change(apply: (host: Host) => boolean): Promise<boolean> {
    if (this.isPast) {
      if (!apply(this.host)) return false
      await this.goElsewhere(this.instruction)
    }
    return this.recorder.change({ apply })
  }

  private async goElsewhere(instruction: number): Promise<void> {
    const { recorder } = this
    const keyframe = recorder.keyframes.before(instruction)!
    await recorder.rebase(keyframe.instruction, () => this.live.host.reset(keyframe.moment))
    const player = new Player(recorder.log, this.live)
    await player.placed(keyframe)
    await player.playTo(instruction)
    recorder.goElsewhere(player.entries)
    this.isPast = false
  }

  /** Wakes a host that waits for something from outside, to look whether it is to stop. */
  wake(): void {
    this.live.wake()
  }

  /** Lets the host go on from now, without a debugger. */
  async release(): Promise<void> {
    this.isPast = false
    this.recorder.isDriven = false
    this.live.release()
    await this.replica?.end()
  }
}
