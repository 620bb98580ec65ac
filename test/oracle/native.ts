/** The processor underneath as an executor of cases. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { buildNative, type NativeProgram } from '../support/native-build.ts'
import { decodeOutcomes, encodeBatch, type OracleCase, type Outcome } from './wire.ts'

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
