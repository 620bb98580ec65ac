/** Dom0's network back-end with the bridges behind it, and the user-mode networks at these. */
import { Bridge, NetBackend, UserNetwork, type ServedNic } from '../../../drivers/index.ts'
import { partSet, partTree, XenError, type DomId, type Part } from '../../../util/index.ts'
import type { BackendHost, DeviceService, ServedDevice } from '../served-device.ts'
import { NIC } from './nic.ts'
import type { NicConfig } from './nic-specification.ts'

/** The back-end of network interfaces. */
export interface NicService extends DeviceService {
  /** The bridge of a name; it is made when first asked for. */
  bridge(name: string): Bridge
  /** The user-mode network at a bridge. Throws INVALID_ARGUMENT where there is none. */
  network(bridge: string): UserNetwork
  /** An interface that is served. */
  served(domid: DomId, id: number): ServedNic | undefined
}

/** The user-mode networks of one host. */
class UserNetworks {
  private readonly host: BackendHost<NicConfig>
  private readonly bridgeOf: (name: string) => Bridge
  private readonly open = new Map<string, UserNetwork>()

  constructor(host: BackendHost<NicConfig>, bridgeOf: (name: string) => Bridge) {
    this.host = host
    this.bridgeOf = bridgeOf
  }

  /** What they are to the back-end. */
  get service(): Pick<NicService, 'network' | 'open' | 'close' | 'isPaced' | 'releaseOutside'> {
    const close = (): void => this.open.forEach((network) => network.close())
    return {
      network: (bridge) => {
        const found = this.open.get(bridge)
        if (found !== undefined) return found
        throw new XenError('INVALID_ARGUMENT', `there is no network at bridge ${bridge}`, { details: { bridge } })
      },
      open: () => {
        for (const bridge of Object.keys(this.host.networks ?? {})) this.make(bridge)?.start()
      },
      close,
      isPaced: () => {
        for (const network of this.open.values()) if (network.isAwaited) return true
        return false
      },
      releaseOutside: () => Promise.resolve(close()),
    }
  }

  private make(name: string): UserNetwork | undefined {
    const { kernel, inputs, onCallbackFailed, networks } = this.host
    if (networks === undefined || !Object.hasOwn(networks, name)) return undefined
    const network = new UserNetwork(this.bridgeOf(name), networks[name]!, {
      now: () => kernel.now(), post: (task) => kernel.post(task), turn: () => kernel.turn(), random: kernel.random,
      after: (nanoseconds, act) => kernel.after(nanoseconds, act).keep(),
      attachTimer: (order, act) => kernel.attachments.attachTimer(order, act).keep(),
      input: (said, act) => inputs.enter(() => ({ source: 'network', bridge: name, said }), act),
      failed: (error) => onCallbackFailed({ callback: 'network-outside', subject: name, error }),
    })
    this.open.set(name, network)
    return network
  }

  /** The networks as they stand; a moment's are those of its host's options. */
  part(): Part {
    return partSet({ name: 'networks', version: 1 }, {
      present: () => [...this.open.values()].map((network) => network.part()),
      make: (name) => this.make(name)?.part(),
    })
  }

  /** Everything is loaded: they go on. */
  goOn(): void {
    this.open.forEach((network) => network.goOn())
  }
}

/** Makes the back-end of network interfaces. */
function serveNics(host: BackendHost<NicConfig>): NicService {
  const { kernel, onCallbackFailed, inputs, interference } = host
  const bridges = new Map<string, Bridge>()
  const bridgeOf = (name: string): Bridge => {
    const known = bridges.get(name)
    if (known !== undefined) return known
    const bridge = new Bridge({
      name, now: () => kernel.now(), post: (task) => kernel.post(task), turn: () => kernel.turn(),
      input: (port, bytes) => inputs.frame(name, port, bytes),
      interference: interference?.net, after: (nanoseconds, act) => void kernel.after(nanoseconds, act),
    })
    bridge.events.on('failed', ({ by, error }) => onCallbackFailed({ callback: `bridge-${by}`, subject: name, error }))
    bridges.set(name, bridge)
    return bridge
  }
  const driver = new NetBackend({ bridge: bridgeOf })
  const networks = new UserNetworks(host, bridgeOf)
  return {
    driver,
    ...networks.service,
    served: (domid, id) => driver.nic(domid, id),
    isServed: (domid, id) => driver.nic(domid, id) !== undefined,
    statistics: (domid, id) => {
      const counted = driver.nic(domid, id)?.statistics
      return counted && { ...counted }
    },
    bridge: bridgeOf,
    state: {
      part: () => partTree({ name: 'nics', version: 2 }, [
        partSet({ name: 'bridges', version: 1 }, {
          present: () => [...bridges.values()].map((bridge) => bridge.part()),
          make: (name) => bridgeOf(name).part(),
        }),
        networks.part(),
        driver.part(kernel),
      ]),
      underWay: () => [...bridges.values()].map((bridge) => bridge.underWay()).find((why) => why !== undefined),
      checkAttached: () => {
        bridges.forEach((bridge) => bridge.checkAttached())
        networks.goOn()
      },
    },
  }
}

/** Who serves network interfaces. */
export const SERVED_NICS = { name: NIC.name, serve: serveNics } satisfies ServedDevice<NicConfig, NicService>
