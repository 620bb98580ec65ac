import { expect } from 'vitest'
import { ask, type ContractRow } from '../cell.ts'

/** Reads, writes, permissions. */
export const xenstore: ContractRow = {
  name: 'XenStore', holds: 'reads and writes its own nodes, is refused those of others, hears of watched nodes',
  run: async (cell) => {
    const host = await cell.boot()
    const domain = await cell.start(host)
    const path = `/local/domain/${domain.id}`
    await ask(domain, 'write data/said hello', /^written$/)
    expect(host.store.read(`${path}/data/said`)).toBe('hello')
    host.store.write(`${path}/data/said`, 'good bye')
    await ask(domain, 'read data/said', /^good bye$/)
    await ask(domain, 'read name', /^guest$/)
    await ask(domain, 'write /local/domain/0/data/said hello', 'write: refused')
    await ask(domain, 'read data/nothing', /^read: /)
    expect(host.store.exists('/local/domain/0/data/said')).toBe(false)
  },
}
