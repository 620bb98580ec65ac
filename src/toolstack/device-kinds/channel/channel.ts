/**
 * Channels: further consoles of a domain, `console` devices from number 1 on. Reference: docs/misc/channel.txt;
 * libxl_console.c, libxl__device_console_add.
 */
import * as z from 'zod/mini'
import { XenError } from '../../../util/index.ts'
import type { DescribedDevice, DeviceRows, DeviceSaved } from '../described-device.ts'
import { unlessDefault } from '../saved-fields.ts'
import { formatChannel, parseChannel, resolveChannel, type ChannelConfig, type ChannelDescription } from './channel-specification.ts'

const text = /* @__PURE__ */ z.string()
const schema = /* @__PURE__ */ z.object({
  backend_domname: z.optional(text),
  name: text,
  'connection.pty': z.optional(z.unknown()),
  'connection.socket': z.optional(z.object({ path: z.optional(text) })),
})

/** Channels of a saved domain, as libxl's JSON has them: what there is of `connection` stands behind a dot. */
const SAVED: DeviceSaved<ChannelConfig> = {
  key: 'channels',
  schema,
  write: ({ name, connection, path, backend }, index) => ({
    backend_domname: unlessDefault(backend, '0'), devid: index, name,
    ...(connection === 'socket' ? { 'connection.socket': { path } } : { 'connection.pty': {} }),
  }),
  read(saved: z.infer<typeof schema>) {
    const { name, backend_domname: backend = '0' } = saved
    const path = saved['connection.socket']?.path
    return resolveChannel(saved['connection.socket'] === undefined ? { name, backend, connection: 'pty' } : { name, backend, connection: 'socket', path })
  },
}

/** What QEMU calls the character device behind a socket, or what is said of a terminal. */
const outputOf = ({ connection }: ChannelConfig, id: number): string => (connection === 'socket' ? `chardev:libxl-channel${id - 1}` : 'pty')

const rows = (channel: ChannelConfig, id: number): DeviceRows => {
  const { name, connection, path } = channel
  return {
    backendHead: [], backendMiddle: [],
    backendTail: [['protocol', 'vt100'], ['name', name], ['connection', connection], ...(path === undefined ? [] : [['path', path] as const])],
    frontend: [['protocol', 'vt100']],
    frontendReadOnly: [['name', name], ['limit', '1048576'], ['type', 'ioemu'], ['output', outputOf(channel, id)], ['tty', '']],
  }
}

/** Channels. */
export const CHANNEL = {
  name: 'console',
  title: 'channel',
  about: 'Channels: byte pipes by name, which the guest has as further consoles (xl.cfg(5)) and its host as `domain.channel(name)`.',
  words: { option: 'channel' as const, parse: parseChannel, format: formatChannel },
  saved: SAVED,
  resolve: (description) => resolveChannel(description as string | ChannelDescription),
  checkTogether: (channels) => {
    const names = channels.map(({ name }) => name)
    const twice = names.find((name, at) => names.indexOf(name) !== at)
    if (twice !== undefined) throw new XenError('INVALID_CONFIG', `there are two channels called ${twice}`, { details: { key: 'channels', name: twice } })
  },
  label: ({ name }) => `channel ${name}`,
  hostNames: ({ path }) => ({ files: path }),
  settle: (config, { isFree, hasName }) => {
    const { name } = config
    if (hasName(name)) throw new XenError('DEVICE_EXISTS', `the domain has a channel called ${name} already`, { details: { kind: 'console', name } })
    // Number 0 is the domain's own console.
    let id = 1
    while (!isFree(id)) id += 1
    return { id, config }
  },
  nameOf: ({ name }) => name,
  facts: ({ name, connection, path }) => ({ name, connection, path }),
  numberOf: Number,
  spelled: (name) => name,
  rows,
  isOpened: false,
  leavesAnyway: false,
} satisfies DescribedDevice<ChannelConfig>
