import { expect } from 'vitest'
import { withoutLeaks } from '../../../../src/testing/index.ts'
import { MEMORY, type ContractRow } from '../cell.ts'

/** A guest starts, says who it is, is listed, and leaves nothing behind. */
export const boot: ContractRow = {
  name: 'boot', holds: 'starts, learns its number and name, is listed as what it is; destroyed, it leaves nothing behind',
  run: async (cell) => {
    const host = await cell.boot()
    await withoutLeaks(host, async () => {
      const domain = await cell.create(host)
      await domain.console.waitFor(/^(mini: starts|mini: a small Xen kernel)$/)
      await domain.console.waitFor(`domain ${domain.id}, name: guest`)
      await domain.console.waitFor('mini> ')
      const { kind, addressSize, translated } = domain.info()
      expect(kind).toBe(cell.kind.hypervisorKind)
      expect([addressSize, translated]).toEqual([kind === 'pv32' ? 32 : 64, kind === 'pvh'])
      expect(host.listDomains()[1]).toMatchObject({ name: 'guest', memory: MEMORY, vcpus: 1 })
      await domain.destroy()
      await host.settled()
    })
  },
}
