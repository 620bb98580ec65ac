/**
 * From the text of a description file, in xl's or xm's spelling, to a domain's configuration, with a warning for
 * everything that is understood but has no effect.
 */
import type * as z from 'zod/mini'
import { checkArgument, checkOptions, flag, listOf, nearestWord, oneOf, text as anyText, XenError, type OptionChecks } from '../../util/index.ts'
import { actionsFromRestart, type Actions, type Era } from './actions.ts'
import { resolveDomainOptions, type DomainConfig, type DomainOptions } from './domain-config.ts'
import {
  EFFECTIVE_OPTIONS, fileSchema, LIST_OPTIONS, NUMBER_OPTIONS, OPTION_NAMES, XM_NETWORK_OPTIONS, XM_OPTIONS, whyWithoutEffect,
  type FileValues,
} from './option-schemas.ts'
import { ACTION_OPTIONS, OPTIONS, REFUSED_OPTIONS, type Ineffective } from './option-table.ts'
import { areKinds, USUAL_KINDS, type DeviceDescriptions, type DeviceKinds } from '../device-kinds/device-kinds.ts'
import { withKeyboards } from '../device-kinds/keyboard/keyboard.ts'
import { NIC } from '../device-kinds/nic/nic.ts'
import type { DescribedDevice, WantedDevice } from '../device-kinds/described-device.ts'
import { parseConfig, type ParseOptions } from './parser.ts'
import {
  configError, formatPosition, plainValue, type Assignment, type ConfigValue, type ParsedConfig, type PlainValue,
  type Position,
} from './syntax.ts'

/** Why something in a description has no effect, or probably not the one that its author had in mind. */
export type ConfigWarningReason = Ineffective | 'assigned twice' | 'no character' | 'unknown' | 'no list' | 'ignored'

/** Something in a description that is passed over, as xl passes over it. */
export interface ConfigWarning {
  readonly option: string
  readonly reason: ConfigWarningReason
  /** Where the option stands; absent for options given as an object. */
  readonly position?: Position
  readonly message: string
}

/** Characters of a description at most: what is read from somewhere must not keep the host busy. */
const MAX_DESCRIPTION = 1 << 20

/** A description file's meaning. */
export interface Description {
  readonly config: DomainConfig
  readonly warnings: readonly ConfigWarning[]
  /** Whose defaults were applied. */
  readonly era: Era
  /** Where the value of each option stands, by the option's name in objects (`maxMemory`) where it has one there. */
  readonly positions: ReadonlyMap<string, { readonly option: string; readonly position: Position }>
}

/** How a description is read. */
export interface DescriptionOptions extends ParseOptions {
  /** Whose defaults apply. Unless given, xm's when an option is used that only xm had, or a `%` of Python. */
  readonly era?: Era
  /** Refuses a file with unknown options or with an option that is assigned twice, instead of warning. Default false. */
  readonly strict?: boolean
}

const DESCRIPTION_CHECKS: OptionChecks<DescriptionOptions> = {
  source: anyText, overrides: /* @__PURE__ */ listOf(anyText), era: /* @__PURE__ */ oneOf('xl', 'xm'), strict: flag,
}

/** One warning, worded. */
export function ineffectiveOption(option: string, reason: Ineffective, position?: Position): ConfigWarning {
  const message = `${option} has no effect: ${reason}`
  return position === undefined ? { option, reason, message } : warning({ option, reason, position, message })
}

/** A warning with its place in front. */
function warning({ option, reason, position, message }: Required<ConfigWarning>): ConfigWarning {
  return { option, reason, position, message: `${formatPosition(position)}: ${message}` }
}

/** Unknown options for which the word that was meant is looked for: more than so many are no slips. */
const MAX_HINTS = 50

