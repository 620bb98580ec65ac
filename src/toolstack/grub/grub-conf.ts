/**
 * GRUB legacy's menu.lst or grub.conf: finds the entry that boots Xen and what it passes to hypervisor, dom0's kernel
 * and ramdisk. Only Xen entries (`kernel` a multiboot image, `module` lines behind it) make sense here; whatever else
 * stands in the file is passed over, with a warning where GRUB would not understand it either.
 * Reference: GRUB legacy manual, "The list of command-line and menu entry commands".
 */
import { nearestWord, XenError } from '../../util/index.ts'
import {
  checkLength, checkMenu, describeBoot, looksLikeXen, noEntry, type BootDescription, type BootEntry, type BootModule, type GrubOptions,
} from './boot-description.ts'
import { isScript } from './grub-kind.ts'
import type { BootWarning } from './xen-options.ts'

interface Entry {
  readonly title: string
  kernel: BootModule | undefined
  /** True when the kernel has a ramdisk of its own, and so is no hypervisor. */
  initrd: boolean
  modules: BootModule[]
}

/** Commands that concern the menu and the disks that files are read from: nothing of it exists here. */
const WITHOUT_MEANING = new Set(`
  hiddenmenu splashimage gfxmenu color password fallback foreground background root rootnoverify uuid savedefault
  boot lock makeactive map chainloader configfile quiet pager serial terminal setkey unhide hide bootp blocklist cat cmp
  debug device dhcp displayapm displaymem embed find fstest geometry halt help impsprobe install ioprobe md5crypt partnew
  parttype pause rarp read reboot setup shade terminfo testload testvbe tftpserver unset uppermem vbeprobe viewport
  ifconfig`.trim().split(/\s+/))
const COMMANDS = ['default', 'timeout', 'title', 'kernel', 'module', 'modulenounzip', 'initrd', ...WITHOUT_MEANING]

/** Reads a text line by line. */
class GrubParser {
  private readonly source: string
  readonly entries: Entry[] = []
  readonly warnings: BootWarning[] = []
  chosen = 0
  timeout: number | undefined

  constructor(source: string) {
    this.source = source
  }

  private warn(line: number, option: string, message: string): void {
    const reason = message.startsWith('unknown') ? 'unknown' : 'bad value'
    this.warnings.push({ option, reason, message: `${this.source}:${line}:1: ${message}` })
  }

  private whole(line: number, command: string, value: string): number | undefined {
    if (/^-?[0-9]{1,9}$/.test(value)) return Number(value)
    this.warn(line, command, `${command} needs a number, got \`${value}\``)
    return undefined
  }

  private module(line: number, rest: string, command: string): BootModule | undefined {
    // `kernel --type=multiboot /xen.gz`: options of GRUB itself stand in front of the file.
    const words = rest.split(/\s+/).filter((word) => word !== '')
    while (words[0]?.startsWith('--')) words.shift()
    const [path, ...options] = words
    if (path !== undefined) return { path, commandLine: options.join(' ') }
    this.warn(line, command, `${command} needs a file`)
    return undefined
  }

  private entryCommand(line: number, command: string, rest: string): void {
    const entry = this.entries.at(-1)
    if (entry === undefined) return this.warn(line, command, `${command} stands before the first title`)
    const module = this.module(line, rest, command)
    if (module === undefined) return
    if (command === 'kernel') {
      // A second kernel takes the place of the first one and of what was loaded for it.
      Object.assign(entry, { kernel: module, modules: [], initrd: false })
    } else if (entry.kernel === undefined) this.warn(line, command, `${command} stands before its kernel`)
    else if (command === 'initrd') entry.initrd = true
    else entry.modules.push(module)
  }

  /** One line: `command value` or `command=value`. */
  line(number: number, text: string): void {
    if (text.trim() === '' || text.trim().startsWith('#')) return
    const [, command = '', rest = ''] = /^\s*([A-Za-z]\w*)(?:\s*=\s*|\s+|$)(.*?)\s*$/.exec(text) ?? []
    if (command === 'default') this.chosen = (rest === 'saved' ? 0 : this.whole(number, command, rest)) ?? 0
    else if (command === 'timeout') this.timeout = this.whole(number, command, rest)
    else if (command === 'title') this.entries.push({ title: rest, kernel: undefined, initrd: false, modules: [] })
    else if (command === 'kernel' || command === 'module' || command === 'modulenounzip' || command === 'initrd')
      this.entryCommand(number, command, rest)
    else if (!WITHOUT_MEANING.has(command)) {
      const nearest = nearestWord(command, COMMANDS)
      const word = command || text.trim()
      this.warn(number, word, `unknown command \`${word}\`${nearest === undefined ? '' : `; did you mean \`${nearest}\`?`}`)
    }
  }
}

function bootEntry({ title, kernel, initrd, modules }: Entry): BootEntry {
  const xen = kernel !== undefined && !initrd && (modules.length > 0 || looksLikeXen(kernel.path))
  return { title, xen: xen ? { hypervisor: kernel, modules } : undefined }
}

/**
 * Reads the entry that a grub.conf boots by default, or the first one that boots Xen where that one does not. Throws
 * INVALID_CONFIG where none does.
 *
 * @example
 * const boot = parseGrubConf('title Xen\n  kernel /boot/xen.gz dom0_mem=512M\n  module /boot/vmlinuz root=/dev/sda1')
 */
export function parseGrubConf(text: string, options: GrubOptions = {}): BootDescription {
  checkMenu('parseGrubConf', text, options)
  const source = options.source ?? 'grub.conf'
  checkLength(text, source)
  if (isScript(text)) {
    throw new XenError('INVALID_CONFIG', `${source}: this is a script of GRUB 2, as a grub.cfg is: parseGrubCfg reads it`, { details: { source } })
  }
  const parser = new GrubParser(source)
  // A backslash at the end of a line continues it.
  let pending = ''
  for (const [i, line] of text.split(/\r?\n/).entries()) {
    if (line.endsWith('\\')) {
      pending += `${line.slice(0, -1)} `
      continue
    }
    parser.line(i + 1, pending + line)
    pending = ''
  }
  const entries = parser.entries.map(bootEntry)
  const { timeout, warnings } = parser
  const menu = { source, entries, timeout, chosen: entries[parser.chosen], warnings }
  if (options.entry === undefined) return describeBoot(menu)
  const asked = typeof options.entry === 'string'
    ? entries.find(({ title }) => title === options.entry)
    : entries[options.entry]
  if (asked === undefined) throw noEntry(menu, options.entry)
  return describeBoot(menu, asked)
}
