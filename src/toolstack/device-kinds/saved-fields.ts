/** Fields of libxl's JSON as they are written and read for every kind of device. */
import * as z from 'zod/mini'
import type { Json } from './described-device.ts'

/** A defbool as it is written. */
export const jsonFlag = (value: boolean): Json => (value ? 'True' : 'False')

/** A defbool as it is read. */
export const jsonBool = /* @__PURE__ */ z.enum(['True', 'False', '<default>'])

/** What libxl leaves out where it is the default. */
export const unlessDefault = <T>(value: T, usual: T): T | undefined => (value === usual ? undefined : value)

/** Fields without those that are undefined, which optional properties may not hold. */
export function present<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  // What is filtered out is exactly what the type excludes; absent keys are the callers' optional fields.
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>
  }
}
