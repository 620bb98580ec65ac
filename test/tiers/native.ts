/** Random programs on our processor and on the one underneath: where the two part. */
import { differences } from '../oracle/compare.ts'
import { HostedExecutor } from '../oracle/hosted.ts'
import { runNatively } from '../oracle/native.ts'
import { END, type OracleCase, type Outcome } from '../oracle/wire.ts'
import { makeProgram } from './program.ts'

/** AF, which most instructions leave undefined, and all arithmetic flags, where a program may stop behind any of them. */
const UNDEFINED = { AF: 0x10, ALL: 0x8d5 } as const
/** What a system call takes: rcx and r11; outside of 64-bit code eax, on its way through the system. */
const TAKEN = { 64: 0x802, 32: 1 } as const

/** What programs came to. */
export interface NativeReport {
  readonly programs: number
  /** Instructions that ours has executed. */
  readonly steps: number
  /** Programs that have come to their end, and exceptions on their ways. */
  readonly ended: number
  readonly withFaults: number
  /** A line for each program that differs. */
  readonly mismatches: readonly string[]
}

function compareOne(ours: Outcome, theirs: Outcome, code: 64 | 32): string[] {
  const stopped = ours.end === END.STEPS
  const found = differences(ours, theirs, { undefinedFlags: stopped ? UNDEFINED.ALL : UNDEFINED.AF, undefinedRegisters: TAKEN[code] })
  // The system call counts with us, and is never done there.
  return ours.steps - (ours.end === END.SYSCALL ? 1 : 0) === theirs.steps ? found : [`steps ${ours.steps}, processor ${theirs.steps}`, ...found]
}

/** Seed of the data that programs find. */
const DATA_SEED = 1

/** Runs the programs of `count` seeds on both. */
export function compareNatively(path: string, o: { readonly code: 64 | 32; readonly seed: number; readonly count: number }): NativeReport {
  const { code, seed, count } = o
  const cases: OracleCase[] = Array.from({ length: count }, (_, i) => makeProgram(seed + i, { code, judge: 'native' }))
  const hosted = new HostedExecutor(DATA_SEED)
  const ours = cases.map((one) => hosted.run(one, 'at once'))
  const mismatches = runNatively(path, cases, DATA_SEED).flatMap((theirs, i) => {
    const found = theirs.end === END.KILLED ? [] : compareOne(ours[i]!, theirs, code)
    return found.length === 0 ? [] : [`program ${seed + i} of ${code}-bit code: ${found.join(', ')}`]
  })
  return {
    programs: count, mismatches, steps: ours.reduce((sum, { steps }) => sum + steps, 0),
    ended: ours.filter(({ end }) => end === END.SYSCALL).length, withFaults: ours.filter(({ faults }) => faults !== 0).length,
  }
}
