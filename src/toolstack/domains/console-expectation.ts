/**
 * Waiting for one of several lines on a console: what may be expected, by name or as a list, and which of them a text holds. A
 * line is looked at when it is whole; the last one, behind which nothing has come yet, as it stands, so that a prompt is found.
 */
import { XenError, shown, isInstance, tryRead } from '../../util/index.ts'

/** A text that a line must hold, or a pattern that it must match. */
export type LinePattern = string | RegExp

/** What is expected: a pattern, alternatives as a list, or alternatives by name. */
export type LinePatterns = LinePattern | readonly LinePattern[] | Readonly<Record<string, LinePattern>>

/** The line that was found. */
export interface FoundLine {
  /** Which alternative it is: its name, its place in the list as a text, or `0` for the only one. */
  readonly which: string
  /** The line, without its line feed. */
  readonly line: string
  /** What the pattern matched of it, with its groups. */
  readonly match: RegExpExecArray
}

/** Alternatives by name, ready to be looked for. */
export type Alternatives = readonly (readonly [name: string, pattern: RegExp])[]

/** One line that was found, and the place behind it in the text that was searched. */
export interface LineMatch extends FoundLine {
  readonly end: number
}

const isPattern = (value: unknown): value is LinePattern => (typeof value === 'string' && value !== '') || isInstance(value, RegExp)

/** What is looked for in one line alone: flags that keep a place between two looks go. */
const expressionOf = (pattern: LinePattern): RegExp => (typeof pattern === 'string'
  ? new RegExp(pattern.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')) : new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, '')))

/** Alternatives by name. Throws INVALID_ARGUMENT for what is none, or for none at all. */
export function alternativesOf(patterns: LinePatterns, what: string): Alternatives {
  const entries: readonly (readonly [string, unknown])[] = isPattern(patterns) ? [['0', patterns]]
    : typeof patterns === 'object' && patterns !== null ? tryRead(() => Object.entries(patterns)) ?? [] : []
  const wrong = entries.find(([, pattern]) => !isPattern(pattern))
  if (entries.length === 0 || wrong !== undefined) {
    const given = shown(wrong === undefined ? patterns : wrong[1])
    throw new XenError('INVALID_ARGUMENT', `${what} must be a text that is not empty, a RegExp, or a list or an object of them, got ${given}`, { details: { what } })
  }
  return entries.map(([name, pattern]) => [name, expressionOf(pattern as LinePattern)])
}

/** The first line from a place of the text on that one of the alternatives matches; of several, the alternative that is named first. */
export function findLine(text: string, from: number, alternatives: Alternatives): LineMatch | undefined {
  for (let start = from; start < text.length;) {
    const feed = text.indexOf('\n', start)
    const end = feed < 0 ? text.length : feed
    const line = text.slice(start, end)
    for (const [which, pattern] of alternatives) {
      const match = pattern.exec(line)
      // Behind a line that is still being written more of it may come: what is found then begins there.
      if (match !== null) return { which, line, match, end: feed < 0 ? start + match.index + match[0].length : feed + 1 }
    }
    start = end + 1
  }
  return undefined
}

/** Alternatives as they stand in a sentence. */
export const alternativesText = (alternatives: Alternatives): string =>
  alternatives.map(([name, pattern]) => (/^\d+$/.test(name) ? String(pattern) : `${name}: ${String(pattern)}`)).join(' | ')
