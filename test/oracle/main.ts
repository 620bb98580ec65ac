/**
 * `npm run oracle -- --cases N --seed S [--only NAME]`: compares our processor with the one underneath, prints the
 * table and ends with 1 when anything differs. `--record` writes the vectors that are replayed where no native
 * processor is.
 */
import { parseArgs } from 'node:util'
import { Comparison, type Mismatch } from './comparison.ts'
import { nativeExecutor } from './native.ts'
import { replayVectors } from './replay.ts'
import { VECTOR_SEED, writeVectors } from './vectors.ts'

const BATCH = 4000

const hex = (value: number): string => value.toString(16)

/** Initial state of a case in one line. */
function stateText({ one }: Mismatch): string {
  const general = Array.from({ length: 16 }, (_, i) => `${hex(one.general[i * 2 + 1]!)}_${hex(one.general[i * 2]!)}`)
  const image = Array.from(one.fx, (byte) => byte.toString(16).padStart(2, '0'))
  const number = (at: number, count: number): string => image.slice(at, at + count).reverse().join('')
  return `${general.join(' ')} flags ${hex(one.flags)} rip ${hex(one.rip)} fcw ${number(0, 2)} fsw ${number(2, 2)} ` +
    `ftw ${number(4, 1)} mxcsr ${number(24, 4)} st0 ${number(32, 10)} st1 ${number(48, 10)}`
}

/** Without a native processor, or after recording: our processor against the recorded vectors. */
function replay(reason: string): number {
  const { vectors, mismatches } = replayVectors()
  for (const line of mismatches) console.log(line)
  console.log(`recorded vectors (${reason})   ${vectors}\nmismatches   ${mismatches.length}`)
  return mismatches.length === 0 ? 0 : 1
}

function main(): number {
  const { values } = parseArgs({
    options: {
      cases: { type: 'string', default: '200000' }, seed: { type: 'string', default: '1' },
      only: { type: 'string', default: '' }, show: { type: 'string', default: '40' },
      record: { type: 'boolean', default: false }, noise: { type: 'string', default: '100000' },
    },
  })
  const program = nativeExecutor()
  if (program.path === undefined) return replay(program.reason)
  if (values.record) {
    writeVectors(new Comparison(program.path, VECTOR_SEED).record())
    return replay('just recorded')
  }
  const only = new RegExp(values.only)
  const comparison = new Comparison(program.path, Number(values.seed), ({ text }) => only.test(text))
  const { summary } = comparison
  const wanted = Number(values.cases)
  const started = performance.now()
  for (let done = 0; done < wanted; done += BATCH) {
    const count = Math.min(BATCH, wanted - done)
    const turn = (done / BATCH) % 5
    if (turn === 3) comparison.sequences(count)
    else if (turn === 4) comparison.branches(count)
    else comparison.singles(count, done)
  }
  const noise = Number(values.noise)
  for (let done = 0; done < noise; done += BATCH) comparison.noise(Math.min(BATCH, noise - done))
  for (const [form, count] of [...summary.byForm].sort((a, b) => b[1] - a[1]).slice(0, Number(values.show))) {
    const sample = summary.samples.find((one) => one.form === form)!
    console.log([`${count} x ${form}`, sample.bytes, ...sample.found, `with ${stateText(sample)}`].join('\n    '))
  }
  const seconds = (performance.now() - started) / 1000
  console.log(`opcode forms known to the decoder  ${summary.known}`)
  console.log(`forms compared                     ${summary.comparable}`)
  console.log(`forms exercised                    ${summary.exercised}`)
  console.log(`cases                              ${summary.cases}`)
  console.log(`cases of random bytes              ${summary.noise} (${summary.notOffered} not offered)`)
  console.log(`forms with mismatches              ${summary.byForm.size}`)
  console.log(`mismatches                         ${summary.mismatches}`)
  console.log(`seconds                            ${seconds.toFixed(1)}`)
  return summary.mismatches === 0 ? 0 : 1
}

process.exitCode = main()
