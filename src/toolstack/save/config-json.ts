/**
 * A domain's configuration as libxl's JSON, which stands at the head of a saved file: what xl of 4.17 writes, in its
 * order and its line breaks, defaults left out. Reading keeps what we know and passes over the rest.
 * Reference: tools/libs/light/libxl_types.idl, libxl_domain_config; a capture of `xl list -l`.
 */
import * as z from 'zod'
import { XenError } from '../../util/index.ts'
import { ACTIONS, type Action, type Actions, defaultActions } from '../config/actions.ts'
import type { DiskConfig, DiskFormat } from '../config/disk-specification.ts'
import { resolveDomainOptions, type DomainConfig } from '../config/domain-config.ts'
import type { NicConfig } from '../config/nic-specification.ts'
import { ACTION_OPTIONS } from '../config/option-table.ts'
import { parseVirtualDevice } from '../../drivers/index.ts'
import { MAX_ENTRIES, readSavedOptions, savedShape, writeSavedOptions, type Json, type SourceNames } from './saved-options.ts'

export type { SourceNames } from './saved-options.ts'

/** Default weight of the credit schedulers. */
const WEIGHT = 256

const flag = (value: boolean): Json => (value ? 'True' : 'False')
const unlessDefault = <T>(value: T, usual: T): T | undefined => (value === usual ? undefined : value)
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

const diskJson = (disk: DiskConfig): Json => ({
  backend_domname: unlessDefault(disk.backend, '0'),
  pdev_path: disk.target, vdev: disk.vdev.name, backend: disk.backendType, format: disk.format, script: disk.script,
  removable: disk.type === 'cdrom' ? 1 : undefined,
  readwrite: disk.access === 'w' ? 1 : undefined,
  is_cdrom: disk.type === 'cdrom' ? 1 : undefined,
  direct_io_safe: disk.directIoSafe ? flag(true) : undefined,
  discard_enable: disk.discard ? undefined : flag(false),
  colo_restore_enable: flag(false),
  trusted: disk.trusted ? undefined : flag(false),
})

const nicJson = (nic: NicConfig, index: number): Json => ({
  backend_domname: unlessDefault(nic.backend, '0'),
  devid: nic.deviceId ?? index,
  mtu: nic.mtu,
  model: nic.model,
  mac: nic.mac,
  ip: nic.ip,
  bridge: nic.bridge,
  ifname: nic.name,
  script: unlessDefault(nic.script, 'vif-bridge'),
  nictype: 'vif',
  rate_bytes_per_interval: nic.rate?.bytesPerInterval,
  rate_interval_usecs: nic.rate?.intervalMicroseconds,
  gatewaydev: nic.gatewayDevice,
  vlan: nic.vlan,
  trusted: nic.trusted ? undefined : flag(false),
})

/** A field that an option says, or one with what libxl has there for such a domain. */
type JsonField = string | readonly [string, Json]

/** Fields of `c_info` and `b_info` in libxl's order; what no option of ours says is as libxl has it for such a domain. */
const CREATE_FIELDS: readonly JsonField[] = ['type', 'name', 'uuid', ['run_hotplug_scripts', 'True']]
const BUILD_FIELDS: readonly JsonField[] = [
  'max_vcpus', 'avail_vcpus', 'max_memkb', 'target_memkb', ['video_memkb', 0],
  ['sched_params', { sched: 'credit2', weight: WEIGHT, cap: 0 }], 'event_channels', 'max_grant_frames', ['claim_mode', 'True'],
  'kernel', 'cmdline', 'ramdisk', 'bootloader', 'bootloader_args', ['type.pv', {}], ['arch_arm', {}],
  ['arch_x86', { msr_relaxed: 'False' }],
]

function fieldsJson(place: string, fields: readonly JsonField[], saved: ReadonlyMap<string, Json>): Json {
  return Object.fromEntries(fields.map((field) => (typeof field === 'string' ? [field, saved.get(`${place}.${field}`)] : field)))
}

/** The configuration of a domain as libxl's JSON. */
export function configToJson(config: DomainConfig<unknown>, names: SourceNames): string {
  const usual = { ...defaultActions('xl'), reboot: undefined, softReset: undefined }
  const { actions, disks, nics } = config
  const saved = new Map<string, Json>([...writeSavedOptions(config, names), ['c_info.type', config.type]])
  return `${print({
    c_info: fieldsJson('c_info', CREATE_FIELDS, saved),
    b_info: fieldsJson('b_info', BUILD_FIELDS, saved),
    disks: disks.length === 0 ? undefined : disks.map(diskJson),
    nics: nics.length === 0 ? undefined : nics.map(nicJson),
    ...Object.fromEntries(Object.entries(ACTION_OPTIONS).map(([name, { saved: field }]) => {
      const key = name as keyof Actions
      return [field, actionName(actions[key], usual[key])]
    })),
  })}\n`
}

const text = /* @__PURE__ */ z.string()
const number = /* @__PURE__ */ z.number()
const bool = /* @__PURE__ */ z.enum(['True', 'False', '<default>'])
const action = /* @__PURE__ */ z
  .string()
  .transform((word) => word.replaceAll('_', '-'))
  .pipe(z.enum(ACTIONS))
  .optional()

