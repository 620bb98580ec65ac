/** Dom0's back-end of channels. */
import { ChannelBackend, type ConsoleStream } from '../../../drivers/index.ts'
import { part, shape, type DomId } from '../../../util/index.ts'
import type { BackendHost, DeviceService, ServedDevice } from '../served-device.ts'
import { CHANNEL } from './channel.ts'
import type { ChannelConfig } from './channel-specification.ts'

/** The back-end of channels. */
export interface ChannelService extends DeviceService {
  /** A channel that is served, by its number in its domain. */
  stream(domid: DomId, id: number): ConsoleStream | undefined
}

function serveChannels(_host: BackendHost<ChannelConfig>): ChannelService {
  const driver = new ChannelBackend()
  return {
    driver,
    stream: (domid, id) => driver.stream(domid, id),
    isServed: (domid, id) => driver.stream(domid, id) !== undefined,
    statistics: (domid, id) => {
      const counted = driver.stream(domid, id)?.statistics
      return counted && { ...counted }
    },
    state: {
      // What there is of a channel is its device's.
      part: () => part({ name: 'console', version: 1, shape: shape.record({}) }, { save: () => ({}), isAsSaved: () => true, load: () => undefined }),
      underWay: () => undefined,
    },
  }
}

/** Who serves channels. */
export const SERVED_CHANNELS = { name: CHANNEL.name, serve: serveChannels } satisfies ServedDevice<ChannelConfig, ChannelService>