/** What the author of an unknown option may have meant. */
function unknownOption(key: string, known: readonly string[]): { readonly message: string; readonly nearest: string | undefined } {
  const nearest = nearestWord(key, known)
  return { nearest, message: `unknown option \`${key}\`${nearest === undefined ? '' : `; did you mean \`${nearest}\`?`}` }
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
  const value = valueAt(parsed, issue.path)
  const key = String(issue.path[0])
  throw configError(value!.position, `${key} ${issue.message}`, { key, value: plainValue(value!) })
}

/** The name of an object's option in a file. */
const fileName = (name: string): string => (Object.hasOwn(OPTIONS, name) ? OPTIONS[name as keyof typeof OPTIONS].file : name)

/** Where values stand, by their names in objects. */
function positionsOf({ assignments }: ParsedConfig): Description['positions'] {
  const names = new Map(Object.entries(OPTIONS).map(([name, { file }]) => [String(file), name]))
  return new Map([...assignments].map(([option, { value }]) => [names.get(option) ?? option, { option, position: value.position }]))
}

/** Runs a check and adds the place of the value that it is about to its error. */
function at<T>(parsed: ParsedConfig, place: readonly PropertyKey[] | undefined, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (!XenError.is(error)) throw error
    const option = String(error.details['key'])
    const path = place ?? [fileName(option)]
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
  const given = Object.entries(ACTION_OPTIONS).flatMap(([name, { file }]) => (values[file] === undefined ? [] : [[name, values[file]]]))
  return { ...(values.restart === undefined ? {} : actionsFromRestart(values.restart)), ...Object.fromEntries(given) }
}

/** What a PVH guest cannot have. */
function checkPvh({ type, firmware }: FileValues, { assignments }: ParsedConfig): void {
  if (type !== 'pvh') return
  if (firmware !== undefined) {
    throw configError(assignments.get('firmware')!.value.position, 'firmware is not for PVH guests: GRUB starts as kernel="grub-i386-xen_pvh.bin"', {
      key: 'firmware',
    })
  }
  const shim = assignments.get('pvshim')?.value
  if (shim !== undefined && !['', '0'].includes(String(plainValue(shim)))) {
    throw configError(shim.position, 'pvshim is not supported: a PV kernel starts with type="pv"', { key: 'pvshim' })
  }
}

/** Checks that stand between two options, reported at the second one. */
function crossCheck(values: FileValues, parsed: ParsedConfig): void {
  const place = (key: string): Position => parsed.assignments.get(key)!.value.position
  const { builder } = values
  if (builder === 'hvm' || builder === 'vmx') {
    const key = 'builder'
    throw configError(place(key), `builder "${builder}" is not supported: most kernels of such guests start with type="pvh"`, { key, value: builder })
  }
  checkPvh(values, parsed)
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
  if (values.firmware !== undefined && !/^pvgrub(?:32|64)$/.test(values.firmware)) {
    throw configError(place('firmware'), 'firmware must be "pvgrub32" or "pvgrub64"', { key: 'firmware' })
  }
  if (values.firmware !== undefined && (values.kernel ?? '') !== '') {
    throw configError(place('firmware'), 'both kernel and firmware are given', { key: 'firmware' })
  }
  if (values.nfs_root !== undefined && values.nfs_server === undefined) {
    throw configError(place('nfs_root'), 'nfs_root needs nfs_server', { key: 'nfs_root' })
  }
}

/** The devices of one kind; parameters that xl passes over become warnings. */
function readDevicesOf(kind: DescribedDevice, values: FileValues, { parsed, warnings, strict }: Reading): readonly WantedDevice[] {
  const { words } = kind
  if (words === undefined) return []
  const { option } = words
  // The schema has let in a list of texts there.
  const texts = ((values as Readonly<Record<string, unknown>>)[option] ?? []) as readonly string[]
  const configs = texts.map((text, i) => at(parsed, [option, i], () => {
    const { position } = valueAt(parsed, [option, i])!
    const onIgnored = (message: string): void => {
      warnings.push(warning({ option, reason: 'ignored', position, message }))
    }
    return words.parse(text, strict ? {} : { onIgnored })
  }))
  // xm counts interfaces; those that are not described have the defaults.
  while (kind.name === NIC.name && configs.length < (values.nics ?? 0)) configs.push(words.parse('', {}))
  return configs.map((config) => ({ kind, config }))
}

/** The devices of all kinds. */
function readDevices(values: FileValues, reading: Reading): DeviceDescriptions {
  const { kinds } = reading
  const devices = kinds.collected(kinds.all.flatMap((kind) => readDevicesOf(kind, values, reading)))
  return { ...devices, keyboards: withKeyboards(devices.framebuffers.length, devices.keyboards) }
}

/** The file's options in the words of the API. */
function translate(values: FileValues, reading: Reading): DomainOptions {
  // An empty text means none, as it does for xl.
  const named = (value: string | undefined): string | undefined => (value === '' ? undefined : value)
  // The table pairs the names of files and of objects with one kind of value, which TypeScript does not follow.
  const plain = Object.fromEntries(Object.entries(OPTIONS).map(([name, { file }]) => [name, values[file as keyof FileValues]])) as Partial<DomainOptions>
  return {
    ...plain,
    name: values.name ?? '',
    kernel: named(values.kernel) ?? values.firmware,
    ramdisk: named(values.ramdisk),
    bootloader: named(values.bootloader),
    bootloaderArgs: [...(values.bootloader_args ?? []), ...(values.bootargs ?? [])],
    commandLine: commandLine(values),
    ...(values.cpus === undefined && values.cpu !== undefined && values.cpu >= 0 ? { cpus: [String(values.cpu)] } : {}),
    ...readDevices(values, reading), actions: actions(values),
  }
}

/** A text being read: what it says, and what has to be said about it. */
interface Reading {
  readonly parsed: ParsedConfig
  readonly warnings: ConfigWarning[]
  readonly era: Era
  readonly strict: boolean
  readonly kinds: DeviceKinds
}

/** Whose habits a file follows, as far as the file tells. */
function eraOf({ assignments, variables }: ParsedConfig): Era {
  return variables.size > 0 || [...assignments.keys()].some((key) => XM_OPTIONS.has(key)) ? 'xm' : 'xl'
}

/** Why an option has no effect; undefined for one that has. */
function whyIneffective(key: string, { parsed, era }: Reading): Ineffective | undefined {
  const onlyXm = XM_NETWORK_OPTIONS.has(key) || XM_OPTIONS.has(key)
  const type = parsed.assignments.get('type')?.value
  return whyWithoutEffect(key, type !== undefined && plainValue(type) === 'pvh' ? 'pvh' : 'pv') ?? (onlyXm && era === 'xl' ? 'only for xm' : undefined)
}

/** The value of an option that has an effect; undefined where xl passes over it. */
function effectiveValue({ key, value, appended }: Assignment, { warnings, kinds }: Reading): PlainValue | undefined {
  const { position } = value
  if (appended && NUMBER_OPTIONS.has(key)) throw configError(position, `\`+=\` does not add numbers (${key})`, { key })
  // xl passes over anything but a list here. An empty text can mean nothing else than none; any other means a device.
  const isList = LIST_OPTIONS.has(key) || kinds.hasWord(key)
  if (!isList || value.kind === 'list' || value.value !== '') return plainValue(value)
  warnings.push(warning({ option: key, reason: 'no list', position, message: `${key} is an empty text where a list belongs` }))
  return undefined
}

