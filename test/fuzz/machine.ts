/** Runs hostile machine code: `tsx test/fuzz/machine.ts [--cases 1000] [--seed 1] [--kind pv|pv32|pvh]`. */
import { type CaseKind, MachineFuzzer, fuzzMachine } from './machine-fuzz.ts'
import { Pv32Fuzzer } from './pv32-fuzz.ts'
import { PvhFuzzer } from './pvh-fuzz.ts'

const valueOf = (name: string): string | undefined => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? undefined : process.argv[at + 1]
}
const KINDS: Readonly<Record<string, CaseKind>> = { pv: MachineFuzzer, pv32: Pv32Fuzzer, pvh: PvhFuzzer }

const [cases, seed] = [Number(valueOf('cases') ?? 1000), Number(valueOf('seed') ?? 1)]
for (const [name, kind] of Object.entries(KINDS)) {
  if ((valueOf('kind') ?? name) !== name) continue
  const start = performance.now()
  const report = fuzzMachine({ seed, cases, kind })
  console.log(`${name}, seed ${seed}: ${report.toString()}, in ${((performance.now() - start) / 1000).toFixed(1)} s`)
}
