/** A test that fails at once, and one that does not. */
import { scenario } from '../../../src/testing/index.ts'

const host = { memory: 32, dom0Memory: 8 }

export const failing = scenario({ name: 'failing', host, body: ({ always }) => always(false, 'nothing is right') })
export const passing = scenario({ name: 'passing', host, body: ({ always, host: { store } }) => {
  store.write('/tool/a', 'b')
  always(true, 'all is right')
} })
