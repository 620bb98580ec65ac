/**
 * Registers of a region under construction: the general ones and two temporaries are locals; the temporaries that vectors
 * share, segment bases and everything else stay in the state, at constant offsets.
 */
import { invariant } from '../../../../util/index.ts'
import type { Code } from '../../../../wasm/index.ts'
import { constant } from '../../emit/binder.ts'
import type { Place, Size } from '../../emit/binder.ts'
import { loadSized, storeSized } from '../../emit/record-binder.ts'
import { SLOT } from '../../layout/state.ts'

/** General registers. */
const REGISTERS = 16

/** Sets of registers by their bits. */
export interface RegisterUse {
  /** Read or written: they have to be loaded. */
  readonly used: number
  readonly written: number
}

/** What a record uses; of what it writes, what it names. */
export interface RecordUse extends RegisterUse {
  readonly writtenByName: number
}

/** The registers of one region. */
export class RegionRegisters {
  private readonly code: Code
  private readonly base: number
  /** Locals by slot number; a temporary lives within one instruction. */
  private readonly locals: (number | undefined)[] = []

  constructor(code: Code, base: number) {
    this.code = code
    this.base = base
  }

  /** The local of a slot's register, if it is one. */
  private local(slot: number): number | undefined {
    if (slot === SLOT.t0 || slot === SLOT.t3) return (this.locals[slot >> 3] ??= this.code.local('i64'))
    if (slot >= REGISTERS * 8) return undefined
    const local = this.locals[slot >> 3]
    invariant(local !== undefined, 'the facts tell every register that an operation uses')
    return local
  }

  /** Loads registers into their locals. */
  load({ used }: RegisterUse): void {
    for (let register = 0; register < REGISTERS; register += 1) {
      if (((used >>> register) & 1) === 0) continue
      this.code.get(this.base)
      this.code.memory('i64.load', register * 8)
      this.code.set(this.locals[register] ??= this.code.local('i64'))
    }
  }

  /** Stores registers back. */
  spill({ written }: RegisterUse): void {
    for (let register = 0; register < REGISTERS; register += 1) {
      if (((written >>> register) & 1) === 0) continue
      this.code.get(this.base)
      this.code.get(this.local(register * 8)!)
      this.code.memory('i64.store', register * 8)
    }
  }

  /** Pushes a slot's value. */
  get(slot: number, size: Size): void {
    const c = this.code
    const local = this.local(slot)
    if (slot === SLOT.zero) return constant(c, size, 0)
    if (local === undefined) {
      c.get(this.base)
      return loadSized(c, size, slot)
    }
    c.get(local)
    if (size === 64) return
    if ((slot & 7) === 1) {
      c.i64(8)
      c.op('i64.shr_u')
    }
    c.op('i32.wrap_i64')
    if (size === 32) return
    c.i32(size === 8 ? 0xff : 0xffff)
    c.op('i32.and')
  }

  /** Sets a slot to what `push` pushes: 32 bits clear the upper half, less leave the rest. */
  set(slot: number, size: Size, push: () => void): void {
    const c = this.code
    const local = this.local(slot)
    if (local === undefined) {
      c.get(this.base)
      push()
      if (size !== 32) return storeSized(c, size, slot)
      c.op('i64.extend_i32_u')
      return c.memory('i64.store', slot)
    }
    push()
    if (size === 32) c.op('i64.extend_i32_u')
    else if (size !== 64) this.insert(local, size, (slot & 7) === 1 ? 8 : 0)
    c.set(local)
  }

  /** Puts the i32 on the stack into the low or second byte, or the low 16 bits, of a register's value. */
  private insert(local: number, size: 8 | 16, shift: 0 | 8): void {
    const c = this.code
    const mask = size === 8 ? 0xff : 0xffff
    c.i32(mask)
    c.op('i32.and', 'i64.extend_i32_u')
    if (shift !== 0) {
      c.i64(shift)
      c.op('i64.shl')
    }
    c.get(local)
    c.i64(~(mask << shift), -1)
    c.op('i64.and', 'i64.or')
  }

  /** A slot as a place. */
  place(slot: number, size: Size): Place {
    return { get: () => this.get(slot, size), set: (push) => this.set(slot, size, push) }
  }
}
