/**
 * Workers for `explore` of `paravirt/testing`: threads on all processors, each of which imports the module of the test. A run that never gives
 * JavaScript a turn is ended with its thread, and counts as one that does not end.
 */
import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { ExploreJob, ExploreWorker, ExploreWorkers, RunPlan, RunReport } from '../testing/index.ts'
import { NO_COMPRESSION, type Host, type Moment } from '../toolstack/index.ts'
import {
  checkOptions, checkArgument, duration, listOf, parseDuration, shown, text, thrownMessage, whole, XenError, type Duration, type OptionChecks, type XenErrorCode,
} from '../util/index.ts'
import type { FromWorker, WorkerJob } from './explore-messages.ts'

/** How workers are made. */
export interface ExploreWorkersOptions {
  /** The name that the module exports the test by: a scenario, or a body. Default `default`. */
  readonly exported?: string | undefined
  /** How many. Default: as there are processors. */
  readonly count?: number | undefined
  /** Time of the wall behind which a run is ended with its thread. Default 60 seconds. */
  readonly patience?: Duration | undefined
  /** Modules that each thread imports before, such as one that lets Node import TypeScript: URLs or paths. */
  readonly preload?: readonly (URL | string)[] | undefined
}

const isPlace = (value: unknown): value is URL | string => value instanceof URL || typeof value === 'string'

/** A place as a URL; what is none already is a path. */
const urlOf = (place: URL | string): string =>
  (place instanceof URL ? place.href : /^[a-z]{2,}:/.test(place) ? place : pathToFileURL(place).href)

/** What a thread does first: loaders come before what they load. */
const BOOTSTRAP = `
  const { parentPort, workerData: { preload, entry } } = require('node:worker_threads')
  const begin = async () => { for (const module of [...preload, entry]) await import(module) }
  begin().catch(({ message }) => parentPort.postMessage({ what: 'error', code: 'INVALID_ARGUMENT', message }))
`

const CHECKS: OptionChecks<ExploreWorkersOptions> = {
  exported: text, count: /* @__PURE__ */ whole(1, 1024), patience: /* @__PURE__ */ duration({ least: 1 }), preload: /* @__PURE__ */ listOf((value) => (isPlace(value) ? undefined : `must be a URL or a path, got ${shown(value)}`)),
}

/** Where the thread's own code lies: beside this file as it is, or beside or above the bundle that it has become. */
function entry(): URL {
  const here = import.meta.url
  const found = ['./explore-worker.ts', './explore-worker.js', '../explore-worker.js'].map((name) => new URL(name, here)).find((url) => existsSync(url))
  if (found === undefined) throw new XenError('IO', `the code of workers is not beside ${here}`)
  return found
}

/** A moment's file in memory that threads share. */
async function shared(moment: Moment<Host>): Promise<SharedArrayBuffer> {
  const chunks: Uint8Array[] = []
  await moment.save({ write: (chunk: Uint8Array) => { chunks.push(chunk.slice()) } }, { compression: NO_COMPRESSION })
  const bytes = new Uint8Array(new SharedArrayBuffer(chunks.reduce((sum, { length }) => sum + length, 0)))
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes.buffer
}

/** What is told of a run whose thread had to be ended. */
const forced = ({ index }: RunPlan, patience: number): RunReport => ({
  index, properties: [], interventions: 0, start: 0, end: 0, contended: 0, busy: 0, digest: '', forced: true,
  failure: { kind: 'endless', message: `the body has given JavaScript no turn for ${patience / 1e9} s`, details: '', time: 0 },
})

/** One thread, which is started anew when it had to be ended. */
class Thread implements ExploreWorker {
  private readonly job: WorkerJob
  private readonly patience: number
  private worker: Promise<Worker> | undefined

  /** `patience`: nanoseconds of the wall. */
  constructor(job: WorkerJob, patience: number) {
    this.job = job
    this.patience = patience
  }

  /** Resolves when it has the test. */
  async ready(): Promise<this> {
    await (this.worker ??= this.start())
    return this
  }

  async run(plan: RunPlan): Promise<RunReport> {
    const worker = await (this.worker ??= this.start())
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<undefined>((resolve) => { timer = setTimeout(() => resolve(undefined), this.patience / 1e6) })
    const answer = this.answer(worker)
    worker.postMessage({ run: plan })
    const said = await Promise.race([answer, late]).finally(() => clearTimeout(timer))
    if (said?.what === 'report') return said.report
    if (said !== undefined) throw failed(said)
    answer.catch(() => undefined)
    this.worker = undefined
    await worker.terminate()
    return forced(plan, this.patience)
  }

  async end(): Promise<void> {
    const worker = await this.worker?.catch(() => undefined)
    this.worker = undefined
    await worker?.terminate()
  }

  private async start(): Promise<Worker> {
    const worker = new Worker(BOOTSTRAP, { eval: true, workerData: this.job })
    worker.unref()
    const said = await this.answer(worker)
    if (said.what === 'ready') return worker
    await worker.terminate()
    throw failed(said)
  }

  /** The next thing that a thread says. */
  private answer(worker: Worker): Promise<FromWorker> {
    return new Promise((resolve, reject) => {
      const ended = (error: unknown): void => reject(new XenError('INVALID_ARGUMENT', `a worker has ended: ${thrownMessage(error)}`, { cause: error }))
      const exited = (code: number): void => ended(new Error(`exit code ${code}`))
      worker.ref()
      worker.once('message', (message: FromWorker) => {
        worker.off('error', ended)
        worker.off('exit', exited)
        worker.unref()
        resolve(message)
      })
      worker.once('error', ended)
      worker.once('exit', exited)
    })
  }
}

function failed(said: FromWorker): XenError {
  const { code, message } = said.what === 'error' ? said : { code: 'INVALID_ARGUMENT', message: `a worker says ${said.what}` }
  // Codes of a worker are those of this library.
  return new XenError(code as XenErrorCode, message)
}

/**
 * Workers for a test that a module exports: the module is imported in each, and whatever it does at its top is done in each. Throws INVALID_ARGUMENT; `explore` rejects with
 * INVALID_ARGUMENT where the module or the test in it is not found.
 *
 * @example
 * import { transfer } from './transfer.scenario.mjs'
 * await explore(transfer, { workers: exploreWorkers(new URL('./transfer.scenario.mjs', import.meta.url), { exported: 'transfer' }) })
 */
export function exploreWorkers(module: URL | string, options: ExploreWorkersOptions = {}): ExploreWorkers {
  checkOptions('exploreWorkers', options, CHECKS)
  checkArgument('the module of exploreWorkers', module, (value) => (isPlace(value) ? undefined : `must be a URL or a path, got ${shown(value)}`))
  const { exported = 'default', count = availableParallelism(), patience = '60s', preload = [] } = options
  const url = urlOf(module)
  if (!existsSync(fileURLToPath(url))) throw new XenError('INVALID_ARGUMENT', `there is no module ${url}`)
  const most = parseDuration(patience, 'patience')
  return {
    start: async ({ moment }: ExploreJob) => {
      const job: WorkerJob = { preload: preload.map(urlOf), entry: entry().href, module: url, exported, moment: moment === undefined ? undefined : await shared(moment) }
      const threads = Array.from({ length: count }, () => new Thread(job, most))
      try {
        return await Promise.all(threads.map((thread) => thread.ready()))
      } catch (error) {
        await Promise.all(threads.map((thread) => thread.end()))
        throw error
      }
    },
  }
}
