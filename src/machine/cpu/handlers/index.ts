/** All handlers, numbered. */
import { ARITHMETIC_HANDLERS } from './arithmetic.ts'
import { FPU_HANDLERS } from './fpu.ts'
import type { Handler } from './handler.ts'
import { INTERRUPT_HANDLERS } from './interrupts.ts'
import { SEGMENT_HANDLERS } from './segments.ts'
import { SYSTEM_HANDLERS } from './system.ts'

const entries: readonly [string, Handler][] = /* @__PURE__ */ Object.entries({
  ...ARITHMETIC_HANDLERS, ...FPU_HANDLERS, ...INTERRUPT_HANDLERS, ...SEGMENT_HANDLERS, ...SYSTEM_HANDLERS,
})

/** Handlers by number. */
export const HANDLERS: readonly Handler[] = /* @__PURE__ */ entries.map(([, handler]) => handler)
/** Numbers by name. */
export const HANDLER_NUMBERS: ReadonlyMap<string, number> =
  /* @__PURE__ */ new Map(entries.map(([name], number) => [name, number]))
