/**
 * From the text of a description file, in xl's or xm's spelling, to a domain's configuration, with a warning for
 * everything that is understood but has no effect.
 */
import type * as z from 'zod'
import { nearestWord, XenError } from '../../util/index.ts'
import { actionsFromRestart, type Actions, type Era } from './actions.ts'
import { resolveDomainOptions, type DomainConfig, type DomainOptions } from './domain-config.ts'
import { FileSchema, OPTION_NAMES, type FileValues } from './file-schema.ts'
import { INEFFECTIVE_OPTIONS, XM_OPTIONS, type Ineffective } from './option-names.ts'
import { parseDisk } from './disk-specification.ts'
import { parseNic } from './nic-specification.ts'
import { parseConfig, type ParseOptions } from './parser.ts'
import {
  configError, formatPosition, plainValue, type ConfigValue, type ParsedConfig, type PlainValue, type Position,
} from './syntax.ts'

/** An option that was understood and has no effect. */
export interface ConfigWarning {
  readonly option: string
  readonly reason: Ineffective
  /** Where the option stands; absent for options given as an object. */
  readonly position?: Position
  readonly message: string
}

/** A description file's meaning. */
export interface Description {
  readonly config: DomainConfig
  readonly warnings: readonly ConfigWarning[]
  /** Whose defaults were applied. */
  readonly era: Era
}

/** How a description is read. */
export interface DescriptionOptions extends ParseOptions {
  /** Whose defaults apply. Unless given, xm's when an option is used that only xm had. */
  readonly era?: Era
}

/** One warning, worded. */
export function ineffectiveOption(option: string, reason: Ineffective, position?: Position): ConfigWarning {
  const place = position === undefined ? '' : `${formatPosition(position)}: `
  return {
    option,
    reason,
    ...(position === undefined ? {} : { position }),
    message: `${place}${option} has no effect: ${reason}`,
  }
}

/** The value at a path of keys and indexes, or the nearest one above it. */
function valueAt(parsed: ParsedConfig, path: readonly PropertyKey[]): ConfigValue | undefined {
  let value = parsed.assignments.get(String(path[0]))?.value
  for (const step of path.slice(1)) {
    const inner = value?.kind === 'list' && typeof step === 'number' ? value.items[step] : undefined
    if (inner === undefined) break
    value = inner
  }
  return value
}

/** Turns zod's first complaint into an error at the place of the value. */
function complain(issue: z.core.$ZodIssue, parsed: ParsedConfig): never {
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!
    const nearest = nearestWord(key, OPTION_NAMES)
    const hint = nearest === undefined ? '' : `; did you mean \`${nearest}\`?`
    throw configError(parsed.assignments.get(key)!.position, `unknown option \`${key}\`${hint}`, { key, nearest })
  }
  const value = valueAt(parsed, issue.path)
  const key = String(issue.path[0])
  throw configError(value!.position, `${key} ${issue.message}`, { key, value: plainValue(value!) })
}

/** Names of the API's options in a file, where they differ. */
const FILE_NAMES: Readonly<Record<string, string>> = {
  maxMemory: 'maxmem', maxVcpus: 'maxvcpus', disks: 'disk', nics: 'vif',
}

/** Runs a check and adds the place of the value that it is about to its error. */
function at<T>(parsed: ParsedConfig, place: readonly PropertyKey[] | undefined, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!XenError.is(error)) throw error
    const option = String(error.details['key'])
    const path = place ?? [FILE_NAMES[option] ?? option]
    const value = valueAt(parsed, path)
    if (value === undefined) throw error
    throw configError(value.position, error.message, { ...error.details, key: String(path[0]) })
  }
}

/** `ip=` of the kernel's command line, as xm composed it: client, server, gateway, netmask, host, device, method. */
function networkArgument(values: FileValues): string {
  const method = values.dhcp ?? 'off'
  if (values.ip === undefined && method === 'off') return ''
  // The kernel wants a server there even when nothing is mounted from it.
  const server = values.nfs_server ?? '1.2.3.4'
  const fields = [
    values.ip,
    server,
    values.gateway,
    values.netmask,
    values.hostname,
    values.interface ?? 'eth0',
    method,
  ]
  return `ip=${fields.map((field) => field ?? '').join(':')}`
}

function commandLine(values: FileValues): string {
  if (values.cmdline !== undefined) return values.cmdline
  const nfs = values.nfs_root === undefined ? '' : `nfsroot=${values.nfs_server ?? ''}:${values.nfs_root}`
  const root = values.root === undefined || values.root === '' ? '' : `root=${values.root}`
  return [networkArgument(values), root, nfs, values.extra ?? ''].filter((part) => part !== '').join(' ')
}

