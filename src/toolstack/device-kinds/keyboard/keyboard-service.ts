/** Dom0's back-end of keyboards and pointers. */
import { KeyboardBackend, type ServedKeyboard } from '../../../drivers/index.ts'
import { part, shape, type DomId } from '../../../util/index.ts'
import type { BackendHost, DeviceService, ServedDevice } from '../served-device.ts'
import { KEYBOARD } from './keyboard.ts'
import type { KeyboardConfig } from './keyboard-specification.ts'

/** The back-end of keyboards. */
export interface KeyboardService extends DeviceService {
  /** A keyboard that is served, by its number in its domain. */
  served(domid: DomId, id: number): ServedKeyboard | undefined
}

function serveKeyboards({ interference }: BackendHost<KeyboardConfig>): KeyboardService {
  const driver = new KeyboardBackend({ interference: interference?.keyboard })
  return {
    driver,
    served: (domid, id) => driver.keyboard(domid, id),
    isServed: (domid, id) => driver.keyboard(domid, id) !== undefined,
    statistics: (domid, id) => {
      const counted = driver.keyboard(domid, id)?.statistics
      return counted && { ...counted }
    },
    state: {
      // What there is of a keyboard is its device's.
      part: () => part({ name: 'vkbd', version: 1, shape: shape.record({}) }, { save: () => ({}), isAsSaved: () => true, load: () => undefined }),
      underWay: () => undefined,
    },
  }
}

/** Who serves keyboards. */
export const SERVED_KEYBOARDS = { name: KEYBOARD.name, serve: serveKeyboards } satisfies ServedDevice<KeyboardConfig, KeyboardService>
