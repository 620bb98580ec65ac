/**
 * The one door by which things come into a host from outside: what a user types, calls, aborts and writes to XenStore, frames
 * that user code sends, answers of disks that were waited for, with what was read, readings of the wall's clock. Each is
 * plain data with its place in the order and the host's time, so that a run can be taken down; what is not plain (a stream, a
 * program) is noted as such. Not here: when a kernel's file was read.
 */
import type { OutsideInput, ScreenInput } from '../../drivers/index.ts'
import type { RunLimits } from '../../hypervisor/index.ts'
import type { Clock, Duration, XenError } from '../../util/index.ts'
import type { StoreChanges, StoreDoor } from '../../xenstore/index.ts'

/** How long a call waits, and whether its caller had given up before it began. */
export interface CallLimits {
  readonly timeout?: Duration | undefined
  readonly aborted?: boolean | undefined
}

/** A call of the toolstack that changes something. Options that only the caller has a use for are not in it. */
export type HostCall = CallLimits & (
  | { readonly call: 'create'; readonly config: unknown; readonly options: unknown }
  | { readonly call: 'pause' | 'unpause' | 'destroy' | 'shutdown' | 'reboot'; readonly domid: number }
  | { readonly call: 'memory-target' | 'memory-maximum'; readonly domid: number; readonly mebibytes: number }
  | { readonly call: 'vcpus'; readonly domid: number; readonly count: number; readonly wait: boolean }
  | { readonly call: 'attach'; readonly domid: number; readonly kind: string; readonly description: unknown }
  | { readonly call: 'detach'; readonly domid: number; readonly kind: string; readonly name: string | number; readonly force: boolean }
  /** One of control/plain-calls.ts. */
  | { readonly call: 'plain'; readonly name: string; readonly arguments: readonly unknown[] }
  /** Something that reads or writes a stream, or comes with what is no plain data: it cannot be called again from this. */
  | { readonly call: 'other'; readonly name: string }
)

/** The answer of a disk's store that did not come at once. */
export interface DiskAnswer {
  readonly domid: number
  readonly device: number
  /** Which of this disk's requests that were waited for it answers, since its front-end connected: the first is 1. */
  readonly request: number
  readonly okay: boolean
  /** What was read; empty for a request that reads nothing. */
  readonly bytes: Uint8Array
}

/** The caller of an operation has given it up. */
export interface CallAbort {
  /** The sequence number of the call. */
  readonly call: number
  /** Which of its reports of progress it came from within, the first is 1; absent where it came from elsewhere. */
  readonly report?: number | undefined
}

/** A reading of the wall's clock. */
export interface ClockReading {
  /** Host time in nanoseconds to which the host moves on. */
  readonly time: number
}

/** A run: of a host that follows the wall, where how far it went decides what the next reading finds; of others for listeners that want them. */
export type HostRun = Pick<RunLimits, 'instructions' | 'until' | 'idle'>

/** What comes in, by where it comes from. */
export type HostInput =
  /** Typed into the console of a domain, or said by one of its channels. */
  | { readonly source: 'console'; readonly domid: number; readonly channel?: string; readonly bytes: Uint8Array }
  /** Done at the keyboard or the pointer of one of a domain's screens. */
  | { readonly source: 'screen'; readonly domid: number; readonly screen: number; readonly inputs: readonly ScreenInput[] }
  /** Sent by a port of user code. */
  | { readonly source: 'frame'; readonly bridge: string; readonly port: number; readonly bytes: Uint8Array }
  | { readonly source: 'disk' } & DiskAnswer
  /** Said by the outside of a user-mode network, which is known by its bridge. */
  | { readonly source: 'network'; readonly bridge: string; readonly said: OutsideInput }
  /** Changes of XenStore by the host's own handle. */
  | { readonly source: 'store' } & StoreChanges
  | { readonly source: 'call' } & HostCall
  | { readonly source: 'abort' } & CallAbort
  | { readonly source: 'clock' } & ClockReading
  | { readonly source: 'run' } & HostRun

/** Turns of promises that are counted between two inputs. Whatever is further away came in another turn of the event loop. */
export const MOST_TICKS = 256

/** An input with its place. */
export interface InputRecord {
  readonly sequence: number
  /** Host time in nanoseconds. */
  readonly time: number
  /**
   * How often promises had their turn since the one before, 256 at most: 0 where it came at once, before
   * what that one had begun could go on.
   */
  readonly ticks: number
  readonly input: HostInput
}

