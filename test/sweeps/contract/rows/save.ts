import { expect } from 'vitest'
import { ByteCollector } from '../../../support/byte-collector.ts'
import { whyMissing } from '../../../support/guests.ts'
import { verifyStream } from '../../../support/verify-stream.ts'
import { ask, isWell, type ContractRow } from '../cell.ts'

const verifying = whyMissing('verifyStream', 'xenPython') === undefined

/** Saved and restored, on its host and on another. */
export const saveAndRestore: ContractRow = {
  name: 'save and restore', holds: "is saved in Xen's format and goes on, on its own host and on another; with its disk, which it connects anew",
  run: async (cell) => {
    const [host, other] = [await cell.boot(), await cell.boot({ memory: 64, seed: 4 })]
    let domain = await cell.start(host, { disks: [{ target: 'a', vdev: 'xvda' }] })
    await ask(domain, 'disk write 3 before', 'status 0')
    await ask(domain, 'write data/x 1', 'written')
    for (const target of [host, other]) {
      const file = new ByteCollector()
      await domain.save(file)
      // Xen's own verifier takes as long as the rest: one of the two is enough.
      if (verifying && target === other) expect(verifyStream(file.bytes())).toMatchObject({ status: 0 })
      domain = await target.restore(file.bytes(), cell.receiving)
      await domain.console.waitFor('mini: restored')
      await domain.console.waitFor(`domain ${domain.id}, name: guest`)
      await ask(domain, 'disk read 3', 'disk: status 0: before')
      await isWell(target, domain)
    }
    expect(host.domains()).toEqual([])
    expect(domain.info().kind).toBe(cell.kind.hypervisorKind)
  },
}
