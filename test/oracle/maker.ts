/** Who made the processor underneath: where makers differ, ours follows the one that its CPUID names, AMD. */
import { existsSync, readFileSync } from 'node:fs'

let known: boolean | undefined

/** True where the processor underneath may be compared with in what AMD does differently. */
export function isMadeByAmd(): boolean {
  known ??= existsSync('/proc/cpuinfo') && /^vendor_id\s*: (AuthenticAMD|HygonGenuine)$/m.test(readFileSync('/proc/cpuinfo', 'utf8'))
  return known
}
