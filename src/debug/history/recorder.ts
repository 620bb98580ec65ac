/** Takes down what a host does from now on: what comes into it, run by run, and keyframes. The host is as it is without. */
import { recordInputs, stopwatch, type Host } from '../../toolstack/index.ts'
import { XenError } from '../../util/index.ts'
import { Keyframes, writtenBetween } from './keyframes.ts'
import { RunLog, type Change } from './log.ts'
import type { Replica } from './replica.ts'

/** How a run is recorded. */
export interface RecordOptions {
  /** Milliseconds that it may take to get to any place of the run, on this machine. Default: 250. */
  readonly seek?: number | undefined
  /** MiB that keyframes behind the first may take; where that is not enough, some places are further away. Default: 100. */
  readonly memory?: number | undefined
}

/** Of a seek, what goes to executing again what the host has executed once; the rest is for bringing a host to a keyframe, and code that is cold. */
const EXECUTING = 0.4
/** A keyframe takes at most this part of the time: where it takes long, the next one waits. */
const MOST_OF_TIME = 0.07
/** Milliseconds of one run at most: a host that waits for something from outside does not execute. */
const MOST_OF_RUN = 30

/** Records one host. */
export class Recorder {
  readonly host: Host
  readonly log = new RunLog()
  readonly keyframes: Keyframes
  /** Instructions by the host's own count at which the run's count was 0. */
  private origin = 0
  private readonly spacing: number
  private forget: (() => void)[] = []
  private listening: () => void = () => undefined
  /** Milliseconds executed since the last keyframe, and that the last keyframe took. */
  private spent = 0
  private price = 0
  private lastRun = 0
  private total = 0
  private taking: Promise<void> | undefined
  private closed = false
  private ownReset = false

  constructor(host: Host, { seek = 250, memory = 100 }: RecordOptions) {
    this.host = host
    this.spacing = seek * EXECUTING
    this.keyframes = new Keyframes(memory)
  }

  /** Takes the first keyframe and listens. Rejects with what `host.checkpoint` rejects with. */
  async begin(): Promise<void> {
    await this.take()
    this.forget = [
      this.host.events.on('host-reset', () => { if (!this.ownReset) this.end() }),
      this.host.events.on('host-shutdown', () => this.end()),
    ]
  }

  /** False once the host was brought elsewhere, or was shut down. */
  get isOpen(): boolean {
    return !this.closed
  }

  /** Instructions that guests have executed since the beginning. */
  get instruction(): number {
    return this.host.hypervisor.executedInstructions() - this.origin
  }

  /** Milliseconds that keyframes behind the first have taken. */
  get cost(): number {
    return this.total
  }

  private listen(): void {
    this.listening()
    this.listening = recordInputs(this.host, (record) => {
      this.log.add({ instruction: this.instruction, isWithin: this.isWithin, what: { type: 'input', record } })
      if (record.input.source === 'run') this.count()
    }, { runs: true })
  }

  private get isWithin(): boolean {
    return this.host.hypervisor.isStanding()
  }

  /** Makes a change, and takes it down; false where the host has refused it. */
  change(change: Change): boolean {
    if (!change.apply(this.host)) return false
    this.log.add({ instruction: this.instruction, isWithin: this.isWithin, what: { type: 'change', change } })
    return true
  }

  /** What a run has cost that is over, as another begins. */
  private count(): void {
    const now = stopwatch()
    const { instruction } = this
    if (this.lastRun !== 0 && instruction !== this.lastCount) this.spent += Math.min(MOST_OF_RUN, now - this.lastRun)
    this.lastRun = now
    this.lastCount = instruction
    if (this.isDue && this.taking === undefined && !this.isDriven) void this.whenDue()
  }

  private lastCount = 0
  /** Somebody drives the host, and asks for keyframes between runs. */
  isDriven = false

  private get isDue(): boolean {
    return this.spent >= Math.max(this.spacing, this.price / MOST_OF_TIME)
  }

  /** Takes a keyframe where one is due, for whoever drives the host; undefined where none is. */
  whenDue(): Promise<void> | undefined {
    if (!this.isDue || this.closed || this.isWithin) return this.taking
    return (this.taking ??= this.take().catch((error: unknown) => {
      // What is under way now is over later.
      if (!XenError.is(error)) throw error
      if (error.code === 'OUT_OF_MEMORY') this.keyframes.thin()
      this.spent /= 2
    }).finally(() => { this.taking = undefined }))
  }

  private async take(): Promise<void> {
    const begin = stopwatch()
    const operation = this.host.checkpoint()
    const place = { entries: 0, instruction: 0, time: 0 }
    // Where the host stands: what it did to get there is in the log.
    operation.progress.on('standing', ({ time }) => Object.assign(place, { entries: this.log.length, instruction: this.instruction, time }))
    const moment = await operation
    if (this.keyframes.count === 0) {
      this.origin = this.host.hypervisor.executedInstructions()
      this.listen()
      Object.assign(place, { instruction: 0, entries: 0 })
    }
    const before = this.keyframes.all().at(-1)?.moment
    this.keyframes.add({ moment, ...place, cost: this.spent, written: writtenBetween(before, moment) })
    // The first one copies all of memory, once.
    this.price = before === undefined ? 0 : stopwatch() - begin
    this.total += this.price
    this.spent = 0
    this.lastRun = 0
  }

  /**
   * The host itself has been brought to a keyframe, from which it is to be executed again to some place: what is logged behind an entry is forgotten, and what
   * happens from now on is logged once `rebased` is called. Called within `reset`.
   */
  async rebase(instruction: number, reset: () => Promise<void>): Promise<void> {
    this.ownReset = true
    this.listening()
    this.listening = () => undefined
    try {
      await reset()
      this.origin = this.host.hypervisor.executedInstructions() - instruction
    } finally {
      this.ownReset = false
    }
  }

  /** From here on the run is another: everything behind so many entries, and behind this place, is forgotten. */
  goElsewhere(entries: number): void {
    this.log.truncate(entries)
    this.keyframes.truncate(entries, this.instruction)
    this.spent = 0
    this.lastRun = 0
    this.listen()
  }

  /** Ends it. What was recorded stays. */
  end(): void {
    this.closed = true
    this.listening()
    for (const forget of this.forget.splice(0)) forget()
  }
}

/** Brings a replica to a place of a run that a recorder takes down. */
export async function seek(replica: Replica, { keyframes }: Recorder, instruction: number): Promise<void> {
  await replica.reset(keyframes.before(instruction)!)
  await replica.playTo(instruction)
}
