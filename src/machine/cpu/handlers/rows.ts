/** Rows of the table of handlers: a handler beside what is known of it. */
import type { Handler } from '../core/handler.ts'
import { PRICE } from './prices.ts'

/** What is known of a handler. */
export interface HandlerFacts {
  /** What it costs beyond the one instruction that it is. */
  readonly price: number
  /** Its accesses go through the stack segment: those that are not canonical are told as stack faults. */
  readonly usesStack: boolean
}

/** A handler with what is known of it. */
export interface HandlerRow extends HandlerFacts {
  readonly run: Handler
}

/** Handlers by name. */
export type Handlers = Readonly<Record<string, HandlerRow>>

/** Rows of handlers of which the same is known: where nothing is said, the usual price, and no use of the stack. */
export const rows = (
  handlers: Readonly<Record<string, Handler>>, { price = PRICE.usual, usesStack = false }: Partial<HandlerFacts> = {},
): Handlers => Object.fromEntries(Object.entries(handlers).map(([name, run]) => [name, { run, price, usesStack }]))
