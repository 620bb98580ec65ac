/**
 * What follows from the table of options: the schema of objects, the schema of description files, and which names are
 * what. Cross-checks between options are in domain-config.ts and description-file.ts.
 */
import * as z from 'zod/mini'
import {
  ACTION_OPTIONS, FILE_OPTIONS, INEFFECTIVE_OPTIONS, OF_PVH_TOO, REFUSED_OPTIONS, OF_PV_ALONE, OPTIONS, type Ineffective, type OptionRow,
} from './option-table.ts'
import type { DeviceKinds } from '../device-kinds/device-kinds.ts'
import { specifications, type GuestType, type ValueKind } from './option-values.ts'

type Row = OptionRow<ValueKind<unknown, unknown>, string | undefined>
type Rows = Readonly<Record<string, Row>>
type ObjectShape<T extends Rows> = { [K in keyof T]: z.ZodMiniOptional<T[K]['value']['object']> }
type FileShape<T extends Rows> = { [K in keyof T as NonNullable<T[K]['file']>]: T[K]['value']['file'] }

/** Each row's schema for objects. The cast says what mapping every entry means, which TypeScript does not follow. */
const objectShape = <T extends Rows>(rows: T): ObjectShape<T> =>
  Object.fromEntries(Object.entries(rows).map(([name, { value }]) => [name, z.optional(value.object)])) as ObjectShape<T>

/** Each row's schema for files, by the names there; cast as above. */
const fileShape = <T extends Rows>(rows: T): FileShape<T> =>
  Object.fromEntries(Object.values(rows).flatMap(({ file, value }) => (file === undefined ? [] : [[file, value.file]]))) as FileShape<T>

const actionsSchema = /* @__PURE__ */ z.strictObject(/* @__PURE__ */ objectShape(ACTION_OPTIONS))

/** Names of the options of objects. */
export const OBJECT_NAMES: readonly string[] = /* @__PURE__ */ [...Object.keys(OPTIONS), 'actions']
/** Names of what stands in `actions`. */
export const ACTION_NAMES: readonly string[] = /* @__PURE__ */ Object.keys(ACTION_OPTIONS)

/** What a caller says about a domain, without defaults. */
export const OptionsSchema = /* @__PURE__ */ z.strictObject({
  .../* @__PURE__ */ objectShape(OPTIONS), name: OPTIONS.name.value.object, actions: /* @__PURE__ */ z.optional(actionsSchema),
})

/** The same on a host with further kinds of devices. */
export function optionsSchema({ further }: DeviceKinds): typeof OptionsSchema {
  if (further.length === 0) return OptionsSchema
  const devices = z.strictObject(Object.fromEntries(further.map(({ name, title }) => [name, z.optional(specifications(title).object)])))
  return z.extend(OptionsSchema, { devices: z.optional(devices) })
}

const fileShapes = /* @__PURE__ */ (() => ({ ...fileShape(OPTIONS), ...fileShape(ACTION_OPTIONS), ...fileShape(FILE_OPTIONS) }))()

/** A description file's values by option; unknown options are sorted out before. */
export const FileSchema = /* @__PURE__ */ z.partial(/* @__PURE__ */ z.strictObject(fileShapes))

/** The same on a host with further kinds of devices. */
export function fileSchema({ further }: DeviceKinds): typeof FileSchema {
  if (further.length === 0) return FileSchema
  // What is added is asked for by the kinds' words, which no type knows.
  return z.extend(FileSchema, Object.fromEntries(further.flatMap(({ words, title }) =>
    (words === undefined ? [] : [[words.option, z.optional(specifications(title).file)]]))) as Record<never, z.ZodMiniType>)
}

/** What a file that passes {@link FileSchema} says. */
export type FileValues = z.infer<typeof FileSchema>

const fileRows: readonly Row[] = /* @__PURE__ */ [OPTIONS, ACTION_OPTIONS, FILE_OPTIONS].flatMap((rows) => Object.values<Row>(rows))
const named = (rows: readonly Row[]): ReadonlySet<string> => new Set(rows.map(({ file }) => file!))

/** Options of files that have an effect. */
export const EFFECTIVE_OPTIONS: ReadonlySet<string> = /* @__PURE__ */ named(fileRows)
/** Options of files that take a number: nothing is added to one with `+=`. */
export const NUMBER_OPTIONS: ReadonlySet<string> = /* @__PURE__ */ named(fileRows.filter(({ value }) => value.syntax === 'number'))
/** Options of files that take a list and nothing else. */
export const LIST_OPTIONS: ReadonlySet<string> = /* @__PURE__ */ named(fileRows.filter(({ value }) => value.syntax === 'list'))
/** Names of all options that a file may use. */
export const OPTION_NAMES: readonly string[] = /* @__PURE__ */ [...EFFECTIVE_OPTIONS, ...INEFFECTIVE_OPTIONS.map(({ file }) => file), ...Object.keys(REFUSED_OPTIONS)]

const ofXm: readonly { readonly file: string | undefined; readonly spelling: string }[] = /* @__PURE__ */ [...fileRows, ...INEFFECTIVE_OPTIONS]

/** Options that only xm of 2005 knew: a file that uses one gets that era's defaults. */
export const XM_OPTIONS: ReadonlySet<string> = /* @__PURE__ */ new Set(
  ofXm.filter(({ spelling }) => spelling === 'xm').map(({ file }) => file!))
/** Options by which xm composed the kernel's command line. */
export const XM_NETWORK_OPTIONS: ReadonlySet<string> = /* @__PURE__ */ new Set(
  ofXm.filter(({ spelling }) => spelling === 'xm, passed over by xl').map(({ file }) => file!))

const reasons: ReadonlyMap<string, Ineffective> = /* @__PURE__ */ new Map(INEFFECTIVE_OPTIONS.map(({ file, reason }) => [file, reason]))

/** Why an option has no effect in any file of a domain of such a type; undefined for one that has. */
export function whyWithoutEffect(file: string, type: GuestType): Ineffective | undefined {
  const reason = reasons.get(file)
  if (reason === undefined || type === 'pv') return reason
  if (OF_PV_ALONE.has(file)) return 'not for PVH guests'
  if (reason !== 'not for PV guests') return reason
  return OF_PVH_TOO.has(file) ? 'not implemented' : 'not for PVH guests'
}
