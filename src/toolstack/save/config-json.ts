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
import { parseVirtualDevice } from '../../drivers/index.ts'

/** Default weight of the credit schedulers. */
const WEIGHT = 256
/** libxl's defaults, which its JSON leaves out. */
const DEFAULTS = { eventChannels: 1023, grantFrames: 64 } as const
const KIB = 1024
/** Devices of one saved domain: more would only keep the receiver busy. */
const MAX_DEVICES = 1024

type Json = string | number | readonly Json[] | { readonly [key: string]: Json | undefined }

/** What a kernel or ramdisk is called where it is no file. */
export type SourceNames = { readonly kernel: string | undefined; readonly ramdisk: string | undefined }

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

function buildJson(config: DomainConfig<unknown>, names: SourceNames): Json {
  return {
    max_vcpus: unlessDefault(config.maxVcpus, 1),
    avail_vcpus: config.maxVcpus === 1 ? undefined : Array.from({ length: config.vcpus }, (_, vcpu) => vcpu),
    max_memkb: config.maxMemory * KIB, target_memkb: config.memory * KIB, video_memkb: 0,
    sched_params: { sched: 'credit2', weight: WEIGHT, cap: 0 },
    event_channels: unlessDefault(config.maxEventChannels, DEFAULTS.eventChannels),
    max_grant_frames: unlessDefault(config.maxGrantFrames, DEFAULTS.grantFrames),
    claim_mode: 'True',
    kernel: names.kernel, cmdline: config.commandLine === '' ? undefined : config.commandLine, ramdisk: names.ramdisk,
    bootloader: config.bootloader,
    bootloader_args: config.bootloaderArgs.length === 0 ? undefined : config.bootloaderArgs,
    'type.pv': {}, arch_arm: {}, arch_x86: { msr_relaxed: 'False' },
  }
}

/** The configuration of a domain as libxl's JSON. */
export function configToJson(config: DomainConfig<unknown>, names: SourceNames): string {
  const usual = { ...defaultActions('xl'), reboot: undefined, softReset: undefined }
  const { actions, disks, nics } = config
  return `${print({
    c_info: { type: 'pv', name: config.name, uuid: config.uuid, run_hotplug_scripts: 'True' },
    b_info: buildJson(config, names),
    disks: disks.length === 0 ? undefined : disks.map(diskJson),
    nics: nics.length === 0 ? undefined : nics.map(nicJson),
    on_poweroff: actionName(actions.poweroff, usual.poweroff),
    on_reboot: actionName(actions.reboot, usual.reboot),
    on_watchdog: actionName(actions.watchdog, usual.watchdog),
    on_crash: actionName(actions.crash, usual.crash),
    on_soft_reset: actionName(actions.softReset, usual.softReset),
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

const ConfigSchema = /* @__PURE__ */ z.object({
  c_info: z.object({ type: text, name: text, uuid: text.optional() }),
  b_info: z.object({
    max_vcpus: number.default(1),
    avail_vcpus: z.array(number).optional(),
    max_memkb: number,
    target_memkb: number.optional(),
    event_channels: number.default(DEFAULTS.eventChannels),
    max_grant_frames: number.default(DEFAULTS.grantFrames),
    kernel: text.optional(),
    cmdline: text.default(''),
    ramdisk: text.optional(),
    bootloader: text.optional(),
    bootloader_args: z.array(text).max(MAX_DEVICES).default([]),
  }),
  disks: z.array(DiskSchema).max(MAX_DEVICES).default([]),
  nics: z.array(NicSchema).max(MAX_DEVICES).default([]),
  on_poweroff: action, on_reboot: action, on_watchdog: action, on_crash: action, on_soft_reset: action,
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
  present({
    poweroff: saved.on_poweroff,
    reboot: saved.on_reboot,
    crash: saved.on_crash,
    watchdog: saved.on_watchdog,
    softReset: saved.on_soft_reset,
  })

/** Reads a configuration from libxl's JSON. Throws INVALID_STREAM, and NOT_SUPPORTED for a domain that is not PV. */
export function configFromJson(json: string): DomainConfig<string> {
  const saved = decode(json)
  const { c_info: create, b_info: build } = saved
  if (create.type !== 'pv')
    throw new XenError('NOT_SUPPORTED', `the saved domain is of type ${create.type}, only pv is supported`)
  const maxMemory = Math.ceil(build.max_memkb / KIB)
  try {
    return resolveDomainOptions<string>({
      name: create.name, uuid: create.uuid, kernel: build.kernel, ramdisk: build.ramdisk, commandLine: build.cmdline,
      bootloader: build.bootloader, bootloaderArgs: build.bootloader_args,
      memory: Math.min(maxMemory, Math.ceil((build.target_memkb ?? build.max_memkb) / KIB)), maxMemory,
      vcpus: Math.max(1, build.avail_vcpus?.length ?? build.max_vcpus), maxVcpus: build.max_vcpus,
      disks: saved.disks.map(diskConfig), nics: saved.nics.map(nicConfig), actions: actionsOf(saved),
      maxEventChannels: build.event_channels, maxGrantFrames: build.max_grant_frames,
    })
  } catch (error) {
    if (!XenError.is(error, 'INVALID_CONFIG')) throw error
    throw bad(`is refused: ${error.message}`, error)
  }
}
