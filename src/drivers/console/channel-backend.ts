/**
 * The back-end of channels: what a device model does for the further consoles of a domain. Each is a byte pipe by a name; who reads and
 * writes it is the stream's owner. A domain's first console is no device of the bus, and backend.ts serves it.
 *
 * Reference: docs/misc/channel.txt; libxl_console.c, libxl__device_console_add; QEMU, hw/char/xen_console.c.
 */
import type { BackendDevice, BackendDriver, BackendInstance, DriverState } from '../../guest/index.ts'
import { shape, type DomId, type StateOf } from '../../util/index.ts'
import { consoleStreamState, openConsole, type ConsoleAccess, type ConsoleStream } from './console-stream.ts'
import { CONSOLE_LOG_LIMIT } from './protocol.ts'

/** Characters that a channel's name may have. */
export const CHANNEL_NAME_LIMIT = 256

const channelState = /* @__PURE__ */ shape.record({
  name: /* @__PURE__ */ shape.text(CHANNEL_NAME_LIMIT), console: /* @__PURE__ */ shape.optional(consoleStreamState),
})
type ChannelState = StateOf<typeof channelState>

class ChannelInstance implements BackendInstance {
  private readonly device: BackendDevice
  private readonly over: () => void
  private name = ''
  private console: ConsoleAccess | undefined

  constructor(device: BackendDevice, over: () => void) {
    this.device = device
    this.over = over
  }

  get stream(): ConsoleStream | undefined {
    return this.console?.stream
  }

  private open(name: string): ConsoleAccess {
    this.name = name
    return (this.console = openConsole(this.device.otherEnd, this.device.kernel, name))
  }

  /** There is nothing to be offered. Who wants to talk to the guest may begin: it hears it when it comes. */
  async announce(): Promise<void> {
    this.open(((await this.device.read('name')) ?? '').slice(0, CHANNEL_NAME_LIMIT))
  }

  async connect(): Promise<boolean> {
    const { device, console } = this
    const ringFrame = await device.requireOther('ring-ref')
    const port = await device.requireOther('port', { minimum: 1 })
    console?.update({ ringFrame, port, limit: CONSOLE_LOG_LIMIT })
    return console?.stream.connected === true
  }

  disconnect(): void {
    this.console?.update(undefined)
  }

  remove(): void {
    this.console?.end()
    this.over()
  }

  save(): ChannelState {
    return { name: this.name, console: this.console?.save() }
  }

  load({ name, console }: ChannelState): void {
    if (console !== undefined) this.open(name).load(console)
  }
}

/**
 * The driver for the `console` devices of other domains, to be registered with the guest kit's `BackendBus`.
 *
 * @example
 * const channels = new ChannelBackend()
 * await new BackendBus(kernel).register(channels)
 * channels.stream(domid, 1)?.write('hello\n')
 */
export class ChannelBackend implements BackendDriver {
  readonly type = 'console'
  private readonly instances = new Map<string, ChannelInstance>()

  readonly state: DriverState = {
    version: 2, shape: channelState,
    load: (device, state) => {
      const instance = this.open(device)
      // The shape has been checked.
      instance.load(state as ChannelState)
      return instance
    },
  }

  /** A domain's own console, whose number is 0, has a back-end of its own. */
  serves(id: string): boolean {
    return id !== '0'
  }

  /** Called by the bus. */
  probe(device: BackendDevice): BackendInstance {
    return this.open(device)
  }

  private open(device: BackendDevice): ChannelInstance {
    const instance = new ChannelInstance(device, () => this.instances.delete(device.path))
    this.instances.set(device.path, instance)
    return instance
  }

  /** A channel that is served, by its number in its domain. */
  stream(domid: DomId, id: number): ConsoleStream | undefined {
    return this.instances.get(`backend/console/${domid}/${id}`)?.stream
  }
}
