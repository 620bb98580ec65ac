/**
 * Installs Debian on a disk with its own installer, unattended, out of a mirror that APT fills; then boots from that disk with pygrub, logs in and looks around.
 *
 *   npm run guests -- installer                     the installer's kernel and RAM disk, once
 *   npx tsx examples/install.ts [pv|pvh] [DISK.img]
 */
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bootInstalled, install, InstallError, makeMirror } from './install/index.ts'

const GUESTS = process.env['PARAVIRT_GUESTS'] ?? '.guests'
const IMAGE = join(GUESTS, 'debian-installer-12-netboot-amd64/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64')
const SIZE = 2 * 2 ** 30

const [type = 'pvh', file = join(GUESTS, 'installed.img')] = process.argv.slice(2)
try {
  if (type !== 'pv' && type !== 'pvh') throw new InstallError(`there is no guest of type ${type}: pv or pvh`)
  if (!existsSync(join(IMAGE, 'linux'))) throw new InstallError('the installer is not there: npm run guests -- installer')
  const [kernel, ramdisk] = [readFileSync(join(IMAGE, 'linux')), readFileSync(join(IMAGE, 'initrd.gz'))]
  const mirror = makeMirror(join(GUESTS, 'mirror'), kernel)
  // A sparse file: of what it could hold it takes what is written.
  writeFileSync(file, '')
  truncateSync(file, SIZE)
  const { seconds, files } = await install({ type, kernel, ramdisk, mirror, disk: file, print: (text) => process.stdout.write(text) })
  console.log(`\ninstalled out of ${files} files in ${seconds.toFixed(1)} s of the guest's time`)
  const system = await bootInstalled({ type, disk: file, print: (text) => process.stdout.write(text) })
  for (const command of ['cat /etc/debian_version', 'uname -r', 'findmnt -n /', 'dpkg --audit; dpkg-query -W | wc -l']) await system.run(command)
  await system.powerOff()
} catch (error) {
  if (!(error instanceof InstallError)) throw error
  console.error(`\n${error.message}`)
  process.exitCode = 1
}
