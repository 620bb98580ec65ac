/**
 * Which micro-operations stand in the interpreter's loop: those that a boot of Linux and ordinary compiled code execute
 * most. All others are executed by a call, which costs some 7 ns more.
 *
 * The loop is one function, and V8 gives a function of more than 8,192 virtual registers to a register allocator that
 * makes it about 1.7 times slower (measured on Node 20). --trace-wasm-compilation-times tells the size of the code: it
 * is another with --no-turbo-use-mid-tier-regalloc-for-huge-functions once that has happened. With the loop's body at
 * 40 KB it has not, today it has 33. test/bench/cpu decides on a line; vector operations do not belong here: they make
 * all others slower, a boot of Linux by 15 %.
 */
const PATTERNS: readonly RegExp[] = [
  /^(end|nop|jmp)$/,
  /^mov\.(32|64)\.(rr|ri|rm1|rm2|mr1|mr2|mi1|mi2)$/,
  /^mov\.8\.(rm1|mr1|mr2|mi1|mi2)$/,
  /^mov\.16\.mr1$/,
  /^mov\.64\.rw$/,
  /^movzx\.32\.(8|16)\.(rr|rm1|rm2)$/,
  /^movsx\.64\.32\.(rr|rm1|rm2)$/,
  /^movsx\.32\.(8|16)\.rm1$/,
  /^movsx\.32\.8\.rr$/,
  /^lea\.(32|64)\.[12]$/,
  /^(add|sub|and|or|xor|cmp|test)\.(32|64)\.r[ri]$/,
  /^(add|sub|and|or|xor|cmp)\.(32|64)\.rm1$/,
  /^(add|sub|cmp)\.(32|64)\.rm2$/,
  /^xor\.32\.rm2$/,
  /^cmp\.8\.rm2$/,
  /^cmp\.(8|32|64)\.mi1$/,
  /^test\.8\.mi[12]$/,
  /^cmp\.(32|64)\.mr1$/,
  /^(add|or|and|sub|xor)\.(32|64)\.m[ri][12]$/,
  /^(cmp|test|and|or|xor)\.8\.r[ri]$/,
  /^(adc|sbb)\.64\.r[ri]$/,
  /^sbb\.32\.rr$/,
  /^(inc|dec)\.(32|64)\.(r|m1)$/,
  /^(inc|dec)\.32\.m2$/,
  /^(neg|not)\.(32|64)\.r$/,
  /^(shl|shr|sar)\.(32|64)\.ri$/,
  /^(rol|ror)\.32\.ri$/,
  /^rol\.64\.ri$/,
  /^shl\.(32|64)\.rc$/,
  /^imul\.(32|64)\.rri?$/,
  /^mul\.64\.r$/,
  /^cmov(b|ae|e|ne|s|ns)\.(32|64)\.rr$/,
  /^set(b|ae|e|ne|a|l|g)\.8\.r$/,
  /^widen\.64$/,
  /^xchg\.(32|64)\.rr$/,
  /^bswap\.(32|64)\.r$/,
  /^(push|pop)\.(32|64)\.r$/,
  /^push\.(32|64)\.i$/,
  /^(call|ret|leave)\.(32|64)$/,
  /^(call|jmp)\.(32|64)\.r$/,
  /^j(b|ae|e|ne|be|a|s|ns|l|ge|le|g)$/,
  /\+j/,
]

/** Operations on the stack and on code addresses, which are as wide as linear addresses in most code. */
const WIDE = /^(?:push|pop|ret|leave|call|jmp)\.(\d+)/

/** True for a micro-operation of the loop. */
export const isHot = (name: string): boolean => PATTERNS.some((pattern) => pattern.test(name))

/** True unless the operation is as good as never met in code with linear addresses of this width. */
export function fitsWidth(name: string, width: 32 | 64): boolean {
  const match = WIDE.exec(name)
  return match === null || Number(match[1]) === width
}
