/**
 * Runs histories by their seeds on all cores: each worker is a thread with the history's code as it is published, which is several times as fast as from source, and asks
 * for the next seed when it is done with one. What a history throws is a violation of its seed.
 */
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { bundle } from '../support/bundle.ts'

/** What every history has. */
export interface Judged {
  readonly seed: number
  readonly violations: readonly string[]
}

/** Where the function is that runs one seed, and what it is given beside it. */
export interface SeededWork {
  /** A file of this folder, and what it exports. */
  readonly file: string
  readonly name: string
  readonly argument?: unknown
}

/** Numbers from the command line, each with its usual value. */
export function numbersOf<N extends string>(usual: Readonly<Record<N, number>>): Record<N, number> {
  const options = Object.fromEntries(Object.entries(usual).map(([name, value]) => [name, { type: 'string' as const, default: String(value) }]))
  const { values } = parseArgs({ options })
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, Number(value)])) as Record<N, number>
}

/** The usual numbers of a sweep. */
export const SWEEP = { seeds: 1000, from: 1, workers: availableParallelism() } as const

const program = ({ file, name }: SeededWork): string => `
  import { parentPort, workerData } from 'node:worker_threads'
  import { ${name} as history } from './${file}'
  parentPort.on('message', (seed) => {
    history(seed, workerData).then((done) => parentPort.postMessage({ done }), (error) => parentPort.postMessage({ seed, thrown: String(error?.stack ?? error) }))
  })
`

type Answer<H> = { readonly done: H } | { readonly seed: number; readonly thrown: string }

/** Runs the seeds; `take` hears of each history in the order in which they end. How many threw instead. */
export async function sweep<H extends Judged>(work: SeededWork, { seeds, from, workers }: Record<keyof typeof SWEEP, number>, take: (history: H) => void): Promise<number> {
  const { path, remove } = await bundle(program(work), 'test/simulation')
  let [next, thrown] = [from, 0]
  const serve = async (): Promise<void> => {
    const worker = new Worker(path, { workerData: work.argument })
    try {
      while (next < from + seeds) {
        worker.postMessage(next++)
        const [answer] = await once(worker, 'message') as [Answer<H>]
        if ('done' in answer) {
          take(answer.done)
          continue
        }
        thrown += 1
        console.log(`seed ${answer.seed} threw: ${answer.thrown}`)
      }
    } finally {
      await worker.terminate()
    }
  }
  try {
    await Promise.all(Array.from({ length: Math.max(1, workers) }, serve))
  } finally {
    remove()
  }
  return thrown
}
