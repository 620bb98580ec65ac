/**
 * Looking at values of which nothing is known: an object's `toString`, a getter or the trap of a proxy may throw, and whoever only wants to
 * name a value, or has not checked it yet, must not fail over that. Not here: what is wrong with a value.
 */
import { shown } from './duration.ts'

/** How a value is called in a sentence: a text as it is, anything else as it is shown in errors; never throws. */
export const named = (value: unknown): string => (typeof value === 'string' ? value : shown(value))

/** What `read` finds; undefined where the value that it looks at cannot be read. */
export function tryRead<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** Whether a value is of a class; a proxy that refuses to tell is of none. */
export const isInstance = <T>(value: unknown, constructor: { readonly prototype: T }): value is T =>
  // What has instances is a function.
  tryRead(() => value instanceof (constructor as unknown as abstract new () => T)) === true
