/**
 * Screens of a host's domains by VNC: where a domain's description says `vfb = [ "vnc=1" ]`, a port of the host as a device model has one, to which any viewer
 * connects. Several viewers may look at one screen, and all of them type.
 *
 * Reference: xl.cfg(5), vfb; RFC 6143.
 */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Host, Screen } from '../../toolstack/index.ts'
import { thrownMessage, XenError } from '../../util/index.ts'
import { checkLimits, limitHandshake, limitIdle, type SocketLimits } from '../socket-limits.ts'
import { lockOf } from './lock.ts'
import { VERSION_LENGTH } from './protocol.ts'
import { RfbSession, type Viewed } from './session.ts'

/** How screens are served. */
export interface ScreensOptions extends SocketLimits {
  /** A screen's port could not be opened: the guest has its screen all the same, and nobody sees it there. Default: a warning of the process. */
  readonly onFailed?: ((error: XenError) => void) | undefined
  /** The first port, of display 0. Default 5900; 0 takes any that is free for each screen. */
  readonly firstPort?: number | undefined
}

/** Where one screen is seen. */
export interface ServedScreen {
  readonly domid: number
  readonly screen: number
  readonly address: string
  readonly port: number
  /** Viewers now. */
  readonly viewers: number
}

/** The screens of a host that are served. */
export interface Screens {
  /** Those that listen now. */
  readonly served: readonly ServedScreen[]
  /** Resolves when a domain's screen listens. Rejects with DEVICE_NOT_FOUND where it has none that is offered, IO where it could not. */
  listening(domid: number, screen?: number): Promise<ServedScreen>
  /** Closes them all. */
  close(): Promise<void>
}

/** The port of display 0. */
const FIRST_PORT = 5900
/** Displays that are tried where one is in use. */
const MOST_DISPLAYS = 100
/** Viewers of one screen; further ones are closed at once. */
const MOST_VIEWERS = 16

interface Place {
  readonly key: string
  readonly domid: number
  readonly screen: Screen
  readonly address: string
  readonly sockets: Set<Socket>
  server: Server | undefined
  readonly ready: Promise<ServedScreen>
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port

/** Listens at the display, or at the next that is free. */
async function listen(make: () => Server, { address, port, tries }: { readonly address: string; readonly port: number; readonly tries: number }): Promise<Server> {
  for (let at = 0; ; at += 1) {
    const server = make()
    try {
      await once(server.listen(port === 0 ? 0 : port + at, address), 'listening')
      return server
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || at + 1 >= tries) throw error
    }
  }
}

/** What a session sees of a screen that may go at any time. */
function viewedOf(screen: Screen, name: string): Viewed {
  const unlessGone = <T>(look: () => T): T | undefined => {
    try {
      return look()
    } catch (error) {
      if (XenError.is(error)) return undefined
      throw error
    }
  }
  return {
    name, size: () => unlessGone(() => screen.size), picture: (area) => unlessGone(() => screen.picture(area)),
    // A guest that takes nothing loses what is typed, as on a keyboard whose buffer is full.
    input: (inputs) => unlessGone(() => screen.input(inputs)),
  }
}

class ServedScreens implements Screens {
  private readonly host: Host
  private readonly options: ScreensOptions
  private readonly onFailed: (error: XenError) => void
  private readonly places = new Map<string, Place>()
  private readonly unlisten: readonly (() => void)[]
  private readonly release: () => void

  constructor(host: Host, options: ScreensOptions) {
    this.host = host
    this.options = options
    this.onFailed = options.onFailed ?? ((error) => process.emitWarning(error))
    this.release = host.expectInput()
    const { events } = host
    // Devices of a new domain are there before its handle is.
    this.unlisten = [
      events.on('domain-created', ({ domid }) => this.look(domid)), events.on('device-added', ({ domid }) => this.look(domid)),
      events.on('device-removed', ({ domid, kind, device }) => { if (kind === 'vfb') void this.end(`${domid}/${device}`) }),
      events.on('host-shutdown', () => void this.close()),
    ]
    for (const { id } of host.domains()) this.look(id)
  }

  get served(): readonly ServedScreen[] {
    return [...this.places.values()].flatMap((place) => (place.server?.listening === true ? [this.shown(place)] : []))
  }

  private shown({ domid, screen, address, server, sockets }: Place): ServedScreen {
    return { domid, screen: screen.id, address, port: portOf(server!), get viewers() { return sockets.size } }
  }

