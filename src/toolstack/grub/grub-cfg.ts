/**
 * GRUB 2's grub.cfg: the menu that its script makes, and which entry boots by default. An entry's commands run only to
 * learn what it loads; Xen is what `multiboot` and `multiboot2` load with modules behind it, or by its name.
 * Reference: GRUB manual, "default" and "Multiboot"; grub-core/normal/menu.c.
 */
import {
  checkLength, checkMenu, describeBoot, looksLikeXen, noEntry, type BootDescription, type BootEntry, type BootMenu, type BootModule,
  type GrubOptions,
} from './boot-description.ts'
import { ScriptRunner, type Loaded, type MenuEntry } from './script-run.ts'
import { parseScript, type ScriptFault } from './script-syntax.ts'
import type { BootWarning } from './xen-options.ts'

/** Submenus inside each other, and entries of all menus together. */
const MAX_SUBMENUS = 16
const MAX_ENTRIES = 1_000

/** An entry with what its commands do, and the menu behind it where it is a submenu. */
interface Node {
  readonly entry: MenuEntry
  readonly boot: BootEntry
  readonly children: readonly Node[]
}

/** A word as GRUB passes it to what it loads: quoted where it holds blanks. */
function quoteWord(word: string): string {
  const escaped = word.replace(/[\\'"]/g, '\\$&')
  return word.includes(' ') ? `"${escaped}"` : escaped
}

/**
 * GRUB 2 leaves the file's name out of the command line, and Xen takes the first word for it all the same: therefore the
 * `placeholder` of generated files.
 */
const bootModule = ({ path, words }: Loaded): BootModule => ({ path, commandLine: words.slice(1).map(quoteWord).join(' ') })

function bootEntry(title: string, { plan }: ScriptRunner): BootEntry {
  const { loader, image, modules } = plan
  const multiboot = loader === 'multiboot' || loader === 'multiboot2' || loader === 'xen_hypervisor'
  if (image === undefined || !multiboot || (modules.length === 0 && !looksLikeXen(image.path))) return { title, xen: undefined }
  return { title, xen: { hypervisor: bootModule(image), modules: modules.map(bootModule) } }
}

/** Reads a menu and those behind it. */
class MenuReader {
  readonly all: BootEntry[] = []

  read(runner: ScriptRunner, above: readonly string[]): readonly Node[] {
    const nodes: Node[] = []
    for (const entry of runner.entries) {
      if (this.all.length >= MAX_ENTRIES) break
      const titles = [...above, entry.title]
      const chosen = runner.choose(entry)
      const boot = bootEntry(titles.join('>'), chosen)
      if (!entry.submenu) this.all.push(boot)
      const children = entry.submenu && titles.length <= MAX_SUBMENUS ? this.read(chosen, titles) : []
      nodes.push({ entry, boot, children })
    }
    return nodes
  }
}

/** Splits `1>2` at its first `>`; `>>` is one that belongs to a title. */
function splitPath(path: string): readonly [string, string | undefined] {
  for (let i = 0; i < path.length; i += 1) {
    if (path[i] !== '>') continue
    if (path[i + 1] !== '>') return [path.slice(0, i), path.slice(i + 1) || undefined]
    i += 1
  }
  return [path, undefined]
}

/** The entry of one menu that a number, title or identifier names. */
function named(nodes: readonly Node[], name: string): Node | undefined {
  // What begins with a number is one, whatever follows it, also where a title does.
  const digits = /^\s*(0x[0-9a-f]+|\d+)/i.exec(name)?.[1]
  if (digits !== undefined) return nodes[Number(/^0[0-7]+$/.test(digits) ? `0o${digits}` : digits)]
  const title = name.replaceAll('>>', '>')
  return nodes.find(({ entry }) => entry.title === title || entry.id === title)
}

/** The entry at a path; with `fallback` the first one of a menu stands in for one that is not there, as in GRUB. */
function atPath(nodes: readonly Node[], path: string | undefined, fallback: 'first' | 'none'): BootEntry | undefined {
  const [name, rest] = path === undefined ? [undefined, undefined] : splitPath(path)
  const node = (name === undefined ? undefined : named(nodes, name)) ?? (fallback === 'first' || name === undefined ? nodes[0] : undefined)
  if (node === undefined) return undefined
  return node.entry.submenu ? atPath(node.children, rest, fallback) : node.boot
}

const faultWarning = (source: string, { line, message }: ScriptFault): BootWarning =>
  ({ option: `line ${line}`, reason: 'unknown', message: `${source}:${line}:1: ${message}` })

/**
 * Reads the entry that a grub.cfg boots by default, or the first one that boots Xen where that one does not; what is not
 * understood is passed over, with a warning where it is no GRUB script. Throws INVALID_CONFIG where nothing boots Xen.
 *
 * @example
 * parseGrubCfg("menuentry 'Xen' {\n multiboot2 /boot/xen.gz placeholder dom0_mem=1G\n module2 /boot/vmlinuz placeholder ro\n}")
 */
export function parseGrubCfg(text: string, options: GrubOptions = {}): BootDescription {
  checkMenu('parseGrubCfg', text, options)
  const source = options.source ?? 'grub.cfg'
  checkLength(text, source)
  const { script, faults } = parseScript(text)
  const runner = ScriptRunner.create()
  runner.run(script)
  const reader = new MenuReader()
  const nodes = reader.read(runner, [])
  const timeout = /^\d{1,9}$/.exec(runner.variables.get('timeout') ?? '')?.[0]
  const menu: BootMenu = {
    source, entries: reader.all, timeout: timeout === undefined ? undefined : Number(timeout),
    chosen: atPath(nodes, runner.variables.get('default'), 'first'),
    warnings: faults.slice(0, 20).map((fault) => faultWarning(source, fault)),
  }
  if (options.entry === undefined) return describeBoot(menu)
  const asked = atPath(nodes, String(options.entry), 'none')
  if (asked === undefined) throw noEntry(menu, options.entry)
  return describeBoot(menu, asked)
}
