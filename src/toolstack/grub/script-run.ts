/**
 * Runs GRUB scripts as far as a menu needs them: variables, conditions, functions, `menuentry`, `submenu`, and what an entry
 * would load. Nothing is loaded, no disk is searched; commands that are about screens, modules and disks succeed without
 * doing anything, unknown ones fail, as they do in GRUB. Never throws, and ends: work and memory are bounded.
 * Reference: GRUB manual, "Commands" and "Shell-like scripting"; grub-core/script/execute.c.
 */
import { evaluateTest } from './script-test.ts'
import type { Command, Script, Word } from './script-syntax.ts'

/** An entry of a menu, whose commands run when it is chosen. */
export interface MenuEntry {
  readonly title: string
  readonly id: string
  readonly submenu: boolean
  readonly body: Script
  /** What `$1` and those after it are in its body; the first of them is the title. */
  readonly words: readonly string[]
}

/** A file with the words behind it. */
export interface Loaded {
  readonly path: string
  readonly words: readonly string[]
}

/** What the commands of an entry load. */
export interface BootPlan {
  /** The command that loads what is started; undefined where nothing is. */
  loader: string | undefined
  image: Loaded | undefined
  /** What `module`, `module2` and `initrd` load, in order. */
  modules: Loaded[]
}

/**
 * Commands and words in a file, and in an entry; entries of one menu, calls inside calls, and characters of one variable or
 * word. Generated files have some hundred commands, and entries some thirty.
 */
const LIMITS = { steps: 100_000, entrySteps: 2_000, entries: 1_000, depth: 64, text: 65_536 } as const

/** Commands that prepare screens, disks and modules. */
const SUCCEED = new Set(`
  insmod rmmod search load_video terminal_output terminal_input terminal serial background_color background_image echo
  loadfont gfxmode videoinfo play sleep save_env load_env gettext unset_fallback keymap set_background clear true
  fallback hiddenmenu color password password_pbkdf2 export_var savedefault recordfail`.trim().split(/\s+/))

/** Commands that load what is started, by the commands that may follow them. */
const LOADERS = new Set(`
  linux linux16 linuxefi multiboot multiboot2 xen_hypervisor chainloader ntldr kfreebsd kopenbsd knetbsd xnu_kernel64 freedos
  `.trim().split(/\s+/))
const MODULES = new Set(['module', 'module2', 'xen_module', 'initrd', 'initrd16', 'initrdefi'])

/** Variables that GRUB's kernel for PC firmware sets before it reads the first file. */
const INITIAL: readonly (readonly [string, string])[] = [
  ['prefix', '(hd0)/boot/grub'], ['root', 'hd0'], ['cmdpath', '(hd0)'], ['grub_platform', 'pc'], ['grub_cpu', 'i386'],
  ...[
    'chainloader_bpb', 'ntldr', 'platform_search_hint', 'default_font_path', 'all_video_module', 'menuentry_id',
    'menuentry_options', '200_final', 'nativedisk_cmd', 'timeout_style',
  ].map((name) => [`feature_${name}`, 'y'] as const),
]

/** What `if`, `while` and functions share while a script runs. */
interface Frame {
  readonly words: readonly string[]
  readonly depth: number
}

/** Runs scripts over one set of variables; a submenu gets its own. */
export class ScriptRunner {
  readonly variables: Map<string, string>
  readonly entries: MenuEntry[] = []
  readonly plan: BootPlan = { loader: undefined, image: undefined, modules: [] }
  private readonly exported: Set<string>
  private readonly functions: Map<string, Script>
  private readonly budget: { steps: number }
  private status = 0

  private constructor(parts: Pick<ScriptRunner, 'variables'> & { exported: Set<string>; functions: Map<string, Script>; budget: { steps: number } }) {
    this.variables = parts.variables
    this.exported = parts.exported
    this.functions = parts.functions
    this.budget = parts.budget
  }

  /** A runner with GRUB's own variables. */
  static create(): ScriptRunner {
    return new ScriptRunner({
      variables: new Map(INITIAL), exported: new Set(INITIAL.map(([name]) => name)), functions: new Map(), budget: { steps: LIMITS.steps },
    })
  }

  /** Runs a script. */
  run(script: Script, words: readonly string[] = []): void {
    this.script(script, { words, depth: 0 })
  }

  /** What choosing an entry does: its commands over a copy of the variables; of a submenu only those that are exported. */
  choose(entry: MenuEntry): ScriptRunner {
    const kept = [...this.variables].filter(([name]) => !entry.submenu || this.exported.has(name))
    const inner = new ScriptRunner({
      variables: new Map(kept), exported: new Set(this.exported), functions: new Map(this.functions), budget: { steps: LIMITS.entrySteps },
    })
    inner.run(entry.body, entry.words)
    return inner
  }

  private script(script: Script, frame: Frame): number {
    let status = 0
    for (const command of script) {
      if (this.budget.steps <= 0) return 1
      this.budget.steps -= 1
      status = this.command(command, frame)
      this.status = status
    }
    return status
  }

  private command(command: Command, frame: Frame): number {
    switch (command.kind) {
      case 'simple': return this.simple(command, frame)
      case 'function':
        this.functions.set(command.name, command.body)
        return 0
      case 'if': return this.script(this.script(command.condition, frame) === 0 ? command.then : command.otherwise, frame)
      case 'for': {
        let status = 0
        for (const word of this.expandAll(command.words, frame)) {
          this.set(command.name, word)
          status = this.script(command.body, frame)
        }
        return status
      }
      default: {
        const wanted = command.kind === 'while'
        let status = 0
        // Each turn takes a step, so that a loop without an end uses the budget up.
        while (this.budget.steps > 0 && (this.script(command.condition, frame) === 0) === wanted) status = this.script(command.body, frame)
        return status
      }
    }
  }

