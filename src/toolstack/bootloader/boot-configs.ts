/**
 * A guest's own boot loader files as pygrub reads them: line by line, without variables, conditions or functions. What is to
 * be run as GRUB runs it, for a host, is read in ../grub.
 * Reference: tools/pygrub/src/GrubConf.py and ExtLinuxConf.py.
 */
import { XenError } from '../../util/index.ts'

/** One entry: what a menu would show. */
export interface BootImage {
  readonly title: string
  /** Path of the kernel in the guest's file system. */
  readonly kernel: string | undefined
  readonly args: string | undefined
  readonly ramdisk: string | undefined
}

/** A file, read. */
export interface BootConfig {
  readonly images: readonly BootImage[]
  /** Number of the entry that boots by default; it may be one that is not there. */
  readonly chosen: number
}

type Draft = { -readonly [K in keyof BootImage]: BootImage[K] }

const fault = (message: string): XenError => new XenError('INVALID_CONFIG', `the guest's boot loader file: ${message}`)

/** Splits at the first `=` where it stands before the first blank, or else at blanks; the rest is one piece. */
function splitLine(line: string): readonly [string, string] {
  const match = /^([^=\s]*)=([^]*)$/.exec(line) ?? /^\s*(\S+)(?:\s+([^]*))?$/.exec(line)
  return [match?.[1] ?? '', match?.[2] ?? '']
}

/** A path without the `(hd0,1)` in front. */
function withoutDevice(path: string): string {
  if (!path.startsWith('(')) return path
  const end = path.indexOf(')')
  if (end < 0) throw fault(`\`${path}\` has no \`)\``)
  return path.slice(end + 1)
}

/** `(hd0,gpt2)`, `hd0` and their like: what stands there must be numbers, or the whole file is refused. */
function checkDevice(text: string): void {
  const [disk = '', part, more] = text.split(',')
  const bare = (piece: string): string => piece.replace(/[()]/g, '')
  const diskFine = /^\/dev\/xvd./s.test(bare(disk)) || /^\s*[+-]?\d+\s*$/.test(bare(disk).slice(2))
  const partFine = part === undefined || /^\s*[+-]?\d+\s*$/.test(bare(part).replace(/^msdos/, '').replace(/^gpt/, ''))
  if (!diskFine || !partFine || more !== undefined) throw fault(`\`${text}\` is no disk`)
}

function setKernel(image: Draft, value: string): void {
  // pygrub looks for a blank first, so that a tab alone does not divide.
  const [kernel = '', args] = value.includes(' ') ? [/^\S+/.exec(value)?.[0], value.replace(/^\S+\s*/, '')] : [value]
  image.kernel = withoutDevice(kernel)
  image.args = args
}

/** What the commands of an entry set. */
type Commands = Readonly<Record<string, (image: Draft, value: string) => void>>

const kernel: Commands[string] = (image, value) => setKernel(image, value)
const ramdisk: Commands[string] = (image, value) => { image.ramdisk = withoutDevice(value) }
const root: Commands[string] = (_image, value) => checkDevice(value)

const LEGACY: Commands = { root, rootnoverify: root, kernel, initrd: ramdisk }
const GRUB2: Commands = { 'set:root': root, linux: kernel, linux16: kernel, initrd: ramdisk, initrd16: ramdisk }

const emptyImage = (title: string): Draft => ({ title, kernel: undefined, args: undefined, ramdisk: undefined })

function readImage(title: string, lines: readonly (readonly [string, string])[], commands: Commands): BootImage {
  const image = emptyImage(title.trim())
  for (const [command, value] of lines) {
    if (Object.hasOwn(commands, command)) commands[command]!(image, value.trim())
  }
  return image
}

/** The number that a default is; anything else is the first entry. */
function readDefault(value: string): number {
  const number = /^\s*[+-]?\d+(?:_\d+)*\s*$/.test(value) ? Number(value.replaceAll('_', '')) : 0
  if (number < 0) throw fault('the default must not be negative')
  return number
}

/** Lines with something on them that is no comment. */
const meaningful = (text: string): readonly string[] =>
  text.split('\n').map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))

/** Reads a menu.lst or grub.conf of GRUB legacy. Throws INVALID_CONFIG where pygrub gives up. */
export function readLegacy(text: string): BootConfig {
  const images: BootImage[] = []
  let chosen = 0
  let open: { readonly title: string; readonly lines: (readonly [string, string])[] } | undefined
  const close = (): void => {
    if (open !== undefined) images.push(readImage(open.title, open.lines, LEGACY))
  }
  for (const line of meaningful(text)) {
    if (line.startsWith('title')) {
      close()
      open = { title: line.slice(6), lines: [] }
      continue
    }
    const [command, value] = splitLine(line)
    if (open !== undefined) open.lines.push([command, value])
    else if (command === 'default') chosen = readDefault(value.trim())
  }
  // A last title without a line behind it is none.
  if (open !== undefined && open.lines.length > 0) close()
  return { images, chosen }
}

