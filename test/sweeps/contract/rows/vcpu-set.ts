import { expect } from 'vitest'
import { ask, isWell, type ContractRow } from '../cell.ts'

/** vCPUs taken up and down. */
export const vcpuSet: ContractRow = {
  name: 'vcpu-set', holds: 'takes vCPUs up and down as it is told, and code runs on them',
  run: async (cell) => {
    const host = await cell.boot({ cpus: 2 })
    const domain = await cell.start(host, { vcpus: 1, maxVcpus: 2 })
    await domain.setVcpus(2, { wait: true })
    expect(domain.info().onlineVcpus).toBe(2)
    await ask(domain, 'cpus', 'cpus: 2 up, 1 have run')
    await domain.setVcpus(1, { wait: true })
    expect(domain.info().onlineVcpus).toBe(1)
    await domain.setVcpus(2, { wait: true })
    expect(domain.info().onlineVcpus).toBe(2)
    await expect(domain.setVcpus(3)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', details: { maximum: 2 } })
    await isWell(host, domain)
  },
  exceptions: {
    TypeScript: {
      why: 'handlers of a kernel in TypeScript run one after another, on vCPU 0: a wish for more is not followed, and taken back in time',
      shown: async (cell) => {
        const host = await cell.boot({ cpus: 2 })
        const domain = await cell.start(host, { vcpus: 1, maxVcpus: 2 })
        await expect(domain.setVcpus(2, { wait: true, timeout: '100ms' })).rejects.toMatchObject({ code: 'TIMED_OUT' })
        expect(domain.info().onlineVcpus).toBe(1)
        await isWell(host, domain)
      },
    },
  },
}