/** The door of one host. */
export class Inputs {
  private readonly clock: Clock
  private readonly listeners = new Set<(record: InputRecord) => void>()
  /** Those among them that want to hear of each run. */
  private readonly runListeners = new Set<(record: InputRecord) => void>()
  private sequence = 0
  /** Turns of promises since the last input that was told. */
  private ticks = MOST_TICKS
  private isTicking = false
  private arriving: (() => void) | undefined
  private entering: number | undefined
  private closed: XenError | undefined

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Calls `arriving` before anything comes in: the host is brought up to the present. */
  onArrival(arriving: () => void): void {
    this.arriving = arriving
  }

  /** The sequence number of what is being let in; undefined when nothing is. */
  get current(): number | undefined {
    return this.entering
  }

  /** Lets nothing in any more: whoever brings something is refused with `why`. */
  close(why: XenError): void {
    this.closed = why
  }

  /** Lets something in: notes it, and does it. `input` is made only where somebody listens. Throws once the door is closed. */
  enter<T>(input: () => HostInput, act: () => T): T {
    const outer = this.begin(input)
    try {
      return act()
    } finally {
      this.end(outer)
    }
  }

  /** Whether somebody listens. */
  get isHeard(): boolean {
    return this.listeners.size > 0
  }

  /** Notes something that is let in until {@link Inputs.end} is given what this gives. `input` may be absent where nobody listens. Throws once the door is closed. */
  begin(input: (() => HostInput) | undefined): number | undefined {
    if (this.closed !== undefined) throw this.closed
    this.arriving?.()
    this.sequence += 1
    if (input !== undefined && this.isHeard) this.tell(input())
    const outer = this.entering
    this.entering = this.sequence
    return outer
  }

  /** What was let in has been done. */
  end(outer: number | undefined): void {
    this.entering = outer
  }

  /** Notes a frame that is about to be taken in: what `enter` does, with nothing made for each frame while nobody listens. */
  frame(bridge: string, port: number, bytes: Uint8Array): void {
    if (this.closed !== undefined) throw this.closed
    this.arriving?.()
    this.sequence += 1
    if (this.listeners.size > 0) this.tell({ source: 'frame', bridge, port, bytes: bytes.slice() })
  }

  /** Notes something that is about to take effect. */
  note(input: () => HostInput): void {
    this.sequence += 1
    if (this.listeners.size > 0) this.tell(input())
  }

  /** Notes a run, or a jump of the clock, of a host that follows no wall, for those who want to hear of each. */
  noteRun(input: () => HostInput): void {
    if (this.runListeners.size === 0) return
    this.sequence += 1
    this.tell(input(), this.runListeners)
  }

  /**
   * Hears each input before it takes effect, until the returned function is called; `runs`: each run and each jump of the clock as well, on
   * whatever host, so that the run can be made again cut for cut.
   */
  listen(listener: (record: InputRecord) => void, { runs = false }: { readonly runs?: boolean } = {}): () => void {
    this.listeners.add(listener)
    if (runs) this.runListeners.add(listener)
    return () => {
      this.listeners.delete(listener)
      this.runListeners.delete(listener)
    }
  }

  private tell(input: HostInput, listeners = this.listeners): void {
    const record = { sequence: this.sequence, time: this.clock.now(), ticks: this.ticks, input }
    for (const listener of listeners) listener(record)
    this.ticks = 0
    if (!this.isTicking) this.tick()
  }

  /** Counts on. Promises have their turn in order: this one before those that the input leads to. */
  private tick(): void {
    this.isTicking = this.ticks < MOST_TICKS
    if (!this.isTicking) return
    queueMicrotask(() => {
      this.ticks += 1
      this.tick()
    })
  }
}

/** The door as the host's own handle on XenStore passes it. */
export const storeDoor = (inputs: Inputs): StoreDoor => new StoreInputs(inputs)

class StoreInputs implements StoreDoor {
  private readonly inputs: Inputs

  constructor(inputs: Inputs) {
    this.inputs = inputs
  }

  get isHeard(): boolean {
    return this.inputs.isHeard
  }

  entered(changes: (() => StoreChanges) | undefined): number | undefined {
    return this.inputs.begin(changes && (() => ({ source: 'store', ...changes() })))
  }

  left(before: number | undefined): void {
    this.inputs.end(before)
  }
}
