/** Debian's own installer, its kernel and its user space of many programs, on the console of a PV guest. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { guestFile, whyMissing } from '../support/guests.ts'
import { SECOND, bootLinuxHost } from '../support/linux.ts'

const PATIENCE = 300_000
const missing = whyMissing('installerKernel', 'installerRamdisk')
/** What ends a choice in a menu. */
const ENTER = '\r'

describe.skipIf(missing !== undefined)(`Debian's installer${missing ?? ''}`, { timeout: PATIENCE }, () => {
  test('it shows its first menu, hears the keys and shows the next one', async () => {
    const host = await bootLinuxHost({ memory: 1408 })
    const domain = await host.createDomain({
      name: 'installer', memory: 1280, kernel: readFileSync(guestFile('installerKernel')!),
      ramdisk: readFileSync(guestFile('installerRamdisk')!), commandLine: 'console=hvc0 --- quiet',
    })
    await domain.console.waitFor('Select a language', { timeout: 600 * SECOND })
    await domain.console.waitFor('English', { timeout: 10 * SECOND })
    await domain.console.write(ENTER)
    await domain.console.waitFor('Select your location', { timeout: 100 * SECOND })
    expect(domain.console.text()).not.toMatch(/WARNING:|BUG:|Oops|segfault/)
    expect(host.hypervisor.checkInvariants()).toEqual([])
    await host.shutdown()
  }, PATIENCE)
})
