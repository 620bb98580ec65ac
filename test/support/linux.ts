/**
 * Debian's Linux with BusyBox as a guest of tests: a host with room for it, its boot to a shell, and commands typed
 * into that shell and answered.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Host, type Domain, type DomainOptions, type HostOptions, type KernelSource } from '../../src/index.ts'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { guestFile } from './guests.ts'
import { busyboxInitramfs, LinuxShell } from '../../src/testing/index.ts'

/** Nanoseconds in a second. */
export const SECOND = 1e9

/** The files that these guests need. */
export const LINUX_FILES = ['linux', 'busybox'] as const

/** What a boot may say about host, domain and disk; defaults as in the capture from real Xen. */
export interface LinuxBoot {
  readonly host?: HostOptions
  readonly domain?: Partial<DomainOptions<KernelSource>>
  /** Commands of init; by default a shell on the console. */
  readonly script?: string
  /** Further files of the disk. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>
  /** A further archive that is unpacked over the disk. */
  readonly overlay?: Uint8Array
}

/** A running Linux, and its shell. */
export class LinuxGuest extends LinuxShell {}

/** A host big enough for one such guest. */
export const bootLinuxHost = (options: HostOptions = {}): Promise<Host> =>
  Host.boot({ memory: 512, dom0Memory: 16, decompress: optionalDecompressor, ...options })

/** Creates a domain with Linux on a host. */
export async function createLinux(host: Host, { domain, script, files, overlay }: LinuxBoot = {}): Promise<LinuxGuest> {
  const disk = { busybox: readFileSync(guestFile('busybox')!), ...(script === undefined ? {} : { script }) }
  return new LinuxGuest(host, await host.createDomain({
    name: 'linux',
    memory: 256,
    kernel: readFileSync(guestFile('linux')!),
    // Linux unpacks one archive behind the other.
    ramdisk: Buffer.concat([busyboxInitramfs({ ...disk, ...(files === undefined ? {} : { files }) }), overlay ?? new Uint8Array()]),
    commandLine: 'console=hvc0 panic=-1 rdinit=/init',
    ...domain,
  }))
}

/** Host and guest in one. */
export const bootLinux = async (boot: LinuxBoot = {}): Promise<LinuxGuest> =>
  createLinux(await bootLinuxHost(boot.host), boot)

/** One number for a domain's memory and the registers of its vCPUs. */
export function stateHash({ hypervisor }: Host, domain: Domain): string {
  const hash = createHash('sha256')
  const { id } = domain
  for (const frame of hypervisor.domainFrames(id)) hash.update(hypervisor.frameBytes(id, frame))
  for (let vcpu = 0; vcpu < domain.config.maxVcpus; vcpu += 1) {
    const context = hypervisor.getVcpuContext(id, vcpu)
    hash.update(JSON.stringify(context, (_, value: unknown) => (typeof value === 'bigint' ? value.toString(16) : value)))
  }
  return hash.digest('hex')
}
