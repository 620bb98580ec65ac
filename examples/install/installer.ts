/** Debian's installer as a guest of a host of its own, from its first instruction until it powers off, with nobody at its console. */
import { optionalDecompressor } from 'paravirt/decompress'
import { Host, type Domain } from 'paravirt'
import { nodeDisks, nodeOutside } from 'paravirt/node'
import { printConsole, type Machine } from './machine.ts'
import { InstallError } from './packages.ts'
import { serveMirror, type ServedMirror } from './serve.ts'

/** What is installed, and where: the kind of guest that the installer is, the file that is its disk, which is overwritten, and what it needs. */
export interface Installation extends Machine {
  /** Kernel and RAM disk of Debian's image for netbooting. */
  readonly kernel: Uint8Array
  readonly ramdisk: Uint8Array
  /** The mirror's folder. */
  readonly mirror: string
}

/** An installation that has ended well. */
export interface Installed {
  /** All that the installer has printed. */
  readonly transcript: string
  /** Seconds of the guest's time. */
  readonly seconds: number
  /** Files that the mirror has given. */
  readonly files: number
}

/** What the installer shows where it cannot go on without somebody who answers. */
const STUCK = /!! ERROR: [^\n]*|\[!!\] [^\n]*|Prompt: '\?'|Kernel panic[^\n]*/
const LINES_OF_ERROR = 12

/** Resolves when the domain has powered off; rejects with what stands on its console where it asks for somebody. */
async function untilPoweredOff(domain: Domain, mirror: ServedMirror): Promise<void> {
  const ended = domain.waitForShutdown()
  const stuck = domain.console.waitFor(STUCK).then(() => 'stuck' as const)
  // The console of a domain that is gone says no more.
  stuck.catch(() => undefined)
  const reason = await Promise.race([ended, stuck])
  if (reason === 'poweroff') return
  ended.catch(() => undefined)
  const last = domain.console.text().trimEnd().split('\n').slice(-LINES_OF_ERROR).join('\n')
  const missing = mirror.missing.length === 0 ? '' : `\nThe mirror lacks ${mirror.missing.join(', ')}`
  throw new InstallError(`the installer did not end well (${reason}); the last that it said:\n${last}\nThe last that the mirror gave: ${mirror.last()}${missing}`)
}

/** Installs Debian. Throws InstallError where the installer gives up; host and mirror are closed either way. */
export async function install({ mirror: folder, ...rest }: Installation): Promise<Installed> {
  const mirror = await serveMirror(folder)
  try {
    return await installFrom(mirror, rest)
  } finally {
    await mirror.close()
  }
}

async function installFrom(mirror: ServedMirror, { type, kernel, ramdisk, disk, print = () => undefined }: Omit<Installation, 'mirror'>): Promise<Installed> {
  const host = await Host.boot({
    memory: 1100, dom0Memory: 16, decompress: optionalDecompressor, openDisk: nodeDisks(),
    networks: { xenbr0: { outside: nodeOutside() } },
  })
  try {
    const domain = await host.createDomain({
      name: 'installer', type, memory: 1024, kernel, ramdisk, nics: [''], disks: [`${disk},raw,xvda,w`],
      // Lines of text instead of dialogs; what stands behind the dashes is for the installed system.
      commandLine: `auto=true priority=critical hostname=installed domain=internal firmware=never url=${mirror.answers} DEBIAN_FRONTEND=text TERM=dumb console=hvc0 --- quiet`,
    })
    const printed = printConsole(domain, print)
    await untilPoweredOff(domain, mirror)
    await printed
    return { transcript: domain.console.text(), seconds: host.now() / 1e9, files: mirror.given() }
  } finally {
    await host.shutdown()
  }
}
