import { expect } from 'vitest'
import { withoutLeaks } from '../../../../src/testing/index.ts'
import { ask, type ContractRow } from '../cell.ts'
import { offer, startMini } from '../peer.ts'

/** The books, whatever a guest is in the middle of. */
export const invariants: ContractRow = {
  name: 'invariants', holds: 'at every look while it uses all of the above, and when it is destroyed in the middle of it, everything adds up',
  run: async (cell) => {
    const host = await cell.boot()
    const books = (): void => expect(host.hypervisor.checkInvariants()).toEqual([])
    const mini = await startMini(host)
    await withoutLeaks(host, async () => {
      const domain = await cell.start(host, { disks: [{ target: 'a', vdev: 'xvda' }], nics: [''] })
      books()
      await ask(domain, 'disk write 1 x', 'status 0')
      await ask(domain, 'net open', 'net: open')
      books()
      const peer = await offer(domain, mini, 'mapped')
      books()
      const target = domain.setMemTarget(6).catch((error: unknown) => error)
      await domain.destroy()
      expect(await target).toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
      await host.settled()
      books()
      await ask(mini, peer, 'cannot map grant')
    })
  },
}
