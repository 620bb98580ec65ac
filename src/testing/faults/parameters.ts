/** Kinds of parameters that rows share. */
import { duration, real, whole } from '../../util/index.ts'
import type { FaultParameter } from './fault-row.ts'

/** A length of time, at most an hour: longer ones are mistakes. */
const HOUR = 3600e9

/** A length of time; `otherwise` in nanoseconds. */
export const lengthOfTime = (name: string, text: string, otherwise?: number): FaultParameter =>
  ({ name, text: `${text}, a length of time`, check: duration({ least: 1, most: HOUR }), isDuration: true, ...(otherwise === undefined ? {} : { otherwise }) })

/** A whole number. */
export const wholeNumber = (name: string, text: string, { least, most, otherwise }: { readonly least: number; readonly most: number; readonly otherwise?: number }): FaultParameter =>
  ({ name, text: `${text}, from ${least} to ${most}`, check: whole(least, most), ...(otherwise === undefined ? {} : { otherwise }) })

/** A number. */
export const realNumber = (name: string, text: string, { least, most, otherwise }: { readonly least: number; readonly most: number; readonly otherwise?: number }): FaultParameter =>
  ({ name, text: `${text}, from ${least} to ${most}`, check: real(least, most), ...(otherwise === undefined ? {} : { otherwise }) })

/** The same parameter, which may be left out. */
export const optional = (parameter: FaultParameter): FaultParameter => ({ ...parameter, isOptional: true })
