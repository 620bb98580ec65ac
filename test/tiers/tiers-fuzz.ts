/**
 * Random programs on two processors of ours: a reference, which goes on instruction by instruction or in the same pieces, and a
 * subject, which may compile what it runs. Whatever the pieces are, they must be equal at every stop: registers, flags, counts,
 * exceptions, in the end all of memory. Under its kernel every second one counts work. A program is repeated by its seed.
 */
import type { CompilerFigures } from '../../src/machine/index.ts'
import { SeededRandom, below, type Random } from '../../src/util/index.ts'
import { differences } from '../oracle/compare.ts'
import { HostedExecutor, type CaseRun, type ExecutorOptions, type HostedOutcome } from '../oracle/hosted.ts'
import { END, type OracleCase } from '../oracle/wire.ts'
import { differencesOf, lockstep, lockstepNarrowed, withinSeconds, type Divergence, type Runner } from '../support/lockstep.ts'
import { BareExecutor, type BareOptions } from './bare.ts'
import { makeProgram } from './program.ts'
import { Trail } from './trail.ts'

const DATA_SEED = 1
/** Budgets that runs are given: each from nothing to more than any block has. */
export const MOST_BUDGET = 300
const PATIENCE = 60
/** Instructions of a program under its kernel at most, in pieces of at least one. */
const MOST_PIECES = 40_000

/** How programs are judged. */
export interface TierOptions {
  readonly code: 64 | 32
  readonly reference?: ExecutorOptions
  readonly subject?: ExecutorOptions
  /** Budgets tried with each program, of the 300; all of them and 0 where there are as many. */
  readonly budgets?: number
  /** Places at which an interrupt comes, of each program; `all`: at each of the first ones. */
  readonly interrupts?: number | { readonly all: number }
  /** Seconds after which a program is said to make no progress. */
  readonly patience?: number
}

/** What programs came to, added up. */
export class TierReport {
  programs = 0
  runs = 0
  instructions = 0
  stops = 0
  ended = 0
  withFaults = 0
  /** Regions that were made, samples of the subjects, and those of them that found a region at work. */
  regions = 0
  samples = 0
  samplesInRegions = 0

  /** Adds what the compiling tier of a subject has done. */
  add(figures: CompilerFigures | undefined): void {
    this.regions += figures?.made ?? 0
    this.samples += figures?.samples ?? 0
    this.samplesInRegions += figures?.samplesInRegions ?? 0
  }

  toString(): string {
    const { programs, runs, instructions, stops, ended, withFaults, regions, samples, samplesInRegions } = this
    return `${programs} programs (${ended} came to their end, ${withFaults} with faults), ${runs} runs, ${instructions} instructions, compared at ${stops} stops`
      + `, ${regions} regions, in them ${samplesInRegions} of ${samples} samples`
  }
}

/** Runs programs of one kind. */
export class TierFuzzer {
  readonly report = new TierReport()
  private readonly options: TierOptions
  private subject: HostedExecutor
  private bareSubject: BareExecutor
  private readonly reference: HostedExecutor
  private bareReference: BareExecutor
  private readonly trail = new Trail()
  /** What is under way. */
  private way = ''

  constructor(options: TierOptions) {
    this.options = options
    this.reference = new HostedExecutor(DATA_SEED, options.reference)
    this.subject = new HostedExecutor(DATA_SEED, options.subject)
    ;[this.bareReference, this.bareSubject] = this.bareExecutors('instructions')
  }

  /** What runs programs under their kernel. */
  private bareExecutors(accounting: 'instructions' | 'work'): [BareExecutor, BareExecutor] {
    const { reference, subject } = this.options
    return [new BareExecutor(DATA_SEED, reference, accounting), new BareExecutor(DATA_SEED, subject, accounting)]
  }

