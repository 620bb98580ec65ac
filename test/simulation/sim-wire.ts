/** A pipe between two sides of a simulation, whose bytes take time, and that can be slow, stand still, or be cut. */
import type { MigrationTransport } from '../../src/toolstack/index.ts'
import { XenError } from '../../src/util/index.ts'
import type { Side, SimClock } from './sim-clock.ts'

/** One direction. */
class Direction {
  private readonly chunks: Uint8Array[] = []
  private wake: () => void = () => undefined
  private isBroken = false
  private isCut = false
  private lastArrival = 0
  readonly readable: AsyncIterable<Uint8Array>
  readonly writable: { readonly keepsNothing: true; write(chunk: Uint8Array): void; close(): void; abort(): void }

  private readonly tell: (act: () => void) => void

  constructor(clock: SimClock, to: Side, wire: SimWire) {
    this.tell = (act) => void clock.after(to, 0, act)
    this.readable = {
      [Symbol.asyncIterator]: () => ({
        next: async (): Promise<IteratorResult<Uint8Array>> => {
          while (this.chunks.length === 0 && !this.isBroken) await new Promise<void>((resolve) => { this.wake = resolve })
          const value = this.chunks.shift()
          return value === undefined ? { done: true, value: undefined } : { done: false, value }
        },
      }),
    }
    this.writable = {
      // As a socket: senders use the memory again.
      keepsNothing: true,
      write: (chunk) => {
        if (this.isBroken || this.isCut) throw new XenError('CLOSED', 'the wire is cut')
        if (wire.isSilent) return
        const copy = chunk.slice()
        // In their order, however the latency changes.
        this.lastArrival = Math.max(this.lastArrival + wire.gap, clock.now + wire.latency(), wire.stalledUntil)
        clock.after(to, this.lastArrival - clock.now, () => {
          if (this.isBroken || this.isCut || wire.isSilent) return
          this.chunks.push(copy)
          this.wake()
        })
      },
      close: () => void clock.after(to, wire.latency(), () => this.break()),
      abort: () => void clock.after(to, wire.latency(), () => this.break()),
    }
  }

  /** Nothing arrives any more; its reader hears so when it is awake. */
  cut(): void {
    this.isCut = true
    this.tell(() => this.break())
  }

  /** Its reader hears the end, behind what has arrived. */
  break(): void {
    this.isBroken = true
    this.wake()
  }
}

/** The pipe. */
export class SimWire {
  readonly ends: readonly [MigrationTransport, MigrationTransport]
  private readonly directions: readonly Direction[]
  latency: () => number
  /** Milliseconds between the arrivals of two pieces that were written at once: what happens between them tears what they are pieces of. */
  gap = 0
  stalledUntil = 0
  /** Nothing arrives any more, and nobody is told. */
  isSilent = false

  constructor(clock: SimClock, sides: readonly [Side, Side], latency: () => number) {
    this.latency = latency
    const [there, back] = [new Direction(clock, sides[1], this), new Direction(clock, sides[0], this)]
    this.directions = [there, back]
    this.ends = [{ readable: back.readable, writable: there.writable }, { readable: there.readable, writable: back.writable }]
  }

  /** Cuts it: both ends are told, and what is on its way is lost. */
  cut(): void {
    for (const direction of this.directions) direction.cut()
  }
}
