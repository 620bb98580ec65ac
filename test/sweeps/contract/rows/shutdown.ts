import { expect } from 'vitest'
import type { Domain, Host } from '../../../../src/index.ts'
import { ask, type Cell, type ContractRow } from '../cell.ts'

/** Which way a guest ends, and what it takes. */
type End = (domain: Domain, host: Host) => Promise<unknown>

const asked = (command: string): End => (domain) => domain.console.write(`${command}\r`)

async function ends(cell: Cell, reason: string, ways: readonly End[]): Promise<void> {
  const host = await cell.boot()
  for (const way of ways) {
    const domain = await cell.start(host, { actions: { poweroff: 'preserve', reboot: 'preserve', crash: 'preserve', watchdog: 'preserve' } })
    const [found] = await Promise.all([domain.waitForShutdown(), way(domain, host)])
    expect(found).toBe(reason)
    expect(domain.info()).toMatchObject({ shutdown: true })
    await domain.destroy()
  }
  await host.settled()
  expect(host.domains()).toEqual([])
  expect(host.hypervisor.checkInvariants()).toEqual([])
}

/** Ends that are asked for, by the toolstack and by the guest. */
export const poweroff: ContractRow = {
  name: 'poweroff', holds: 'ends by itself, and when it is asked to by `control/shutdown`, which it acknowledges',
  run: (cell) => ends(cell, 'poweroff', [asked('poweroff'), (domain) => domain.shutdown()]),
}
/** Starting again. */
export const reboot: ContractRow = {
  name: 'reboot', holds: 'ends to be started again, by itself and asked; with `restart` it comes back under a new number',
  run: async (cell) => {
    await ends(cell, 'reboot', [asked('reboot'), (domain) => domain.reboot()])
    const host = await cell.boot()
    const domain = await cell.start(host)
    const restarted = host.events.once('domain-restarted')
    await domain.reboot()
    const { newDomid } = await restarted
    await host.domain('guest').console.waitFor(`domain ${newDomid}, name: guest`)
  },
}
/** Going to sleep and waking up where it was. */
export const suspend: ContractRow = {
  name: 'suspend', holds: 'suspends itself when asked, and goes on at its place when the suspend is cancelled',
  run: async (cell) => {
    const host = await cell.boot()
    const domain = await cell.start(host)
    const saving = domain.save({ write: () => undefined }, { afterwards: 'resume' })
    const steps: string[] = []
    saving.progress.onAny(({ type }) => steps.push(type))
    await saving
    expect(steps).toEqual(expect.arrayContaining(['suspend-requested', 'suspended']))
    expect(domain.info()).toMatchObject({ shutdown: false })
    await ask(domain, 'echo still here', /^still here$/)
    await ask(domain, 'write data/x 1', 'written')
    expect(host.hypervisor.checkInvariants()).toEqual([])
  },
}
/** A crash. */
export const crash: ContractRow = {
  name: 'crash', holds: 'ends as crashed by what it does, alone: other guests and the host go on',
  run: async (cell) => {
    const host = await cell.boot()
    const witness = await cell.start(host, { name: 'witness' })
    const domain = await cell.start(host, { actions: { crash: 'preserve' } })
    const [reason] = await Promise.all([domain.waitForShutdown(), asked('fault')(domain, host)])
    expect(reason).toBe('crash')
    await ask(witness, 'echo untouched', /^untouched$/)
    await domain.destroy()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  },
}
/** Silence. */
export const watchdog: ContractRow = {
  name: 'watchdog', holds: 'ends for the reason `watchdog` when it gives no sign of life in the time that it has set',
  run: (cell) => ends(cell, 'watchdog', [asked('watchdog 2')]),
}
