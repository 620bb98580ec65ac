import { expect } from 'vitest'
import { transportPair } from '../../../../src/toolstack/index.ts'
import { ask, isWell, type ContractRow } from '../cell.ts'

/** Moved while it runs. */
export const migrate: ContractRow = {
  name: 'migrate', holds: 'moves to another host while it runs, and back, and follows its memory target there',
  run: async (cell) => {
    const [first, second] = [await cell.boot(), await cell.boot({ seed: 4 })]
    let domain = await cell.start(first)
    for (const target of [second, first]) {
      const { ends } = transportPair()
      const [there] = await Promise.all([target.receiveMigration(ends[1], cell.receiving), domain.migrate(ends[0])])
      await there.console.waitFor('mini: restored')
      domain = there
    }
    await ask(domain, 'echo arrived', /^arrived$/)
    await domain.setMemTarget(6)
    await isWell(first, domain)
    expect(second.domains()).toEqual([])
    expect(second.hypervisor.checkInvariants()).toEqual([])
  },
}
