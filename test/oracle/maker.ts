/** Who made the processor underneath: where makers differ, ours follows the one that its CPUID names, AMD. */
import type { CpuFeature } from '../../src/x86/index.ts'
import { existsSync, readFileSync } from 'node:fs'

let known: boolean | undefined
let flags: ReadonlySet<string> | undefined

/** True where the processor underneath may be compared with in what AMD does differently. */
export function isMadeByAmd(): boolean {
  known ??= existsSync('/proc/cpuinfo') && /^vendor_id\s*: (AuthenticAMD|HygonGenuine)$/m.test(readFileSync('/proc/cpuinfo', 'utf8'))
  return known
}

/** Features that Linux calls otherwise, or does not tell of. */
const OTHER_NAMES: Readonly<Record<string, string>> = { sse3: 'pni' }

/** True for a feature that the processor underneath has, as far as Linux tells. */
export function isUnderneath(feature: CpuFeature): boolean {
  flags ??= new Set(existsSync('/proc/cpuinfo') ? (/^flags\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '').split(' ') : [])
  return flags.size === 0 || flags.has(OTHER_NAMES[feature] ?? feature) || !NEWER.has(feature)
}

/** Those that processors of today may be without; all others they have. */
const NEWER: ReadonlySet<CpuFeature> = new Set(['avx', 'avx2', 'fma', 'f16c', 'bmi1', 'bmi2', 'abm', 'movbe', 'xsave', 'xsaveopt', 'xsavec', 'rdseed', 'rdrand'])
