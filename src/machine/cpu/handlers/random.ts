/**
 * RDRAND and RDSEED: both read the processor's source, which is a seeded one unless its owner gave another. A source that
 * throws has no number to give, which the carry flag says: a guest must not be able to end the run by asking.
 * Reference: Intel SDM volume 2, RDRAND, RDSEED.
 */
import { SeededRandom, XenError, randomShape } from '../../../util/index.ts'
import { RFLAGS } from '../../../x86/index.ts'
import type { Core } from '../core/core.ts'
import { ARITHMETIC_FLAGS } from '../layout/flag-word.ts'
import { SLOT, STATUS } from '../layout/state.ts'
import type { Handlers } from '../core/handler.ts'

/** Leaves 64 random bits in t0 and sets CF; zero and CF clear when there are none. */
function random(core: Core): number {
  let carry: number = RFLAGS.CF
  try {
    core.setSlot(SLOT.t0, core.random.next(), core.random.next())
  } catch {
    core.setSlot(SLOT.t0, 0, 0)
    carry = 0
  }
  core.setFlags((core.flags() & ~ARITHMETIC_FLAGS) | carry)
  return STATUS.NEXT
}

/** The part of a saved state that the source's position is; none for a source from outside. */
export const savedRandom = ({ random: source }: Core): { random?: readonly number[] } =>
  source instanceof SeededRandom ? { random: source.save() } : {}

/** Looks at a saved position; the function takes it, unless the source is one from outside, which stays what it is. */
export function randomTaker(core: Core, saved: readonly number[] | undefined): () => void {
  if (saved === undefined) return () => {}
  const wrong = randomShape(saved)
  if (wrong !== undefined) throw new XenError('INVALID_STATE', `a processor's source of random numbers${wrong}`)
  return () => {
    if (core.random instanceof SeededRandom) core.random.load(saved)
  }
}

/** Handlers by name. */
export const RANDOM_HANDLERS: Handlers = { random }
