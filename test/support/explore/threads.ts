/** A program that explores in threads and alone, and tells what came of it as JSON; bundled and run by explore-workers.test.ts. */
import { exploreWorkers } from '../../../src/node/index.ts'
import { explore, type Exploration } from '../../../src/testing/index.ts'
import { careless, emptyHost } from './counter.ts'
import { hangs } from './hostile.ts'

const module = (name: string): URL => new URL(`./${name}.js`, import.meta.url)
const told = (found: Exploration): unknown => ({
  ...found.toJSON(), replay: found.failure?.replay && new TextDecoder().decode(found.failure.replay.encode()),
})

const from = await emptyHost()
const alone = await explore(careless, { from, runs: 40 })
const together = await explore(careless, { from, runs: 40, workers: exploreWorkers(module('counter'), { exported: 'careless', count: 2 }) })
const forced = await explore(hangs, {
  host: { memory: 32, dom0Memory: 8 }, workers: exploreWorkers(module('hostile'), { exported: 'hangs', count: 1, patience: '1s' }),
})
const refused: string[] = []
for (const exported of ['none', 'missing']) {
  await explore(hangs, { workers: exploreWorkers(module('hostile'), { exported, count: 1 }) }).catch((error: Error & { readonly code?: string }) => {
    refused.push(`${error.code} ${error.message.replace(/.*\//, '')}`)
  })
}
console.log(JSON.stringify({ alone: told(alone), together: told(together), forced: forced.failure?.failure, refused }))
