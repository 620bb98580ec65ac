/**
 * A network interface described as an object: every field has the default that it has in a specification, and each is
 * checked as it is there.
 */
import { checkConfig, flag, text, whole, type Check, type OptionChecks } from '../../../util/index.ts'
import { parseNic, type NicConfig } from './nic-specification.ts'

/** A network interface as an object; what is left out is as in a specification that does not say it. */
export interface NicDescription {
  readonly mac?: string | undefined
  /** Default `xenbr0`. */
  readonly bridge?: string | undefined
  readonly script?: string | undefined
  readonly ip?: string | undefined
  /** Domain that serves it, by name or number. Default dom0. */
  readonly backend?: string | undefined
  readonly name?: string | undefined
  readonly model?: string | undefined
  readonly gatewayDevice?: string | undefined
  readonly deviceId?: number | undefined
  readonly mtu?: number | undefined
  readonly vlan?: string | undefined
  /** Text such as `10Mb/s`, or what it means. */
  readonly rate?: string | NicConfig['rate'] | undefined
  /** Default true. */
  readonly trusted?: boolean | undefined
  /** Queues that are offered, 1 to 8. Default 4. A front-end takes as many as it likes; Linux one for each of its CPUs. */
  readonly queues?: number | undefined
  /** Whether it is offered that TCP is cut into segments later, by whoever needs segments (GSO). Default true. */
  readonly gso?: boolean | undefined
}

/** A value that is right where the specification `KEY=VALUE` is. */
const asIn = (key: string): Check => (value) => {
  if (typeof value !== 'string' || value.includes(',')) return 'must be a text without a comma'
  try {
    parseNic(`${key}=${value}`)
    return undefined
  } catch (error) {
    return `is wrong: ${(error as Error).message}`
  }
}

const isPositive = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) > 0
const rate: Check = (value) => {
  if (typeof value === 'string') return asIn('rate')(value)
  const { bytesPerInterval, intervalMicroseconds } = (value ?? {}) as Partial<NonNullable<NicConfig['rate']>>
  return isPositive(bytesPerInterval) && isPositive(intervalMicroseconds)
    ? undefined : 'must be a text such as 10Mb/s, or { bytesPerInterval, intervalMicroseconds }'
}

const NIC_CHECKS: OptionChecks<NicDescription> = {
  mac: asIn('mac'), bridge: asIn('bridge'), script: asIn('script'), ip: text, backend: asIn('backend'), name: asIn('vifname'),
  model: asIn('model'), gatewayDevice: asIn('gatewaydev'), deviceId: /* @__PURE__ */ whole(0, 0xffff),
  mtu: /* @__PURE__ */ whole(0, 65535), vlan: asIn('vlan'), rate, trusted: flag,
  queues: /* @__PURE__ */ whole(1, 8), gso: flag,
}

/** A network interface out of a text or an object, with its defaults. Throws INVALID_CONFIG. */
export function resolveNic(nic: string | NicDescription): NicConfig {
  if (typeof nic === 'string') return parseNic(nic)
  checkConfig('nic', nic, NIC_CHECKS)
  const { mac, rate: limit, ...rest } = nic
  const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined))
  const parsed = mac === undefined ? {} : { mac: parseNic(`mac=${mac}`).mac! }
  const limited = limit === undefined ? {} : { rate: typeof limit === 'string' ? parseNic(`rate=${limit}`).rate! : limit }
  return { ...parseNic(''), ...given, ...parsed, ...limited }
}
