/**
 * A domain's configuration as libxl's JSON, which stands at the head of a saved file: what xl of 4.17 writes, in its
 * order and its line breaks, defaults left out. Reading keeps what we know and passes over the rest.
 * Reference: tools/libs/light/libxl_types.idl, libxl_domain_config; a capture of `xl list -l`.
 */
import { en } from 'zod/locales'
import * as z from 'zod/mini'
import { onceFor, XenError } from '../../util/index.ts'
import { ACTIONS, type Action, type Actions, defaultActions } from '../config/actions.ts'
import { resolveDomainOptions, type DomainConfig } from '../config/domain-config.ts'
import { ACTION_OPTIONS } from '../config/option-table.ts'
import { GUEST_TYPES, type GuestType } from '../config/option-values.ts'
import { USUAL_KINDS, type DeviceKinds, type DomainDevices } from '../device-kinds/device-kinds.ts'
import { unlessDefault } from '../device-kinds/saved-fields.ts'
import type { DescribedDevice, Json } from '../device-kinds/described-device.ts'
import { MAX_ENTRIES, readSavedOptions, savedShape, writeSavedOptions, type SourceNames } from './saved-options.ts'

export type { SourceNames } from './saved-options.ts'

const actionName = (action: Action, usual: Action | undefined): Json | undefined =>
  unlessDefault(action, usual)?.replaceAll('-', '_')

/**
 * Prints as libxl's JSON generator does: four blanks a level, an empty line in an empty object, absent keys left out.
 */
function print(value: Json, indent = ''): string {
  if (typeof value !== 'object') return JSON.stringify(value)
  const inner = `${indent}    `
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}']
  const items = Array.isArray(value)
    ? value.map((item: Json) => `${inner}${print(item, inner)}`)
    : Object.entries(value)
        .filter(([, item]) => item !== undefined)
        .map(([key, item]) => `${inner}${JSON.stringify(key)}: ${print(item as Json, inner)}`)
  return `${open}\n${items.join(',\n')}\n${indent}${close}`
}

/** A domain's devices by their kinds' places; kinds of which there are none are left out. */
const devicesJson = (config: DomainConfig<unknown>, kinds: DeviceKinds): Readonly<Record<string, Json>> => {
  const devices = kinds.listed(config)
  return Object.fromEntries(kinds.all.flatMap((kind) => {
    const own = devices.filter((device) => device.kind === kind)
    return own.length === 0 ? [] : [[kind.saved.key, own.map((device, index) => kind.saved.write(device.config, index))]]
  }))
}

/** A field that an option says, one with what libxl has there for such a domain, or one that holds others. */
type JsonField = string | readonly [string, Json] | { readonly sched_params: readonly string[] }

/** Fields of `c_info` and `b_info` in libxl's order; what no option of ours says is as libxl has it for such a domain. */
const CREATE_FIELDS: readonly JsonField[] = ['type', 'name', 'uuid', 'pool_name', ['run_hotplug_scripts', 'True'], 'driver_domain']
const SCHED_FIELDS = ['sched', 'weight', 'cap', 'period', 'budget', 'extratime'] as const
const buildFields = (type: GuestType): readonly JsonField[] => [
  'max_vcpus', 'avail_vcpus', 'vcpu_hard_affinity', 'vcpu_soft_affinity', 'tsc_mode', 'max_memkb', 'target_memkb', ['video_memkb', 0],
  'rtc_timeoffset', 'localtime', 'disable_migrate', 'cpuid', 'max_grant_frames', 'max_maptrack_frames', 'max_grant_version',
  { sched_params: SCHED_FIELDS }, 'claim_mode', 'event_channels',
  'kernel', 'cmdline', 'ramdisk', 'bootloader', 'bootloader_args', [`type.${type}`, {}], ['arch_arm', {}],
  ['arch_x86', { msr_relaxed: 'False' }],
]

function fieldsJson(place: string, fields: readonly JsonField[], saved: ReadonlyMap<string, Json>): Json {
  return Object.fromEntries(fields.map((field) => {
    if (typeof field === 'string') return [field, saved.get(`${place}.${field}`)]
    return 'sched_params' in field ? ['sched_params', fieldsJson(`${place}.sched_params`, field.sched_params, saved)] : field
  }))
}

