/**
 * What a description file says before anybody asks what it means: assignments of literals, each with its place,
 * and the error that names a place. Not here: which keys exist (option-table.ts).
 */
import { XenError, type XenErrorDetails } from '../../util/index.ts'

/** Where something stands in a text; both count from 1. */
export interface Position {
  /** Name of the text: a file name, or `override 1` for a key=value argument. */
  readonly source: string
  readonly line: number
  readonly column: number
}

/**
 * A literal of a description file. A number is kept as it is written, as by xl: `extra = 4` is the text `4`, and whether
 * `089` is a number at all matters to those who want one.
 */
export type ConfigValue =
  | { readonly kind: 'string' | 'number'; readonly value: string; readonly position: Position }
  | { readonly kind: 'list'; readonly items: readonly ConfigValue[]; readonly position: Position }

/** `key = value`, the last one of its key where a file assigns it several times. */
export interface Assignment {
  readonly key: string
  readonly position: Position
  readonly value: ConfigValue
  /** True when the last assignment was `+=`. */
  readonly appended: boolean
}

/** Something in a text that was passed over, or is probably not what its author meant. */
export interface SyntaxNote {
  readonly key: string
  readonly reason: 'assigned twice' | 'no character'
  readonly position: Position
  readonly message: string
}

/** A parsed description file. */
export interface ParsedConfig {
  /** In order of first appearance. */
  readonly assignments: ReadonlyMap<string, Assignment>
  /** Keys that only served as variables of a `%` expression; they need not be options. */
  readonly variables: ReadonlySet<string>
  readonly notes: readonly SyntaxNote[]
}

/** The position as error texts show it. */
export const formatPosition = (position: Position): string => `${position.source}:${position.line}:${position.column}`

/** An INVALID_CONFIG error that names the place; `details` carries source, line and column besides what is given. */
export function configError(position: Position, message: string, details: XenErrorDetails = {}): XenError {
  return new XenError('INVALID_CONFIG', `${formatPosition(position)}: ${message}`, {
    details: { ...details, source: position.source, line: position.line, column: position.column },
  })
}

/** A value without its positions. */
export type PlainValue = string | readonly PlainValue[]

/** Strips the positions. */
export function plainValue(value: ConfigValue): PlainValue {
  return value.kind === 'list' ? value.items.map(plainValue) : value.value
}