  listening(domid: number, screen = 0): Promise<ServedScreen> {
    const place = this.places.get(`${domid}/${screen}`)
    return place?.ready ?? Promise.reject(new XenError('DEVICE_NOT_FOUND', `no screen ${screen} of domain ${domid} is offered by VNC`, { details: { domid, screen } }))
  }

  /** Opens what a domain's screens offer and is not open yet. */
  private look(domid: number): void {
    const domain = this.host.domains().find(({ id }) => id === domid)
    const framebuffers = domain?.currentConfig().framebuffers ?? []
    const devices = (domain?.devices() ?? []).filter(({ kind }) => kind === 'vfb')
    for (const [at, { device, facts: { vnc, listen: address, display, findUnused } }] of devices.entries()) {
      const key = `${domid}/${device}`
      if (vnc !== true || this.places.has(key)) continue
      const screen = domain!.screen(device)
      const first = this.options.firstPort ?? FIRST_PORT
      const wanted = { address: String(address), port: first === 0 ? 0 : first + Number(display), tries: findUnused === true ? MOST_DISPLAYS : 1 }
      this.open({ key, domid, screen, sockets: new Set(), server: undefined, address: wanted.address }, { ...wanted, name: domain!.name, password: framebuffers[at]?.password })
    }
  }

  private open(
    facts: Omit<Place, 'ready'>, { name, password, ...wanted }: { readonly address: string; readonly port: number; readonly tries: number; readonly name: string; readonly password: string | undefined },
  ): void {
    const make = (): Server => createServer({ noDelay: true }, (socket) => this.accept(facts, socket, { name, password }))
    const ready = listen(make, wanted).then((server) => {
      if (this.places.get(facts.key) !== place) {
        server.close()
        throw new XenError('CLOSED', `screen ${facts.screen.id} of domain ${facts.domid} is gone`)
      }
      place.server = server
      return this.shown(place)
    }, (cause: unknown) => {
      this.places.delete(facts.key)
      const details = { domid: facts.domid, screen: facts.screen.id, ...wanted }
      throw new XenError('IO', `screen ${facts.screen.id} of domain ${facts.domid} cannot be offered at ${wanted.address}: ${thrownMessage(cause)}`, { details, cause })
    })
    ready.catch((error: XenError) => { if (XenError.is(error, 'IO')) this.onFailed(error) })
    const place: Place = Object.assign(facts, { ready })
    this.places.set(facts.key, place)
  }

  private accept({ screen, sockets }: Pick<Place, 'screen' | 'sockets'>, socket: Socket, { name, password }: { readonly name: string; readonly password: string | undefined }): void {
    socket.on('error', () => undefined)
    if (sockets.size >= MOST_VIEWERS) return void socket.destroy()
    sockets.add(socket)
    const limits = checkLimits({ idleTimeout: Infinity, ...this.options })
    limitHandshake(socket, VERSION_LENGTH, limits)
    limitIdle(socket, limits)
    const session = new RfbSession({
      viewed: viewedOf(screen, name), lock: lockOf(password),
      send: (bytes) => {
        // Who does not read what it has asked for is not listened to.
        if (socket.writable && !socket.write(bytes)) socket.pause()
      },
      end: () => socket.end(),
    })
    const { events } = screen
    const unlisten = [
      events.on('drawn', ({ area }) => session.drawn(area)),
      ...(['resized', 'connected', 'disconnected'] as const).map((type) => events.on(type, () => session.changed())),
    ]
    socket.on('data', (bytes) => session.receive(bytes))
    socket.on('drain', () => socket.resume())
    socket.once('close', () => {
      sockets.delete(socket)
      for (const stop of unlisten) stop()
    })
  }

  private async end(key: string): Promise<void> {
    const place = this.places.get(key)
    if (place === undefined) return
    this.places.delete(key)
    for (const socket of place.sockets) socket.destroy()
    const { server } = place
    if (server?.listening === true) await new Promise<void>((resolve) => server.close(() => resolve()))
  }

  async close(): Promise<void> {
    this.release()
    for (const stop of this.unlisten) stop()
    await Promise.all([...this.places.keys()].map((key) => this.end(key)))
  }
}

/**
 * Offers the screens of a host's domains by VNC, of those that there are and of those that come, each where its description says, until it is
 * closed or the host is shut down. Without a password whoever gets to the address sees the screen and types.
 *
 * @example
 * const screens = serveScreens(host)
 * const domain = await host.createDomain({ name: 'desk', memory: 192, kernel, framebuffers: [{ password: 'secret' }] })
 * const { port } = await screens.listening(domain.id)
 */
export const serveScreens = (host: Host, options: ScreensOptions = {}): Screens => {
  checkLimits(options)
  return new ServedScreens(host, options)
}
