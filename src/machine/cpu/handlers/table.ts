/** All handlers, numbered. */
import { ARITHMETIC_HANDLERS } from './arithmetic.ts'
import { AVX_FLOAT_HANDLERS } from './avx-float.ts'
import { AVX_OTHER_HANDLERS } from './avx-other.ts'
import type { Handler } from '../core/handler.ts'
import { FAR_HANDLERS } from './far-transfers.ts'
import { FLAG_HANDLERS } from './flags.ts'
import { FPU_HANDLERS } from './fpu.ts'
import { INTERRUPT_HANDLERS } from './interrupts.ts'
import { RANDOM_HANDLERS } from './random.ts'
import type { HandlerRow } from './rows.ts'
import { SEGMENT_HANDLERS } from './segments.ts'
import { SHORT_BRANCH_HANDLERS } from './short-branches.ts'
import { SSE_FLOAT_HANDLERS } from './sse-float.ts'
import { SSE_OTHER_HANDLERS } from './sse-other.ts'
import { STACK_HANDLERS } from './stack-blocks.ts'
import { SYSTEM_HANDLERS } from './system.ts'
import { X87_ARITHMETIC_HANDLERS } from './x87-arithmetic.ts'
import { X87_MEMORY_HANDLERS } from './x87-memory.ts'
import { XSAVE_HANDLERS } from './xsave.ts'

const entries: readonly [string, HandlerRow][] = /* @__PURE__ */ Object.entries({
  ...ARITHMETIC_HANDLERS, ...AVX_FLOAT_HANDLERS, ...AVX_OTHER_HANDLERS, ...FAR_HANDLERS, ...FLAG_HANDLERS, ...FPU_HANDLERS, ...INTERRUPT_HANDLERS,
  ...RANDOM_HANDLERS, ...SEGMENT_HANDLERS, ...SHORT_BRANCH_HANDLERS, ...SYSTEM_HANDLERS,
  ...SSE_FLOAT_HANDLERS, ...SSE_OTHER_HANDLERS, ...STACK_HANDLERS, ...X87_ARITHMETIC_HANDLERS,
  ...X87_MEMORY_HANDLERS, ...XSAVE_HANDLERS,
})

/** Handlers by number. */
export const HANDLERS: readonly Handler[] = /* @__PURE__ */ entries.map(([, { run }]) => run)
/** Numbers by name. */
export const HANDLER_NUMBERS: ReadonlyMap<string, number> =
  /* @__PURE__ */ new Map(entries.map(([name], number) => [name, number]))
/** Prices of handlers by number, beyond the one instruction that each is. */
export const HANDLER_PRICES: Uint16Array = /* @__PURE__ */ Uint16Array.from(entries, ([, { price }]) => price)
/** Numbers of handlers that work on the stack. */
export const STACK_USING: ReadonlySet<number> =
  /* @__PURE__ */ new Set(entries.flatMap(([, { usesStack }], number) => (usesStack ? [number] : [])))