  private simple({ words, block }: Extract<Command, { kind: 'simple' }>, frame: Frame): number {
    const [name, ...args] = this.expandAll(words, frame)
    if (name === undefined) return 1
    if (name === 'menuentry' || name === 'submenu') return this.addEntry(args, name === 'submenu', block)
    const body = this.functions.get(name)
    if (body !== undefined) {
      return frame.depth >= LIMITS.depth ? 1 : this.script(body, { words: [name, ...args], depth: frame.depth + 1 })
    }
    if (LOADERS.has(name)) return this.load(name, args)
    if (MODULES.has(name)) return this.loadModule(name, args)
    return this.builtin(name, args)
  }

  private builtin(name: string, args: readonly string[]): number {
    switch (name) {
      case 'set': return args.every((arg) => this.assign(arg)) ? 0 : 1
      case 'unset':
        for (const variable of args) this.variables.delete(variable)
        return 0
      case 'export':
        for (const variable of args) this.exported.add(variable.split('=')[0]!)
        return args.filter((arg) => arg.includes('=')).every((arg) => this.assign(arg)) ? 0 : 1
      case '[': return evaluateTest(args.at(-1) === ']' ? args.slice(0, -1) : args) ? 0 : 1
      case 'test': return evaluateTest(args) ? 0 : 1
      case 'false': return 1
      default:
        if (SUCCEED.has(name)) return 0
        return name.includes('=') && this.assign(name) ? 0 : 1
    }
  }

  private assign(text: string): boolean {
    const equals = text.indexOf('=')
    return equals > 0 && this.set(text.slice(0, equals), text.slice(equals + 1))
  }

  private set(name: string, value: string): boolean {
    if (value.length > LIMITS.text || (this.variables.size >= LIMITS.entries && !this.variables.has(name))) return false
    this.variables.set(name, value)
    return true
  }

  private addEntry(args: readonly string[], submenu: boolean, block: Script | undefined): number {
    const options = readEntryOptions(args)
    if (options === undefined || block === undefined || this.entries.length >= LIMITS.entries) return 1
    this.entries.push({ ...options, submenu, body: block, words: [options.title, options.title] })
    return 0
  }

  private load(loader: string, args: readonly string[]): number {
    const [path, ...words] = args.filter((arg, i) => !(arg.startsWith('--') && args.slice(0, i).every((before) => before.startsWith('--'))))
    this.plan.loader = loader
    this.plan.modules = []
    this.plan.image = path === undefined ? undefined : { path, words }
    return path === undefined ? 1 : 0
  }

  private loadModule(name: string, args: readonly string[]): number {
    const [path, ...words] = args[0] === '--nounzip' ? args.slice(1) : args
    if (path === undefined || this.plan.image === undefined || this.plan.modules.length >= LIMITS.entries) return 1
    // `initrd` takes several files, which are put behind each other; a module is one with its words.
    if (name.startsWith('initrd')) this.plan.modules.push(...[path, ...words].map((file) => ({ path: file, words: [] })))
    else this.plan.modules.push({ path, words })
    return 0
  }

  private value(name: string, { words }: Frame): string {
    if (name === '?') return String(this.status)
    if (name === '#') return String(Math.max(0, words.length - 1))
    if (name === '@' || name === '*') return words.slice(1).join(' ')
    return (/^\d+$/.test(name) ? words[Number(name)] : this.variables.get(name)) ?? ''
  }

  private expandAll(words: readonly Word[], frame: Frame): string[] {
    const all: string[] = []
    this.budget.steps -= words.length
    for (const word of words) {
      if (all.length >= LIMITS.text) break
      all.push(...this.expand(word, frame))
    }
    return all
  }

  /** The words that one word becomes: none, one, or several where an unquoted variable holds blanks. */
  private expand(word: Word, frame: Frame): string[] {
    const done: string[] = []
    let current: string | undefined
    for (const part of word) {
      const text = part.kind === 'text' ? part.text : this.value(part.name, frame)
      if (part.kind === 'text' || part.quoted) {
        if (part.quoted || text !== '') current = (current ?? '') + text
      } else {
        const [first = '', ...rest] = text.split(/[ \t\n]+/)
        if (first !== '') current = (current ?? '') + first
        for (const piece of rest) {
          if (current !== undefined) done.push(current)
          current = piece === '' ? undefined : piece
        }
      }
      if ((current?.length ?? 0) > LIMITS.text) current = current!.slice(0, LIMITS.text)
    }
    return current === undefined ? done : [...done, current]
  }
}

/** Title and identifier of an entry's line; undefined where it has no title. */
function readEntryOptions(args: readonly string[]): { readonly title: string; readonly id: string } | undefined {
  let title: string | undefined
  let id: string | undefined
  for (let i = 0; i < args.length; i += 1) {
    const [, option, value] = /^--(class|users|hotkey|source|id)(?:=(.*))?$/s.exec(args[i]!) ?? []
    if (option === undefined) {
      if (args[i] !== '--unrestricted') title ??= args[i]
      continue
    }
    const given = value ?? args[(i += 1)]
    if (option === 'id') id = given
  }
  return title === undefined ? undefined : { title, id: id ?? title }
}
