/**
 * GRUB 2's script language, from text to commands: quoting, variables, blocks, `if`, `for`, `while`, functions. Nothing is
 * executed here (script-run.ts), and a fault never throws: it is noted, the command it stands in is left out, and reading goes
 * on behind it, as GRUB goes on with the next command.
 * Reference: GRUB manual, "Shell-like scripting"; grub-core/script/parser.y and yylex.l.
 */

/** A piece of a word. Unquoted variables are split at blanks, and a word of nothing but empty ones is none. */
export type WordPart =
  | { readonly kind: 'text'; readonly text: string; readonly quoted: boolean }
  | { readonly kind: 'variable'; readonly name: string; readonly quoted: boolean }

/** A word before its variables are filled in. */
export type Word = readonly WordPart[]

/** A row of commands. */
export type Script = readonly Command[]

/** One command. */
export type Command =
  | { readonly kind: 'simple'; readonly words: readonly Word[]; readonly block: Script | undefined }
  | { readonly kind: 'if'; readonly condition: Script; readonly then: Script; readonly otherwise: Script }
  | { readonly kind: 'for'; readonly name: string; readonly words: readonly Word[]; readonly body: Script }
  | { readonly kind: 'while' | 'until'; readonly condition: Script; readonly body: Script }
  | { readonly kind: 'function'; readonly name: string; readonly body: Script }

/** Something that is not GRUB's language. */
export interface ScriptFault {
  readonly line: number
  readonly message: string
}

/** Blocks and clauses inside each other: a hostile file must not exhaust the stack. */
const MAX_DEPTH = 64

interface Token {
  readonly kind: 'word' | 'mark' | 'newline' | 'end'
  /** As written; of a word with its quotes. */
  readonly text: string
  readonly line: number
}

