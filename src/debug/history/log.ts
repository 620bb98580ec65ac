/**
 * What a recorded run consists of beside its keyframes: everything that came into the host, each run of its loop cut for cut, and what a
 * debugger changed, in their order, each with how many instructions guests had executed by then.
 */
import type { Host, InputRecord } from '../../toolstack/index.ts'

/** A change that a debugger made while the host stood: plain calls on a host that stands at the same place. */
export interface Change {
  /** Makes it; false where the host refuses it. */
  apply(host: Host): boolean
}

/** One thing, with its place. */
export interface LogEntry {
  /** Instructions that guests had executed before it. */
  readonly instruction: number
  /** It came while a run stood in its midst. */
  readonly isWithin: boolean
  readonly what: { readonly type: 'input'; readonly record: InputRecord } | { readonly type: 'change'; readonly change: Change }
}

/** Whether an entry is a run. */
export const isRun = ({ what }: LogEntry): boolean => what.type === 'input' && what.record.input.source === 'run'

/** The entries of one run. */
export class RunLog {
  private readonly entries: LogEntry[] = []

  get length(): number {
    return this.entries.length
  }

  at(index: number): LogEntry | undefined {
    return this.entries[index]
  }

  add(entry: LogEntry): void {
    this.entries.push(entry)
  }

  /** Forgets what came from an entry on. */
  truncate(length: number): void {
    this.entries.length = Math.min(this.entries.length, length)
  }
}
