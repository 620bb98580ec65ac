/** A channel as Debian's Linux has it: a console of its own name. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { debianGuests, folderCache } from '../../src/node/index.ts'
import { linux } from '../../src/testing/index.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'

const noLinux = whyMissing(...LINUX_FILES)

test.skipIf(noLinux !== undefined)(`Debian's Linux has a channel as /dev/hvc1, with a state of its own on each branch${noLinux ?? ''}`, { timeout: 600_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-channel-'))
  const debian = linux({ guests: debianGuests(GUESTS_FOLDER), cache: folderCache(folder), memory: 192 })
  for (const word of ['one', 'two']) {
    const shell = await debian.start()
    const { domain } = shell
    await domain.attachDevice('console', 'connection=pty,name=org.example.agent')
    const channel = domain.channel('org.example.agent')
    await shell.run('mount -t devtmpfs dev /dev 2>/dev/null; until [ "$(cat /sys/bus/xen/devices/console-1/state 2>/dev/null)" = Connected ]; do sleep 0.1; done; exec 3<>/dev/hvc1; stty raw -echo <&3')
    await shell.run(`echo guest says ${word} >&3`)
    await channel.waitFor(`guest says ${word}`, { timeout: '5s' })
    await channel.write(`host says ${word}\n`)
    expect(await shell.run('head -n 1 <&3; cat /sys/bus/xen/devices/console-1/modalias')).toBe(`host says ${word}\nxen:console`)
    expect(channel.text()).toBe(`guest says ${word}\n`)
    expect(domain.devices()).toMatchObject([{ kind: 'console', backendStateName: 'Connected', frontendStateName: 'Connected' }])
    await domain.detachDevice('console', 1)
    expect(await shell.run('ls /sys/bus/xen/devices')).not.toContain('console-1')
    await shell.host.shutdown()
  }
  rmSync(folder, { recursive: true })
})
