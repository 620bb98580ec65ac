/**
 * Tests what a guest makes of inputs: of those that reach code which none before has reached others are made. Each execution begins at the same moment, inputs come from
 * one seed, so what was found is found again; what goes wrong is shrunk to the least that shows it.
 * Reference: AFL's technical details, "Coverage measurements", "Detecting new behaviors", "Evolving the input queue".
 */
import { below, callable, checkArgument, checkOptions, abortSignal, having, listOf, byteArray, real, record, SeededRandom, whole, anything, XenError } from '../../util/index.ts'
import { EDGE_CLASSES } from '../coverage/coverage.ts'
import { Executor } from './executor.ts'
import type { Finding, FuzzExecutor, FuzzFinding, FuzzOptions, FuzzReport, Outcome } from './fuzz-types.ts'
import { checkCorpus, choose, type ReachedClasses } from './minimise-corpus.ts'
import { mutate, shrink } from './mutate.ts'

const MOST_INPUT = 4096

const CHECKS = {
  moment: /* @__PURE__ */ having('branch'), target: anything, input: record, seconds: /* @__PURE__ */ real(0, 1e9), executions: /* @__PURE__ */ whole(1, 2 ** 40), seed: /* @__PURE__ */ whole(0, 0xffff_ffff),
  instructions: /* @__PURE__ */ whole(1, 2 ** 40), every: /* @__PURE__ */ whole(1, 2 ** 40), until: callable, invariant: callable, shared: callable, stopAt: /* @__PURE__ */ whole(1, 1e6),
  shrinking: /* @__PURE__ */ whole(0, 1e9), signal: abortSignal,
}
const INPUT_CHECKS = { inject: callable, seeds: /* @__PURE__ */ listOf(byteArray), most: /* @__PURE__ */ whole(1, 1 << 24), dictionary: /* @__PURE__ */ listOf(byteArray) }

function check(what: string, options: FuzzOptions): void {
  checkOptions(what, options, CHECKS)
  checkArgument(`the moment of ${what}`, options.moment, having('branch'))
  checkArgument(`the input of ${what}`, options.input, record)
  checkOptions(`the input of ${what}`, options.input, INPUT_CHECKS)
  checkArgument(`inject of ${what}`, options.input.inject, callable)
}

/** Edges, by class, that some input has taken. */
class Reached {
  private readonly bits = new Uint8Array(1 << 16)
  edges = 0

  /** Adds what an execution has taken; true where something of it is new. */
  add(map: Uint8Array): boolean {
    const words = new Uint32Array(map.buffer, map.byteOffset, map.length >> 2)
    let isNew = false
    for (let word = 0; word < words.length; word += 1) {
      if (words[word] === 0) continue
      for (let i = word * 4; i < word * 4 + 4; i += 1) {
        const bit = EDGE_CLASSES[map[i]!]!
        const known = this.bits[i]!
        if ((bit & ~known) === 0) continue
        if (known === 0) this.edges += 1
        this.bits[i] = known | bit
        isNew = true
      }
    }
    return isNew
  }
}

/** One campaign. */
class Campaign {
  private readonly options: FuzzOptions
  private readonly executor: Executor
  private readonly random: SeededRandom
  private readonly reached = new Reached()
  private readonly corpus: Uint8Array[] = []
  private readonly findings = new Map<string, FuzzFinding>()
  private readonly begun = performance.now()
  private executions = 0

  constructor(options: FuzzOptions, executor: Executor) {
    this.options = options
    this.executor = executor
    this.random = new SeededRandom(options.seed ?? 1)
  }

  async run(): Promise<FuzzReport> {
    const { input: { seeds = [new Uint8Array(0)], most = MOST_INPUT, dictionary = [] }, seed = 1 } = this.options
    for (const one of seeds) if (!this.isOver()) await this.attempt(one.slice(0, most))
    const material = { most, dictionary, other: () => this.pick(seeds) }
    while (!this.isOver()) await this.attempt(mutate(this.pick(seeds), this.random, material))
    return {
      seed, executions: this.executions, elapsed: performance.now() - this.begun, edges: this.reached.edges, corpus: this.corpus,
      findings: [...this.findings.values()],
    }
  }

  /** An input that has reached something; the newest are the likeliest to lead on. */
  private pick(seeds: readonly Uint8Array[]): Uint8Array {
    const all = this.corpus.length === 0 ? seeds : this.corpus
    const recent = Math.max(1, all.length >> 2)
    return below(this.random, 2) === 0 ? all[all.length - 1 - below(this.random, recent)]! : all[below(this.random, all.length)]!
  }

  private isOver(): boolean {
    const { executions = Infinity, seconds = Infinity, stopAt = Infinity, signal } = this.options
    if (signal?.aborted === true) throw new XenError('ABORTED', 'fuzzing was aborted', { cause: signal.reason })
    return this.executions >= executions || this.findings.size >= stopAt || performance.now() - this.begun >= seconds * 1000
  }

