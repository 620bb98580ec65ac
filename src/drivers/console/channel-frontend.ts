/**
 * The front-end of channels for a guest in TypeScript: finds its further consoles on the bus and offers each by its name, as a console
 * like the first.
 *
 * Reference: docs/misc/channel.txt; Linux, drivers/tty/hvc/hvc_xen.c.
 */
import { GuestConsole, sharePage, type FrontendDevice, type FrontendDriver, type FrontendInstance, type SharedPage } from '../../guest/index.ts'
import type { EventPort } from '../../util/index.ts'

interface Ring {
  readonly shared: SharedPage
  readonly port: EventPort
}

class ChannelInstance implements FrontendInstance {
  private readonly device: FrontendDevice
  private readonly opened: (name: string, console: GuestConsole) => void
  private ring: Ring | undefined
  private console: GuestConsole | undefined
  private name = ''

  constructor(device: FrontendDevice, opened: (name: string, console: GuestConsole) => void) {
    this.device = device
    this.opened = opened
  }

  async publish(): Promise<'Initialised'> {
    const { device } = this
    const { kernel, otherEnd } = device
    this.disconnect()
    this.name = (await device.read('name')) ?? ''
    const shared = sharePage(kernel, otherEnd)
    let onEvent: () => void = () => undefined
    const port = kernel.events.allocateUnbound(kernel.domid, otherEnd, () => onEvent())
    this.ring = { shared, port }
    this.console = new GuestConsole(shared.page, port, {
      listen: (own, handler) => {
        onEvent = handler
        return own
      },
      notify: (own) => kernel.events.notify(own),
      turn: () => kernel.turn(),
    })
    await device.writeTogether({ 'ring-ref': String(shared.ref), port: String(port) })
    return 'Initialised'
  }

  async connected(): Promise<void> {
    if (this.console !== undefined) this.opened(this.name, this.console)
  }

  disconnect(): void {
    const { ring, device: { kernel } } = this
    if (ring === undefined) return
    this.ring = undefined
    kernel.events.close(ring.port)
    ring.shared.release()
  }
}

/**
 * The driver for `console` devices of a guest, to be registered with the guest kit's `FrontendBus`.
 *
 * @example
 * const channels = new ChannelFrontend()
 * await new FrontendBus(kernel).register(channels)
 * const channel = await channels.channel('org.example.agent')
 * channel.write('ready\n')
 * const order = await channel.readLine()
 */
export class ChannelFrontend implements FrontendDriver {
  readonly type = 'console'
  private readonly known = new Map<string, GuestConsole>()
  private waiting: { readonly name: string; readonly resolve: (console: GuestConsole) => void }[] = []

  /** Called by the bus. */
  probe(device: FrontendDevice): FrontendInstance {
    return new ChannelInstance(device, (name, console) => {
      this.known.set(name, console)
      const here = this.waiting.filter((one) => one.name === name)
      this.waiting = this.waiting.filter((one) => one.name !== name)
      if (here.length > 0) device.kernel.turn()
      for (const { resolve } of here) resolve(console)
    })
  }

  /** The channel of this name, as soon as it is there and connected. */
  channel(name: string): Promise<GuestConsole> {
    const known = this.known.get(name)
    return known === undefined ? new Promise((resolve) => this.waiting.push({ name, resolve })) : Promise.resolve(known)
  }
}
