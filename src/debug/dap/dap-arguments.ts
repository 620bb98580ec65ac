/** What comes with requests of the Debug Adapter Protocol, looked at before it is used: an editor is a stranger. */
import { XenError } from '../../util/index.ts'

/** Arguments as they come. */
export type DapArguments = Readonly<Record<string, unknown>>

const bad = (name: string, wanted: string): XenError => new XenError('INVALID_ARGUMENT', `${name} must be ${wanted}`, { details: { field: name } })

/** Arguments that are an object; none are an empty one. Throws INVALID_ARGUMENT. */
export function argumentsOf(value: unknown): DapArguments {
  if (value === undefined || value === null) return {}
  if (typeof value !== 'object' || Array.isArray(value)) throw bad('arguments', 'an object')
  return value as DapArguments
}

/** A whole number; `otherwise` where it is left out. Throws INVALID_ARGUMENT. */
export function wholeOf(from: DapArguments, name: string, otherwise?: number): number {
  const value = from[name] ?? otherwise
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw bad(name, 'a whole number')
  return value
}

/** A text; `otherwise` where it is left out. Throws INVALID_ARGUMENT. */
export function textOf(from: DapArguments, name: string, otherwise?: string): string {
  const value = from[name] ?? otherwise
  if (typeof value !== 'string') throw bad(name, 'a text')
  return value
}

/** A list of objects; an empty one where it is left out. Throws INVALID_ARGUMENT. */
export function listOf(from: DapArguments, name: string): readonly DapArguments[] {
  const value = from[name] ?? []
  if (!Array.isArray(value)) throw bad(name, 'a list')
  return value.map(argumentsOf)
}

/** An address as text in C's numbers, 64 bits; undefined for what is none. */
export function addressIn(text: string): bigint | undefined {
  const found = /^\s*(0x[0-9a-f]{1,16}|\d{1,20})\s*$/i.exec(text)?.[1]
  return found === undefined ? undefined : BigInt.asUintN(64, BigInt(found))
}

/** The address of a `memoryReference` or `instructionReference` with an offset. Throws INVALID_ARGUMENT. */
export function referenceOf(from: DapArguments, name: string): bigint {
  const address = addressIn(textOf(from, name))
  if (address === undefined) throw bad(name, 'an address')
  return BigInt.asUintN(64, address + BigInt(wholeOf(from, 'offset', 0)))
}

/** An address as it is shown. */
export const addressText = (address: bigint): string => `0x${BigInt.asUintN(64, address).toString(16).padStart(16, '0')}`
