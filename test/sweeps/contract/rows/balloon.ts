import { expect } from 'vitest'
import { MEMORY, isWell, type ContractRow } from '../cell.ts'

/** Memory given back and taken again. */
export const balloon: ContractRow = {
  name: 'balloon', holds: 'follows its memory target down and up; the host counts along; more than its maximum is refused',
  run: async (cell) => {
    const host = await cell.boot()
    const domain = await cell.start(host)
    const { totalPages } = domain.info()
    const { freeFrames } = host.hypervisor.hostInfo()
    await domain.setMemTarget(MEMORY - 2)
    expect(totalPages - domain.info().totalPages).toBe(512)
    // The map of a translated guest may need a frame less or more.
    expect(host.hypervisor.hostInfo().freeFrames - freeFrames).toBeGreaterThanOrEqual(510)
    await isWell(host, domain)
    await domain.setMemTarget(MEMORY)
    expect(domain.info().totalPages).toBe(totalPages)
    await expect(domain.setMemTarget(MEMORY + 1)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await isWell(host, domain)
  },
}
