/** Guests of every kind that answer requests (request-server.ts), to be protected in one process and to go on in another: one table for both of them. */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { optionalDecompressor } from '../../../src/decompress/index.ts'
import { MemoryBlockStore } from '../../../src/drivers/index.ts'
import { busyboxInitramfs } from '../../../src/testing/index.ts'
import { Host, type Domain, type DomainOptions, type HostOptions, type KernelSource } from '../../../src/toolstack/index.ts'
import { buildMini, type MiniKind } from '../build-mini.ts'
import { kernelLog } from '../dmesg.ts'
import { guestFile, whyMissing } from '../guests.ts'
import { LinuxGuest } from '../linux.ts'
import { answers } from '../mini.ts'
import { buildNative } from '../native-build.ts'
import { JOURNAL_BYTES, requestServer, SERVER_MAC, SERVES } from './request-server.ts'

/** A guest of one kind. */
export interface ServedKind {
  readonly name: string
  /** The kind as the hypervisor names it. */
  readonly hypervisorKind: string
  /** Why it cannot be started here. */
  readonly missing: string | undefined
  /** MiB of a host for it. */
  readonly hostMemory: number
  /** What a standby has to be given as its `kernel`. */
  readonly program?: KernelSource
  /** Creates it, and has it answer requests. */
  start(host: Host): Promise<Domain>
  /** Rejects where it is not whole where it has gone on. */
  isWell(host: Host, domain: Domain): Promise<void>
}

/** A host with one disk, for one such guest. */
export async function bootServedHost({ hostMemory }: ServedKind, options: HostOptions): Promise<{ readonly host: Host; readonly disk: MemoryBlockStore }> {
  const disk = new MemoryBlockStore(JOURNAL_BYTES)
  const host = await Host.boot({ memory: hostMemory, dom0Memory: 8, decompress: optionalDecompressor, openDisk: () => disk, ...options })
  return { host, disk }
}

const create = (host: Host, options: Partial<DomainOptions<KernelSource>>): Promise<Domain> => host.createDomain({
  name: 'served', nics: [{ mac: SERVER_MAC }], disks: [{ target: '/journal', vdev: 'xvda' }], memory: 8, ...options,
})

const skipped = (reason: string | undefined): string | undefined => (reason === undefined ? undefined : ` (SKIPPED: ${reason})`)

const DRIVERS = 'test/guests/contract'

/** A kernel in C that has 16 pages written every millisecond beside its work. */
function inC(name: string, build: MiniKind, kind: { readonly hypervisorKind: string; readonly type: 'pv' | 'pvh' }): ServedKind {
  const more = readdirSync(fileURLToPath(new URL(`../../../${DRIVERS}`, import.meta.url))).filter((file) => file.endsWith('.c'))
  const { path, reason } = buildMini(build, { more: more.map((file) => `${DRIVERS}/${file}`) })
  return {
    name, hypervisorKind: kind.hypervisorKind, missing: skipped(reason), hostMemory: 32,
    start: async (host) => {
      const domain = await create(host, { type: kind.type, kernel: readFileSync(path!) })
      await domain.console.waitFor('tick 3')
      await domain.console.write('hot 64\r')
      await domain.console.waitFor('hot: 16 pages')
      await domain.console.write('serve\r')
      await domain.console.waitFor(SERVES)
      return domain
    },
    isWell: async (_, domain) => {
      await domain.console.waitFor('mini: restored')
      await domain.console.write('hot 0\r')
      const [, rounds, wrong] = await domain.console.waitFor(/hot: (\d+) rounds, (\d+) pages wrong/)
      if (Number(rounds) < 2 || wrong !== '0') throw new Error(`${rounds} rounds, ${wrong} pages wrong`)
      await answers(domain)
    },
  }
}

/** Those that start in less than a second. */
export const SHORT_KINDS: readonly ServedKind[] = [
  inC('PV guest', 'pv64', { hypervisorKind: 'pv', type: 'pv' }),
  inC('32-bit PV guest', 'pv32', { hypervisorKind: 'pv32', type: 'pv' }),
  inC('PVH guest', 'pvh', { hypervisorKind: 'pvh', type: 'pvh' }),
  {
    name: 'guest in TypeScript', hypervisorKind: 'typescript', missing: undefined, hostMemory: 32, program: requestServer,
    start: async (host) => {
      const domain = await create(host, { kernel: requestServer })
      await domain.console.waitFor(SERVES)
      return domain
    },
    // It has no memory but what it says of its state, which its answers tell.
    isWell: async (_, domain) => void await domain.console.waitFor(SERVES),
  },
]

/** The program in the background, and a shell. */
const SCRIPT = `
insmod /m/xen-blkfront.ko
insmod /m/xen-netfront.ko
sleep 1
ifconfig eth0 10.0.0.1 netmask 255.255.255.0 up
dd if=/dev/urandom of=/tmp/memory bs=64k count=64 2>/dev/null
md5sum < /tmp/memory > /tmp/sum
/bin/serve eth0 /dev/xvda &
exec sh -i
`

/** Debian's Linux, whose process waits for its disk at every request. */
function linux(type: 'pv' | 'pvh'): ServedKind {
  const server = buildNative(fileURLToPath(new URL('../../guests/request-server.c', import.meta.url)), ['-O1', '-static', '-Wall', '-Werror'])
  const files = (): Record<string, Uint8Array> => {
    const module = (path: string): Uint8Array => readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/${path}`)
    return { 'm/xen-blkfront.ko': module('block/xen-blkfront.ko'), 'm/xen-netfront.ko': module('net/xen-netfront.ko'), 'bin/serve': readFileSync(server.path!) }
  }
  return {
    name: `Debian's Linux as ${type.toUpperCase()}`, hypervisorKind: type, missing: whyMissing('linux', 'linuxModules', 'busybox') ?? skipped(server.reason), hostMemory: 176,
    start: async (host) => {
      const ramdisk = busyboxInitramfs({ busybox: readFileSync(guestFile('busybox')!), script: SCRIPT, files: files() })
      const domain = await create(host, { type, memory: 128, vcpus: 2, kernel: readFileSync(guestFile('linux')!), ramdisk, commandLine: 'console=hvc0 panic=-1' })
      await domain.console.waitFor(SERVES)
      return domain
    },
    isWell: async (host, domain) => {
      const shell = new LinuxGuest(host, domain)
      const said = await shell.run(`md5sum < /tmp/memory | cmp - /tmp/sum && echo same; ${kernelLog('WARNING|BUG:|Oops')}`)
      if (said !== 'same') throw new Error(said)
    },
  }
}

/** Those that take longer. */
export const LINUX_KINDS: readonly ServedKind[] = [linux('pv'), linux('pvh')]
