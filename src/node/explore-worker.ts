/** A thread that runs plans of an exploration: it imports the module of the test, takes the moment over, and does one run after another. */
import { parentPort, workerData } from 'node:worker_threads'
import { isScenario, Runner, type RunBody, type Scenario } from '../testing/index.ts'
import { Host, NO_COMPRESSION, type Moment } from '../toolstack/index.ts'
import { thrownMessage, XenError } from '../util/index.ts'
import type { FromWorker, ToWorker, WorkerJob } from './explore-messages.ts'

/** The test that a module exports. Throws INVALID_ARGUMENT. */
async function scenarioOf({ module, exported }: WorkerJob): Promise<Scenario> {
  const found = (await import(module) as Readonly<Record<string, unknown>>)[exported]
  if (isScenario(found)) return found
  if (typeof found === 'function') return { body: found as RunBody }
  throw new XenError('INVALID_ARGUMENT', `${module} exports no test as ${exported}: a scenario, or a function`)
}

const loaded = (bytes: SharedArrayBuffer, { load = {} }: Scenario): Promise<Moment<Host>> =>
  Host.loadMoment(new Uint8Array(bytes), { ...load, compression: NO_COMPRESSION })

const say = (message: FromWorker): void => parentPort?.postMessage(message)

const told = (error: unknown): FromWorker =>
  ({ what: 'error', code: XenError.is(error) ? error.code : 'INVALID_ARGUMENT', message: thrownMessage(error) })

/** Serves its parent until it is ended. */
async function serve(job: WorkerJob): Promise<void> {
  const scenario = await scenarioOf(job)
  const runner = new Runner(scenario, job.moment === undefined ? undefined : await loaded(job.moment, scenario))
  parentPort?.on('message', ({ run }: ToWorker) => {
    runner.run(run).then((report) => say({ what: 'report', report }), (error: unknown) => say(told(error)))
  })
  say({ what: 'ready' })
}

serve(workerData as WorkerJob).catch((error: unknown) => say(told(error)))