const BLANK = /(?:[ \t]|#[^\n]*)+/y
const VARIABLE = String.raw`\$(?:[A-Za-z_]\w*|\d+|[?#*@]|\{(?:[A-Za-z_]\w*|\d+|[?#*@])\})`
const QUOTED = String.raw`\$?"(?:\\[^]|[^\\"])*"|'[^']*'`
const WORD = new RegExp(String.raw`(?:[^{}|&$;<> \t\n'"\\]|${QUOTED}|\\[^]|${VARIABLE})+`, 'y')
const MARK = /\n|\|\||&&|;;|\[\[(?=[ \t\n;]|$)|\]\](?=[ \t\n;]|$)|[|&;<>{}]/y
const NAME = /^[A-Za-z_]\w*$/
const KEYWORDS = new Set([
  'case', 'do', 'done', 'elif', 'else', 'esac', 'fi', 'for', 'if', 'in', 'select', 'then', 'until', 'while', 'function',
])

/** Thrown and caught in this file only: what is being read is no command. */
class Fault extends Error {
  readonly line: number

  constructor(line: number, message: string) {
    super(message)
    this.line = line
  }
}

/** Splits a text into tokens. */
class Lexer {
  private readonly text: string
  private offset = 0
  private line = 1

  constructor(text: string) {
    this.text = text
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.offset
    const found = pattern.exec(this.text)?.[0]
    if (found === undefined) return undefined
    this.offset += found.length
    for (const character of found) if (character === '\n') this.line += 1
    return found
  }

  next(): Token {
    this.match(BLANK)
    const { line } = this
    if (this.offset >= this.text.length) return { kind: 'end', text: '', line }
    const mark = this.match(MARK)
    if (mark !== undefined) return { kind: mark === '\n' ? 'newline' : 'mark', text: mark, line }
    const word = this.match(WORD)
    if (word !== undefined) return { kind: 'word', text: word, line }
    const character = this.text[this.offset]!
    this.offset += 1
    throw new Fault(line, character === '"' || character === "'" ? 'this quote is not closed' : `\`${character}\` has no meaning here`)
  }

  /** Goes on behind the end of the present line. */
  skipLine(): void {
    const end = this.text.indexOf('\n', this.offset)
    this.offset = end < 0 ? this.text.length : end
  }
}

const PART = new RegExp(String.raw`\$"((?:\\[^]|[^\\"])*)"|"((?:\\[^]|[^\\"])*)"|'([^']*)'|\\([^])|(${VARIABLE})|[^$'"\\]+`, 'g')
const INNER_PART = new RegExp(String.raw`\\([$"\\\n])|(${VARIABLE})|[^$\\]+|[^]`, 'g')
const variableName = (text: string): string => text.replace(/^\$\{?|\}$/g, '')
const quotedText = (text: string): WordPart => ({ kind: 'text', text, quoted: true })

/** What stands between double quotes: variables, and a backslash before `$`, `"`, a backslash and a line's end. */
function quotedParts(text: string, line: number): WordPart[] {
  const parts = [quotedText('')]
  for (const [whole, escaped, variable] of text.matchAll(INNER_PART)) {
    if (variable !== undefined) parts.push({ kind: 'variable', name: variableName(variable), quoted: true })
    else if (whole === '$') throw new Fault(line, '`$` without a name behind it')
    else parts.push(quotedText(escaped === undefined ? whole : escaped === '\n' ? '' : escaped))
  }
  return parts
}

/** The pieces of a word as it is written. */
function wordParts({ text, line }: Token): Word {
  const parts: WordPart[] = []
  for (const [whole, translated, double, single, escaped, variable] of text.matchAll(PART)) {
    // A text to be translated, which GRUB does not look into.
    if (translated !== undefined) parts.push(quotedText(translated.replaceAll('\\"', '"')))
    else if (double !== undefined) parts.push(...quotedParts(double, line))
    else if (single !== undefined) parts.push(quotedText(single))
    else if (escaped !== undefined) parts.push({ kind: 'text', text: escaped === '\n' ? '' : escaped, quoted: escaped !== '\n' })
    else if (variable !== undefined) parts.push({ kind: 'variable', name: variableName(variable), quoted: false })
    else parts.push({ kind: 'text', text: whole, quoted: false })
  }
  return parts
}

/** Reads commands, each of which may hold others. */
class Parser {
  readonly faults: ScriptFault[] = []
  private readonly lexer: Lexer
  /** A line's end in front of the text: the first token is read where a fault in it is caught. */
  private token: Token = { kind: 'newline', text: '\n', line: 1 }
  private depth = 0

  constructor(text: string) {
    this.lexer = new Lexer(text)
  }

  private is(...texts: readonly string[]): boolean {
    return (this.token.kind === 'word' || this.token.kind === 'mark') && texts.includes(this.token.text)
  }

  private take(): Token {
    const { token } = this
    // Where the next token is a fault, it must not be the present one that stands for it.
    this.token = { kind: 'mark', text: '', line: token.line }
    this.token = this.lexer.next()
    return token
  }

  private expect(text: string): void {
    if (!this.is(text)) throw this.unexpected(`\`${text}\``)
    this.take()
  }

  private unexpected(wanted: string): Fault {
    const { kind, text, line } = this.token
    const found = kind === 'end' ? 'the end of the text' : kind === 'newline' ? 'the end of the line' : `\`${text}\``
    return new Fault(line, `${wanted} expected, found ${found}`)
  }

  private skipNewlines(): void {
    while (this.token.kind === 'newline') this.take()
  }

  /** At least one of `;` and line ends, at most one `;` in front. */
  private delimiters(): boolean {
    const found = this.is(';') || this.token.kind === 'newline'
    if (this.is(';')) this.take()
    this.skipNewlines()
    return found
  }

  /** The commands of a clause or block, up to one of the words that end it, which is left. */
  private commands(ends: readonly string[], tail: 'delimited' | 'free' = 'delimited'): Script {
    if (this.depth >= MAX_DEPTH) throw new Fault(this.token.line, `commands nest deeper than ${MAX_DEPTH}`)
    this.depth += 1
    const commands: Command[] = []
    this.skipNewlines()
    for (;;) {
      commands.push(this.command())
      const delimited = this.delimiters()
      if (this.is(...ends) && (delimited || tail === 'free')) break
      if (!delimited) throw this.unexpected('the end of the command')
    }
    this.depth -= 1
    return commands
  }

  private command(): Command {
    if (this.token.kind !== 'word') throw this.unexpected('a command')
    const { text } = this.token
    if (text === 'if') return this.ifCommand()
    if (text === 'for') return this.forCommand()
    if (text === 'while' || text === 'until') return this.loop(text)
    if (KEYWORDS.has(text)) throw this.unexpected('a command')
    return this.simple()
  }

  private simple(): Command {
    const words = this.words()
    if (!this.is('{')) return { kind: 'simple', words, block: undefined }
    this.take()
    const block = this.commands(['}'], 'free')
    this.take()
    return { kind: 'simple', words, block }
  }

  private words(): readonly Word[] {
    const words: Word[] = []
    while (this.token.kind === 'word') words.push(wordParts(this.take()))
    return words
  }

  private ifCommand(): Command {
    this.take()
    const command = this.clause()
    this.expect('fi')
    return command
  }

  private clause(): Command {
    const condition = this.commands(['then'])
    this.take()
    const then = this.commands(['else', 'elif', 'fi'])
    let otherwise: Script = []
    if (this.is('elif')) {
      this.take()
      this.depth += 1
      if (this.depth >= MAX_DEPTH) throw new Fault(this.token.line, `commands nest deeper than ${MAX_DEPTH}`)
      otherwise = [this.clause()]
      this.depth -= 1
    } else if (this.is('else')) {
      this.take()
      otherwise = this.commands(['fi'])
    }
    return { kind: 'if', condition, then, otherwise }
  }

  private name(): string {
    if (this.token.kind !== 'word' || !NAME.test(this.token.text) || KEYWORDS.has(this.token.text)) throw this.unexpected('a name')
    return this.take().text
  }

  private forCommand(): Command {
    this.take()
    const name = this.name()
    this.expect('in')
    const words = this.words()
    if (!this.delimiters()) throw this.unexpected('`;`')
    this.expect('do')
    const body = this.commands(['done'])
    this.take()
    return { kind: 'for', name, words, body }
  }

  private loop(kind: 'while' | 'until'): Command {
    this.take()
    const condition = this.commands(['do'])
    this.take()
    const body = this.commands(['done'])
    this.take()
    return { kind, condition, body }
  }

  /** A function stands at the top of a file only. */
  private functionCommand(): Command {
    this.take()
    const name = this.name()
    this.skipNewlines()
    this.expect('{')
    const body = this.commands(['}'])
    this.take()
    return { kind: 'function', name, body }
  }

  private statement(): Command {
    const command = this.is('function') && this.token.kind === 'word' ? this.functionCommand() : this.command()
    if (this.is(';') || this.token.kind === 'newline') this.take()
    else if (this.token.kind !== 'end') throw this.unexpected('the end of the command')
    return command
  }

  /** Goes on behind the line in which a fault was found. */
  private recover(error: unknown): void {
    if (!(error instanceof Fault)) throw error
    this.faults.push({ line: error.line, message: error.message })
    this.depth = 0
    // A fault that was found at a line's end leaves the next line whole.
    for (let skip = this.token.kind !== 'newline'; ; skip = true) {
      if (skip) this.lexer.skipLine()
      try {
        this.take()
        return
      } catch (again) {
        if (!(again instanceof Fault)) throw again
      }
    }
  }

  script(): Script {
    const commands: Command[] = []
    for (;;) {
      try {
        this.skipNewlines()
        if (this.token.kind === 'end') return commands
        commands.push(this.statement())
      } catch (error) {
        this.recover(error)
      }
    }
  }
}

/** Reads a script; what is no command of GRUB's language is left out and noted. */
export function parseScript(text: string): { readonly script: Script; readonly faults: readonly ScriptFault[] } {
  const parser = new Parser(text)
  const script = parser.script()
  return { script, faults: parser.faults }
}
