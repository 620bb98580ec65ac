/**
 * Runs random programs: `tsx test/tiers/main.ts [--cases 500] [--seed 1] [--native]`. Between two processors of ours, of which one may
 * compile what it runs in several ways, or with `--native` between ours and the one underneath.
 */
import { nativeExecutor } from '../oracle/native.ts'
import { compareNatively } from './native.ts'
import { TierFuzzer } from './tiers-fuzz.ts'
import { SUBJECTS } from './subjects.ts'

const option = (name: string, otherwise: number): number => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? otherwise : Number(process.argv[at + 1])
}

const cases = option('cases', 500)
const seed = option('seed', 1)
const start = performance.now()
const codes = [64, 32] as const
const seconds = (): string => ((performance.now() - start) / 1000).toFixed(1)

function natively(path: string): void {
  for (const code of codes) {
    const { programs, steps, ended, mismatches } = compareNatively(path, { code, seed: seed * 1_000_000, count: cases })
    for (const line of mismatches) console.log(line)
    if (mismatches.length > 0) process.exitCode = 1
    console.log(`seed ${seed}, ${code}-bit code: ${programs} programs, ${ended} came to their end, ${steps} instructions, ${mismatches.length} differ, after ${seconds()} s`)
  }
}

function amongOurs(): void {
  for (const code of codes) {
    for (const { name, options } of SUBJECTS) {
      const fuzzer = new TierFuzzer({ code, ...options, budgets: 20, interrupts: 20 })
      const share = Math.ceil(cases / SUBJECTS.length / codes.length)
      for (let i = 0; i < share; i += 1) fuzzer.run(seed * 1_000_000 + i)
      console.log(`seed ${seed}, ${code}-bit code, ${name}: ${fuzzer.report.toString()}, after ${seconds()} s`)
    }
  }
}

if (process.argv.includes('--native')) {
  const { path, reason } = nativeExecutor()
  if (path === undefined) console.log(`cannot run natively: ${reason}`)
  else natively(path)
} else amongOurs()
