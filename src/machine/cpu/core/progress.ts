/**
 * How far a processor has come, in the unit of its budget: instructions, or work (`accounting` of ProcessorOptions).
 * Generated code counts down what it was given (State.budget); the rest of the run's budget is kept here.
 */
import { FRACTION } from '../../../util/index.ts'
import { State } from '../layout/state.ts'
import type { GeneratedCode } from './generated-code.ts'
import type { RegisterFile } from './register-file.ts'

/** Progress of one processor. */
export class Progress {
  /** The budget counts work, not instructions. */
  readonly countsWork: boolean
  /** Budget of the whole run, and what is kept back from the slice that generated code is executing. */
  startBudget = 0
  keptBudget = 0
  /** Instructions executed in all runs before this one, and in the last that has ended. */
  totalExecuted = FRACTION
  lastExecuted = 0
  private readonly registers: RegisterFile
  private readonly code: GeneratedCode

  constructor(registers: RegisterFile, code: GeneratedCode, accounting: 'instructions' | 'work') {
    this.registers = registers
    this.code = code
    this.countsWork = accounting === 'work'
    this.totalExecuted = 0
  }

  /** Instructions executed so far in this run, up to and without the record's. */
  executedBefore(record: number): number {
    const left = State.budget.get(this.registers.view, this.registers.base) + this.code.active.remaining(record) + 1
    return this.startBudget - this.keptBudget - left
  }

  /** Instructions executed since the processor was made once the record's is done. */
  countWith(record: number): number {
    return this.totalExecuted + this.executedBefore(record) + 1
  }

  /** Instructions executed since the processor was made, while none runs. */
  get countOutside(): number {
    return this.totalExecuted + this.lastExecuted
  }

  /** The instruction at hand is as much work as `price` more, on a processor that counts work. */
  pay(price: number): void {
    const { view, base } = this.registers
    if (this.countsWork) State.budget.set(view, base, State.budget.get(view, base) - price)
  }

  /** True when prices have taken what the rest of the block was to be paid from. */
  get isOverdrawn(): boolean {
    return this.countsWork && State.budget.get(this.registers.view, this.registers.base) < 0
  }
}
