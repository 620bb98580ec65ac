/**
 * Specifications of channels: `connection=pty|socket,name=NAME[,path=PATH][,backend=DOMAIN]`, and the same as objects.
 * Reference: xl.cfg(5), CHANNELS; tools/xl/xl_parse.c.
 */
import { checkConfig, oneOf, XenError, type OptionChecks } from '../../../util/index.ts'
import { MAX_SPECIFICATION } from '../described-device.ts'
import { parameters, parametersOf, parameterText, unless } from '../parameters.ts'

/** What stands at the host's end of a channel: nothing but `domain.channel(name)`, or also a Unix socket. */
export const CHANNEL_CONNECTIONS = ['pty', 'socket'] as const

/** One channel: a byte pipe between a guest and somebody on its host. */
export interface ChannelConfig {
  /** By which both ends know it, such as `org.example.agent`. Unique in its domain. */
  readonly name: string
  readonly connection: (typeof CHANNEL_CONNECTIONS)[number]
  /** Where the socket is; with `socket` only. */
  readonly path?: string
  /** Domain that serves it. */
  readonly backend: string
}

/** A channel as an object. */
export interface ChannelDescription {
  readonly name: string
  /** Default: `socket` where there is a path, otherwise `pty`. */
  readonly connection?: ChannelConfig['connection'] | undefined
  readonly path?: string | undefined
  /** Domain that serves it, by name or number. Default dom0. */
  readonly backend?: string | undefined
}

/** Characters that a name or path may have: they are nodes of XenStore. */
const LONGEST = 256
const KEYS = ['backend', 'name', 'path', 'connection'] as const

/** Throws INVALID_CONFIG for what cannot go together. `shown` is what was given. */
function checked(channel: ChannelConfig, shown: string): ChannelConfig {
  const fault = (message: string): XenError => new XenError('INVALID_CONFIG', `channel \`${shown}\`: ${message}`, { details: { channel: shown } })
  const { name, path, connection } = channel
  for (const [what, value] of [['name', name], ['path', path ?? '']] as const) {
    if (value.length > LONGEST) throw fault(`its ${what} has more than ${LONGEST} characters`)
    if (/[\0-\x1f\x7f]/.test(value)) throw fault(`its ${what} has control characters`)
  }
  if (name === '') throw fault('it has no name')
  if (connection === 'socket' && (path === undefined || path === '')) throw fault('its connection is a socket, which needs a path')
  return channel
}

/** How a specification is read. */
export interface ChannelOptions {
  /** Told of each parameter that xl passes over; without it one is an error. */
  readonly onIgnored?: (message: string) => void
}

/** Parses one specification. Throws INVALID_CONFIG naming it. */
export function parseChannel(specification: string, options: ChannelOptions = {}): ChannelConfig {
  const wrong = (message: string): string => `channel \`${specification}\`: ${message}`
  const fault = (message: string): XenError => new XenError('INVALID_CONFIG', wrong(message), { details: { channel: specification } })
  if (specification.length > MAX_SPECIFICATION) throw fault(`it has more than ${MAX_SPECIFICATION} characters`)
  const found = parametersOf(specification, {
    keys: KEYS,
    malformed: (message) => { throw fault(message) },
    unknown: (message) => {
      if (options.onIgnored === undefined) throw fault(message)
      options.onIgnored(wrong(message))
    },
  })
  const { name = '', path, backend = '0' } = found
  const connection = CHANNEL_CONNECTIONS.find((word) => word === found.connection)
  if (connection === undefined) {
    throw fault(found.connection === undefined ? 'it has no connection, which is pty or socket' : `\`${found.connection}\` is not a value for connection: it is pty or socket`)
  }
  return checked({ name, connection, ...(connection === 'socket' && path !== undefined ? { path } : {}), backend: backend === '' ? '0' : backend }, specification)
}

const DESCRIPTION_CHECKS: OptionChecks<ChannelDescription> = { name: parameterText, connection: /* @__PURE__ */ oneOf(...CHANNEL_CONNECTIONS), path: parameterText, backend: parameterText }

/** A channel out of a text or an object, with its defaults. Throws INVALID_CONFIG. */
export function resolveChannel(channel: string | ChannelDescription): ChannelConfig {
  if (typeof channel === 'string') return parseChannel(channel)
  checkConfig('channel', channel, DESCRIPTION_CHECKS)
  const { name, path, backend = '0', connection = path === undefined ? 'pty' : 'socket' } = channel
  return checked({ name: name ?? '', connection, ...(path === undefined || connection === 'pty' ? {} : { path }), backend }, JSON.stringify(channel))
}

/** A channel as a specification. */
export const formatChannel = ({ name, connection, path, backend }: ChannelConfig): string =>
  parameters('channels', [['connection', connection], ['name', name], ['path', path], ['backend', unless(backend, '0')]]).join(',')
