/** Runs the comparison of the store with its model: `tsx test/fuzz/xenstore.ts [--cases 1000000] [--seed 1]`. */
import { fuzz, fuzzStream } from './xenstore-fuzz.ts'

const option = (name: string, otherwise: number): number => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? otherwise : Number(process.argv[at + 1])
}

const cases = option('cases', 1_000_000)
const seed = option('seed', 1)
const start = performance.now()
const { answers, events } = fuzz({ seed, cases })
const seconds = (performance.now() - start) / 1000
const took = `${cases} messages in ${seconds.toFixed(1)} s`
console.log(`seed ${seed}: ${took}, all answers and ${events} events as the model's`)
const kinds = Object.entries(answers).sort((a, b) => b[1] - a[1])
for (const [name, count] of kinds) console.log(`  ${name.padEnd(8)} ${count}`)
const streams = Math.ceil(cases / 200)
const { dropped, served } = fuzzStream({ seed, streams })
console.log(`${streams} noisy streams: ${dropped} dropped, ${served} served to their end, nobody else harmed`)