  /**
   * Runs the program of a seed in all ways; throws where the two part. The subject's machines are new each time: in frames that
   * are written again and again, as by one program after the other, next to nothing is compiled. So is the reference's beside
   * it, as what waits for a program's end (an interrupt, a trap) would meet the next one.
   */
  run(seed: number): void {
    this.subject = new HostedExecutor(DATA_SEED, this.options.subject)
    // What is counted is part of what has to be equal: instructions with one program, work with the next.
    ;[this.bareReference, this.bareSubject] = this.bareExecutors(seed % 2 === 0 ? 'instructions' : 'work')
    const one = makeProgram(seed, { code: this.options.code, judge: 'ours' })
    const random = new SeededRandom(seed ^ 0x7e57)
    const where = `program ${seed} of ${this.options.code}-bit code`
    try {
      withinSeconds(this.options.patience ?? PATIENCE, () => {
        this.hosted(one, random, where)
        this.bare(one, random, where)
      })
    } catch (error) {
      if ((error as { code?: string }).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error
      throw new Error(`${this.way}: makes no progress`, { cause: error })
    }
    this.report.programs += 1
    for (const executor of [this.subject, this.bareSubject]) this.report.add(executor.figures())
  }

  private hosted(one: OracleCase, random: Random, where: string): void {
    const { reference, subject, report } = this
    reference.load(one)
    const outcome = this.follow(one)
    reference.unload(one)
    report.instructions += outcome.steps
    report.ended += outcome.end === END.SYSCALL ? 1 : 0
    report.withFaults += outcome.faults === 0 ? 0 : 1
    subject.load(one)
    // At once and again, so that what is compiled on the way is met; then in pieces.
    for (let round = 0; round < 3; round += 1) this.inPieces(one, outcome, { piece: () => one.steps, where: `${where}, at once` })
    const budgets = this.options.budgets ?? 8
    for (let i = 0; i < budgets; i += 1) {
      const budget = budgets > MOST_BUDGET ? i : below(random, MOST_BUDGET + 1)
      // A run of nothing does nothing: among others.
      const piece = budget === 0 ? (stops: number) => stops % 3 : () => budget
      this.inPieces(one, outcome, { piece, where: `${where}, ${budget} at a time` })
    }
    const pieces = new SeededRandom(random.next())
    this.inPieces(one, outcome, { piece: () => below(pieces, MOST_BUDGET), where: `${where}, some at a time` })
    subject.unload(one)
  }

  /** Runs the reference instruction by instruction and notes where it comes by. */
  private follow(one: OracleCase): HostedOutcome {
    const run = this.reference.begin(one)
    this.trail.begin()
    while (run.advanceChecked(1, () => this.trail.note(run.done, this.reference.processor.registers)));
    return this.reference.finish(run)
  }

  private inPieces(one: OracleCase, expected: HostedOutcome, o: { readonly piece: (stops: number) => number; readonly where: string }): void {
    const { report, subject } = this
    const run: CaseRun = subject.begin(one)
    this.way = o.where
    let stops = 0
    let seen = -1
    const check = (): void => {
      // What has not gone on since may stand at the program's handler, where the reference comes by between two stops.
      if (run.done === seen) return
      seen = run.done
      report.stops += 1
      const found = this.trail.differences(run.done, subject.processor.registers)
      if (found.length > 0) throw new Error(`${o.where}: after ${run.done} instructions ${found.join(', ')}`)
    }
    do {
      stops += 1
      if (stops > MOST_PIECES) throw new Error(`${o.where}: no end, ${run.done} instructions done`)
    } while (run.advanceChecked(o.piece(stops), check))
    report.runs += 1
    report.instructions += run.done
    const ours = subject.finish(run)
    const found = differences(ours, expected, { undefinedFlags: 0 })
    if (ours.steps !== expected.steps) found.push(`steps ${ours.steps}, processor ${expected.steps}`)
    if (found.length > 0) throw new Error(`${o.where}: ${found.join(', ').replaceAll('processor', 'reference')}`)
  }

  private bare(one: OracleCase, random: Random, where: string): void {
    for (const executor of [this.bareReference, this.bareSubject]) executor.load(one)
    const piece = 1 + below(random, 500)
    const total = this.beside(one, {}, { every: piece, where: `${where}, under its kernel` })
    this.beside(one, { traps: 1 + below(random, 200) }, { every: 1 + below(random, 50), where: `${where}, stepping itself` })
    const address = one.patches[below(random, one.patches.length)]!.address + below(random, 40)
    const control = 0x401 | below(random, 4) << 16 | (below(random, 2) === 0 ? 0 : below(random, 4) << 18)
    this.beside(one, { breakpoint: [address, control] }, { every: piece, where: `${where}, with a breakpoint` })
    const { interrupts = 6 } = this.options
    const places = typeof interrupts === 'number' ? Array.from({ length: interrupts }, () => below(random, total))
      : Array.from({ length: Math.min(interrupts.all, total) }, (_, place) => place)
    for (const place of places) {
      const pieces = (count: number): number => (count === 0 ? place : 100_000)
      this.beside(one, {}, { every: pieces, interruptAfter: 1, where: `${where}, with an interrupt after ${place}` })
    }
    // At the end: frames that have been written are not compiled for a while.
    const exchanges = { every: 1 + below(random, 200), where: `${where}, its pages changing places`, exchangeBySeed: random.next() }
    this.beside(one, {}, exchanges)
  }

  /** Runs both side by side; how many instructions it took. */
  private beside(one: OracleCase, options: BareOptions, o: BesideOptions): number {
    this.way = o.where
    const executors = [this.bareReference, this.bareSubject] as const
    const make = (): readonly [Runner, Runner] => {
      const [reference, subject] = executors.map((executor) => limited(disturbed(executor.begin(one, options), executor, o)))
      return [reference!, subject!]
    }
    const pair = make()
    const found = lockstep(...pair, { every: o.every, most: MOST_PIECES })
    const differing = found ?? this.differingMemory(pair[0].done)
    this.report.runs += 1
    this.report.instructions += pair[1].done
    if (differing === undefined) return pair[0].done
    const { after, piece, differences: words } = found === undefined ? differing : lockstepNarrowed(make, { every: o.every, most: MOST_PIECES }) ?? found
    throw new Error(`${o.where}: between ${after} and ${after + piece}: ${words.join(', ')}`)
  }

  private differingMemory(done: number): Divergence | undefined {
    const differing = differencesOf({ memory: this.bareReference.contents() }, { memory: this.bareSubject.contents() })
    return differing.length === 0 ? undefined : { after: 0, piece: done, differences: ['memory'] }
  }
}

interface BesideOptions {
  readonly every: number | ((pieces: number) => number)
  readonly where: string
  /** An interrupt comes after so many pieces. */
  readonly interruptAfter?: number
  /** Two pages change places behind every piece, chosen by this seed. */
  readonly exchangeBySeed?: number
}

/** Vector of the interrupts that come. */
const VECTOR = 0x41
/** Instructions after which a program under its kernel is left where it is. */
const LIMIT = 12_000

/** A run that ends after LIMIT instructions at the latest. */
const limited = (runner: Runner): Runner => ({
  get done() { return runner.done },
  snapshot: () => runner.snapshot(),
  advance: (count) => runner.advance(Math.min(count, LIMIT - runner.done)) && runner.done < LIMIT,
})

/** A run in which something comes from outside between two pieces. */
function disturbed(runner: Runner, executor: BareExecutor, { interruptAfter, exchangeBySeed }: BesideOptions): Runner {
  if (interruptAfter === undefined && exchangeBySeed === undefined) return runner
  const chance = exchangeBySeed === undefined ? undefined : new SeededRandom(exchangeBySeed)
  let pieces = 0
  return {
    get done() { return runner.done },
    snapshot: () => runner.snapshot(),
    advance: (count) => {
      if (pieces === interruptAfter) executor.processor.interrupt(VECTOR)
      if (chance !== undefined && pieces > 0) executor.exchange(chance.next(), chance.next())
      pieces += 1
      return runner.advance(count)
    },
  }
}
