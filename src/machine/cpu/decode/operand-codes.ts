/**
 * What the letter of an operand's code says, as data: which part of the instruction tells the operand, and what that names.
 * The sizes behind the letter are read where an operand gets one.
 * Reference: Intel SDM volume 2, appendix A.2.1.
 */

/** What an operand code's letter says. */
export interface OperandKind {
  /** What tells the operand: one of ModRM's two numbers, the opcode, VEX.vvvv, bytes behind it; RSI or RDI of strings; or nothing. */
  readonly place: 'rm' | 'reg' | 'opcode' | 'vvvv' | 'immediate' | 'rsi' | 'rdi' | 'fixed'
  /** What it names; one in ModRM.rm may be memory all the same. */
  readonly names: 'general' | 'xmm' | 'mmx' | 'segment' | 'control' | 'debug' | 'memory' | 'number' | 'target' | 'far' | 'fixed'
}

const KINDS: Readonly<Record<string, OperandKind>> = {
  E: { place: 'rm', names: 'general' }, R: { place: 'rm', names: 'general' }, M: { place: 'rm', names: 'memory' },
  G: { place: 'reg', names: 'general' }, Z: { place: 'opcode', names: 'general' },
  W: { place: 'rm', names: 'xmm' }, U: { place: 'rm', names: 'xmm' }, V: { place: 'reg', names: 'xmm' },
  Q: { place: 'rm', names: 'mmx' }, N: { place: 'rm', names: 'mmx' }, P: { place: 'reg', names: 'mmx' },
  S: { place: 'reg', names: 'segment' }, C: { place: 'reg', names: 'control' }, D: { place: 'reg', names: 'debug' },
  I: { place: 'immediate', names: 'number' }, J: { place: 'immediate', names: 'target' },
  A: { place: 'immediate', names: 'far' }, O: { place: 'immediate', names: 'memory' },
  H: { place: 'vvvv', names: 'xmm' }, B: { place: 'vvvv', names: 'general' }, L: { place: 'immediate', names: 'xmm' },
  X: { place: 'rsi', names: 'memory' }, Y: { place: 'rdi', names: 'memory' },
}

const FIXED: OperandKind = { place: 'fixed', names: 'fixed' }

/** What an operand code says; that of a fixed register and of the number 1 has no letter. */
export const operandKind = (code: string): OperandKind => KINDS[code.charAt(0)] ?? FIXED
