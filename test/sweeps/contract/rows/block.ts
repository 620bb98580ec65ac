import { expect } from 'vitest'
import { ask, isWell, type ContractRow } from '../cell.ts'

/** A disk. */
export const block: ContractRow = {
  name: 'block', holds: 'connects a front-end, writes and reads sectors of a disk, in the protocol of its own width',
  run: async (cell) => {
    const host = await cell.boot()
    const domain = await cell.start(host, { disks: [{ target: 'a', vdev: 'xvda' }] })
    cell.disk.bytes.set(new TextEncoder().encode('what was there'), 7 * 512)
    await ask(domain, 'disk read 7', 'disk: status 0: what was there')
    await ask(domain, 'disk write 9 a sector', 'disk: wrote, status 0')
    expect(new TextDecoder().decode(cell.disk.bytes.subarray(9 * 512, 9 * 512 + 9))).toBe('a sector\0')
    // More requests than the ring has places.
    for (let i = 0; i < 40; i += 1) await ask(domain, `disk write ${i} number ${i}`, 'status 0')
    await ask(domain, 'disk read 39', 'disk: status 0: number 39')
    expect(domain.devices()).toMatchObject([{ kind: 'vbd', backendState: 4 }])
    await isWell(host, domain)
  },
}
