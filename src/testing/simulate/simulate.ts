/** Several hosts in one world: booted, branched from moments, or given, with a network between them. */
import { Host, type HostInterference, type HostOptions, type Moment } from '../../toolstack/index.ts'
import { callable, checkOptions, shown, whole, XenError, type OptionChecks } from '../../util/index.ts'
import { Network, type NetworkOptions } from './network.ts'
import { worldOf, type World } from './world.ts'

/** Where a host of a world comes from: what it is booted with, a moment that it branches from, or what makes it. */
export type WorldHost = HostOptions | Moment<Host> | (() => Promise<Host>)

/** What a world is made of. */
export interface SimulateOptions {
  /** Hosts by name. */
  readonly hosts: Readonly<Record<string, WorldHost>>
  readonly network?: NetworkOptions | undefined
  /** What latencies and losses, and the chance of hosts that are booted, are drawn from. Default 1. */
  readonly seed?: number | undefined
  /** What comes between on the host of a name, such as a FaultInjector's; asked before it is made, in the order of their names. */
  readonly interference?: ((name: string) => HostInterference | undefined) | undefined
  /** Is given each host before anything of it runs in the world. */
  readonly onHost?: ((host: Host) => void) | undefined
}

const record = (value: unknown): string | undefined =>
  (typeof value === 'object' && value !== null && Object.keys(value).length > 0 ? undefined : `must be an object of hosts by name, got ${shown(value)}`)

const CHECKS: OptionChecks<SimulateOptions> = { hosts: record, network: (value) => (typeof value === 'object' ? undefined : `must be an object, got ${shown(value)}`), seed: /* @__PURE__ */ whole(0, 2 ** 32 - 1), onHost: callable, interference: callable }

function hostOf(origin: WorldHost, { seed, interference }: { readonly seed: number; readonly interference: HostInterference | undefined }): Promise<Host> {
  if (typeof origin === 'function') return origin()
  // A moment is known by what it can do.
  if ('branch' in origin) return (origin as Moment<Host>).branch({ interference })
  return Host.boot({ seed, ...origin, ...(interference === undefined ? {} : { interference }) })
}

/**
 * Several hosts on one virtual clock, with a network between their bridges. Time passes only while the world is waited for, by `until`
 * or `advance`. Rejects with INVALID_ARGUMENT, and with what booting and branching reject with; then nothing is left.
 *
 * @example
 * await using world = await simulate({ hosts: { a: ready, b: ready }, network: { latency: '2ms', loss: 0.01 }, seed: 7 })
 * await world.until(world.host('a').domain('linux').console.waitFor('elected'))
 * const heal = world.partition(['a'], ['b'])
 */
export async function simulate(options: SimulateOptions): Promise<World> {
  checkOptions('simulate', options, CHECKS)
  const { hosts: origins, network = {}, seed = 1, onHost } = options
  if (record(origins) !== undefined) throw new XenError('INVALID_ARGUMENT', `simulate: hosts ${record(origins)}`)
  const names = Object.keys(origins)
  const lines = new Network(names, network, seed)
  const hosts = new Map<string, Host>()
  try {
    for (const [number, name] of names.entries()) hosts.set(name, await hostOf(origins[name]!, { seed: seed + number, interference: options.interference?.(name) }))
    for (const host of hosts.values()) onHost?.(host)
    return await worldOf(hosts, lines)
  } catch (error) {
    for (const host of hosts.values()) await host.shutdown()
    throw error
  }
}
