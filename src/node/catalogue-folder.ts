/**
 * Descriptions of domains in a folder, as a real host keeps them in /etc/xen: each a file, and those that are started with the host as
 * links to them in `auto`, in the order of the links' names. Other files of the folder, such as xl.conf, are passed over.
 * Reference: xendomains(8).
 */
import { lstat, mkdir, readFile, readdir, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import type { CatalogueEntry, CatalogueStore } from '../toolstack/index.ts'
import { thrownMessage, XenError } from '../util/index.ts'
import { watchFolders } from './watch-folders.ts'

/** Larger files are no descriptions. */
const LARGEST = 1 << 20
const AUTO = 'auto'
/** A name that a domain has, at the beginning of a line: what other files of such folders do not have. */
const NAMED = /^[ \t]*name[ \t]*=/m

const failed = (path: string, error: unknown): XenError =>
  new XenError('IO', `the catalogue at ${path} cannot be used: ${thrownMessage(error)}`, { details: { path }, cause: error })

/** Does something with the file system; what goes wrong is IO. */
async function using<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw XenError.is(error) ? error : failed(path, error)
  }
}

/** Names in a folder; none where there is no folder. */
async function namesIn(folder: string): Promise<string[]> {
  return readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
}

/** The text of a file; undefined for what is no file, too large, or gone by now: others use the folder as well. */
async function textOf(path: string): Promise<string | undefined> {
  try {
    const info = await lstat(path)
    return info.isFile() && info.size <= LARGEST ? await readFile(path, 'utf8') : undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Where a link leads to; undefined for what is none, or gone by now. */
const targetOf = (path: string): Promise<string | undefined> => readlink(path).catch((error: NodeJS.ErrnoException) => {
  if (error.code === 'ENOENT' || error.code === 'EINVAL') return undefined
  throw error
})

/** Keeps descriptions in a folder, which need not be there yet. */
class CatalogueFolder implements CatalogueStore {
  private readonly folder: string

  constructor(folder: string) {
    this.folder = resolve(folder)
  }

  list(): Promise<readonly CatalogueEntry[]> {
    return using(this.folder, async () => {
      const links = await this.links()
      const entries: CatalogueEntry[] = []
      for (const file of (await namesIn(this.folder)).sort()) {
        const path = join(this.folder, file)
        const text = file.startsWith('.') ? undefined : await textOf(path)
        if (text !== undefined && (file.endsWith('.cfg') || NAMED.test(text))) entries.push({ file, text, autostart: links.get(path) })
      }
      return entries
    })
  }

  /** The file is whole at every moment, or not there. */
  write(file: string, text: string): Promise<void> {
    return using(this.folder, async () => {
      await mkdir(this.folder, { recursive: true })
      const draft = join(this.folder, `.${file}.new`)
      await writeFile(draft, text)
      await rename(draft, join(this.folder, file))
    })
  }

  /** The file goes first: who watches is told that it is gone, and not before that it is no longer started with the host. */
  remove(file: string): Promise<void> {
    return using(this.folder, async () => {
      await rm(join(this.folder, file), { force: true })
      await this.unlink(file)
    })
  }

  setAutostart(file: string, order: string | undefined): Promise<void> {
    return using(this.folder, async () => {
      await this.unlink(file)
      if (order === undefined) return
      await mkdir(join(this.folder, AUTO), { recursive: true })
      // A name that says its order and its file, unless one was given that says both.
      const name = order.endsWith(file) ? order : `${order}-${file}`
      await symlink(join('..', file), join(this.folder, AUTO, name))
    })
  }

  watch(changed: () => void): () => void {
    return watchFolders([this.folder, join(this.folder, AUTO)], changed)
  }

  /** Names of the links in `auto`, by the file that they lead to. */
  private async links(): Promise<ReadonlyMap<string, string>> {
    const auto = join(this.folder, AUTO)
    const found = new Map<string, string>()
    for (const name of (await namesIn(auto)).sort().reverse()) {
      const target = await targetOf(join(auto, name))
      if (target !== undefined) found.set(resolve(auto, target), name)
    }
    return found
  }

  private async unlink(file: string): Promise<void> {
    const auto = join(this.folder, AUTO)
    for (const name of await namesIn(auto)) {
      const path = join(auto, name)
      const target = await targetOf(path)
      if (target !== undefined && basename(target) === file) await rm(path, { force: true })
    }
  }
}

/**
 * Keeps the descriptions of a catalogue in a folder.
 *
 * @example
 * const catalogue = new Catalogue(catalogueFolder('/etc/xen'))
 * for (const { name, autostart } of await catalogue.list()) console.log(name, autostart)
 */
export const catalogueFolder = (folder: string): CatalogueStore => new CatalogueFolder(folder)