/** Throws NOT_SUPPORTED for an option by which a file wants what no domain has here. An empty list or text and 0 want nothing. */
function checkRefused({ key, value }: Assignment): void {
  const wanted = plainValue(value)
  const why = Object.hasOwn(REFUSED_OPTIONS, key) ? REFUSED_OPTIONS[key] : undefined
  if (why === undefined || wanted === '' || wanted === '0' || (Array.isArray(wanted) && wanted.length === 0)) return
  const { source, line, column } = value.position
  throw new XenError('NOT_SUPPORTED', `${formatPosition(value.position)}: ${key} is refused: ${why}`, { details: { key, source, line, column } })
}

/** Sorts a file's options: those that have an effect are returned, all others become warnings. */
function sortOptions(reading: Reading): ReadonlyMap<string, PlainValue> {
  const { parsed, warnings, strict, kinds } = reading
  const effective = new Map<string, PlainValue>()
  for (const assignment of parsed.assignments.values()) {
    const { key, position } = assignment
    const reason = kinds.hasWord(key) ? undefined : whyIneffective(key, reading)
    if (!kinds.hasWord(key)) checkRefused(assignment)
    if (reason !== undefined) warnings.push(ineffectiveOption(key, reason, position))
    else if (EFFECTIVE_OPTIONS.has(key) || kinds.hasWord(key)) {
      const value = effectiveValue(assignment, reading)
      if (value !== undefined) effective.set(key, value)
    } else if (!parsed.variables.has(key) && !Object.hasOwn(REFUSED_OPTIONS, key)) {
      const { message, nearest } = unknownOption(key, warnings.length < MAX_HINTS ? OPTION_NAMES : [])
      if (strict) throw configError(position, message, { key, nearest })
      warnings.push(warning({ option: key, reason: 'unknown', position, message }))
    }
  }
  return effective
}

/** What was noticed while the text was parsed. */
function passOnNotes({ parsed, warnings, strict }: Reading): void {
  for (const { key, reason, position, message } of parsed.notes) {
    if (strict) throw configError(position, message, { key })
    warnings.push(warning({ option: key, reason, position, message }))
  }
}

/**
 * Reads a description file in either spelling. What xl passes over, such as unknown options, becomes a warning. Throws
 * INVALID_CONFIG with source, line and column.
 *
 * @example
 * const { config, warnings } = parseDescription(`name = "fc4"\nmemory = 64\nnics = 1`, { source: 'fc4' })
 */
export function parseDescription(text: string, options: DescriptionOptions = {}, kinds: DeviceKinds = USUAL_KINDS): Description {
  checkArgument('the description', text, anyText)
  checkOptions('parseDescription', options, DESCRIPTION_CHECKS)
  checkArgument('the kinds of devices', kinds, areKinds)
  if (text.length > MAX_DESCRIPTION) {
    throw configError({ source: options.source ?? 'config', line: 1, column: 1 }, `${text.length} characters are more than a description has`, {
      length: text.length, limit: MAX_DESCRIPTION,
    })
  }
  const parsed = parseConfig(text, options)
  const warnings: ConfigWarning[] = []
  const reading: Reading = { parsed, warnings, era: options.era ?? eraOf(parsed), strict: options.strict === true, kinds }
  passOnNotes(reading)
  // Only names of the table get here: no key of a file can be `__proto__`.
  const result = fileSchema(kinds).safeParse(Object.fromEntries(sortOptions(reading)))
  if (!result.success) complain(result.error.issues[0]!, parsed)
  const values = result.data
  if (values.name === undefined) {
    throw configError({ source: options.source ?? 'config', line: 1, column: 1 }, 'a domain needs a name', {
      key: 'name',
    })
  }
  crossCheck(values, parsed)
  const translated = translate(values, reading)
  const config = at(parsed, undefined, () => resolveDomainOptions(translated, reading.era, kinds))
  return { config, warnings, era: reading.era, positions: positionsOf(parsed) }
}