function actions(values: FileValues): { [K in keyof Actions]?: Actions[K] | undefined } {
  return {
    ...(values.restart === undefined ? {} : actionsFromRestart(values.restart)),
    ...(values.on_poweroff === undefined ? {} : { poweroff: values.on_poweroff }),
    ...(values.on_reboot === undefined ? {} : { reboot: values.on_reboot }),
    ...(values.on_crash === undefined ? {} : { crash: values.on_crash }),
    ...(values.on_watchdog === undefined ? {} : { watchdog: values.on_watchdog }),
    ...(values.on_soft_reset === undefined ? {} : { softReset: values.on_soft_reset }),
  }
}

/** Checks that stand between two options, reported at the second one. */
function crossCheck(values: FileValues, parsed: ParsedConfig): void {
  const place = (key: string): Position => parsed.assignments.get(key)!.value.position
  for (const key of ['type', 'builder'] as const) {
    const word = values[key]
    if (word === 'hvm' || word === 'vmx' || word === 'pvh') {
      throw configError(place(key), `${key} "${word}" is not supported, only PV guests are`, { key, value: word })
    }
  }
  if (values.maxmem !== undefined && values.maxmem < (values.memory ?? 0)) {
    throw configError(place('maxmem'), `maxmem ${values.maxmem} is less than memory ${values.memory}`, {
      key: 'maxmem',
    })
  }
  if (values.maxvcpus !== undefined && values.maxvcpus < (values.vcpus ?? 1)) {
    throw configError(place('maxvcpus'), `maxvcpus ${values.maxvcpus} is less than vcpus ${values.vcpus}`, {
      key: 'maxvcpus',
    })
  }
  if (values.nfs_root !== undefined && values.nfs_server === undefined) {
    throw configError(place('nfs_root'), 'nfs_root needs nfs_server', { key: 'nfs_root' })
  }
}

/** The file's options in the words of the API. */
function translate(values: FileValues, parsed: ParsedConfig): DomainOptions {
  const disks = (values.disk ?? []).map((text, i) => at(parsed, ['disk', i], () => parseDisk(text)))
  const nics = (values.vif ?? []).map((text, i) => at(parsed, ['vif', i], () => parseNic(text)))
  while (nics.length < (values.nics ?? 0)) nics.push(parseNic(''))
  return {
    name: values.name ?? '', uuid: values.uuid,
    // An empty text means none, as it does for xl.
    kernel: values.kernel === '' ? undefined : values.kernel,
    ramdisk: values.ramdisk === '' ? undefined : values.ramdisk,
    commandLine: commandLine(values),
    memory: values.memory, maxMemory: values.maxmem, vcpus: values.vcpus, maxVcpus: values.maxvcpus,
    maxEventChannels: values.max_event_channels, maxGrantFrames: values.max_grant_frames,
    disks, nics, actions: actions(values),
  }
}

/**
 * Reads a description file in either spelling. Throws INVALID_CONFIG with source, line and column.
 *
 * @example
 * const { config, warnings } = parseDescription(`name = "fc4"\nmemory = 64\nnics = 1`, { source: 'fc4' })
 */
export function parseDescription(text: string, options: DescriptionOptions = {}): Description {
  const parsed = parseConfig(text, options)
  const effective: Record<string, PlainValue> = {}
  const warnings: ConfigWarning[] = []
  for (const { key, value, position } of parsed.assignments.values()) {
    const reason = INEFFECTIVE_OPTIONS.get(key)
    if (reason !== undefined) warnings.push(ineffectiveOption(key, reason, position))
    else if (!parsed.variables.has(key) || OPTION_NAMES.includes(key)) effective[key] = plainValue(value)
  }
  const result = FileSchema.safeParse(effective)
  if (!result.success) complain(result.error.issues[0]!, parsed)
  const values = result.data
  if (values.name === undefined) {
    throw configError({ source: options.source ?? 'config', line: 1, column: 1 }, 'a domain needs a name', {
      key: 'name',
    })
  }
  crossCheck(values, parsed)
  const era = options.era ?? ([...parsed.assignments.keys()].some((key) => XM_OPTIONS.has(key)) ? 'xm' : 'xl')
  const translated = translate(values, parsed)
  return { config: at(parsed, undefined, () => resolveDomainOptions(translated, era)), warnings, era }
}
