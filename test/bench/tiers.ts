/**
 * How fast code is that a processor compiles: the integer program cold (a new process each time), warm (the third run in one
 * process), an eighth of it, and on one core, against the same program natively, under QEMU's translator and v86's, and against the
 * interpreter alone. All of it in turns within one run; of each the best round counts.
 *
 * Targets, as ratios: cold 2.6 and warm 2.1 of native, no phase above 4.5; 0.9 of QEMU, with one core too; 0.28 of v86; an eighth of
 * the program 1.3 of QEMU.
 */
import { execFileSync } from 'node:child_process'
import type { Report } from './report.ts'
import { build, PHASES, timeNative, timeQemu, timeV86, type Timing } from './support/integer-program.ts'
import { programProcess, type ProgramRun } from './support/program-process.ts'

const SCALE = 4
const EIGHTH = 0.5
const ROUNDS = 3
const TARGET = { cold: 2.6, warm: 2.1, phase: 4.5, qemu: 0.9, v86: 0.28, eighth: 1.3 } as const

type Maybe = Timing | { readonly absent: string }

/** The best of several timings, phase by phase; why there is none where one is absent. */
function best(timings: readonly Maybe[]): Maybe {
  const absent = timings.find((one): one is { absent: string } => 'absent' in one)
  if (absent !== undefined) return absent
  const all = timings as readonly Timing[]
  const seconds = Object.fromEntries(PHASES.map((phase) => [phase, Math.min(...all.map((one) => one.seconds[phase]!))]))
  return { ...all[0]!, seconds, total: Math.min(...all.map(({ total }) => total)) }
}

interface Against {
  readonly name: string
  readonly value: number
  readonly peer: Maybe
  readonly peerName: string
  readonly target: number
}

function reportAgainst(report: Report, { name, value, peer, peerName, target }: Against): void {
  const ratio = 'absent' in peer ? null : value / peer.total
  const baseline = 'absent' in peer ? `absent: ${peer.absent}` : `${peerName}: ${peer.total.toFixed(3)} s`
  report({ case: name, value, unit: 's', baseline, ratio, target: ratio === null ? null : target, met: ratio === null ? null : ratio <= target })
}

const hasTaskset = (): boolean => {
  try {
    execFileSync('taskset', ['-c', '0', 'true'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** What the compiling tier has made of a run. */
function reportFigures(report: Report, { figures, own, timing, instructions }: ProgramRun): void {
  const plain = { baseline: '', ratio: null, target: null, met: null } as const
  report({ case: 'cold, processor time with the compilers\' threads', value: own, unit: 's', ...plain })
  report({ case: 'cold, speed', value: instructions / timing.total / 1e6, unit: 'MIPS', ...plain })
  if (figures === undefined) return
  report({ case: 'regions, of so many modules', value: figures.made, unit: '', ...plain, baseline: `${figures.modulesMade} modules` })
  report({ case: 'instructions in them', value: figures.instructions, unit: '', ...plain, baseline: `${figures.moduleBytes} bytes of WebAssembly` })
  report({ case: 'writing them', value: figures.writing, unit: 'ms', ...plain, baseline: `${(1000 * figures.writing / Math.max(1, figures.instructions)).toFixed(1)} us an instruction` })
  report({ case: 'compiling and installing them', value: figures.compiling, unit: 'ms', ...plain })
}

/** The program at one scale: tier on and off in new processes, and the peers, in turn. */
async function inTurn(path: string, scale: number, options: { readonly oneCore?: boolean } = {}): Promise<{ on: ProgramRun[]; off: ProgramRun[]; native: Maybe; qemu: Maybe }> {
  const child = await programProcess(path)
  const [on, off, native, qemu]: [ProgramRun[], ProgramRun[], Maybe[], Maybe[]] = [[], [], [], []]
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      on.push(...child.run({}, options))
      qemu.push(await timeQemu(scale, 'integer', options))
      off.push(...child.run('off', options))
      native.push(await timeNative(scale))
    }
  } finally {
    child.remove()
  }
  return { on, off, native: best(native), qemu: best(qemu) }
}

const least = (runs: readonly ProgramRun[]): Timing => best(runs.map(({ timing }) => timing)) as Timing

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  const [built, eighth] = [build('bare', SCALE), build('bare', EIGHTH)]
  if ('absent' in built || 'absent' in eighth) {
    console.error(`absent: ${'absent' in built ? built.absent : 'the program'}`)
    return
  }
  const { on, off, native, qemu } = await inTurn(built.path, SCALE)
  const cold = least(on)
  reportAgainst(report, { name: 'program, cold', value: cold.total, peer: native, peerName: 'native', target: TARGET.cold })
  const child = await programProcess(built.path)
  const warm = child.run({}, { rounds: 3 })[2]!
  child.remove()
  reportAgainst(report, { name: 'program, warm (third run)', value: warm.timing.total, peer: native, peerName: 'native', target: TARGET.warm })
  for (const phase of PHASES) {
    const peer: Maybe = 'absent' in native ? native : { ...native, total: native.seconds[phase]! }
    reportAgainst(report, { name: `program, cold, ${phase}`, value: cold.seconds[phase]!, peer, peerName: 'native', target: TARGET.phase })
  }
  reportAgainst(report, { name: 'program, cold, against QEMU', value: cold.total, peer: qemu, peerName: 'QEMU TCG', target: TARGET.qemu })
  const interpreter = least(off)
  reportAgainst(report, { name: 'program, cold, against the interpreter', value: cold.total, peer: interpreter, peerName: 'tier off', target: 1 })
  reportAgainst(report, { name: 'program, cold, against v86', value: cold.total, peer: await timeV86(SCALE, { jit: true }), peerName: 'v86', target: TARGET.v86 })
  await reportShort(report, eighth.path)
  await reportOneCore(report, built.path)
  reportFigures(report, on[0]!)
}

async function reportShort(report: Report, path: string): Promise<void> {
  const { on, qemu } = await inTurn(path, EIGHTH)
  reportAgainst(report, { name: 'an eighth of it, against QEMU', value: least(on).total, peer: qemu, peerName: 'QEMU TCG', target: TARGET.eighth })
}

async function reportOneCore(report: Report, path: string): Promise<void> {
  const name = 'program, cold, on one core, against QEMU'
  if (!hasTaskset()) return report({ case: name, value: 0, unit: 's', baseline: 'absent: taskset', ratio: null, target: null, met: null })
  const { on, qemu } = await inTurn(path, SCALE, { oneCore: true })
  reportAgainst(report, { name, value: least(on).total, peer: qemu, peerName: 'QEMU TCG', target: TARGET.qemu })
}
