/** What a handler is: TypeScript that carries out one instruction too rare or too involved for generated code. */
import type { Core } from './core.ts'

/**
 * Executes the record's instruction and returns a STATUS. When it returns FAULT (or the guest's memory faults on the
 * way) the instruction must have had no effect.
 */
export type Handler = (core: Core, record: number) => number
