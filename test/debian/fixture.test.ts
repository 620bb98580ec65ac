/** The fixture of Debian's Linux: at its shell, for each test anew. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { debianGuests, folderCache } from '../../src/node/index.ts'
import { linux } from '../../src/testing/index.ts'
import type { Host } from '../../src/toolstack/index.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'

const folder = mkdtempSync(join(tmpdir(), 'paravirt-fixture-'))
const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

const noLinux = whyMissing(...LINUX_FILES)

test.skipIf(noLinux !== undefined)(`a Linux is at its shell, with modules and files, for each test anew${noLinux ?? ''}`, { timeout: 600_000 }, async () => {
  const cache = folderCache(folder)
  const debian = linux({ guests: debianGuests(GUESTS_FOLDER), cache, memory: 192, modules: ['xen-netfront'], files: { 'etc/hello': 'hello\n' } })
  for (let i = 0; i < 2; i += 1) {
    const shell = await debian.start()
    hosts.push(shell.host)
    expect(await shell.run('cat /etc/hello; grep -c xen_netfront /proc/modules; ls /tmp; touch /tmp/mine')).toBe('hello\n1')
  }
  rmSync(folder, { recursive: true })
})
