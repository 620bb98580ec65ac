/**
 * The one door by which things come into a host from outside: what a user types, calls and writes to XenStore, frames that user code sends,
 * answers of disks that were waited for, with what was read. Each is plain data with its place in the order and the host's time, so that a run
 * can be taken down; what is not plain (a stream, a program) is noted as such.
 */
import type { Clock } from '../../util/index.ts'
import type { StoreChanges } from '../../xenstore/index.ts'

/** A call of the toolstack that changes something. Options that only the caller has a use for are not in it. */
export type HostCall =
  | { readonly call: 'create'; readonly config: unknown; readonly paused: boolean }
  | { readonly call: 'pause' | 'unpause' | 'destroy' | 'shutdown' | 'reboot'; readonly domid: number }
  | { readonly call: 'memory-target' | 'memory-maximum'; readonly domid: number; readonly mebibytes: number }
  | { readonly call: 'vcpus'; readonly domid: number; readonly count: number }
  | { readonly call: 'attach'; readonly domid: number; readonly kind: string; readonly description: unknown }
  | { readonly call: 'detach'; readonly domid: number; readonly kind: string; readonly name: string | number; readonly force: boolean }
  /** Something that reads or writes a stream, or comes with what is no plain data: it cannot be called again from this. */
  | { readonly call: 'other'; readonly name: string }

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

/** What comes in, by where it comes from. */
export type HostInput =
  /** Typed into the console of a domain. */
  | { readonly source: 'console'; readonly domid: number; readonly bytes: Uint8Array }
  /** Sent by a port of user code. */
  | { readonly source: 'frame'; readonly bridge: string; readonly port: number; readonly bytes: Uint8Array }
  | { readonly source: 'disk' } & DiskAnswer
  /** Changes of XenStore by the host's own handle. */
  | { readonly source: 'store' } & StoreChanges
  | { readonly source: 'call' } & HostCall

/** An input with its place. */
export interface InputRecord {
  readonly sequence: number
  /** Host time in nanoseconds. */
  readonly time: number
  readonly input: HostInput
}

/** The door of one host. */
export class Inputs {
  private readonly clock: Clock
  private readonly listeners = new Set<(record: InputRecord) => void>()
  private sequence = 0

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Lets something in: notes it, and does it. `input` is made only where somebody listens. */
  enter<T>(input: () => HostInput, act: () => T): T {
    this.sequence += 1
    if (this.listeners.size > 0) this.tell(input())
    return act()
  }

  /** Notes a frame that is about to be taken in: what `enter` does, with nothing made for each frame while nobody listens. */
  frame(bridge: string, port: number, bytes: Uint8Array): void {
    this.sequence += 1
    if (this.listeners.size > 0) this.tell({ source: 'frame', bridge, port, bytes: bytes.slice() })
  }

  private tell(input: HostInput): void {
    const record = { sequence: this.sequence, time: this.clock.now(), input }
    for (const listener of this.listeners) listener(record)
  }

  /** Hears each input before it takes effect, until the returned function is called. */
  listen(listener: (record: InputRecord) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }
}
