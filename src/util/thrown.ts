/**
 * What a thrown value says of itself. Anything can be thrown: no error at all, an object that has no text, an error whose
 * fields throw when they are read. Whoever tells of it must not fail over that. Not here: where it is told.
 */
import { shown } from './duration.ts'

/** Reads what somebody else's object answers; what is no text, or throws, is none. */
function textOf(read: () => unknown): string | undefined {
  try {
    const text = read()
    return typeof text === 'string' ? text : undefined
  } catch {
    return undefined
  }
}

function isError(thrown: unknown): thrown is Error {
  try {
    return thrown instanceof Error
  } catch {
    return false // A proxy may throw even here.
  }
}

/** The message of an error, a text as it is, and anything else as it is shown in errors; never throws. */
export function thrownMessage(thrown: unknown): string {
  if (isError(thrown)) return textOf(() => thrown.message) ?? 'an error without a message'
  return typeof thrown === 'string' ? thrown : shown(thrown)
}

/** The name and message of an error, and anything else as `thrownMessage` has it; never throws. */
export function thrownText(thrown: unknown): string {
  return isError(thrown) ? `${textOf(() => thrown.name) ?? 'Error'}: ${thrownMessage(thrown)}` : thrownMessage(thrown)
}

/** The stack of an error, where it has one that can be read; never throws. */
export function thrownStack(thrown: unknown): string | undefined {
  return isError(thrown) ? textOf(() => thrown.stack) : undefined
}
