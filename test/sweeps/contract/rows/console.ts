import { expect } from 'vitest'
import { ask, type ContractRow } from '../cell.ts'

const LONG = 'x'.repeat(200)
/** Bytes of the console's ring for output. */
const RING = 2048

/** Lines in, lines out, more than the ring holds. */
export const console: ContractRow = {
  name: 'console', holds: 'lines go in and come out, in order and whole, also when they are more than the ring holds',
  run: async (cell) => {
    const host = await cell.boot()
    const domain = await cell.start(host)
    for (let i = 0; i * LONG.length <= 2 * RING; i += 1) await ask(domain, `echo ${i} ${LONG}`, new RegExp(`^${i} ${LONG}$`))
    await domain.console.write('echo one\recho two\recho three\r')
    await domain.console.waitFor(/^one$[^]*^two$[^]*^three$/)
    await ask(domain, 'nonsense', 'nonsense: unknown command')
    expect(host.hypervisor.checkInvariants()).toEqual([])
  },
}
