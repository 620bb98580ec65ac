/**
 * GRUB legacy's menu.lst or grub.conf: finds the entry that boots Xen and what it passes to hypervisor, dom0's kernel
 * and ramdisk. Only Xen entries (`kernel` a multiboot image, `module` lines behind it) make sense here.
 * Reference: GRUB legacy manual, "The list of command-line and menu entry commands".
 */
import { nearestWord, XenError } from '../../util/index.ts'
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

/** How a grub.conf is read. */
export interface GrubOptions {
  /** Name of the text in error messages. Default `grub.conf`. */
  readonly source?: string
  /** Entry by number or title, instead of the default one. */
  readonly entry?: number | string
}

interface Entry {
  readonly title: string
  readonly line: number
  kernel: BootModule | undefined
  readonly modules: BootModule[]
}

/** Commands that concern the menu and the disks that files are read from: nothing of it exists here. */
const WITHOUT_MEANING = new Set(`
  hiddenmenu splashimage gfxmenu color password fallback foreground background root rootnoverify uuid savedefault
  boot lock makeactive map chainloader configfile quiet pager serial terminal setkey unhide hide`.trim().split(/\s+/))
const COMMANDS = ['default', 'timeout', 'title', 'kernel', 'module', 'modulenounzip', 'initrd', ...WITHOUT_MEANING]

/** Reads a text line by line. */
class GrubParser {
  private readonly source: string
  private readonly entries: Entry[] = []
  private chosen = 0
  private timeout: number | undefined

  constructor(source: string) {
    this.source = source
  }

  private fault(line: number, message: string): XenError {
    return new XenError('INVALID_CONFIG', `${this.source}:${line}:1: ${message}`, {
      details: { source: this.source, line, column: 1 },
    })
  }

  private whole(line: number, command: string, value: string): number {
    if (!/^-?[0-9]{1,9}$/.test(value)) throw this.fault(line, `${command} needs a number, got \`${value}\``)
    return Number(value)
  }

  private module(line: number, rest: string, command: string): BootModule {
    // `kernel --type=multiboot /xen.gz`: options of GRUB itself stand in front of the file.
    const words = rest.split(/\s+/).filter((word) => word !== '')
    while (words[0]?.startsWith('--')) words.shift()
    const [path, ...options] = words
    if (path === undefined) throw this.fault(line, `${command} needs a file`)
    return { path, commandLine: options.join(' ') }
  }

  private entryCommand(line: number, command: string, rest: string): void {
    const entry = this.entries.at(-1)
    if (entry === undefined) throw this.fault(line, `${command} stands before the first title`)
    if (command === 'kernel') {
      if (entry.kernel !== undefined) throw this.fault(line, `entry \`${entry.title}\` has a second kernel`)
      entry.kernel = this.module(line, rest, command)
      return
    }
    if (entry.kernel === undefined) throw this.fault(line, `${command} stands before its kernel`)
    entry.modules.push(this.module(line, rest, command))
  }

  /** One line: `command value` or `command=value`. */
  line(number: number, text: string): void {
    const [, command = '', rest = ''] = /^\s*([A-Za-z]\w*)(?:\s*=\s*|\s+|$)(.*?)\s*$/.exec(text) ?? []
    if (text.trim() === '' || text.trim().startsWith('#')) return
    if (command === 'default') this.chosen = rest === 'saved' ? 0 : this.whole(number, command, rest)
    else if (command === 'timeout') this.timeout = this.whole(number, command, rest)
    else if (command === 'title') this.entries.push({ title: rest, line: number, kernel: undefined, modules: [] })
    else if (command === 'kernel' || command === 'module' || command === 'modulenounzip')
      this.entryCommand(number, command, rest)
    else if (command === 'initrd')
      throw this.fault(number, 'initrd is for kernels without a hypervisor; Xen takes `module`')
    else if (!WITHOUT_MEANING.has(command)) {
      const nearest = nearestWord(command, COMMANDS)
      throw this.fault(
        number,
        `unknown command \`${command || text.trim()}\`${nearest === undefined ? '' : `; did you mean \`${nearest}\`?`}`,
      )
    }
  }

  private entry(wanted: number | string | undefined): Entry {
    const found = typeof wanted === 'string'
      ? this.entries.find((entry) => entry.title === wanted)
      : this.entries[wanted ?? this.chosen]
    if (found !== undefined) return found
    throw new XenError('INVALID_CONFIG', `${this.source}: there is no entry ${JSON.stringify(wanted ?? this.chosen)}`, {
      details: { source: this.source, entry: wanted ?? this.chosen, titles: this.entries.map((entry) => entry.title) },
    })
  }

  finish(wanted: number | string | undefined): BootDescription {
    const entry = this.entry(wanted)
    if (entry.kernel === undefined) throw this.fault(entry.line, `entry \`${entry.title}\` has no kernel`)
    const { options, warnings } = parseXenOptions(entry.kernel.commandLine)
    const [dom0, ramdisk, ...others] = entry.modules
    return {
      title: entry.title, timeout: this.timeout, hypervisor: entry.kernel, xen: options, dom0, ramdisk, others,
      warnings,
    }
  }
}

/**
 * Reads the entry that a grub.conf boots by default. Throws INVALID_CONFIG with source and line.
 *
 * @example
 * const boot = parseGrubConf('title Xen\n  kernel /boot/xen.gz dom0_mem=512M\n  module /boot/vmlinuz root=/dev/sda1')
 */
export function parseGrubConf(text: string, options: GrubOptions = {}): BootDescription {
  const parser = new GrubParser(options.source ?? 'grub.conf')
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
  return parser.finish(options.entry)
}
