/** Every fault of the catalogue with Debian's Linux as the peer: one boot, and one with a folder, a branch for each. */
import { beforeAll, describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import type { Host, Moment } from '../../src/index.ts'
import { debianGuests, folderCache } from '../../src/node/index.ts'
import { FAULTS, LinuxShell, linux, testHost } from '../../src/testing/index.ts'
import { kernelLog } from '../support/dmesg.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FAULTS } from '../support/linux-faults.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox')

describe.skipIf(missing !== undefined)(`Debian's Linux${missing ?? ''}`, { timeout: 60_000 }, () => {
  let from: Moment<Host>
  let withFolder: Moment<Host>
  beforeAll(async () => {
    const options = { guests: debianGuests(GUESTS_FOLDER), cache: folderCache(), memory: 160 }
    from = await linux({ ...options, modules: ['xen-blkfront', 'xen-netfront'] }).moment()
    withFolder = await linux({ ...options, files: { '/mnt': { told: 'told\n' } } }).moment()
  }, 600_000)

  test.each(Object.entries(LINUX_FAULTS))('stands %s', async (name, { run, ends, hasFolder }) => {
    await testHost({ from: hasFolder === true ? withFolder : from, faults: [] }, async (host) => {
      const shell = new LinuxShell(host, host.domain('linux'), { terminal: 'wide' })
      await run({ host, shell, store: new MemoryBlockStore(1 << 20) })
      if (name !== 'migration-cut') expect(host.faults.fired.map(({ fault }) => fault)).toContain(name)
      host.faults.quiet()
      if (ends !== true) {
        expect(await shell.run('echo still here')).toBe('still here')
        expect(await shell.run(kernelLog('BUG:|Oops|general protection'))).toBe('')
      }
    })
  })

  test('is the peer of every fault', () => expect(Object.keys(LINUX_FAULTS).sort()).toEqual(FAULTS.map(({ name }) => name).sort()))
})
