/** The toy's back-end: multiplies. */
import type { BackendDevice, BackendDriver, BackendInstance, MappedPage } from '../../src/guest/index.ts'
import type { DomId, EventPort, GrantRef } from '../../src/util/index.ts'
import { TOY_PAGE } from './toy-protocol.ts'

class ToyInstance implements BackendInstance {
  answers = 0
  private readonly device: BackendDevice
  private readonly over: () => void
  private connection: { readonly page: MappedPage; readonly port: EventPort } | undefined

  constructor(device: BackendDevice, over: () => void) {
    this.device = device
    this.over = over
  }

  async announce(): Promise<void> {
    await this.device.write({ 'feature-multiply': '1' })
  }

  async connect(): Promise<boolean> {
    const { kernel, otherEnd } = this.device
    const factor = Number(await this.device.read('factor'))
    const port = await this.device.requireOther('event-channel', { minimum: 1 })
    const page = kernel.grants.map(otherEnd, await this.device.requireOther('ring-ref') as GrantRef)
    const own = kernel.events.bindInterdomain(otherEnd, port as EventPort, () => {
      const value = page.view.getUint32(page.base + TOY_PAGE.question, true)
      // A port is bound with an event pending: nothing has been asked yet.
      if (value === 0) return
      page.view.setUint32(page.base + TOY_PAGE.answer, value * factor, true)
      this.answers += 1
      kernel.events.notify(own)
    })
    this.connection = { page, port: own }
    return true
  }

  disconnect(): void {
    const { connection, device: { kernel } } = this
    if (connection === undefined) return
    this.connection = undefined
    kernel.events.close(connection.port)
    kernel.grants.unmap(connection.page)
  }

  remove(): void {
    this.over()
  }
}

/** The driver for `vtoy` devices. */
export class ToyBackend implements BackendDriver {
  readonly type = 'vtoy'
  private readonly instances = new Map<string, ToyInstance>()

  probe(device: BackendDevice): BackendInstance {
    const instance = new ToyInstance(device, () => this.instances.delete(device.path))
    this.instances.set(device.path, instance)
    return instance
  }

  /** Questions that were answered for a toy; undefined for one that is not served. */
  answers(domid: DomId, id: number): number | undefined {
    return this.instances.get(`backend/vtoy/${domid}/${id}`)?.answers
  }
}
