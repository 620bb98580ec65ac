/** What booting a host needs of a boot loader's file, whichever kind it is: the entry that boots Xen. */
import { checkArgument, checkOptions, text as anyText, XenError, type Check } from '../../util/index.ts'
import { parseXenOptions, type BootWarning, type XenOptions } from './xen-options.ts'

/** A file with what follows its name on the line. */
export interface BootModule {
  readonly path: string
  readonly commandLine: string
}

/** What a menu entry boots. */
export interface BootDescription {
  readonly title: string
  readonly timeout: number | undefined
  readonly hypervisor: BootModule
  readonly xen: XenOptions
  /** Dom0's kernel; its command line is dom0's. */
  readonly dom0: BootModule | undefined
  readonly ramdisk: BootModule | undefined
  /** Modules behind the ramdisk: policies and microcode. */
  readonly others: readonly BootModule[]
  readonly warnings: readonly BootWarning[]
}

/** How a boot loader's file is read. */
export interface GrubOptions {
  /** Name of the text in error messages. Default `grub.conf`. */
  readonly source?: string
  /** Entry by number, title or identifier, or a path of them through submenus (`1>0`), instead of the default one. */
  readonly entry?: number | string
}

/** An entry of a menu as far as it matters here. */
export interface BootEntry {
  /** Its title, behind those of the submenus that it is in. */
  readonly title: string
  /** What it loads when it boots Xen; undefined for a kernel without a hypervisor and for everything else. */
  readonly xen: { readonly hypervisor: BootModule; readonly modules: readonly BootModule[] } | undefined
}

/** Titles of entries that an error names. */
const TITLES_TOLD = 3

/** A menu, read. */
export interface BootMenu {
  readonly source: string
  readonly entries: readonly BootEntry[]
  readonly timeout: number | undefined
  /** What boots when nobody says otherwise. */
  readonly chosen: BootEntry | undefined
  readonly warnings: readonly BootWarning[]
}

/** True for a file that is probably Xen: `xen.gz`, `/boot/xen-4.17-amd64.gz`. */
export const looksLikeXen = (path: string): boolean => /(?:^|[/)])xen[^/]*$/.test(path)

const noXen = (message: string, { source, entries }: BootMenu, entry?: string): XenError =>
  new XenError('INVALID_CONFIG', `${source}: ${message}`, {
    details: { source, entry, titles: entries.map(({ title }) => title), xen: entries.filter(({ xen }) => xen).map(({ title }) => title) },
  })

/** What is there instead of an entry that boots Xen, with the first thing that was odd about the file. */
function whyNone({ entries, warnings }: BootMenu): string {
  const titles = entries.slice(0, TITLES_TOLD).map(({ title }) => JSON.stringify(title)).join(', ')
  const more = entries.length > TITLES_TOLD ? ` and ${entries.length - TITLES_TOLD} more` : ''
  const found = `there is no entry that boots Xen${entries.length === 0 ? ', nor any other' : `, only ${titles}${more}`}`
  const [first] = warnings
  return first === undefined ? found : `${found}; ${first.message}`
}

/** The entry to boot: the one that was asked for, or the chosen one, or else the first that boots Xen. */
function pick(menu: BootMenu, asked: BootEntry | undefined): { readonly entry: BootEntry; readonly warning?: BootWarning } {
  const wanted = asked ?? menu.chosen
  if (wanted?.xen !== undefined) return { entry: wanted }
  if (asked !== undefined) throw noXen(`entry \`${asked.title}\` does not boot Xen`, menu, asked.title)
  const entry = menu.entries.find(({ xen }) => xen !== undefined)
  if (entry === undefined) throw noXen(whyNone(menu), menu)
  const why = wanted === undefined ? 'the file names no entry to boot' : `entry \`${wanted.title}\` does not boot Xen`
  return { entry, warning: { option: 'default', reason: 'bad value', message: `${menu.source}: ${why}; \`${entry.title}\` is booted` } }
}

/** The entry of a menu that a host is booted by. Throws INVALID_CONFIG where none boots Xen. */
export function describeBoot(menu: BootMenu, asked?: BootEntry): BootDescription {
  const { entry, warning } = pick(menu, asked)
  const { hypervisor, modules } = entry.xen!
  const { options, warnings } = parseXenOptions(hypervisor.commandLine)
  const [dom0, ramdisk, ...others] = modules
  return {
    title: entry.title, timeout: menu.timeout, hypervisor, xen: options, dom0, ramdisk, others,
    warnings: [...menu.warnings, ...(warning === undefined ? [] : [warning]), ...warnings],
  }
}

/** An error for an entry that was asked for and is not there. */
export const noEntry = (menu: BootMenu, wanted: number | string): XenError =>
  new XenError('INVALID_CONFIG', `${menu.source}: there is no entry ${JSON.stringify(wanted)}`, {
    details: { source: menu.source, entry: wanted, titles: menu.entries.map(({ title }) => title) },
  })

/** Longest text that is read: GRUB's own generator writes some ten KiB. */
const MAX_LENGTH = 2 ** 20

const entry: Check = (value) => (typeof value === 'number' || typeof value === 'string' ? undefined : 'must be a number, a title or an identifier')

/** Checks what a parser of a menu is given. Throws INVALID_ARGUMENT. */
export function checkMenu(call: string, text: string, options: GrubOptions): void {
  checkArgument(`the text of ${call}`, text, anyText)
  checkOptions(call, options, { source: anyText, entry })
}

/** Refuses a text that is no boot loader's file for its size alone. */
export function checkLength(text: string, source: string): void {
  if (text.length <= MAX_LENGTH) return
  throw new XenError('INVALID_CONFIG', `${source}: longer than ${MAX_LENGTH} characters`, { details: { source, length: text.length } })
}
