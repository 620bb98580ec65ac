/** Debian's Linux as a guest that `xl` in dom0 makes: its files in dom0's disk, and its shell behind `xl console`. */
import { readFileSync } from 'node:fs'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import type { Dom0Shell } from './dom0.ts'
import { guestFile } from './guests.ts'

/** Modules of the guest's disk and NIC, and of its file system. */
const MODULES = ['drivers/block/xen-blkfront', 'drivers/net/xen-netfront', 'lib/crc16', 'fs/mbcache', 'fs/jbd2/jbd2', 'crypto/crc32c_generic', 'fs/ext4/ext4'] as const

/** The guest's initial RAM disk: BusyBox, and the modules in /m. */
export const guestRamdisk = (): Uint8Array => busyboxInitramfs({
  busybox: readFileSync(guestFile('busybox')!),
  files: Object.fromEntries(MODULES.map((path) => [`m/${path.slice(path.lastIndexOf('/') + 1)}.ko`, readFileSync(`${guestFile('linuxModules')!}/kernel/${path}.ko`)])),
})

/** Loads what the guest needs for its disk and NIC. */
export const LOAD_DRIVERS = `for i in ${MODULES.map((path) => path.slice(path.lastIndexOf('/') + 1)).join(' ')}; do insmod /m/$i.ko; done`

const PROMPT = '/ # '

/** Goes into the console of a guest and types commands into its shell; resolves with what each printed, back in dom0's shell. */
export async function typeInGuest({ host: { console } }: Dom0Shell, domain: string, commands: readonly string[]): Promise<string[]> {
  await console.write(`xl console ${domain}\r`)
  // One that has booted before has shown its prompt before.
  await console.waitFor(PROMPT, { timeout: '10s' }).catch(() => console.write('\r').then(() => console.waitFor(PROMPT, { timeout: '120s' })))
  const outputs: string[] = []
  for (const [index, command] of commands.entries()) {
    // What is typed is echoed: the word is spelled differently there.
    await console.write(`${command}; echo "e""nd-${index}"\r`)
    const [, output = ''] = await console.waitFor(new RegExp(`"nd-${index}"([^]*?)\\nend-${index}\\n`), { timeout: '120s' })
    await console.waitFor(PROMPT, { timeout: '10s' })
    outputs.push(output)
  }
  // Ctrl-] leaves the console, where nothing comes with it.
  await console.write('\u001d')
  await console.waitFor(/dom0# $/, { timeout: '20s' })
  return outputs
}
