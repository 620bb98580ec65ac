/**
 * The sockets of channels: where the description of a domain's channel says `connection=socket`, a Unix socket at its path, as a device
 * model has one. One client at a time talks with the guest; what the guest says while there is none is kept in the channel's own output.
 * Reference: docs/misc/channel.txt; QEMU, chardev `socket` with server=on,wait=off.
 */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import type { DomainConsole, Host } from '../toolstack/index.ts'
import { thrownMessage, XenError } from '../util/index.ts'
import { listenAt } from './listen-at.ts'

/** How failures are told. */
export interface ChannelSocketsOptions {
  /** A channel's socket could not be opened: the guest has its channel all the same, and nobody hears it there. Default: a warning of the process. */
  readonly onFailed?: ((error: XenError) => void) | undefined
}

/** The sockets of a host's channels. */
export interface ChannelSockets {
  /** Paths at which it listens now. */
  readonly paths: readonly string[]
  /** Closes them all. */
  close(): Promise<void>
}

/** Bytes that are given to a guest at a time: less than may wait for it. */
const PIECE = 1 << 14

/** Gives the guest what a client sends, no faster than it takes it. */
async function hear(socket: Socket, channel: DomainConsole): Promise<void> {
  for await (const bytes of socket as AsyncIterable<Uint8Array>) {
    for (let at = 0; at < bytes.length; at += PIECE) await channel.write(bytes.subarray(at, at + PIECE))
  }
}

/** Gives a client what the guest says from now on. */
async function tell(socket: Socket, channel: DomainConsole, signal: AbortSignal): Promise<void> {
  for await (const bytes of channel.output({ fromNow: true, signal })) {
    if (!socket.write(bytes)) await Promise.race([once(socket, 'drain', { signal }).catch(() => undefined), once(socket, 'close', { signal }).catch(() => undefined)])
  }
  socket.end()
}

/** Lets a client talk with the guest until either is gone. */
function join(socket: Socket, channel: DomainConsole): void {
  const over = new AbortController()
  socket.once('close', () => over.abort())
  socket.on('error', () => undefined)
  void tell(socket, channel, over.signal)
  // The channel is over, or its client: the other is let go.
  hear(socket, channel).catch(() => undefined).finally(() => socket.destroy())
}

class Sockets implements ChannelSockets {
  private readonly host: Host
  private readonly onFailed: (error: XenError) => void
  private readonly listening = new Map<string, { readonly path: string; readonly server: Server; client: Socket | undefined }>()
  private readonly unlisten: readonly (() => void)[]
  private readonly release: () => void

  constructor(host: Host, { onFailed = (error) => process.emitWarning(error) }: ChannelSocketsOptions) {
    this.host = host
    this.onFailed = onFailed
    this.release = host.expectInput()
    const { events } = host
    // Devices of a new domain are there before its handle is.
    this.unlisten = [
      events.on('domain-created', ({ domid }) => this.look(domid)), events.on('device-added', ({ domid }) => this.look(domid)),
      events.on('device-removed', ({ domid, kind, device }) => { if (kind === 'console') this.end(`${domid}/${device}`) }),
      events.on('host-shutdown', () => void this.close()),
    ]
    for (const { id } of host.domains()) this.look(id)
  }

  get paths(): readonly string[] {
    return [...this.listening.values()].map(({ path }) => path)
  }

  /** Opens what a domain's channels name and is not open yet. */
  private look(domid: number): void {
    const domain = this.host.domains().find(({ id }) => id === domid)
    for (const { kind, device, name, facts: { path }, backend } of domain?.devices() ?? []) {
      const key = `${domid}/${device}`
      if (kind !== 'console' || backend !== 0 || typeof path !== 'string' || this.listening.has(key)) continue
      const channel = domain!.channel(name)
      const server = createServer((socket) => this.accept(key, socket, channel))
      this.listening.set(key, { path, server, client: undefined })
      listenAt(server, path).catch((cause: unknown) => {
        this.end(key)
        this.onFailed(new XenError('IO', `channel ${name} of domain ${domid}: ${thrownMessage(cause)}`, { details: { domid, channel: name, path }, cause }))
      })
    }
  }

  private accept(key: string, socket: Socket, channel: DomainConsole): void {
    const place = this.listening.get(key)
    if (place === undefined || place.client !== undefined) return void socket.destroy()
    place.client = socket
    socket.once('close', () => { place.client = undefined })
    join(socket, channel)
  }

  private end(key: string): void {
    const place = this.listening.get(key)
    if (place === undefined) return
    this.listening.delete(key)
    place.client?.destroy()
    if (place.server.listening) place.server.close()
  }

  async close(): Promise<void> {
    this.release()
    for (const stop of this.unlisten) stop()
    const servers = [...this.listening.values()].map(({ server }) => server).filter(({ listening }) => listening)
    const closed = servers.map((server) => once(server, 'close'))
    for (const key of this.listening.keys()) this.end(key)
    await Promise.all(closed)
  }
}

/**
 * Opens the Unix sockets that the channels of a host's domains name, of those that there are and of those that come, until it is closed
 * or the host is shut down.
 *
 * @example
 * const sockets = serveChannels(host)
 * await host.createDomain('name = "web"\nmemory = 64\nchannel = ["connection=socket,path=/run/web-agent,name=org.example.agent"]')
 */
export const serveChannels = (host: Host, options: ChannelSocketsOptions = {}): ChannelSockets => new Sockets(host, options)
