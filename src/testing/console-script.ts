/** Console dialogues as tables: what is expected, what is typed. */
import type { Domain, UntilOptions } from '../toolstack/index.ts'

/** One step of a dialogue. */
export type ConsoleStep =
  /** Wait for this text or pattern, behind what was found before. */
  | { readonly expect: string | RegExp }
  /** Type this text. */
  | { readonly type: string }

/**
 * Plays a dialogue with a domain's console and returns what each `expect` has matched.
 *
 * @example
 * await playConsole(domain, [{ expect: 'grub>' }, { type: 'echo hello\r' }, { expect: /^hello$/ }])
 */
export async function playConsole(
  domain: Domain,
  steps: readonly ConsoleStep[],
  options: UntilOptions = {},
): Promise<readonly RegExpExecArray[]> {
  const found: RegExpExecArray[] = []
  for (const step of steps) {
    if ('expect' in step) found.push(await domain.console.waitFor(step.expect, options))
    else await domain.console.write(step.type)
  }
  return found
}
