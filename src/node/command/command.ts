/** What a command of `paravirt` is: what it is called with, how it is explained, and what it does. */
import type { ParseArgsConfig } from 'node:util'

/** Where a command writes; a test reads it. */
export interface Terminal {
  out(line: string): void
  error(line: string): void
}

/** One option of a command. */
export interface CommandOption {
  readonly type: 'string' | 'boolean'
  /** What stands for its value in the help. */
  readonly value?: string
  readonly help: string
  readonly multiple?: boolean
}

/** Values of options as they were given. */
export type OptionValues = Readonly<Record<string, string | boolean | readonly string[] | undefined>>

/** One command. */
export interface Command {
  readonly name: string
  /** What stands for its arguments in the help. */
  readonly usage: string
  readonly summary: string
  /** What a newcomer wants to know, line by line. */
  readonly help: readonly string[]
  readonly options: Readonly<Record<string, CommandOption>>
  /** Its words are its own: what looks like an option among them is an argument. */
  readonly hasOwnOptions?: true
  /** How many arguments it takes: at least, and at most. */
  readonly takes: readonly [number, number]
  /** Does it; the status to exit with. */
  run(given: { readonly args: readonly string[]; readonly values: OptionValues }, terminal: Terminal): Promise<number>
}

/** Options in the form of node:util. */
export const parseable = (options: Command['options']): NonNullable<ParseArgsConfig['options']> =>
  Object.fromEntries(Object.entries(options).map(([name, { type, multiple = false }]) => [name, { type, multiple }]))

/** The text of an option, where it was given. */
export const textOf = (values: OptionValues, name: string): string | undefined => {
  const value = values[name]
  return typeof value === 'string' ? value : undefined
}
