/**
 * NIC specifications: `mac=...,bridge=...`, every key optional, the empty text for all defaults.
 * Reference: xl-network-configuration(5).
 */
import { nearestWord, XenError } from '../../util/index.ts'

/** One virtual network interface. What is not given is chosen when the domain is created. */
export interface NicConfig {
  /** `00:16:3e:xx:xx:xx`, lower case; random when absent. */
  readonly mac?: string
  readonly bridge: string
  readonly script: string
  readonly ip?: string
  /** Domain that serves the interface. */
  readonly backend: string
  /** Name of the back-end's interface; `vifDOMID.DEVID` when absent. */
  readonly name?: string
  readonly model?: string
  readonly gatewayDevice?: string
  readonly deviceId?: number
  readonly mtu?: number
  readonly vlan?: string
  /** Limit in bytes per interval. */
  readonly rate?: { readonly bytesPerInterval: number; readonly intervalMicroseconds: number }
  readonly trusted: boolean
}

type Draft = { -readonly [K in keyof NicConfig]?: NicConfig[K] }
type Setter = (draft: Draft, value: string) => boolean

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/
const UNIT: Readonly<Record<string, number>> = { '': 1, k: 1e3, M: 1e6, G: 1e9 }
const INTERVAL: Readonly<Record<string, number>> = { us: 1, ms: 1e3, s: 1e6 }

/** `10Mb/s` (bits) or `1MB/s@20ms` (bytes, replenished every 20 ms; 50 ms by default). */
function parseRate(text: string): NonNullable<NicConfig['rate']> | undefined {
  const match = /^([0-9]{1,9})([kMG]?)([bB])\/s(?:@([0-9]{1,6})(us|ms|s))?$/.exec(text)
  if (match === null) return undefined
  const perSecond = Number(match[1]) * UNIT[match[2]!]! / (match[3] === 'b' ? 8 : 1)
  const interval = match[4] === undefined ? 50_000 : Number(match[4]) * INTERVAL[match[5]!]!
  const bytesPerInterval = Math.floor(perSecond * interval / 1e6)
  return bytesPerInterval > 0 && interval > 0 ? { bytesPerInterval, intervalMicroseconds: interval } : undefined
}

/** Makes the setter of a text field. */
const text = (name: 'bridge' | 'script' | 'ip' | 'backend' | 'name' | 'model' | 'gatewayDevice' | 'vlan'): Setter =>
  (draft, value) => {
    draft[name] = value
    return value !== ''
  }

/** Makes the setter of a whole number. */
const whole = (name: 'deviceId' | 'mtu', limit: number): Setter => (draft, value) => {
  draft[name] = Number(value)
  return /^[0-9]{1,9}$/.test(value) && Number(value) <= limit
}

/** What each key does; false means that the value is wrong. */
const SETTERS: Readonly<Record<string, Setter>> = {
  mac: (draft, value) => {
    draft.mac = value.toLowerCase()
    return MAC.test(draft.mac) && (Number.parseInt(draft.mac.slice(0, 2), 16) & 1) === 0
  },
  bridge: text('bridge'),
  script: text('script'),
  ip: text('ip'),
  backend: text('backend'),
  vifname: text('name'),
  model: text('model'),
  gatewaydev: text('gatewayDevice'),
  netdev: text('gatewayDevice'),
  vlan: text('vlan'),
  devid: whole('deviceId', 0xffff),
  mtu: whole('mtu', 65535),
  // A PV guest has no emulated card; xl accepts both words and xend's files carry them.
  type: (_draft, value) => value === 'vif' || value === 'ioemu',
  // Address of the back-end's side, given in files of 2005 and meaningless to a guest.
  be_mac: (_draft, value) => MAC.test(value.toLowerCase()),
  rate: (draft, value) => {
    const rate = parseRate(value)
    if (rate !== undefined) draft.rate = rate
    return rate !== undefined
  },
}

/** Parses one NIC specification in either spelling. Throws INVALID_CONFIG naming the specification. */
export function parseNic(specification: string): NicConfig {
  const fault = (message: string): XenError =>
    new XenError('INVALID_CONFIG', `vif \`${specification}\`: ${message}`, { details: { vif: specification } })
  const draft: Draft = {}
  const seen = new Set<string>()
  for (const part of specification.split(',').map((item) => item.trim())) {
    if (part === '') continue
    if (part === 'trusted' || part === 'untrusted') {
      draft.trusted = part === 'trusted'
      continue
    }
    const equals = part.indexOf('=')
    const key = equals < 0 ? part : part.slice(0, equals).trim()
    const setter = Object.hasOwn(SETTERS, key) ? SETTERS[key] : undefined
    if (setter === undefined || equals < 0) {
      const nearest = nearestWord(key, Object.keys(SETTERS))
      throw fault(`unknown parameter \`${key}\`${nearest === undefined ? '' : `; did you mean \`${nearest}=\`?`}`)
    }
    if (seen.has(key)) throw fault(`${key} is given twice`)
    seen.add(key)
    const value = part.slice(equals + 1).trim()
    if (!setter(draft, value)) throw fault(`\`${value}\` is not a value for ${key}`)
  }
  return {
    ...draft,
    bridge: draft.bridge ?? 'xenbr0',
    script: draft.script ?? 'vif-bridge',
    backend: draft.backend ?? '0',
    trusted: draft.trusted ?? true,
  }
}
