/** Dom0's network back-end with the bridges behind it. */
import { Bridge, NetBackend, type ServedNic } from '../../../drivers/index.ts'
import { partSet, partTree, type DomId } from '../../../util/index.ts'
import type { BackendHost, DeviceService, ServedDevice } from '../served-device.ts'
import { NIC } from './nic.ts'
import type { NicConfig } from './nic-specification.ts'

/** The back-end of network interfaces. */
export interface NicService extends DeviceService {
  /** The bridge of a name; it is made when first asked for. */
  bridge(name: string): Bridge
  /** An interface that is served. */
  served(domid: DomId, id: number): ServedNic | undefined
}

/** Makes the back-end of network interfaces. */
function serveNics({ kernel, onCallbackFailed, inputs, interference }: BackendHost<NicConfig>): NicService {
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
  return {
    driver,
    served: (domid, id) => driver.nic(domid, id),
    isServed: (domid, id) => driver.nic(domid, id) !== undefined,
    statistics: (domid, id) => {
      const counted = driver.nic(domid, id)?.statistics
      return counted && { ...counted }
    },
    bridge: bridgeOf,
    state: {
      part: () => partTree({ name: 'nics', version: 1 }, [
        partSet({ name: 'bridges', version: 1 }, {
          present: () => [...bridges.values()].map((bridge) => bridge.part()),
          make: (name) => bridgeOf(name).part(),
        }),
        driver.part(kernel),
      ]),
      underWay: () => [...bridges.values()].map((bridge) => bridge.underWay()).find((why) => why !== undefined),
      checkAttached: () => bridges.forEach((bridge) => bridge.checkAttached()),
    },
  }
}

/** Who serves network interfaces. */
export const SERVED_NICS = { name: NIC.name, serve: serveNics } satisfies ServedDevice<NicConfig, NicService>
