/** What may come between the ports of a bridge, so that tests see what guests do on a network that is no wire of one metre. */
import type { NetFrame } from './frame.ts'

/** A frame that enters a bridge. */
export interface FrameFacts {
  readonly bridge: string
  /** The port by which it comes: ports are numbered from 1 in the order in which they were attached. */
  readonly port: number
  /** Valid during the call: who keeps it copies. */
  readonly frame: NetFrame
}

/** What whoever interferes may ask of the domain that the bridge runs in. */
export interface NetServices {
  /** Host time in nanoseconds. */
  now(): number
  /** Does something so many nanoseconds from now. */
  after(nanoseconds: number, act: () => void): void
}

/** Stands between. */
export interface NetInterference {
  /** False while nothing is to be interfered with: then frames go as if nobody stood between. Absent: every frame is told of. */
  readonly asks?: boolean
  /** Lets a frame in by calling `forward`: at once, later, more than once, another one, or not at all. */
  frame(facts: FrameFacts, forward: (frame: NetFrame) => void, services: NetServices): void
}
