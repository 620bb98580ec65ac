import { expect } from 'vitest'
import { ask, isWell, type ContractRow } from '../cell.ts'

const SEEDS = 8
/** Nanoseconds that each seed may run. */
const LONG_ENOUGH = 20e6

/** Random bytes as kernel code. */
export const hostileCode: ContractRow = {
  name: 'hostile machine code', holds: 'random bytes run as its kernel: it ends as crashed, or loops, and nobody else is harmed',
  run: async (cell) => {
    const host = await cell.boot()
    const witness = await cell.start(host, { name: 'witness' })
    const ends = new Set<string>()
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      const domain = await cell.start(host, { actions: { crash: 'preserve', poweroff: 'preserve', reboot: 'preserve' } })
      await ask(domain, `hostile ${seed}`, 'hostile: begins')
      const end = host.now() + LONG_ENOUGH
      const hasEnded = (): boolean => domain.info().shutdownReason !== undefined
      await host.until('its end', () => hasEnded() || host.now() >= end)
      ends.add(hasEnded() ? (domain.info().crashed ? 'crash' : 'another end') : 'loop')
      expect(host.hypervisor.checkInvariants()).toEqual([])
      await domain.destroy()
    }
    expect(ends.has('crash')).toBe(true)
    await isWell(host, witness)
  },
  exceptions: {
    TypeScript: {
      why: 'it has no machine code: what it throws is the row crash, and it reaches others by its port alone',
      shown: async (cell) => {
        const host = await cell.boot()
        const domain = await cell.start(host)
        await ask(domain, 'hostile 1', 'hostile: unknown command')
        await ask(domain, 'peer 0 1 1', /peer: cannot map grant 1 of domain 0 \(HYPERCALL_FAILED\)/)
        await isWell(host, domain)
      },
    },
  },
}
