/** How specifications of devices are written and read, alike for all kinds. */
import { nearestWord, text, XenError, type Check } from '../../util/index.ts'

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

/** A text that a specification could hold. */
export const parameterText: Check = (value) => text(value) ?? ((value as string).includes(',') ? 'must be a text without a comma' : undefined)

/** Which parameters there are, and who is told of what is none: a part without a value, and a key that is not known. Either may throw; where it does not, that part is passed over. */
export interface ReadParameters<K extends string> {
  readonly keys: readonly K[]
  malformed(message: string): void
  unknown(message: string): void
}

/** The parameters of a specification `key=value,...`; of those that stand twice the last. */
export function parametersOf<K extends string>(specification: string, { keys, malformed, unknown }: ReadParameters<K>): Partial<Record<K, string>> {
  const found: Partial<Record<K, string>> = {}
  for (const part of specification.split(',').filter((item) => item.trim() !== '')) {
    const [, key, value] = /^([^=]*)=([^]*)$/.exec(part)?.map((word) => word.trim()) ?? []
    const known = keys.find((name) => name === key)
    if (known !== undefined) found[known] = value!
    else if (key === undefined) malformed(`\`${part.trim()}\` is no KEY=VALUE`)
    else {
      const nearest = nearestWord(key, keys)
      unknown(`unknown parameter \`${key}\`${nearest === undefined ? '' : `; did you mean \`${nearest}=\`?`}`)
    }
  }
  return found
}