/** The configuration of a domain as libxl's JSON. */
export function configToJson(config: DomainConfig<unknown>, names: SourceNames, kinds: DeviceKinds = USUAL_KINDS): string {
  const usual = { ...defaultActions('xl'), reboot: undefined, softReset: undefined }
  const { actions } = config
  const saved = new Map<string, Json>([...writeSavedOptions(config, names), ['c_info.type', config.type]])
  return `${print({
    c_info: fieldsJson('c_info', CREATE_FIELDS, saved),
    b_info: fieldsJson('b_info', buildFields(config.type), saved),
    ...devicesJson(config, kinds),
    ...Object.fromEntries(Object.entries(ACTION_OPTIONS).map(([name, { saved: field }]) => {
      const key = name as keyof Actions
      return [field, actionName(actions[key], usual[key])]
    })),
  })}\n`
}

const text = /* @__PURE__ */ z.string()
const action = /* @__PURE__ */ z.optional(/* @__PURE__ */ z.pipe(
  /* @__PURE__ */ z.pipe(text, /* @__PURE__ */ z.transform((word: string) => word.replaceAll('_', '-'))), /* @__PURE__ */ z.enum(ACTIONS)))

/** Each action by its field. The cast says that the fields are those of the table, which TypeScript does not follow. */
const ACTION_FIELDS = /* @__PURE__ */ Object.fromEntries(Object.values(ACTION_OPTIONS).map(({ file }) => [file, action])) as
  Record<(typeof ACTION_OPTIONS)[keyof typeof ACTION_OPTIONS]['file'], typeof action>

const configSchema = /* @__PURE__ */ onceFor(({ all }: DeviceKinds) => z.object({
  c_info: z.object({ ...savedShape('c_info'), type: text, name: text }),
  b_info: z.object(savedShape('b_info')),
  ...deviceShape(all),
  ...ACTION_FIELDS,
}))

/** A list for each kind of device. No type knows which kinds there are. */
const deviceShape = (kinds: readonly DescribedDevice[]): Record<never, z.ZodMiniType> =>
  Object.fromEntries(kinds.map(({ saved }) => [saved.key, z._default(z.array(saved.schema).check(z.maxLength(MAX_ENTRIES)), [])]))

type SavedConfig = z.infer<ReturnType<typeof configSchema>>

/** The devices that a saved configuration lists. */
const devicesOf = (saved: SavedConfig, kinds: DeviceKinds): DomainDevices => kinds.collected(kinds.all.flatMap((kind) => {
  // What each kind's schema has let in.
  const entries = (saved as Readonly<Record<string, unknown>>)[kind.saved.key] as readonly unknown[]
  return entries.map((entry) => ({ kind, config: kind.saved.read(entry) }))
}))

const bad = (why: string, cause?: unknown): XenError =>
  new XenError('INVALID_STREAM', `the saved configuration ${why}`, {
    details: { record: 'configuration', offset: 48 },
    cause,
  })

function decode(json: string, kinds: DeviceKinds): SavedConfig {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (cause) {
    throw bad('is not JSON', cause)
  }
  const result = configSchema(kinds).safeParse(value, { error: en().localeError })
  if (result.success) return result.data
  const issue = result.error.issues[0]!
  throw bad(`is wrong at ${issue.path.join('.')}: ${issue.message}`)
}

const actionsOf = (saved: SavedConfig): Partial<Actions> =>
  Object.fromEntries(Object.entries(ACTION_OPTIONS).flatMap(([name, { file }]) => (saved[file] === undefined ? [] : [[name, saved[file]]])))

/** Reads a configuration from libxl's JSON. Throws INVALID_STREAM, and NOT_SUPPORTED for a type of guests that there is not. */
export function configFromJson(json: string, kinds: DeviceKinds = USUAL_KINDS): DomainConfig<string> {
  const saved = decode(json, kinds)
  const { c_info: create, b_info: build } = saved
  if (!(GUEST_TYPES as readonly string[]).includes(create.type)) {
    throw new XenError('NOT_SUPPORTED', `the saved domain is of type ${create.type}; there are ${GUEST_TYPES.join(' and ')}`, {
      details: { type: create.type },
    })
  }
  try {
    return resolveDomainOptions<string>({
      ...readSavedOptions({ c_info: create, b_info: build }), name: create.name,
      ...devicesOf(saved, kinds), actions: actionsOf(saved),
    }, 'xl', kinds)
  } catch (error) {
    if (!XenError.is(error, 'INVALID_CONFIG')) throw error
    throw bad(`is refused: ${error.message}`, error)
  }
}
