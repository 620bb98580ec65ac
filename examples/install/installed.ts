/** The system that was installed, booted from its disk as a Xen host does: pygrub reads kernel, RAM disk and command line out of the disk's own /boot. */
import { optionalDecompressor } from 'paravirt/decompress'
import { Host } from 'paravirt'
import { nodeDisks } from 'paravirt/node'
import { LinuxShell } from 'paravirt/testing'
import { printConsole, type Machine } from './machine.ts'

/** The account of preseed.cfg. */
const USER = 'debian'
const PASSWORD = 'installed'

/** A booted system, with somebody logged in at its console. */
export class InstalledSystem extends LinuxShell {
  /** Has it power off; the host is closed. */
  async powerOff(): Promise<string> {
    try {
      return await this.domain.shutdown()
    } finally {
      await this.host.shutdown()
    }
  }
}

/** Boots from a disk and logs in. The host is closed where that fails. */
export async function bootInstalled({ type, disk, print }: Machine): Promise<InstalledSystem> {
  const host = await Host.boot({ memory: 448, dom0Memory: 16, decompress: optionalDecompressor, openDisk: nodeDisks() })
  try {
    const domain = await host.createDomain({ name: 'installed', type, memory: 384, bootloader: 'pygrub', disks: [`${disk},raw,xvda,w`] })
    if (print !== undefined) void printConsole(domain, print)
    const { console } = domain
    await console.waitFor('login: ', { timeout: '10min' })
    await console.write(`${USER}\r`)
    await console.waitFor('Password: ', { timeout: '1min' })
    await console.write(`${PASSWORD}\r`)
    await console.waitFor('$ ', { timeout: '5min' })
    // Plain lines, and the prompt that LinuxShell knows, spelled so that the echo of this line is none.
    await console.write("bind 'set enable-bracketed-paste off'; PS1='/ ''# '\r")
    await console.waitFor(/\/ # $/, { timeout: '1min' })
    return new InstalledSystem(host, domain)
  } catch (error) {
    await host.shutdown()
    throw error
  }
}
