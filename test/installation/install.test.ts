/**
 * Debian's installer with nobody at its console, out of a mirror that APT has filled, over a user-mode network onto a disk; and what has become of it: the installer's own log,
 * e2fsprogs' checker over the disk from outside, and the system itself, booted by pygrub, with its account logged in and its packages asked. Minutes of a processor for each kind of
 * guest: `npm run install:debian`.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { InstallationBench, whyNoInstallation } from '../support/installation.ts'

const missing = whyNoInstallation()
const PATIENCE = 7_200_000

describe.skipIf(missing !== undefined)(`Debian's installer, unattended${missing ?? ''}`, { timeout: PATIENCE }, () => {
  let bench: InstallationBench
  beforeAll(async () => {
    bench = await InstallationBench.make()
  }, PATIENCE)
  afterAll(() => bench?.close())

  describe.each(['pvh', 'pv'] as const)('as a guest of type %s', (type) => {
    let disk: string

    test('installs, asks nobody, and powers off', async () => {
      disk = bench.blankDisk(`${type}.img`)
      const { transcript, seconds, files } = await bench.install(type, disk)
      console.log(`${type}: ${files} files, ${seconds.toFixed(1)} s of the guest's time`)
      expect(transcript).not.toMatch(/WARNING:|BUG:|Oops|segfault/)
    })

    test('leaves a log without an error, and a file system without a fault', () => {
      const log = bench.fileOf(disk, '/var/log/installer/syslog')
      expect(log).toContain('the system is installed')
      expect(log).not.toMatch(/last-steps: warning|base-installer: error|segfault/)
      expect(bench.check(disk)).toContain('Pass 5')
    })

    test('leaves a system that pygrub boots to a login, with all packages whole', async () => {
      const system = await bench.example.bootInstalled({ type, disk })
      expect(await system.run('id -un; hostname')).toBe('debian\ninstalled')
      expect(await system.run('cat /proc/cmdline')).toMatch(/root=UUID=\S+ ro quiet console=hvc0/)
      expect(await system.run('dpkg --audit')).toBe('')
      expect(await system.run("dpkg-query -W -f '${db:Status-Abbrev}\\n' | sort -u")).toBe('ii')
      expect(await system.run('uname -r')).toMatch(/^6\.1\.0-\d+-cloud-amd64$/)
      expect(await system.powerOff()).toBe('poweroff')
      expect(bench.check(disk)).toContain('Pass 5')
    })
  })
})
