/** How specifications of devices are written, alike for all kinds. */
import { XenError } from '../../util/index.ts'

/** The error for what a description file cannot say. */
export const cannotStand = (key: string, why: string): XenError =>
  new XenError('INVALID_CONFIG', `${key} cannot stand in a description file: ${why}`, { details: { key } })

/** A parameter of a specification; one that is undefined is left out. */
export type Parameter = readonly [key: string, value: string | number | undefined]

/** `key=value` for each that is there; a comma would end the value. */
export const parameters = (key: string, list: readonly Parameter[]): string[] => list.flatMap(([name, value]) => {
  if (value === undefined) return []
  const word = String(value)
  if (/[,\n]/.test(word) || word.trim() !== word) throw cannotStand(key, `${name} ${JSON.stringify(word)} has characters that end it`)
  return [`${name}=${word}`]
})

/** What need not be said where it is the default. */
export const unless = <T>(value: T, usual: T): T | undefined => (value === usual ? undefined : value)
