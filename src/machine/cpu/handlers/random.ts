/**
 * RDRAND and RDSEED: both read the processor's source, which is a seeded one unless its owner gave another. A source that
 * throws has no number to give, which the carry flag says: a guest must not be able to end the run by asking.
 * Reference: Intel SDM volume 2, RDRAND, RDSEED.
 */
import { RFLAGS } from '../../../x86/index.ts'
import type { Views } from '../core/core.ts'
import { ARITHMETIC_FLAGS } from '../layout/flag-word.ts'
import { SLOT, STATUS } from '../layout/state.ts'
import { PRICE } from './prices.ts'
import { rows, type Handlers } from './rows.ts'

/** Leaves 64 random bits in t0 and sets CF; zero and CF clear when there are none. */
function random({ registers, outside }: Views<'registers' | 'outside'>): number {
  let carry: number = RFLAGS.CF
  try {
    registers.setSlot(SLOT.t0, outside.random.next(), outside.random.next())
  } catch {
    registers.setSlot(SLOT.t0, 0, 0)
    carry = 0
  }
  registers.setFlags((registers.flags() & ~ARITHMETIC_FLAGS) | carry)
  return STATUS.NEXT
}

/** Handlers by name. */
export const RANDOM_HANDLERS: Handlers = rows({ random }, { price: PRICE.shortWork })
