/**
 * Looking for the next message for a moment instead of sleeping until it comes. A processor that sleeps takes some 35
 * microseconds to wake, several times what an answer takes; a client that asks one thing after the other pays that for
 * each of its requests. So the event loop is kept turning for a while after something came, but only where that has
 * just proved worth it: when the message before had come within that while. A server that is asked now and then sleeps.
 *
 * The idea is that of halt polling in Linux (Documentation/virt/kvm/halt-polling.rst), with its default of 200 us.
 *
 * hot path: runs for every piece that comes. Measured with one client that reads one node after the other on two idle
 * processors: 13,000 requests a second without, 36,000 with it.
 */
import { availableParallelism } from 'node:os'

/** Milliseconds of polling, unless told otherwise. On a single processor it would keep the client from running. */
export const defaultBusyPoll = (): number => (availableParallelism() > 1 ? 0.2 : 0)

/** Messages in one turn of the event loop up to which it is clients that wait, and not the server. */
const FEW = 2

/** How much longer than the limit a sleep may last that counts as short: the process had to be woken from it. */
const WAKING = 2
/** Polls in a row without a message after which only what comes within the limit itself begins another one. */
const PATIENCE = 3

/** Keeps the event loop of this process from sleeping while messages follow each other closely. */
export class BusyPoll {
  private readonly limit: number
  /** Messages that came in this turn of the event loop. */
  private count = 0
  private worthIt = false
  private waitingSince = -Infinity
  private turning = false
  /** Polls in a row during which nothing came. */
  private inVain = 0

  /** Polls for so many milliseconds at a time; 0 never polls. */
  constructor(limit: number) {
    this.limit = limit
  }

  /** Something has come, and whoever serves it is told already: the wait for the next thing begins behind that. */
  arrived(): void {
    this.count += 1
    if (this.count > 1 || this.limit <= 0) return
    const waited = performance.now() - this.waitingSince
    if (waited <= this.limit) this.inVain = 0
    this.worthIt = waited <= (this.inVain < PATIENCE ? this.limit * WAKING : this.limit)
    if (this.turning) return
    this.turning = true
    setImmediate(this.turn)
  }

  /** While an immediate callback waits, the event loop asks for news without sleeping. */
  private readonly turn = (): void => {
    const now = performance.now()
    if (this.count > 0) this.waitingSince = now
    // Many clients keep the process awake themselves, and are served best by answering what has gathered.
    if (this.count > FEW) this.worthIt = false
    this.count = 0
    this.turning = this.worthIt && now - this.waitingSince <= this.limit
    if (this.turning) setImmediate(this.turn)
    else if (this.worthIt) this.inVain += 1
  }
}
