/** Which code of a host's guests is executed, by basic block and by edge: begun and ended while no guest runs. */
import { having, checkArgument } from '../../util/index.ts'
import type { MachineCoverage } from '../../machine/index.ts'
import { insidesOf, type Host } from './host.ts'

/** Coverage of all guests of a host that run machine code. Of a host that is brought back to a moment it goes on, with counters of its own. */
export interface HostCoverage extends Omit<MachineCoverage, 'stop'> {
  /** Ends it, at once or when the guests stand next. Once more does nothing. */
  stop(): Promise<void>
}

/**
 * Counts from now on which blocks of code the guests execute, and over which edges control comes to them. What guests see is the same. Rejects with
 * INVALID_STATE while somebody else does, and INVALID_ARGUMENT.
 *
 * @example
 * const coverage = await recordCoverage(host)
 * await domain.console.write('work\n')
 * console.log(coverage.blocks().length)
 * await coverage.stop()
 */
export async function recordCoverage(host: Host): Promise<HostCoverage> {
  checkArgument('the host of recordCoverage', host, having('symbolAt', 'profile'))
  const { loop, machine } = insidesOf(host).parts
  const goOn = await loop.halt()
  try {
    const coverage = machine.recordCoverage()
    return {
      get map() {
        return coverage.map
      },
      blocks: () => coverage.blocks(),
      reset: () => coverage.reset(),
      stop: async () => {
        const goOnAgain = await insidesOf(host).parts.loop.halt()
        coverage.stop()
        goOnAgain()
      },
    }
  } finally {
    goOn()
  }
}
