/**
 * Splits a description file into tokens: names, numbers, strings between quotes of either kind with backslashes as in
 * escapes.ts, marks; `#` starts a comment; a line end counts except inside brackets, which the parser knows.
 * Beyond what xl takes: capital letters, a sign before a number, carriage returns, a comment on a last line without an
 * end, and the `%` of Python. Reference: tools/libs/util/libxlu_cfg_l.l.
 */
import { dequote } from './escapes.ts'
import { configError, type Position } from './syntax.ts'

/** One token; `text` is the string's content, the number's digits, the name, or the mark itself. */
export interface Token {
  readonly kind: 'name' | 'string' | 'number' | 'mark' | 'newline' | 'end'
  readonly text: string
  readonly position: Position
}

const SPACE = /[ \t\r\f]+/y
const COMMENT = /#[^\n]*/y
const NAME = /[A-Za-z_][A-Za-z0-9_.]*/y
/** What xl takes for a number, which may turn out to be none, and what else begins like one. */
const NUMBER = /-?[0-9][0-9A-Za-z_.]*/y
const WELL_FORMED = /^-?[0-9][0-9a-fA-FxX]*$/
const MARK = /\+=|[=;,[\]%()]/y
const STRING = { '"': /"((?:[^"\\\n]|\\[^\n])*)"/y, "'": /'((?:[^'\\\n]|\\[^\n])*)'/y } as const

/** Reads tokens one after another, so that a fault is found only when the parser has understood all before it. */
export class Tokenizer {
  /** Places of escapes that gave no character. */
  readonly dropped: Position[] = []
  private readonly text: string
  private readonly source: string
  private offset = 0
  private line = 1
  private lineStart = 0

  constructor(text: string, source: string) {
    this.text = text
    this.source = source
  }

  private get position(): Position {
    return this.positionAt(this.offset)
  }

  private positionAt(offset: number): Position {
    return { source: this.source, line: this.line, column: offset - this.lineStart + 1 }
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.offset
    const found = pattern.exec(this.text)?.[0]
    if (found !== undefined) this.offset += found.length
    return found
  }

  private string(quote: '"' | "'", position: Position): Token {
    const first = this.offset + 1
    const whole = this.match(STRING[quote])
    if (whole === undefined) throw configError(position, 'this string is not closed on its line')
    const raw = whole.slice(1, -1)
    const zero = raw.indexOf('\0')
    if (zero >= 0) throw configError(this.positionAt(first + zero), 'a string must not contain a zero byte')
    const content = dequote(raw)
    if (content.text === undefined) throw configError(this.positionAt(first + content.offset), content.fault)
    this.dropped.push(...content.dropped.map((offset) => this.positionAt(first + offset)))
    return { kind: 'string', text: content.text, position }
  }

  /** The next token; at the end of the text always one of kind `end`. */
  next(): Token {
    while (this.match(SPACE) !== undefined || this.match(COMMENT) !== undefined) { /* skipped */ }
    const { position } = this
    const character = this.text[this.offset]
    if (character === undefined) return { kind: 'end', text: '', position }
    if (character === '\n') {
      this.offset += 1
      this.line += 1
      this.lineStart = this.offset
      return { kind: 'newline', text: '\n', position }
    }
    if (character === '"' || character === "'") return this.string(character, position)
    for (const [kind, pattern] of [['name', NAME], ['number', NUMBER], ['mark', MARK]] as const) {
      const text = this.match(pattern)
      if (text === undefined) continue
      if (kind === 'number' && !WELL_FORMED.test(text)) throw configError(position, `${text} is not a number`)
      return { kind, text, position }
    }
    throw configError(position, `character ${JSON.stringify(character)} has no meaning here`)
  }
}
