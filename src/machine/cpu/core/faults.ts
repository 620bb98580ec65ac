/** How an instruction ends with an exception: what it raises stands in the state, where generated code leaves its own. */
import { VECTOR } from '../../../x86/index.ts'
import { STATUS, State } from '../layout/state.ts'
import type { RegisterFile } from './register-file.ts'

/** Thrown inside a handler when the guest's memory cannot be reached; caught where handlers are called. */
export const GUEST_FAULT = /* @__PURE__ */ Symbol('guest fault')

/** Faults of one processor. */
export class Faults {
  private readonly registers: RegisterFile

  constructor(registers: RegisterFile) {
    this.registers = registers
  }

  /** Ends a handler with an exception. */
  raise(vector: number, code = 0): number {
    const { view, base } = this.registers
    State.faultVector.set(view, base, vector)
    State.faultCode.set(view, base, code)
    return STATUS.FAULT
  }

  /** Ends a handler with #UD. */
  undefinedOpcode(): number {
    return this.raise(VECTOR.UD)
  }

  /** Ends a handler with #GP. */
  protection(code = 0): number {
    return this.raise(VECTOR.GP, code)
  }
}

/** Ends the instruction at hand with an exception from wherever it stands. */
export function fail(faults: Faults, vector: number, code = 0): never {
  faults.raise(vector, code)
  throw GUEST_FAULT
}
