import { SHUTDOWN } from '../../../../src/abi/index.ts'
import { expect } from 'vitest'
import { ask, isWell, type Cell, type ContractRow, type Exception } from '../cell.ts'

/** A guest that asks for it ends; nobody can reset it. */
const refused: Exception = {
  why: 'Xen has soft resets for guests with a physical map of their own; the domain ends, and `softReset` is refused with NOT_SUPPORTED',
  shown: async (cell: Cell) => {
    const host = await cell.boot()
    const domain = await cell.start(host, { actions: { softReset: 'preserve' } })
    host.hypervisor.shutdownDomain(domain.id, SHUTDOWN.soft_reset)
    expect(await domain.waitForShutdown()).toBe('soft-reset')
    await expect(domain.softReset()).rejects.toMatchObject({ code: 'NOT_SUPPORTED', details: { domid: domain.id } })
    await domain.destroy()
    // By itself it is ended, and a warning says so.
    const other = await cell.start(host)
    const gone = host.events.once('domain-destroyed')
    host.hypervisor.shutdownDomain(other.id, SHUTDOWN.soft_reset)
    expect((await gone).domid).toBe(other.id)
    expect(host.warnings.map(({ message }) => message).join('\n')).toMatch(/soft-reset/)
  },
}

/** Beginning anew in the same domain. */
export const softReset: ContractRow = {
  name: 'soft reset', holds: 'ends for the reason `soft-reset`, and goes on with its memory, its ports, rings and devices anew, by itself and by `softReset()`',
  exceptions: { TypeScript: refused, PV64: refused, PV32: refused },
  run: async (cell) => {
    const host = await cell.boot()
    cell.disk.bytes.set(new TextEncoder().encode('on the disk'), 512)
    const domain = await cell.start(host, { disks: ['/d,raw,xvda,w'], nics: ['mac=00:16:3e:00:00:01'], actions: { softReset: 'soft-reset' } })
    await ask(domain, 'disk read 1', 'on the disk')
    await ask(domain, 'write data/kept yes', 'written')
    const before = host.hypervisor.domainInfo(domain.id).totalPages
    for (const round of [1, 2]) {
      const reset = host.events.once('domain-reset')
      await ask(domain, 'softreset', 'mini: reset with 0')
      expect((await reset).domid).toBe(domain.id)
      await ask(domain, `echo round ${round}`, `round ${round}`)
      await ask(domain, 'read data/kept', 'yes')
      await ask(domain, 'disk read 1', 'on the disk')
      await ask(domain, 'net open', /net|open/)
      await isWell(host, domain)
    }
    expect(host.domain('guest')).toBe(domain)
    expect(domain.info()).toMatchObject({ shutdown: false })
    expect(host.hypervisor.domainInfo(domain.id).totalPages - before).toBeLessThanOrEqual(2)
    await domain.shutdown()
    await host.settled()
    expect(host.domains()).toEqual([])
  },
}
