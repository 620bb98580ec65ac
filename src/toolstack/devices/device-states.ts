/** Tells how the two halves of a device get on: each change of their states in XenStore. */
import { XENBUS_STATE } from '../../abi/index.ts'
import { parseState } from '../../guest/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import { devicePaths, type DeviceKind, type DevicePlace } from './device-nodes.ts'

/** One half of a device went from one state to another. */
export interface DeviceStateChange {
  readonly kind: DeviceKind
  /** Number of the device in its domain. */
  readonly device: number
  readonly half: 'front-end' | 'back-end'
  /** XENBUS_STATE; undefined when the half was not there, or is no more. */
  readonly from: number | undefined
  readonly to: number | undefined
}

/** Tells every change until the returned function is called. What is no state, as a guest may write, counts as Unknown. */
export function watchDeviceStates(
  store: LocalStore, place: DevicePlace, tell: (change: DeviceStateChange) => void,
): () => void {
  const paths = devicePaths(place)
  const halves = [['front-end', paths.frontend], ['back-end', paths.backend]] as const
  const ends = halves.map(([half, path]) => {
    const node = `${path}/state`
    let from: number | undefined
    const look = (): void => {
      const text = store.tryRead(node)
      const to = text === undefined ? undefined : XENBUS_STATE[parseState(text)]
      if (to === from) return
      const change = { kind: place.kind, device: place.id, half, from, to }
      from = to
      tell(change)
    }
    const end = store.watch(node, look)
    return () => {
      end()
      look()
    }
  })
  return () => {
    for (const end of ends) end()
  }
}
