/** The host's end of a domain's channels: each as a console that is found by its name. */
import type { ConsoleStream } from '../../drivers/index.ts'
import { checkArgument, named, shown, XenError, type Check } from '../../util/index.ts'
import { CHANNEL } from '../device-kinds/channel/channel.ts'
import { SERVED_CHANNELS } from '../device-kinds/channel/channel-service.ts'
import type { Devices } from '../devices/devices.ts'
import { openConsole, type ConsoleHost, type DomainConsole } from '../domains/domain-console.ts'
import type { DomainFate } from './domain-fate.ts'

/** What channels need of their host. */
export interface ChannelHost {
  readonly devices: Devices
  /** What a console of a domain needs. */
  consoleHost(fate: DomainFate): ConsoleHost
}

/** What was made of each stream: where waiting for text goes on is one place for all who ask for a channel. */
const CONSOLES = /* @__PURE__ */ new WeakMap<ConsoleStream, DomainConsole>()

const channelName: Check = (value) =>
  (typeof value === 'string' && value !== '') || Number.isSafeInteger(value) ? undefined : `must be the name or number of a channel, got ${shown(value)}`

/** The channel of a name or number. Throws INVALID_ARGUMENT, DEVICE_NOT_FOUND, NOT_SUPPORTED where a driver domain serves it. */
export function channelOf(host: ChannelHost, fate: DomainFate, name: string | number): DomainConsole {
  checkArgument('the name of domain.channel', name, channelName)
  const { devices } = host
  const { device: id, backend } = devices.find(fate.id, CHANNEL, named(name))
  const details = { domid: fate.id, kind: CHANNEL.name, id, backend }
  if (backend !== 0) throw new XenError('NOT_SUPPORTED', `channel ${name} of domain ${fate.id} is served by domain ${backend}, whose end it is`, { details })
  const stream = devices.service(SERVED_CHANNELS).stream(fate.id, id)
  if (stream === undefined) throw new XenError('INVALID_STATE', `channel ${name} of domain ${fate.id} is not served yet`, { details })
  const known = CONSOLES.get(stream)
  if (known !== undefined) return known
  const made = openConsole(stream, host.consoleHost(fate))
  CONSOLES.set(stream, made)
  return made
}