/** `set default="1"`: the name with `set:` in front, and the value without its quotes. Anything but two pieces is refused. */
function splitSet(value: string): readonly [string, string] {
  const pieces = /^[^=\s]*=/.test(value) ? value.split('=') : value.split(/\s+/).filter((piece) => piece !== '')
  if (pieces.length !== 2) throw fault(`\`set ${value}\` does not set one variable`)
  const [name = '', rest = ''] = pieces
  return [`set:${name}`, /^(["'])(.*)\1/.exec(rest)?.[2] ?? rest]
}

function splitScriptLine(line: string): readonly [string, string] {
  const [command, value] = splitLine(line)
  return command === 'set' ? splitSet(value) : [command, value]
}

const MENU_ENTRY = /^menuentry ["'](.*?)["'] (.*)\{/

/** Reads a grub.cfg of GRUB 2, its submenus laid flat. Throws INVALID_CONFIG where pygrub gives up. */
export function readGrub2(text: string): BootConfig {
  const images: BootImage[] = []
  let chosen = 0
  let inFunction = false
  let submenus = 0
  let open: { readonly title: string; readonly lines: (readonly [string, string])[] } | undefined
  for (const line of meaningful(text)) {
    const title = MENU_ENTRY.exec(line)?.[1]
    if (line.startsWith('function')) inFunction = true
    else if (inFunction) inFunction = !line.startsWith('}')
    else if (title !== undefined) {
      if (open !== undefined) throw fault('an entry stands in another one')
      open = { title, lines: [] }
    } else if (line.startsWith('submenu')) submenus += 1
    else if (line.startsWith('}')) {
      if (open === undefined && submenus === 0) throw fault('a `}` closes nothing')
      if (open === undefined) submenus -= 1
      else images.push(readImage(open.title, open.lines, GRUB2))
      open = undefined
    } else if (open !== undefined) open.lines.push(splitScriptLine(line))
    else {
      const [command, value] = splitScriptLine(line)
      const given = value.trim()
      if (command === 'set:default') chosen = given === '${saved_entry}' || given === '${next_entry}' ? 0 : readDefault(given)
    }
  }
  if (open !== undefined) throw fault('the last entry is not closed')
  return { images, chosen }
}

/** Takes `initrd=FILE` out of the words for a kernel. */
function setAppend(image: Draft, value: string): void {
  let args = value
  for (const word of value.trim().split(' ')) {
    if (!word.toLowerCase().startsWith('initrd=')) continue
    image.ramdisk = word.replaceAll('initrd=', '')
    args = args.replaceAll(word, '')
  }
  image.args = args.trim().replace(/^"(.+)"$/, '$1')
}

/** `append` behind a multiboot loader: Xen, its kernel and its ramdisk, or the last two. */
function setModules(image: Draft, value: string): void {
  const modules = value.split('---')
  if (modules.length !== 2 && modules.length !== 3) return
  const [kernelLine, ramdiskLine] = modules.slice(-2)
  if (kernelLine !== '') setPlainKernel(image, kernelLine!.trim())
  if (ramdiskLine !== '') image.ramdisk = ramdiskLine!.trim()
}

function setPlainKernel(image: Draft, value: string): void {
  const divided = value.includes(' ')
  image.kernel = divided ? /^\S+/.exec(value)?.[0] : value
  image.args = divided ? value.replace(/^\S+\s*/, '') : undefined
}

function setExtLinux(image: Draft, line: string): void {
  const [word, rest] = splitLine(line)
  const command = word.toLowerCase()
  const value = rest.trim().replace(/^"(.+)"$/, '$1')
  if (command === 'label') image.title = value
  else if (command === 'kernel') setPlainKernel(image, value)
  else if (command === 'append') {
    if (image.kernel?.endsWith('mboot.c32') === true) setModules(image, rest)
    else if (image.kernel !== undefined && rest.includes('initrd=')) setAppend(image, rest)
    else image.args = value
  }
}

/** Reads an extlinux.conf or isolinux.cfg. */
export function readExtLinux(text: string): BootConfig {
  const images: Draft[] = []
  let chosen: string | undefined
  for (const line of meaningful(text)) {
    if (line.toLowerCase().startsWith('label')) images.push({ ...emptyImage(''), args: '' })
    const image = images.at(-1)
    if (image !== undefined) setExtLinux(image, line)
    else {
      const [command, value] = splitLine(line)
      if (command.toLowerCase() === 'default') chosen = value.trim()
    }
  }
  return { images, chosen: Math.max(0, images.findIndex(({ title }) => title === chosen)) }
}
