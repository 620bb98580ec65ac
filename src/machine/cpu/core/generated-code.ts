/** Which instance of the generated interpreter serves a processor: the one for the width of its linear addresses. */
import type { InterpreterExports } from '../interpreter/module.ts'

/** The generated code at hand. */
export class GeneratedCode {
  /** The interpreter for the code at hand. */
  active: InterpreterExports
  /** The interpreter that is running: a change of `active` needs the driver. */
  running: InterpreterExports | undefined
  private readonly interpreter: (width: 32 | 64) => InterpreterExports

  constructor(interpreter: (width: 32 | 64) => InterpreterExports) {
    this.interpreter = interpreter
    this.active = interpreter(64)
  }

  /** Takes the instance for a width of linear addresses. */
  select(width: 32 | 64): void {
    this.active = this.interpreter(width)
  }
}
