import { expect } from 'vitest'
import { ask, isWell, type ContractRow } from '../cell.ts'

/** The host's checkpoint. */
export const moments: ContractRow = {
  name: 'checkpoint of the host', holds: 'goes on from a moment of its host, in place and in a branch, exactly as it went on from it first',
  run: async (cell) => {
    const host = await cell.boot()
    // What it does of its own accord at the beginning is over then.
    await ask(await cell.start(host), 'ticks 3', 'tick 3')
    const moment = await host.checkpoint({ label: 'at the prompt' })
    const goOn = async (at: typeof host): Promise<string> => {
      const domain = at.domain('guest')
      await ask(domain, 'ticks 2', 'tick 2')
      await ask(domain, 'write data/x 1', 'written')
      await isWell(at, domain)
      return domain.console.text()
    }
    const first = await goOn(host)
    await host.reset(moment)
    expect(await goOn(host)).toBe(first)
    const branch = await moment.branch()
    try {
      expect(await goOn(branch)).toBe(first)
      await branch.domain('guest').destroy()
    } finally {
      await branch.shutdown()
    }
    await ask(host.domain('guest'), 'echo apart', /^apart$/)
  },
}
