/**
 * Splits a description file into tokens. Strings have no escapes (as in xl), numbers are decimal, octal with a
 * leading 0, or hexadecimal; `#` starts a comment; a line end counts except inside brackets, which the parser knows.
 * Reference: xl.cfg(5), section "Syntax".
 */
import { configError, type Position } from './syntax.ts'

/** One token; `text` is the string's content, the number's digits, the name, or the mark itself. */
export interface Token {
  readonly kind: 'name' | 'string' | 'number' | 'mark' | 'newline' | 'end'
  readonly text: string
  readonly position: Position
}

const SPACE = /[ \t\r\f]+/y
const COMMENT = /#[^\n]*/y
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y
const NUMBER = /-?[0-9][0-9A-Za-z_.]*/y
const MARK = /\+=|[=;,[\]%()]/y

/** Reads tokens one after another, so that a fault is found only when the parser has understood all before it. */
export class Tokenizer {
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
    return { source: this.source, line: this.line, column: this.offset - this.lineStart + 1 }
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.offset
    const found = pattern.exec(this.text)?.[0]
    if (found !== undefined) this.offset += found.length
    return found
  }

  private string(quote: string, position: Position): Token {
    const start = this.offset + 1
    const lineEnd = this.text.indexOf('\n', start)
    const end = this.text.indexOf(quote, start)
    if (end < 0 || (lineEnd >= 0 && end > lineEnd)) throw configError(position, 'this string is not closed on its line')
    this.offset = end + 1
    return { kind: 'string', text: this.text.slice(start, end), position }
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
      if (text !== undefined) return { kind, text, position }
    }
    throw configError(position, `character ${JSON.stringify(character)} has no meaning here`)
  }
}

/** The value of a number token: decimal, 0octal or 0xhex. */
export function numberFromToken(token: Token): number {
  const digits = token.text.replace(/^-/, '')
  const base = /^0[xX][0-9a-fA-F]+$/.test(digits) ? 16 : /^0[0-7]+$/.test(digits) ? 8 : /^[0-9]+$/.test(digits) ? 10 : 0
  const value = base === 16 ? parseInt(digits.slice(2), 16) : base === 0 ? NaN : parseInt(digits, base)
  const octalMistake = base === 10 && digits.length > 1 && digits.startsWith('0')
  if (!Number.isSafeInteger(value) || octalMistake) throw configError(token.position, `${token.text} is not a number`)
  return token.text.startsWith('-') ? -value : value
}