const DiskSchema = /* @__PURE__ */ z.object({
  backend_domname: text.optional(), pdev_path: text.optional(), vdev: text,
  backend: z.enum(['unknown', 'phy', 'tap', 'qdisk', 'standalone']).optional(),
  format: z.enum(['unknown', 'raw', 'qcow', 'qcow2', 'vhd', 'qed', 'empty']).optional(),
  script: text.optional(), readwrite: number.optional(), is_cdrom: number.optional(), direct_io_safe: bool.optional(),
  discard_enable: bool.optional(), trusted: bool.optional(),
})

const NicSchema = /* @__PURE__ */ z.object({
  backend_domname: text.optional(),
  devid: z.int().min(0).max(0xffff).optional(),
  mtu: z.int().min(0).max(0xffff).optional(),
  model: text.optional(),
  mac: text.optional(),
  ip: text.optional(),
  bridge: text.optional(),
  ifname: text.optional(),
  script: text.optional(),
  rate_bytes_per_interval: z.int().min(0).optional(),
  rate_interval_usecs: z.int().min(0).optional(),
  gatewaydev: text.optional(),
  vlan: text.optional(),
  trusted: bool.optional(),
})

/** Each action by its field. The cast says that the fields are those of the table, which TypeScript does not follow. */
const ACTION_FIELDS = /* @__PURE__ */ Object.fromEntries(Object.values(ACTION_OPTIONS).map(({ file }) => [file, action])) as
  Record<(typeof ACTION_OPTIONS)[keyof typeof ACTION_OPTIONS]['file'], typeof action>

const ConfigSchema = /* @__PURE__ */ z.object({
  c_info: z.object({ .../* @__PURE__ */ savedShape('c_info'), type: text, name: text }),
  b_info: z.object(/* @__PURE__ */ savedShape('b_info')),
  disks: z.array(DiskSchema).max(MAX_ENTRIES).default([]),
  nics: z.array(NicSchema).max(MAX_ENTRIES).default([]),
  ...ACTION_FIELDS,
})

type SavedConfig = z.infer<typeof ConfigSchema>

/** Fields without those that are undefined, which optional properties may not hold. */
function present<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  // What is filtered out is exactly what the type excludes; absent keys are the callers' optional fields.
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>
  }
}

function diskConfig(disk: SavedConfig['disks'][number]): DiskConfig {
  const { backend, format } = disk
  return {
    vdev: parseVirtualDevice(disk.vdev),
    format: (format === undefined || format === 'unknown' || format === 'empty' ? 'raw' : format) satisfies DiskFormat,
    access: disk.readwrite === undefined || disk.readwrite === 0 ? 'r' : 'w',
    type: (disk.is_cdrom ?? 0) === 0 ? 'disk' : 'cdrom',
    backend: disk.backend_domname ?? '0',
    directIoSafe: disk.direct_io_safe === 'True',
    discard: disk.discard_enable !== 'False',
    trusted: disk.trusted !== 'False',
    ...present({
      target: disk.pdev_path,
      script: disk.script,
      backendType: backend === 'unknown' ? undefined : backend,
    }),
  }
}

function nicConfig(nic: SavedConfig['nics'][number]): NicConfig {
  const { rate_bytes_per_interval: bytes, rate_interval_usecs: interval } = nic
  const rate =
    bytes === undefined || bytes === 0
      ? undefined
      : { bytesPerInterval: bytes, intervalMicroseconds: interval ?? 50_000 }
  return {
    bridge: nic.bridge ?? 'xenbr0',
    script: nic.script ?? 'vif-bridge',
    backend: nic.backend_domname ?? '0',
    trusted: nic.trusted !== 'False',
    ...present({
      mac: nic.mac?.toLowerCase(),
      ip: nic.ip,
      name: nic.ifname,
      model: nic.model,
      gatewayDevice: nic.gatewaydev,
      deviceId: nic.devid,
      mtu: nic.mtu,
      vlan: nic.vlan,
      rate,
    }),
  }
}

const bad = (why: string, cause?: unknown): XenError =>
  new XenError('INVALID_STREAM', `the saved configuration ${why}`, {
    details: { record: 'configuration', offset: 48 },
    cause,
  })

function decode(json: string): SavedConfig {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch (cause) {
    throw bad('is not JSON', cause)
  }
  const result = ConfigSchema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]!
  throw bad(`is wrong at ${issue.path.join('.')}: ${issue.message}`)
}

const actionsOf = (saved: SavedConfig): Partial<Actions> =>
  Object.fromEntries(Object.entries(ACTION_OPTIONS).flatMap(([name, { file }]) => (saved[file] === undefined ? [] : [[name, saved[file]]])))

/** Reads a configuration from libxl's JSON. Throws INVALID_STREAM, and NOT_SUPPORTED for a domain that is not PV. */
export function configFromJson(json: string): DomainConfig<string> {
  const saved = decode(json)
  const { c_info: create, b_info: build } = saved
  if (create.type !== 'pv')
    throw new XenError('NOT_SUPPORTED', `the saved domain is of type ${create.type}, only pv is supported`)
  try {
    return resolveDomainOptions<string>({
      ...readSavedOptions({ c_info: create, b_info: build }), name: create.name,
      disks: saved.disks.map(diskConfig), nics: saved.nics.map(nicConfig), actions: actionsOf(saved),
    })
  } catch (error) {
    if (!XenError.is(error, 'INVALID_CONFIG')) throw error
    throw bad(`is refused: ${error.message}`, error)
  }
}
