/** What the thread that explores and its workers say to each other. */
import type { RunPlan, RunReport } from '../testing/index.ts'

/** What a worker is started with. */
export interface WorkerJob {
  /** Modules that are imported before, such as what lets Node import TypeScript; URLs. */
  readonly preload: readonly string[]
  /** The thread's own code, as a URL. */
  readonly entry: string
  /** The module that has the test, as a URL. */
  readonly module: string
  /** The name that the module exports it by. */
  readonly exported: string
  /** A file of the moment that runs begin at; undefined where a host is booted for each. */
  readonly moment: SharedArrayBuffer | undefined
}

/** To a worker. */
export type ToWorker = { readonly run: RunPlan }

/** From a worker: it is ready, a run has ended, or something else has gone wrong. */
export type FromWorker =
  | { readonly what: 'ready' }
  | { readonly what: 'report'; readonly report: RunReport }
  | { readonly what: 'error'; readonly code: string; readonly message: string }
