/**
 * The text of a console, twice: as the guest wrote it, and in lines without carriage returns, in which patterns are looked
 * for from a place on. Both are kept up to a limit.
 */
import { FlatText } from './flat-text.ts'

/** Characters of output that are kept for patterns to be found in. */
const TEXT_LIMIT = 1 << 20

/** Carriage returns in a text. */
function returnsIn(text: string): number {
  let count = 0
  for (let at = text.indexOf('\r'); at >= 0; at = text.indexOf('\r', at + 1)) count += 1
  return count
}

/** A console's text and how far it has been looked at. */
export class ConsoleText {
  private readonly whole = new FlatText()
  private readonly clean = new FlatText()
  /** In `clean`. */
  private place = 0
  private changes = 0
  private last: { readonly pattern: string | RegExp; readonly raw: boolean; readonly expression: RegExp } | undefined

  /** With carriage returns. */
  get raw(): string {
    return this.whole.toString()
  }

  /** Counts what can change the answer of `find`: whoever waits for a pattern looks again only then. */
  get revision(): number {
    return this.changes
  }

  /** Without carriage returns. */
  get lines(): string {
    return this.clean.toString()
  }

  /** The place, in the text without carriage returns. */
  get from(): number {
    return this.place
  }

  /** More has come. */
  add(text: string): void {
    this.changes += 1
    this.whole.add(text)
    this.clean.add(text.replaceAll('\r', ''))
    if (this.whole.length <= 2 * TEXT_LIMIT) return
    const gone = this.raw.slice(0, this.whole.length - TEXT_LIMIT)
    const goneLines = gone.length - returnsIn(gone)
    this.whole.cut(gone.length)
    this.clean.cut(goneLines)
    this.place = Math.max(0, this.place - goneLines)
  }

  /** A pattern as an expression: the last one is kept, for whoever waits asks again and again. */
  private compiled(pattern: string | RegExp, raw: boolean): RegExp {
    const { last } = this
    if (last?.pattern === pattern && last.raw === raw) return last.expression
    // A text may have been copied from a terminal's output.
    const text = typeof pattern === 'string' && !raw ? pattern.replaceAll('\r', '') : pattern
    const source = typeof text === 'string' ? text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&') : text.source
    const flags = typeof text === 'string' ? 'g' : `${text.flags.replace(/[gym]/g, '')}gm`
    const expression = new RegExp(source, flags)
    this.last = { pattern, raw, expression }
    return expression
  }

  /** The first match behind the place; `^` and `$` stand for the ends of lines. */
  find(pattern: string | RegExp, raw: boolean): RegExpExecArray | undefined {
    const expression = this.compiled(pattern, raw)
    expression.lastIndex = raw ? this.rawPlace() : this.place
    return expression.exec(raw ? this.raw : this.lines) ?? undefined
  }

  /** Goes on behind a match. */
  moveBehind(match: RegExpExecArray, raw: boolean): void {
    this.moveTo(match.index + match[0].length, raw)
  }

  /** Goes on from a character of the text. */
  moveTo(place: number, raw: boolean): void {
    this.changes += 1
    this.place = raw ? place - returnsIn(this.raw.slice(0, place)) : place
  }

  /** The place in the text with carriage returns: right behind the character before it. */
  private rawPlace(): number {
    const { raw } = this
    let at = 0
    for (let left = this.place; left > 0 && at < raw.length; at += 1) if (raw[at] !== '\r') left -= 1
    return at
  }
}
