/** Coverage of all processors of a machine, from when somebody asks for it until it is stopped. */
import { XenError } from '../../../util/index.ts'
import type { MachineCoverage } from '../../interface/coverage.ts'
import type { BlockCoverage } from '../code/coverage.ts'
import { State } from '../layout/state.ts'
import type { Engine } from './engine.ts'

/** Begins it. No processor may be running. Throws INVALID_STATE while there is some already. */
export function recordCoverage(engine: Engine): MachineCoverage {
  const { code } = engine
  if (code.coverage !== undefined) throw new XenError('INVALID_STATE', 'coverage of this machine is recorded already')
  code.cover('on')
  const own = code.coverage as BlockCoverage | undefined
  const counting = (): BlockCoverage => {
    if (own === undefined || code.coverage !== own) throw new XenError('CLOSED', 'this recording of coverage has been stopped')
    return own
  }
  const reset = (): void => {
    counting().reset()
    for (const { registers: { view, base } } of engine.attached()) State.coveredBefore.set(view, base, 0)
  }
  reset()
  return {
    get map() {
      return counting().map
    },
    blocks: () => counting().blocks(),
    reset,
    stop: () => {
      if (code.coverage === own) code.cover('off')
    },
  }
}
