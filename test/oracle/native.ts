/** The processor underneath as an executor of cases. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { buildNative, type NativeProgram } from '../support/native-build.ts'
import { SeededRandom } from '../../src/util/index.ts'
import { randomCase } from './initial-state.ts'
import { FLAT_MODE } from './segments.ts'
import { decodeOutcomes, encodeBatch, END, type OracleCase, type Outcome, REGIONS } from './wire.ts'

const OPTIONS = ['-O1', '-fno-stack-protector', '-fcf-protection=none', '-mfsgsbase']

/** The executor, compiled on first use; where the processor underneath cannot be used, the reason. */
export const nativeExecutor = (): NativeProgram =>
  buildNative(fileURLToPath(new URL('./native/executor.c', import.meta.url)), OPTIONS)

/** Runs a batch natively, in order. */
export function runNatively(path: string, cases: readonly OracleCase[], dataSeed: number): Outcome[] {
  const run = spawnSync(path, [], { input: encodeBatch(cases, dataSeed), maxBuffer: 1 << 30 })
  if (run.status !== 0) {
    throw new Error(`the native executor ended with ${run.status ?? run.signal}: ${run.stderr.toString()}`)
  }
  const outcomes = decodeOutcomes(run.stdout)
  if (outcomes.length !== cases.length) throw new Error(`${outcomes.length} outcomes for ${cases.length} cases`)
  return outcomes
}

/** Exit code of the executor where the system loads no local descriptor table. */
const NO_TABLE = 6

/** Why the system underneath cannot run 32-bit code with segments of its own; undefined where it can. */
export function whyNoShortCode(path: string): string | undefined {
  const one = randomCase(new SeededRandom(1), REGIONS[0].address, Uint8Array.of(0x90), FLAT_MODE)
  const run = spawnSync(path, [], { input: encodeBatch([one], 1) })
  if (run.status === NO_TABLE) return 'the system offers no modify_ldt'
  const end = run.status === 0 ? decodeOutcomes(run.stdout)[0]?.end : undefined
  return end === END.STEPS ? undefined : 'the system runs no 32-bit code'
}
