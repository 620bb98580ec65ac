/** Dom0's back-end of framebuffers. */
import { FramebufferBackend, type ServedFramebuffer } from '../../../drivers/index.ts'
import { part, shape, type DomId } from '../../../util/index.ts'
import type { BackendHost, DeviceService, ServedDevice } from '../served-device.ts'
import { FRAMEBUFFER } from './framebuffer.ts'
import type { FramebufferConfig } from './framebuffer-specification.ts'

/** The back-end of framebuffers. */
export interface FramebufferService extends DeviceService {
  /** A framebuffer that is served, by its number in its domain. */
  served(domid: DomId, id: number): ServedFramebuffer | undefined
}

function serveFramebuffers({ interference }: BackendHost<FramebufferConfig>): FramebufferService {
  const driver = new FramebufferBackend({ interference: interference?.framebuffer })
  return {
    driver,
    served: (domid, id) => driver.framebuffer(domid, id),
    isServed: (domid, id) => driver.framebuffer(domid, id) !== undefined,
    statistics: (domid, id) => {
      const counted = driver.framebuffer(domid, id)?.statistics
      return counted && { ...counted }
    },
    state: {
      // What there is of a framebuffer is its device's.
      part: () => part({ name: 'vfb', version: 1, shape: shape.record({}) }, { save: () => ({}), isAsSaved: () => true, load: () => undefined }),
      underWay: () => undefined,
    },
  }
}

/** Who serves framebuffers. */
export const SERVED_FRAMEBUFFERS = { name: FRAMEBUFFER.name, serve: serveFramebuffers } satisfies ServedDevice<FramebufferConfig, FramebufferService>
