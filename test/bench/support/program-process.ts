/**
 * The integer program in a process of its own, so that each run begins cold: on the machine alone, with the compiling tier as it
 * is told. What the child prints is one object a run.
 */
import { execFileSync } from 'node:child_process'
import type { CompilerFigures, CompilerOptions } from '../../../src/machine/index.ts'
import { bundle } from '../../support/bundle.ts'
import { loadFlatProgram } from './flat-machine.ts'
import { PhaseTimer, type Timing } from './integer-program.ts'

/** One run. */
export interface ProgramRun {
  readonly timing: Timing
  /** Seconds of processor time of the whole process, its compilers' threads included. */
  readonly own: number
  readonly instructions: number
  readonly figures: CompilerFigures | undefined
}

/** Runs the program at a path so many times in this process and prints what came of it: for the child. */
export function runHere(path: string, compiler: 'off' | CompilerOptions, rounds: number): void {
  const now = (): number => performance.now()
  for (let round = 0; round < rounds; round += 1) {
    const program = loadFlatProgram(path, { compiler: compiler === 'off' ? 'off' : { ...compiler, now } })
    const timer = new PhaseTimer()
    const before = process.cpuUsage()
    const instructions = program.run((text) => timer.push(text))
    const { user } = process.cpuUsage(before)
    const run: ProgramRun = { timing: timer.result(), own: user / 1e6, instructions, figures: program.machine.compilerFigures() }
    console.log(JSON.stringify(run))
  }
}

/** A way to run the program in new processes. */
export interface ProgramProcess {
  /** Runs it; the runs in the order in which they were. `cores`: processors that it may use, all unless given. */
  run(compiler: 'off' | CompilerOptions, options?: { readonly rounds?: number; readonly oneCore?: boolean }): readonly ProgramRun[]
  remove(): void
}

/** Builds the child for the program at a path. */
export async function programProcess(path: string): Promise<ProgramProcess> {
  const built = await bundle(`
    import { runHere } from './support/program-process.ts'
    runHere(process.argv[2], JSON.parse(process.argv[3]), Number(process.argv[4]))
  `, 'test/bench')
  return {
    remove: () => built.remove(),
    run: (compiler, { rounds = 1, oneCore = false } = {}) => {
      const words = [process.execPath, built.path, path, JSON.stringify(compiler), String(rounds)]
      const command = oneCore ? ['taskset', '-c', '0', ...words] : words
      const output = execFileSync(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 26 }).toString()
      return output.trim().split('\n').map((line) => JSON.parse(line) as ProgramRun)
    },
  }
}
