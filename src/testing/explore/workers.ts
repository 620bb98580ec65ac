/**
 * Who runs plans: the thread that explores, or threads that somebody provides. `paravirt/node` has workers on all processors; here nothing is
 * known of threads.
 */
import type { Host, Moment } from '../../toolstack/index.ts'
import type { Scenario } from './body.ts'
import type { RunPlan, RunReport } from './run-plan.ts'
import { Runner } from './runner.ts'

/** Runs plans, one at a time. */
export interface ExploreWorker {
  /** Rejects where the run could not even be made, and where it had to be ended by force. */
  run(plan: RunPlan): Promise<RunReport>
  /** Ends it. */
  end(): Promise<void>
}

/** What workers are made for. */
export interface ExploreJob {
  readonly scenario: Scenario
  /** Where runs begin; undefined where a host is booted for each. */
  readonly moment: Moment<Host> | undefined
}

/** Makes workers. */
export interface ExploreWorkers {
  /** As many as there are to be. Rejects where none can be made. */
  start(job: ExploreJob): Promise<readonly ExploreWorker[]>
}

/** The one worker that there always is: this thread. */
export const ownThread: ExploreWorkers = {
  start: async ({ scenario, moment }) => {
    const runner = new Runner(scenario, moment)
    return [{ run: (plan) => runner.run(plan), end: () => runner.end() }]
  },
}
