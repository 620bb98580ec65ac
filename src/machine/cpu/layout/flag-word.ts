/**
 * RFLAGS as one word, out of the lazily kept record and back. What the record's fields mean is in emit/flags.ts.
 */
import { RFLAGS } from '../../../x86/index.ts'
import { State } from './state.ts'

/** The six flags that arithmetic sets. */
export const ARITHMETIC_FLAGS = RFLAGS.CF | RFLAGS.PF | RFLAGS.AF | RFLAGS.ZF | RFLAGS.SF | RFLAGS.OF

/** RFLAGS of the processor at `base`. */
export function readFlags(view: DataView, base: number): number {
  const low = State.flagLow.get(view, base)
  const high = State.flagHigh.get(view, base)
  const zero = State.flagResult.low(view, base) === 0 && State.flagResult.high(view, base) === 0
  let parity = State.flagResult.low(view, base) & 0xff
  parity ^= parity >> 4
  const even = ((0x9669 >> (parity & 15)) & 1) ^ ((low >> 9) & 1)
  const sign = (State.flagResult.high(view, base) >>> 31) ^ ((low >> 8) & 1)
  return State.systemFlags.get(view, base) | RFLAGS.FIXED | (high >>> 31) | (even << 2) | (((low >> 3) & 1) << 4) |
    ((zero ? 1 : 0) << 6) | (sign << 7) | (((high >>> 31) ^ ((high >>> 30) & 1)) << 11)
}

const bit = (flags: number, position: number): number => (flags >>> position) & 1

/** Writes RFLAGS of the processor at `base`. */
export function writeFlags(view: DataView, base: number, flags: number): void {
  const [carry, zero] = [bit(flags, 0), bit(flags, 6)]
  State.systemFlags.set(view, base, flags & ~ARITHMETIC_FLAGS & ~RFLAGS.FIXED)
  State.flagResult.setParts(view, base, zero ^ 1, 0)
  State.flagLow.set(view, base, (bit(flags, 4) << 3) | (bit(flags, 7) << 8) | ((bit(flags, 2) ^ zero) << 9))
  State.flagHigh.set(view, base, ((carry << 31) | ((carry ^ bit(flags, 11)) << 30)) >>> 0)
}
