/**
 * Programs of this machine by which tests check what we made, such as `mke2fs` and `tcpdump`. A test whose program is
 * not there is skipped and says so; where `CI` is `true` nothing may be skipped.
 */
import { spawnSync } from 'node:child_process'

/**
 * Why a test that needs this program has to be skipped; undefined when it is there. `option` makes the program print
 * something and end. Where `CI` is `true` nothing may be skipped, so there it throws.
 *
 * @example
 * const missing = whyNoProgram('mke2fs', '-V')
 * test.skipIf(missing !== undefined)(`reads what mke2fs made${missing ?? ''}`, () => { ... })
 */
export function whyNoProgram(name: string, option: string): string | undefined {
  if (spawnSync(name, [option], { stdio: 'ignore' }).error === undefined) return undefined
  const reason = ` (SKIPPED: no ${name} on this machine)`
  if (process.env['CI'] === 'true') throw new Error(`a test cannot run here${reason}`)
  return reason
}
