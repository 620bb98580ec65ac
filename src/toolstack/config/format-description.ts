/**
 * From a domain's configuration to the text of a description file for xl, the other direction of description-file.ts:
 * what is read from it is the same configuration. Options that are the default are left out.
 * Reference: xl.cfg(5), xl-disk-configuration(5), xl-network-configuration(5).
 */
import { XenError } from '../../util/index.ts'
import { defaultActions } from './actions.ts'
import type { DiskConfig } from './disk-specification.ts'
import type { DomainConfig } from './domain-config.ts'
import type { NicConfig } from './nic-specification.ts'
import { ACTION_OPTIONS, OPTIONS } from './option-table.ts'

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '\\"', '\\': '\\\\', '\x07': '\\a', '\b': '\\b', '\f': '\\f', '\n': '\\n', '\r': '\\r', '\t': '\\t', '\v': '\\v',
}

const cannot = (key: string, why: string): XenError =>
  new XenError('INVALID_CONFIG', `${key} cannot stand in a description file: ${why}`, { details: { key } })

function quoted(key: string, value: string): string {
  if (value.includes('\0')) throw cannot(key, 'it has a zero byte')
  return `"${value.replace(/["\\\x07\b\f\n\r\t\v]/g, (character) => ESCAPES[character]!)}"`
}

type Parameter = readonly [key: string, value: string | number | undefined]

/** `key=value` for each that is there; a comma would end the value. */
const parameters = (key: string, list: readonly Parameter[]): string[] => list.flatMap(([name, value]) => {
  if (value === undefined) return []
  const word = String(value)
  if (/[,\n]/.test(word) || word.trim() !== word) throw cannot(key, `${name} ${JSON.stringify(word)} has characters that end it`)
  return [`${name}=${word}`]
})

const unless = <T>(value: T, usual: T): T | undefined => (value === usual ? undefined : value)

/** A disk as a specification. Its target comes last: it may hold anything. */
export function formatDisk(disk: DiskConfig): string {
  const { format, vdev, access, backendType, backend, script, target } = disk
  if (target?.includes('\n') === true) throw cannot('disks', `the target ${JSON.stringify(target)} has a line end`)
  const flags: readonly (readonly [string, boolean])[] = [
    ['cdrom', disk.type === 'cdrom'], ['direct-io-safe', disk.directIoSafe], ['no-discard', !disk.discard], ['untrusted', !disk.trusted],
  ]
  return [
    ...parameters('disks', [
      ['format', format], ['vdev', vdev.name], ['access', access === 'w' ? 'rw' : 'ro'], ['backendtype', backendType],
      ['backend', unless(backend, '0')], ['script', script],
    ]),
    ...flags.flatMap(([word, isSet]) => (isSet ? [word] : [])),
    ...(target === undefined ? [] : [`target=${target}`]),
  ].join(',')
}

/** A rate as so many bytes a second; the interval in microseconds unless it is the usual 50 ms. */
function formatRate({ rate }: NicConfig): string | undefined {
  if (rate === undefined) return undefined
  const { bytesPerInterval, intervalMicroseconds } = rate
  // Rounded up, as reading it rounds down: the same bytes an interval come out.
  const perSecond = (BigInt(bytesPerInterval) * 1_000_000n + BigInt(intervalMicroseconds) - 1n) / BigInt(intervalMicroseconds)
  return `${perSecond}B/s@${intervalMicroseconds}us`
}

/** A network interface as a specification. */
export function formatNic(nic: NicConfig): string {
  return [
    ...parameters('nics', [
      ['mac', nic.mac], ['bridge', unless(nic.bridge, 'xenbr0')], ['script', unless(nic.script, 'vif-bridge')], ['ip', nic.ip],
      ['backend', unless(nic.backend, '0')], ['vifname', nic.name], ['model', nic.model], ['gatewaydev', nic.gatewayDevice],
      ['devid', nic.deviceId], ['mtu', nic.mtu], ['vlan', nic.vlan], ['rate', formatRate(nic)],
    ]),
    ...(nic.trusted ? [] : ['untrusted']),
  ].join(',')
}

/** How an option's value is written; undefined where nothing has to be said. */
function written(name: keyof typeof OPTIONS, config: DomainConfig<unknown>): string | undefined {
  const list = (items: readonly string[]): string | undefined =>
    (items.length === 0 ? undefined : `[ ${items.map((item) => quoted(name, item)).join(', ')} ]`)
  if (name === 'disks') return list(config.disks.map(formatDisk))
  if (name === 'nics') return list(config.nics.map(formatNic))
  if (name === 'maxMemory' && config.maxMemory === config.memory) return undefined
  if (name === 'maxVcpus' && config.maxVcpus === config.vcpus) return undefined
  const value = config[name]
  if (value === undefined || value === OPTIONS[name].fallback) return undefined
  if (typeof value === 'number') return String(value)
  if (typeof value === 'string') return quoted(name, value)
  if (Array.isArray(value)) return list(value as readonly string[])
  throw cannot(name, 'it is no name of a file')
}

/**
 * The description file of a configuration, in today's spelling. Throws INVALID_CONFIG for what a file cannot say, such as
 * a kernel that is given as bytes.
 *
 * @example
 * const text = formatDescription(domain.config)
 */
export function formatDescription(config: DomainConfig<unknown>): string {
  const usual = defaultActions('xl')
  const options = (Object.keys(OPTIONS) as (keyof typeof OPTIONS)[]).map((name) => [OPTIONS[name].file, written(name, config)] as const)
  const actions = (Object.keys(ACTION_OPTIONS) as (keyof typeof ACTION_OPTIONS)[]).map((name) =>
    [ACTION_OPTIONS[name].file, config.actions[name] === usual[name] ? undefined : quoted(name, config.actions[name])] as const)
  return [...options, ...actions].flatMap(([file, value]) => (value === undefined ? [] : [`${file} = ${value}\n`])).join('')
}
