/**
 * From a domain's configuration to the text of a description file for xl, the other direction of description-file.ts:
 * what is read from it is the same configuration. Options that are the default are left out.
 * How a device is written is its kind's to say (../device-kinds).
 * Reference: xl.cfg(5).
 */
import { checkArgument, record } from '../../util/index.ts'
import { defaultActions } from './actions.ts'
import { areKinds, DEVICE_KINDS, USUAL_KINDS, type DeviceKinds } from '../device-kinds/device-kinds.ts'
import { beyondFramebuffers } from '../device-kinds/keyboard/keyboard.ts'
import { cannotStand } from '../device-kinds/parameters.ts'
import type { DescribedDevice, DeviceConfiguration } from '../device-kinds/described-device.ts'
import type { DomainConfig } from './domain-config.ts'
import { ACTION_OPTIONS, OPTIONS } from './option-table.ts'

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"', '\\': '\\\\', '\x07': '\\a', '\b': '\\b', '\f': '\\f', '\n': '\\n', '\r': '\\r', '\t': '\\t', '\v': '\\v',
}

function quoted(key: string, value: string): string {
  if (value.includes('\0')) throw cannotStand(key, 'it has a zero byte')
  return `"${value.replace(/["\\\x07\b\f\n\r\t\v]/g, (character) => ESCAPES[character]!)}"`
}

const list = (key: string, items: readonly string[]): string | undefined =>
  (items.length === 0 ? undefined : `[ ${items.map((item) => quoted(key, item)).join(', ')} ]`)

/** Devices of one kind; undefined where there are none. */
function writtenDevices({ words, name }: DescribedDevice, configs: readonly DeviceConfiguration[]): string | undefined {
  return list(words?.option ?? name, configs.map((config) => {
    if (words === undefined) throw cannotStand(`devices.${name}`, 'description files do not know this kind of device')
    return words.format(config)
  }))
}

/** How an option's value is written; undefined where nothing has to be said. */
function written(name: keyof typeof OPTIONS, config: DomainConfig<unknown>): string | undefined {
  if (name in DEVICE_KINDS) {
    const option = name as keyof typeof DEVICE_KINDS
    // Each framebuffer brings its keyboard along.
    return writtenDevices(DEVICE_KINDS[option], option === 'keyboards' ? beyondFramebuffers(config.framebuffers.length, config.keyboards) : config[option])
  }
  if (name === 'maxMemory' && config.maxMemory === config.memory) return undefined
  if (name === 'maxVcpus' && config.maxVcpus === config.vcpus) return undefined
  const value = config[name]
  if (value === undefined || value === OPTIONS[name].fallback) return undefined
  if (typeof value === 'number' && !Number.isInteger(value)) throw cannotStand(name, 'files have whole numbers')
  if (typeof value === 'number') return String(value)
  if (typeof value === 'boolean') return value ? '1' : '0'
  if (typeof value === 'string') return quoted(name, value)
  if (Array.isArray(value)) return list(name, value as readonly string[])
  throw cannotStand(name, 'it is no name of a file')
}

/**
 * The description file of a configuration, in today's spelling. Throws INVALID_CONFIG for what a file cannot say, such as
 * a kernel that is given as bytes.
 *
 * @example
 * const text = formatDescription(domain.config)
 */
export function formatDescription(config: DomainConfig<unknown>, kinds: DeviceKinds = USUAL_KINDS): string {
  checkArgument('the configuration', config, (value) => record(value) ?? (record((value as DomainConfig<unknown>).actions) && 'must be what resolveDomainOptions or parseDescription gives'))
  checkArgument('the kinds of devices', kinds, areKinds)
  const { further } = kinds
  const usual = defaultActions('xl')
  const options = (Object.keys(OPTIONS) as (keyof typeof OPTIONS)[]).map((name) => [OPTIONS[name].file, written(name, config)] as const)
  const actions = (Object.keys(ACTION_OPTIONS) as (keyof typeof ACTION_OPTIONS)[]).map((name) =>
    [ACTION_OPTIONS[name].file, config.actions[name] === usual[name] ? undefined : quoted(name, config.actions[name])] as const)
  const devices = further.map((kind) => [kind.words?.option ?? kind.name, writtenDevices(kind, config.devices?.[kind.name] ?? [])] as const)
  return [...options, ...devices, ...actions].flatMap(([file, value]) => (value === undefined ? [] : [`${file} = ${value}\n`])).join('')
}
