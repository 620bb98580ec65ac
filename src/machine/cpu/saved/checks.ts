/** What the parts of a saved state are looked at with. */
import { XenError } from '../../../util/index.ts'
import type { SegmentState } from '../../interface/registers.ts'

/** True for an unsigned 32-bit word. */
export const isWord = (value: unknown): value is number => typeof value === 'number' && value >>> 0 === value

/** Refuses a state. */
export function refuse(message: string, details: Readonly<Record<string, unknown>> = {}): never {
  throw new XenError('INVALID_STATE', message, { details })
}

/** An array of unsigned 32-bit words. */
export function words(value: unknown, length: number, name: string): readonly number[] {
  const fits = Array.isArray(value) && value.length === length && value.every(isWord)
  if (!fits) refuse(`a processor's ${name} is not ${length} words`, { name })
  return value as readonly number[]
}

/** Whether a value describes a segment register. */
export const isSegment = (value: unknown): value is SegmentState => {
  if (typeof value !== 'object' || value === null) return false
  const { selector, baseLow, baseHigh, limit, attributes } = value as Record<keyof SegmentState, unknown>
  return isWord(selector) && selector <= 0xffff && [baseLow, baseHigh, limit, attributes].every(isWord)
}
