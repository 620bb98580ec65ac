/** Debian's Linux with BusyBox as a fixture: its boot takes seconds once, and a shell is there in a blink from then on. */
import { Host, type BranchOptions, type Decompressor, type Moment } from '../toolstack/index.ts'
import { Fixture, type FixtureCache } from './fixture.ts'
import { busyboxInitramfs } from './initramfs.ts'
import { LinuxShell, WIDE_TERMINAL } from './linux-shell.ts'

/** Where Linux comes from. `paravirt/node` has Debian's, fetched by `npx paravirt guests`. */
export interface LinuxFiles {
  readonly kernel: Uint8Array
  /** BusyBox, linked statically. */
  readonly busybox: Uint8Array
  readonly decompress: Decompressor
  /** The module of a name, such as `xen-netfront`. Throws where there is none. */
  module(name: string): Uint8Array
}

/** What is booted. */
export interface LinuxOptions {
  readonly guests: LinuxFiles
  readonly cache?: FixtureCache | undefined
  /** Default 1. */
  readonly vcpus?: number | undefined
  /** MiB. Default 256. */
  readonly memory?: number | undefined
  /** Modules that are loaded, in this order. */
  readonly modules?: readonly string[] | undefined
  /** Further files of its disk, by path without a leading slash. */
  readonly files?: Readonly<Record<string, string | Uint8Array>> | undefined
}

/** MiB of the host beside the guest's. */
const BESIDE = 64

/** The fixture. */
export class LinuxFixture {
  private readonly fixture: Fixture

  constructor(options: LinuxOptions) {
    const { guests, cache, vcpus = 1, memory = 256, modules = [], files = {} } = options
    const own = Object.fromEntries(modules.map((name) => [`modules/${name}.ko`, guests.module(name)]))
    const script = [...modules.map((name) => `insmod /modules/${name}.ko`), WIDE_TERMINAL, 'echo "initramfs: ready"', 'exec setsid cttyhack sh', ''].join('\n')
    const ramdisk = busyboxInitramfs({ busybox: guests.busybox, files: { ...files, ...own }, script })
    const { kernel, decompress } = guests
    const build = async (): Promise<Host> => {
      const host = await Host.boot({ memory: memory + BESIDE, dom0Memory: 16, decompress })
      const domain = await host.createDomain({
        name: 'linux', memory, vcpus, maxVcpus: vcpus, kernel, ramdisk, commandLine: 'console=hvc0 panic=-1 rdinit=/init',
      })
      await new LinuxShell(host, domain).ready()
      return host
    }
    this.fixture = new Fixture(`linux ${JSON.stringify({ vcpus, memory, modules })}`, build, { cache, inputs: [kernel, ramdisk], load: { decompress } })
  }

  /** The moment at its shell, where tests may begin: booted or loaded when it is first asked for. */
  moment(): Promise<Moment<Host>> {
    return this.fixture.moment()
  }

  /** A Linux of one's own, at its shell; whoever has it shuts its host down. */
  async start(options: BranchOptions = {}): Promise<LinuxShell> {
    const host = await this.fixture.host(options)
    return new LinuxShell(host, host.domain('linux'), { terminal: 'wide' })
  }
}

/**
 * Debian's Linux at its shell, booted once.
 *
 * @example
 * const debian = linux({ guests: debianGuests(), cache: folderCache() })
 * test('counts', async () => {
 *   await using shell = await debian.start()
 *   expect(await shell.run('echo $((6 * 7))')).toBe('42')
 * })
 */
export const linux = (options: LinuxOptions): LinuxFixture => new LinuxFixture(options)
