/** What comparing something with what was expected came to, for any test runner. */
import { XenError } from '../../util/index.ts'

/** An outcome, with the sentence that says why it is what it is. */
export interface Verdict {
  readonly pass: boolean
  /** Why it does not pass, or why it passes where it was not to. */
  readonly message: string
  readonly expected?: unknown
  readonly actual?: unknown
}

/** Throws INVALID_STATE with the sentence where a verdict does not pass. */
export function require({ pass, message, expected, actual }: Verdict): void {
  if (!pass) throw new XenError('INVALID_STATE', message, { details: { expected, actual } })
}

/** A text as it stands in a sentence: the last of a long one. */
export const tailOf = (text: string, most = 1000): string => JSON.stringify(text.length > most ? `...${text.slice(-most)}` : text)
