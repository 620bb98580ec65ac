/**
 * Parses a description file: `KEY=VALUE` and `KEY+=VALUE` lines of strings, numbers and nested lists. Files of 2005
 * were Python programs; of that only literals and `"vm%d" % vmid` are understood, nothing is ever evaluated.
 * Reference: xl.cfg(5); for the old form xmdomain.cfg(5).
 */
import { parseNumber } from './number.ts'
import {
  configError, type Assignment, type ConfigValue, type ParsedConfig, type Position, type SyntaxNote,
} from './syntax.ts'
import { Tokenizer, type Token } from './tokenizer.ts'

/** Lists inside lists inside lists: no option of Xen needs more, and a hostile file must not exhaust the stack. */
const MAX_NESTING = 16

/** Longest text that `%` and `+=` may make: each line of a hostile file could double what the line above has made. */
const MAX_TEXT = 2 ** 20

/** First words of Python statements; a file that starts a line with one is a program, not a description. */
const PYTHON = new Set([
  'def',
  'import',
  'from',
  'if',
  'else',
  'elif',
  'for',
  'while',
  'print',
  'return',
  'class',
  'try',
])

/** What is parsed besides the text. */
export interface ParseOptions {
  /** Name of the text in error messages. Default `config`. */
  readonly source?: string
  /** `key=value` arguments, applied after the file as if appended to it. A bare word counts as a string. */
  readonly overrides?: readonly string[]
}

/** What the texts of one description share besides the assignments. */
interface ParseContext {
  /** Names used as operands so far. */
  readonly variables: Set<string>
  /** Values of operands that no text above has assigned: those of the overrides. */
  readonly fallback: ReadonlyMap<string, Assignment>
  readonly notes: SyntaxNote[]
}

/** Reads assignments from tokens into a table that several texts share. */
class Parser {
  private readonly tokenizer: Tokenizer
  private readonly assignments: Map<string, Assignment>
  private readonly context: ParseContext
  private token: Token

  constructor(tokenizer: Tokenizer, assignments: Map<string, Assignment>, context: ParseContext) {
    this.tokenizer = tokenizer
    this.token = tokenizer.next()
    this.assignments = assignments
    this.context = context
  }

  private is(kind: Token['kind']): boolean {
    return this.token.kind === kind
  }

  private isMark(text: string): boolean {
    return this.token.kind === 'mark' && this.token.text === text
  }

  private take(): Token {
    const { token } = this
    this.token = this.tokenizer.next()
    return token
  }

  private skipNewlines(): void {
    while (this.is('newline')) this.take()
  }

  private unexpected(wanted: string): Error {
    const { token } = this
    const found =
      token.kind === 'end'
        ? 'the end of the text'
        : token.kind === 'newline'
          ? 'the end of the line'
          : `\`${token.text}\``
    return configError(token.position, `${wanted} expected, found ${found}`)
  }

  parse(): void {
    while (!this.is('end')) {
      if (this.is('newline') || this.isMark(';')) this.take()
      else this.assignment()
    }
  }

  private assignment(): void {
    if (this.token.kind !== 'name') throw this.unexpected('a key')
    const key = this.take()
    if (PYTHON.has(key.text) && !this.isMark('=') && !this.isMark('+=')) {
      throw configError(key.position, `\`${key.text}\` is Python code, which is not executed: write literals`, {
        key: key.text,
      })
    }
    if (!this.isMark('=') && !this.isMark('+=')) throw this.unexpected(`\`=\` after ${key.text}`)
    const append = this.take().text === '+='
    const value = this.expression(0)
    this.noteDropped(key.text)
    if (!this.is('end') && !this.is('newline') && !this.isMark(';')) {
      throw this.unexpected(`the end of the line after the value of ${key.text}`)
    }
    const before = this.assignments.get(key.text)
    if (before !== undefined && !append) this.noteReplaced(key, before)
    this.assignments.set(key.text, {
      key: key.text, position: key.position, value: append ? this.appended(key, value) : value, appended: append,
    })
  }

  private noteDropped(key: string): void {
    for (const position of this.tokenizer.dropped.splice(0)) {
      const message = 'an octal escape gives no character, as with xl'
      this.context.notes.push({ key, reason: 'no character', position, message })
    }
  }

  /** An override is meant to replace what the file says; within one text two assignments look like a mistake. */
  private noteReplaced(key: Token, before: Assignment): void {
    if (before.position.source !== key.position.source) return
    const message = `${key.text} is assigned again: what line ${before.position.line} says does not count`
    this.context.notes.push({ key: key.text, reason: 'assigned twice', position: key.position, message })
  }

  private appended(key: Token, value: ConfigValue): ConfigValue {
    const before = this.assignments.get(key.text)?.value
    if (before === undefined) return value
    if (before.kind === 'list' && value.kind === 'list') return { ...before, items: [...before.items, ...value.items] }
    if (before.kind !== 'list' && value.kind !== 'list') {
      return { kind: 'string', value: bounded(before.value + value.value, key.position), position: before.position }
    }
    const what = (item: ConfigValue): string => (item.kind === 'list' ? 'list' : 'text')
    throw configError(key.position, `${key.text} is a ${what(before)}, a ${what(value)} cannot be added to it`, {
      key: key.text,
    })
  }