  private async attempt(input: Uint8Array): Promise<void> {
    const execution = this.executions += 1
    const found = await this.executor.execute(input)
    if (this.reached.add(this.executor.map)) {
      this.corpus.push(input)
      for (const finding of await this.executor.doubleFetches(input)) await this.keep(finding, input, execution)
    }
    for (const finding of found) await this.keep(finding, input, execution)
  }

  private async keep(finding: Finding, input: Uint8Array, execution: number): Promise<void> {
    const key = `${finding.kind} ${finding.signature}`
    if (this.findings.has(key)) return
    const shows = async (candidate: Uint8Array): Promise<boolean> => {
      const again = finding.kind === 'double-fetch' ? await this.executor.doubleFetches(candidate) : await this.executor.execute(candidate)
      return again.some(({ kind, signature }) => kind === finding.kind && signature === finding.signature)
    }
    this.findings.set(key, { ...finding, input: await shrink(input, shows, this.options.shrinking ?? 400), found: input, execution })
  }
}

/**
 * Gives a guest inputs, thousands a second, and keeps what goes wrong: crashes, complaints of its kernel, what an invariant says, shared bytes that are read twice.
 * Nothing of it reaches the moment's host. Rejects with CLOSED for a moment that is gone, DOMAIN_NOT_FOUND, ABORTED, INVALID_ARGUMENT, and with what `inject` throws.
 *
 * @example
 * const { findings } = await fuzz({
 *   moment, target: 'app', seconds: 60,
 *   input: { inject: (bytes, { memory, address }) => { memory.write(address('request'), bytes) } },
 * })
 */
export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  check('fuzz', options)
  if (options.seconds === undefined && options.executions === undefined) throw new XenError('INVALID_ARGUMENT', 'fuzz needs seconds or executions: it would never end')
  const executor = await Executor.begin(options)
  try {
    return await new Campaign(options, executor).run()
  } finally {
    await executor.end()
  }
}

/** What one input does, as a finding's: executed once, from the moment on. Rejects as `fuzz` does. */
export async function runInput(options: FuzzOptions, input: Uint8Array): Promise<Outcome> {
  check('runInput', options)
  checkArgument('the input of runInput', input, byteArray)
  const executor = await Executor.begin(options)
  try {
    const { classes, findings } = await executor.outcome(input)
    return { classes, findings: [...findings, ...await executor.doubleFetches(input)] }
  } finally {
    await executor.end()
  }
}

/**
 * Executes inputs that somebody else chooses, one after the other, each from the moment on: AFL++ or LibAFL drive it (examples/afl). Rejects as `fuzz` does.
 *
 * @example
 * const executor = await fuzzExecutor({ moment, target: 'app', input })
 * const { findings, classes } = await executor.execute(Uint8Array.of(1, 2, 3))
 * await executor.end()
 */
export async function fuzzExecutor(options: FuzzOptions): Promise<FuzzExecutor> {
  check('fuzzExecutor', options)
  const executor = await Executor.begin(options)
  let state: 'waits' | 'executes' | 'ended' = 'waits'
  return {
    execute: async (input) => {
      checkArgument('the input of execute', input, byteArray)
      if (state === 'ended') throw new XenError('CLOSED', 'the executor has ended')
      if (state === 'executes') throw new XenError('BUSY', 'the executor executes an input already')
      state = 'executes'
      try {
        const { findings, classes } = await executor.outcome(input)
        return { findings: [...findings, ...await executor.doubleFetches(input)], classes: classes.slice() }
      } finally {
        state = 'waits'
      }
    },
    end: async () => {
      if (state === 'executes') throw new XenError('BUSY', 'the executor executes an input')
      if (state === 'ended') return
      state = 'ended'
      await executor.end()
    },
  }
}

/**
 * The inputs of a corpus that are needed to reach all that it reaches, each executed once from the moment on: what a campaign goes on with, or a test keeps. Rejects as `fuzz` does.
 *
 * @example
 * const { corpus } = await fuzz({ moment, target: 'app', seconds: 60, input })
 * const kept = await minimiseCorpus({ moment, target: 'app', input }, corpus)
 */
export async function minimiseCorpus(options: FuzzOptions, corpus: readonly Uint8Array[]): Promise<readonly Uint8Array[]> {
  check('minimiseCorpus', options)
  checkCorpus('minimiseCorpus', corpus)
  const executor = await Executor.begin(options)
  try {
    const reached: ReachedClasses[] = []
    for (const input of corpus) {
      if (options.signal?.aborted === true) throw new XenError('ABORTED', 'minimising was aborted', { cause: options.signal.reason })
      reached.push({ input, classes: (await executor.outcome(input)).classes.slice() })
    }
    return choose(reached)
  } finally {
    await executor.end()
  }
}
