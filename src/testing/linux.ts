/** Debian's Linux with BusyBox as a fixture: its boot takes seconds once, and a shell is there in a blink from then on. */
import { MemoryFileStore, type FileTree } from '../drivers/index.ts'
import { Host, type BranchOptions, type Decompressor, type Moment } from '../toolstack/index.ts'
import { shown, XenError } from '../util/index.ts'
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
  /**
   * Further files of its disk, by path without a leading slash; and trees of files that are mounted by 9P, by path with one: `{ '/mnt': { motd: 'hello' } }`. Those
   * lie in memory: each start has them as they are here.
   */
  readonly files?: Readonly<Record<string, string | Uint8Array | FileTree>> | undefined
}

/** What a Linux needs to mount a folder. */
const FOLDER_MODULES = ['netfs', 'fscache', '9pnet', '9pnet_xen', '9p'] as const

type Files = NonNullable<LinuxOptions['files']>

/** Files of the disk, and folders that are mounted. */
function split(files: Files): { readonly own: Record<string, string | Uint8Array>; readonly trees: ReadonlyMap<string, FileTree> } {
  const isTree = (value: Files[string]): value is FileTree => typeof value === 'object' && value !== null && !(value instanceof Uint8Array)
  const trees = new Map(Object.entries(files).flatMap(([path, value]) => (isTree(value) ? [[path, value] as const] : [])))
  for (const path of trees.keys()) {
    if (/^\/[A-Za-z0-9._/-]+$/.test(path)) continue
    throw new XenError('INVALID_ARGUMENT', `linux: files: a tree is mounted at an absolute path of plain characters, got ${shown(path)}`, { details: { path } })
  }
  const own = Object.fromEntries(Object.entries(files).flatMap(([path, value]) => (isTree(value) ? [] : [[path, value] as const])))
  return { own, trees }
}

/** What a tree holds, as bytes that tell it from others. */
const treeBytes = (tree: FileTree): Uint8Array =>
  new TextEncoder().encode(JSON.stringify(tree, (_, value: unknown) => (value instanceof Uint8Array ? [...value] : value)))

/** Options of a mount. */
const MOUNT = 'trans=xen,version=9p2000.L'

/** Waits for the folders' devices, which come as the modules do, and mounts each. */
const mountLines = (paths: readonly string[]): string[] => paths.flatMap((path, at) =>
  [`mkdir -p ${path}`, `for i in $(seq 100); do mount -t 9p -o ${MOUNT} folder${at} ${path} && break; sleep 0.1; done`])

/** MiB of the host beside the guest's. */
const BESIDE = 64

/** The fixture. */
export class LinuxFixture {
  private readonly fixture: Fixture

  constructor(options: LinuxOptions) {
    const { guests, cache, vcpus = 1, memory = 256, files: given = {} } = options
    const { own: files, trees } = split(given)
    const modules = [...new Set([...options.modules ?? [], ...trees.size === 0 ? [] : FOLDER_MODULES])]
    const paths = [...trees.keys()]
    const own = Object.fromEntries(modules.map((name) => [`modules/${name}.ko`, guests.module(name)]))
    const script = [...modules.map((name) => `insmod /modules/${name}.ko`), ...mountLines(paths), WIDE_TERMINAL, 'echo "initramfs: ready"', 'exec setsid cttyhack sh', ''].join('\n')
    const ramdisk = busyboxInitramfs({ busybox: guests.busybox, files: { ...files, ...own }, script })
    const { kernel, decompress } = guests
    const build = async (): Promise<Host> => {
      const host = await Host.boot({ memory: memory + BESIDE, dom0Memory: 16, decompress, ...(trees.size > 0 && { openFolder: ({ path }) => new MemoryFileStore(trees.get(path)) }) })
      const domain = await host.createDomain({
        name: 'linux', memory, vcpus, maxVcpus: vcpus, kernel, ramdisk, commandLine: 'console=hvc0 panic=-1 rdinit=/init',
        folders: paths.map((path, at) => ({ tag: `folder${at}`, path })),
      })
      await new LinuxShell(host, domain, { terminal: 'wide' }).warm()
      return host
    }
    this.fixture = new Fixture(`linux ${JSON.stringify({ vcpus, memory, modules })}`, build, { cache, inputs: [kernel, ramdisk, ...[...trees.values()].map(treeBytes)], load: { decompress } })
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