  /** A value, formatted with `%` where the old form does so. */
  private expression(depth: number): ConfigValue {
    const value = this.value(depth)
    if (!this.isMark('%')) return value
    const sign = this.take()
    if (value.kind !== 'string') throw configError(sign.position, '`%` formats strings only')
    return { ...value, value: bounded(formatPercent(value.value, this.operands(), sign.position), sign.position) }
  }

  private operands(): readonly ConfigValue[] {
    if (!this.isMark('(')) return [this.operand()]
    this.take()
    const operands = [this.operand()]
    while (this.isMark(',')) {
      this.take()
      if (!this.isMark(')')) operands.push(this.operand())
    }
    if (!this.isMark(')')) throw this.unexpected('`)`')
    this.take()
    return operands
  }

  private operand(): ConfigValue {
    if (this.token.kind !== 'name') return this.value(0)
    const name = this.take()
    const known = this.assignments.get(name.text) ?? this.context.fallback.get(name.text)
    if (known === undefined) {
      throw configError(name.position, `${name.text} has no value yet; give it one above or as ${name.text}=VALUE`, {
        key: name.text,
      })
    }
    this.context.variables.add(name.text)
    return known.value
  }

  private value(depth: number): ConfigValue {
    const { token } = this
    if (token.kind === 'string') return { kind: 'string', value: this.take().text, position: token.position }
    if (token.kind === 'number') return { kind: 'number', value: this.take().text, position: token.position }
    if (this.isMark('[')) return this.list(depth)
    throw this.unexpected('a string, a number or a list')
  }

  private list(depth: number): ConfigValue {
    const { position } = this.take()
    if (depth >= MAX_NESTING) throw configError(position, `lists nest deeper than ${MAX_NESTING}`)
    const items: ConfigValue[] = []
    for (;;) {
      this.skipNewlines()
      if (this.is('end')) throw configError(position, 'this list is not closed')
      if (this.isMark(']')) break
      items.push(this.expression(depth + 1))
      this.skipNewlines()
      if (this.is('end')) throw configError(position, 'this list is not closed')
      if (this.isMark(',')) this.take()
      else if (!this.isMark(']')) throw this.unexpected('`,` or `]`')
    }
    this.take()
    return { kind: 'list', items, position }
  }
}

/** Refuses a text that has grown beyond every use. */
function bounded(text: string, position: Position): string {
  if (text.length > MAX_TEXT) throw tooLong(position)
  return text
}

const tooLong = (position: Position): Error =>
  configError(position, `this makes a text of more than ${MAX_TEXT} characters`)

/** Python's `%` for the conversions that description files used: d, i, s, x and `%%`, with width and leading zeros. */
function formatPercent(format: string, operands: readonly ConfigValue[], position: Position): string {
  let used = 0
  let length = 0
  const text = format.replace(/%(0?)(\d{0,3})(.?)/g, (_all, zero: string, width: string, conversion: string) => {
    if (conversion === '%') return '%'
    const operand = operands[used]
    used += 1
    if (operand === undefined) throw configError(position, 'more conversions than values in this `%` expression')
    if (operand.kind === 'list') throw configError(position, 'a list cannot be formatted')
    const wantsNumber = conversion === 'd' || conversion === 'i' || conversion === 'x'
    if (!wantsNumber && conversion !== 's') throw configError(position, `conversion \`%${conversion}\` is not supported`)
    const number = operand.kind === 'number' ? parseNumber(operand.value) : undefined
    if (wantsNumber && number === undefined) throw configError(position, `\`%${conversion}\` needs a number`)
    const plain = number === undefined ? operand.value : number.toString(conversion === 'x' ? 16 : 10)
    const padded = plain.padStart(Number(width), zero === '' ? ' ' : '0')
    length += padded.length
    if (length > MAX_TEXT) throw tooLong(position)
    return padded
  })
  if (used < operands.length) throw configError(position, 'more values than conversions in this `%` expression')
  return text
}

/** `name=word` of a command line: a bare word is a string, as xm took it. */
function quoteBareWord(override: string): string {
  const match = /^\s*([A-Za-z_][\w.]*)\s*(\+?=)\s*(.*?)\s*$/s.exec(override)
  const [, key = '', sign = '', value = ''] = match ?? []
  if (match === null || /^["'[]/.test(value) || /^-?(0[xX][0-9a-fA-F]+|[0-9]+)$/.test(value)) return override
  return `${key}${sign}"${value.replace(/["\\]/g, '\\$&')}"`
}

/** Parses a description file in either spelling. Throws INVALID_CONFIG with source, line and column. */
export function parseConfig(text: string, options: ParseOptions = {}): ParsedConfig {
  const source = options.source ?? 'config'
  const assignments = new Map<string, Assignment>()
  const fallback = new Map<string, Assignment>()
  const context: ParseContext = { variables: new Set(), fallback, notes: [] }
  const overrides = (options.overrides ?? []).map(quoteBareWord)
  const parseOverrides = (target: Map<string, Assignment>): void => {
    for (const [i, override] of overrides.entries()) {
      new Parser(new Tokenizer(override, `override ${i + 1}`), target, context).parse()
    }
  }
  parseOverrides(fallback)
  // They are parsed again below, and would be noted twice.
  context.notes.length = 0
  new Parser(new Tokenizer(text, source), assignments, context).parse()
  parseOverrides(assignments)
  return { assignments, variables: context.variables, notes: context.notes }
}
