/**
 * The network front-end of a guest in TypeScript: finds its interfaces (nic.ts) on the bus and offers them to the program.
 *
 * Reference: public/io/netif.h.
 */
import type { FrontendDevice, FrontendDriver, FrontendInstance } from '../../guest/index.ts'
import { checkArgument, checkOptions, flag, whole } from '../../util/index.ts'
import { openNic, type NetFrontendOptions, type Nic } from './nic.ts'
import { MAX_NIC_QUEUES } from './protocol.ts'

/**
 * The driver for `vif` devices of a guest, to be registered with the guest kit's `FrontendBus`.
 *
 * @example
 * const nics = new NetFrontend()
 * await new FrontendBus(kernel).register(nics)
 * const nic = await nics.nic(0)
 * for await (const frame of nic) nic.send(answerTo(frame))
 */
export class NetFrontend implements FrontendDriver {
  readonly type = 'vif'
  private readonly known = new Map<string, Nic>()
  private readonly options: NetFrontendOptions
  private waiting: { readonly id: string; readonly resolve: (nic: Nic) => void }[] = []

  /** Throws INVALID_ARGUMENT for options that are wrong. */
  constructor(options: NetFrontendOptions = {}) {
    checkOptions('NetFrontend', options, { maxQueues: whole(1, MAX_NIC_QUEUES), large: flag, multicastControl: flag })
    this.options = options
  }

  /** Called by the bus. */
  probe(device: FrontendDevice): FrontendInstance {
    const { nic, instance } = openNic(device, this.options, this.known.get(device.id))
    this.known.set(nic.id, nic)
    for (const { resolve } of this.waiting.filter(({ id }) => id === nic.id)) resolve(nic)
    this.waiting = this.waiting.filter(({ id }) => id !== nic.id)
    return instance
  }

  /** The interfaces that the guest has, connected or not. */
  get nics(): readonly Nic[] {
    return [...this.known.values()]
  }

  /** The interface with this number, as soon as it is there and connected. */
  async nic(handle: string | number): Promise<Nic> {
    const id = String(Number(handle))
    checkArgument('the number of a network interface', Number(handle), whole(0, 0xffff))
    const nic = this.known.get(id) ?? await new Promise<Nic>((resolve) => this.waiting.push({ id, resolve }))
    return nic.ready()
  }
}
