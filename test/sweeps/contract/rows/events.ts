import { expect } from 'vitest'
import { ask, type ContractRow } from '../cell.ts'
import { offer, startMini } from '../peer.ts'

/** Timer events and events of others. */
export const events: ContractRow = {
  name: 'events', holds: 'its timer wakes it in time; events pass between it and a 64-bit PV guest both ways; a port that is not offered is refused',
  run: async (cell) => {
    const host = await cell.boot()
    const domain = await cell.start(host)
    const before = host.now()
    await ask(domain, 'ticks 2', /tick 2 at \d+ ms/)
    expect(host.now() - before).toBeGreaterThanOrEqual(200e6)
    expect(host.now() - before).toBeLessThan(210e6)
    const mini = await startMini(host)
    await ask(mini, await offer(domain, mini, 'event'), 'answered, status 0')
    await domain.console.waitFor('offer: answer: ')
    await ask(domain, await offer(mini, domain, 'event'), 'answered, status 0')
    await mini.console.waitFor('offer: answer: ')
    const stale = (await offer(mini, domain, 'again')).replace(/\d+ (\d+)$/, '500 $1')
    await ask(domain, stale, 'cannot bind port 500')
    expect(host.hypervisor.checkInvariants()).toEqual([])
  },
}
