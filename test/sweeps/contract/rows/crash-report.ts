import { expect } from 'vitest'
import { XenError } from '../../../../src/index.ts'
import type { ContractRow } from '../cell.ts'

/** What a crash tells. */
export const crashReport: ContractRow = {
  name: 'crash report', holds: 'a crash says what happened and where, with registers and code; who waits for the guest is told',
  run: async (cell) => {
    const host = await cell.boot()
    const domain = await cell.start(host, { actions: { crash: 'preserve' } })
    const waiting = domain.console.waitFor('never said').catch((error: unknown) => error)
    await domain.console.write('fault\r')
    expect(await domain.waitForShutdown()).toBe('crash')
    const error = await waiting
    expect(XenError.is(error, 'DOMAIN_CRASHED') && error.details['crash']).toBe(domain.crash)
    const { exception, code, state, cause, text, origin } = domain.crash!
    if (cell.kind.name === 'TypeScript') {
      expect([cause, exception, state]).toEqual([new Error('the contract asks for a fault'), undefined, undefined])
      return
    }
    expect([origin, state !== undefined, code.length > 0]).toEqual(['guest', true, true])
    // A PVH guest's exceptions are its own affair: what is known of them is what its registers tell.
    if (cell.kind.name === 'PVH') expect([exception, /cr2 0*1000\b/.test(text)]).toEqual([undefined, true])
    else expect(exception).toMatchObject({ name: 'page fault', address: 0x1000n, code: expect.arrayContaining([expect.objectContaining({ text: expect.stringMatching(/^movl +\$0x1,0x1000$/) })]) })
    expect(domain.console.text()).toMatch(/mini: page fault \(vector 14, code 2\) at [0-9a-f]+, address 1000/)
  },
}
