/** The toy's front-end, for a guest in TypeScript: asks for multiples of numbers. */
import { sharePage, type FrontendDevice, type FrontendDriver, type FrontendInstance, type SharedPage } from '../../src/guest/index.ts'
import type { EventPort } from '../../src/util/index.ts'
import { TOY_PAGE } from './toy-protocol.ts'

class ToyInstance implements FrontendInstance {
  private readonly device: FrontendDevice
  private readonly ask: (multiple: (value: number) => Promise<number>) => void
  private ring: { readonly shared: SharedPage; readonly port: EventPort } | undefined
  private answered: (() => void) | undefined

  constructor(device: FrontendDevice, ask: (multiple: (value: number) => Promise<number>) => void) {
    this.device = device
    this.ask = ask
  }

  async publish(): Promise<'Initialised'> {
    const { kernel, otherEnd } = this.device
    const shared = sharePage(kernel, otherEnd)
    const port = kernel.events.allocateUnbound(kernel.domid, otherEnd, () => {
      this.answered?.()
      kernel.turn()
    })
    this.ring = { shared, port }
    await this.device.writeTogether({ 'ring-ref': String(shared.ref), 'event-channel': String(port) })
    return 'Initialised'
  }

  async connected(): Promise<void> {
    this.ask((value) => this.multiple(value))
  }

  disconnect(): void {
    const { ring, device: { kernel } } = this
    if (ring === undefined) return
    this.ring = undefined
    kernel.events.close(ring.port)
    ring.shared.release()
  }

  private async multiple(value: number): Promise<number> {
    const { page: { view, base } } = this.ring!.shared
    view.setUint32(base + TOY_PAGE.question, value, true)
    const answer = new Promise<void>((resolve) => { this.answered = resolve })
    this.device.kernel.events.notify(this.ring!.port)
    await answer
    return view.getUint32(base + TOY_PAGE.answer, true)
  }
}

/** The driver for `vtoy` devices of a guest; `ask` is called with each that is connected. */
export const toyFrontend = (ask: (id: string, multiple: (value: number) => Promise<number>) => void): FrontendDriver => ({
  type: 'vtoy',
  probe: (device) => new ToyInstance(device, (multiple) => ask(device.id, multiple)),
})
