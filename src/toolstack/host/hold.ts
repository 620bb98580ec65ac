/**
 * A host that somebody else drives: nothing runs but what is asked for. For several hosts on one clock, and for
 * tests that look at a host between two instants.
 */
import { checkArgument, whole, XenError, type Clock } from '../../util/index.ts'
import { recordChain, type ChainLink, type ChainOptions } from './chain.ts'
import type { RunLoop } from '../run/run-loop.ts'
import type { Wall } from '../run/wall.ts'

/** A host that stands until it is told to run. What is awaited of it is asked, and times out, while it runs. */
export interface HeldHost {
  /** Host time in nanoseconds. */
  readonly now: number
  /**
   * Lets the guests run to a nanosecond of host time, and to the end of the hypercall that it falls into; resolves at once where the
   * host is shut down.
   */
  runTo(time: number): Promise<void>
  /** Lets the guests run for so many instructions, to the end of the hypercall in which they are spent. Rejects with INVALID_ARGUMENT. */
  run(instructions: number): Promise<void>
  /**
   * Lets the guests run and tells of the host's state behind every so many instructions: two runs that are the same give the same. What
   * is done to the host between two links happens at that instant. Rejects with what `host.stateHash` rejects with.
   *
   * @example
   * using held = await host.hold()
   * const links = []
   * for await (const link of held.chain({ every: 1_000_000, links: 100 })) links.push(link)
   * console.log(chainDifference(links, before)?.parts)
   */
  chain(options?: ChainOptions): AsyncGenerator<ChainLink, void>
  /** Lets the host go on by itself; it does not matter how often this is called. */
  release(): void
  /** The same, for `using`. */
  [Symbol.dispose](): void
}

/** What it needs of a host. */
export interface HoldParts {
  readonly loop: RunLoop
  readonly clock: Clock
  readonly wall: Wall | undefined
  /** A hash of each part of the host as it stands. */
  hashes(): Promise<Readonly<Record<string, string>>>
}

/** Halts a host's loop for somebody who drives it. Rejects with NOT_SUPPORTED for a host that follows the wall. */
export async function hold({ loop, clock, wall, hashes }: HoldParts): Promise<HeldHost> {
  if (wall !== undefined) throw new XenError('NOT_SUPPORTED', 'a host that follows the wall cannot be held')
  const release = await loop.halt()
  const step = (instructions: number): Promise<void> => loop.step(instructions)
  return {
    get now() { return clock.now() },
    runTo: async (time) => {
      await loop.runTo(time)
      // A host on which nothing can happen any more has a clock all the same.
      if (clock.now() < time) loop.skipTo(time)
    },
    run: async (instructions) => {
      checkArgument('the instructions of run', instructions, whole(1, 2 ** 40))
      await step(instructions)
    },
    chain: (options) => recordChain({ get now() { return clock.now() }, step, hashes }, options),
    release,
    [Symbol.dispose]: release,
  }
}
