import { expect } from 'vitest'
import { ask, type ContractRow } from '../cell.ts'
import { offer, startMini } from '../peer.ts'

/** Pages shared by grants. */
export const grants: ContractRow = {
  name: 'grants', holds: 'pages are shared with a 64-bit PV guest both ways, read and written; what is not granted is refused; all come back',
  run: async (cell) => {
    const host = await cell.boot()
    const [domain, mini] = [await cell.start(host), await startMini(host)]
    for (const [from, to, text] of [[domain, mini, 'from the guest'], [mini, domain, 'from mini']] as const) {
      const peer = await offer(from, to, text)
      await ask(to, peer, `domain ${from.id} wrote: ${text}`)
      await from.console.waitFor(`offer: answer: mini has read ${text.length} characters`)
    }
    await ask(domain, `peer ${mini.id} 4 8`, 'cannot map grant 8')
    await ask(domain, `peer ${mini.id} 4 4000`, 'cannot map grant 4000')
    const mappings = (id: number): number => host.hypervisor.domainInfo(id as never).totalPages
    expect([mappings(domain.id), mappings(mini.id)].every((pages) => pages > 0)).toBe(true)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  },
}
