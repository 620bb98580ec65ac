/** Runs hostile machine code: `tsx test/fuzz/machine.ts [--cases 1000] [--seed 1]`. */
import { FuzzReport, MachineFuzzer } from './machine-fuzz.ts'

const option = (name: string, otherwise: number): number => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? otherwise : Number(process.argv[at + 1])
}

const cases = option('cases', 1000)
const seed = option('seed', 1)
const start = performance.now()
const report = new FuzzReport()
for (let i = 0; i < cases; i += 1) new MachineFuzzer(seed * 1_000_000 + i, { report }).run()
console.log(`seed ${seed}: ${report.toString()}, in ${((performance.now() - start) / 1000).toFixed(1)} s`)
