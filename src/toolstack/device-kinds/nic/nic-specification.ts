/**
 * NIC specifications: `mac=...,bridge=...`, every key optional, the empty text for all defaults.
 * Reference: xl-network-configuration(5).
 */
import { nearestWord, XenError } from '../../../util/index.ts'
import { MAX_SPECIFICATION } from '../described-device.ts'

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
  /** Queues that the back-end of this library offers, 1 to 8; 4 when absent. */
  readonly queues?: number
  /** False where it does not offer that TCP is cut later (GSO); true when absent. */
  readonly gso?: boolean
}

type Draft = { -readonly [K in keyof NicConfig]?: NicConfig[K] }
type Setter = (draft: Draft, value: string) => boolean

/** Bytes (`B`) or bits (`b`) a second, and the interval after which as much may be sent again. */
const RATE = /^([0-9]+[GMK]?[Bb]\/s)(?:@([0-9]+[mu]?s?))?$/
const UNIT: Readonly<Record<string, bigint>> = { K: 1_000n, M: 1_000_000n, G: 1_000_000_000n }
const [UINT32_MAX, UINT64_MAX] = [2n ** 32n - 1n, 2n ** 64n - 1n]
/** Microseconds of an interval that nobody gives. */
const DEFAULT_INTERVAL = 50_000n

/** The digits that strtoull with base 0 takes (017 is octal and the 9 of 019 is left), and what stands behind them. */
function leadingNumber(text: string): readonly [bigint, string] {
  const digits = /^(?:0[0-7]*|[1-9][0-9]*)/.exec(text)?.[0] ?? ''
  const value = digits.length > 24 ? UINT64_MAX : BigInt(digits.startsWith('0') ? `0o0${digits}` : digits)
  return [value, text.slice(digits.length)]
}

/** A number in libxl's range; undefined for 0 and for what is beyond it. */
const counted = (value: bigint): bigint | undefined => (value === 0n || value > UINT32_MAX ? undefined : value)

function microseconds(text: string): bigint | undefined {
  const [number, rest] = leadingNumber(text)
  // A number alone counts seconds.
  const unit = rest === '' || rest.startsWith('s') ? 1_000_000n : rest.startsWith('m') ? 1_000n : 1n
  const interval = counted(number)
  return interval === undefined ? undefined : counted(interval * unit)
}

/**
 * `10Mb/s` (bits) or `1MB/s@20ms` (bytes, replenished every 20 ms; 50 ms by default); undefined for what is no rate.
 * Reference: tools/libs/util/libxlu_vif.c.
 */
export function parseRate(text: string): NonNullable<NicConfig['rate']> | undefined {
  const [, amount, every] = RATE.exec(text) ?? []
  if (amount === undefined) return undefined
  const [digits, unit] = leadingNumber(amount)
  const interval = every === undefined ? DEFAULT_INTERVAL : microseconds(every)
  const number = counted(digits)
  if (number === undefined || interval === undefined) return undefined
  const perSecond = (number * (UNIT[unit[0]!] ?? 1n)) / (unit.startsWith('b') || unit[1] === 'b' ? 8n : 1n)
  if (perSecond > UINT64_MAX / interval) return undefined
  return { bytesPerInterval: Number((perSecond * interval) / 1_000_000n), intervalMicroseconds: Number(interval) }
}

/** Six numbers in hexadecimal with any one character between them, as `xl` takes them; in the usual form. */
function parseMac(text: string): string | undefined {
  const parts = /^([0-9a-f]+)[^0-9a-f]([0-9a-f]+)[^0-9a-f]([0-9a-f]+)[^0-9a-f]([0-9a-f]+)[^0-9a-f]([0-9a-f]+)[^0-9a-f]([0-9a-f]+)$/i.exec(text)
  const bytes = parts?.slice(1).map((part) => Number.parseInt(part, 16)) ?? []
  if (bytes.length !== 6 || bytes.some((byte) => byte > 255)) return undefined
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':')
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
    const mac = parseMac(value)
    // The lowest bit of the first byte marks a group of cards: no card has such an address.
    if (mac === undefined || (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1) return false
    draft.mac = mac
    return true
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
  queues: (draft, value) => {
    draft.queues = Number(value)
    return /^[1-8]$/.test(value)
  },
  gso: (draft, value) => {
    draft.gso = value === '1'
    return value === '0' || value === '1'
  },
  // A PV guest has no emulated card; xl accepts both words and xend's files carry them.
  type: (_draft, value) => value === 'vif' || value === 'ioemu',
  // Address of the back-end's side, given in files of 2005 and meaningless to a guest.
  be_mac: (_draft, value) => parseMac(value) !== undefined,
  rate: (draft, value) => {
    const rate = parseRate(value)
    if (rate !== undefined) draft.rate = rate
    return rate !== undefined
  },
}

/** Words about acceleration and checkpointed streams: known to xl, without any meaning here. */
const WITHOUT_MEANING = /^(?:accel|forwarddev|colo_[a-z0-9_]+)$/

/** How a specification is read. */
export interface NicOptions {
  /** Told of each parameter that is unknown or means nothing here, and is passed over; without it an unknown one is an error. */
  readonly onIgnored?: (message: string) => void
}

/** Parses one NIC specification in either spelling. Throws INVALID_CONFIG naming the specification. */
export function parseNic(specification: string, options: NicOptions = {}): NicConfig {
  const wrong = (message: string): string => `vif \`${specification}\`: ${message}`
  const fault = (message: string): XenError =>
    new XenError('INVALID_CONFIG', wrong(message), { details: { vif: specification } })
  if (specification.length > MAX_SPECIFICATION) throw fault(`it has more than ${MAX_SPECIFICATION} characters`)
  const draft: Draft = {}
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
      const message = WITHOUT_MEANING.test(key) ? `${key} means nothing here`
        : `unknown parameter \`${key}\`${nearest === undefined ? '' : `; did you mean \`${nearest}=\`?`}`
      if (options.onIgnored === undefined && !WITHOUT_MEANING.test(key)) throw fault(message)
      options.onIgnored?.(wrong(message))
      continue
    }
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
