/**
 * The block front-end of a guest in TypeScript: finds its disks on the bus and offers them as disks to the program.
 * The back-end is trusted with the guest's data and with nothing else: what it answers is checked.
 *
 * Reference: public/io/blkif.h.
 */
import { IO_PROTO_ABI, VDISK } from '../../abi/index.ts'
import type { FrontendDevice, FrontendDriver, FrontendInstance, SharedPage } from '../../guest/index.ts'
import { sharePage } from '../../guest/index.ts'
import type { EventPort } from '../../util/index.ts'
import { checkOptions, whole, XenError } from '../../util/index.ts'
import { SECTOR_SIZE } from './block-store.ts'
import { BlockClient } from './client.ts'
import { MAX_QUEUES, MAX_DISK_RING_ORDER, type DiskGeometry } from './protocol.ts'
import type { RingPages } from './request-queue.ts'
import { parseVirtualDevice } from './virtual-device.ts'

/** What a front-end asks for, where its back-end offers as much. */
export interface BlockFrontendOptions {
  /** Rings of each disk, 1 to 4. Default: 1, as in Linux on one CPU. */
  readonly maxQueues?: number
  /** Each ring has 2 to this power pages, 0 to 4. Default: 0, as in Linux. */
  readonly maxRingPageOrder?: number
}

interface Ring extends RingPages {
  readonly shared: readonly SharedPage[]
  readonly port: EventPort
}

interface Connection {
  readonly rings: readonly Ring[]
  readonly client: BlockClient
}

/** Makes the disk of a device, with what the bus does with it; for {@link BlockFrontend} alone. */
let openDisk: (device: FrontendDevice, options: BlockFrontendOptions, before: Disk | undefined) => { readonly disk: Disk; readonly instance: FrontendInstance }

/** One disk of a guest. */
export class Disk {
  private readonly device: FrontendDevice
  private readonly options: BlockFrontendOptions
  private connection: Connection | undefined
  private shape: DiskGeometry | undefined
  private readonly waiting: ((disk: Disk) => void)[] = []
  private readonly resizeListeners = new Set<(disk: Disk) => void>()

  static {
    openDisk = (device, options, before) => {
      const disk = new Disk(device, options)
      // Who waits for one that went away waits for the one that has come in its place.
      disk.waiting.push(...before?.waiting.splice(0) ?? [])
      const instance = {
        publish: () => disk.publish(), connected: () => disk.begin(), changed: () => disk.lookAgain(),
        disconnect: () => disk.disconnect(),
      }
      return { disk, instance }
    }
  }

  private constructor(device: FrontendDevice, options: BlockFrontendOptions) {
    this.device = device
    this.options = options
  }

  /** Number of the virtual device, such as `51712` for xvda. */
  get id(): string {
    return this.device.id
  }

  /** What the disk is; undefined while it is not connected. */
  get geometry(): DiskGeometry | undefined {
    return this.shape
  }

  /** Bytes of the disk; 0 while it is not connected. */
  get size(): number {
    return (this.shape?.sectors ?? 0) * SECTOR_SIZE
  }

  /** Resolves when the disk can be used. */
  ready(): Promise<Disk> {
    if (this.shape !== undefined) return Promise.resolve(this)
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  /** Reads `count` sectors of 512 bytes. Rejects with IO when the back-end says so, with CLOSED when the disk goes. */
  async read(sector: number, count: number): Promise<Uint8Array> {
    return this.client().read(sector, count)
  }

  /** Writes whole sectors. */
  async write(sector: number, bytes: Uint8Array): Promise<void> {
    return this.client().write(sector, bytes)
  }

  /** Makes what has been written durable. */
  async flush(): Promise<void> {
    return this.client().flush()
  }

  /**
   * Tells that sectors are no longer needed; they read as zeros then. Rejects with NOT_SUPPORTED where it is not
   * offered.
   */
  async discard(sector: number, count: number): Promise<void> {
    return this.client().discard(sector, count)
  }

  /** The rings themselves, for callers that bring their own pages. */
  client(): BlockClient {
    if (this.connection === undefined || this.shape === undefined) {
      throw new XenError('CLOSED', `disk ${this.id} is not connected`, { details: { device: this.device.path } })
    }
    return this.connection.client
  }

  /** Ends the connection from the guest's side. */
  close(): Promise<void> {
    return this.device.close()
  }

  /** Makes the rings and publishes them. */
  private async publish(): Promise<'Initialised'> {
    const { kernel, otherEnd } = this.device
    this.disconnect()
    const { queues, order } = await this.negotiate()
    const rings: Ring[] = []
    try {
      for (let queue = 0; queue < queues; queue += 1) rings.push(this.makeRing(2 ** order))
    } catch (error) {
      this.letGo(rings)
      throw error
    }
    const client = new BlockClient({ kernel, domid: otherEnd, rings, failed: () => void this.device.close() })
    this.connection = { rings, client }
    await this.device.writeTogether({
      ...nodesOf(rings, order), protocol: IO_PROTO_ABI.X86_64, 'feature-persistent': '1',
    })
    return 'Initialised'
  }

  /** How many rings there are to be, and of which order: what both halves can. */
  private async negotiate(): Promise<{ readonly queues: number; readonly order: number }> {
    const { device, options: { maxQueues = 1, maxRingPageOrder = 0 } } = this
    const offered = async (name: string, wish: number, least: number): Promise<number> =>
      (wish === least ? least : Math.min(wish, (await device.readOtherNumber(name, { minimum: least })) ?? least))
    return { queues: await offered('multi-queue-max-queues', maxQueues, 1), order: await offered('max-ring-page-order', maxRingPageOrder, 0) }
  }

  /** A ring with its event channel; nothing is left behind when one of its pages cannot be had. */
  private makeRing(count: number): Ring {
    const { kernel, otherEnd } = this.device
    const shared: SharedPage[] = []
    try {
      while (shared.length < count) shared.push(sharePage(kernel, otherEnd))
      const port = kernel.events.allocateUnbound(kernel.domid, otherEnd, () => this.connection?.client.onEvent())
      return { shared, pages: shared.map(({ page }) => page), port, notify: () => void kernel.events.notify(port) }
    } catch (error) {
      for (const page of shared) page.release()
      throw error
    }
  }

  /** The back-end is connected: reads what it offers. */
  private async begin(): Promise<void> {
    const { device, connection } = this
    if (connection === undefined) return
    const sectors = await device.requireOther('sectors', { maximum: Number.MAX_SAFE_INTEGER / SECTOR_SIZE })
    const info = (await device.readOtherNumber('info')) ?? 0
    const feature = async (name: string): Promise<boolean> => (await device.readOtherNumber(name)) === 1
    const shape = {
      sectors, readOnly: (info & VDISK.READONLY) !== 0, cdrom: (info & VDISK.CDROM) !== 0,
      removable: (info & VDISK.REMOVABLE) !== 0,
    }
    connection.client.begin({
      geometry: shape,
      persistent: await feature('feature-persistent'), flush: await feature('feature-flush-cache'),
      barrier: await feature('feature-barrier'), discard: await feature('feature-discard'),
      indirect: (await device.readOtherNumber('feature-max-indirect-segments')) ?? 0,
    })
    // Whoever finds it may use it at once: not before all that is offered has been read.
    this.shape = shape
    device.kernel.turn()
    for (const resolve of this.waiting.splice(0)) resolve(this)
  }

  /** The back-end has said something new while it is connected: the disk has another size. */
  private async lookAgain(): Promise<void> {
    const { shape, connection } = this
    const sectors = await this.device.readOtherNumber('sectors', { maximum: Number.MAX_SAFE_INTEGER / SECTOR_SIZE })
    if (shape === undefined || connection === undefined || sectors === undefined || sectors === shape.sectors) return
    this.shape = { ...shape, sectors }
    connection.client.resize(this.shape)
    this.device.kernel.turn()
    for (const tell of [...this.resizeListeners]) tell(this)
  }

  /** Calls `listener` whenever the disk has got another size, until the returned function is called. */
  onResize(listener: (disk: Disk) => void): () => void {
    this.resizeListeners.add(listener)
    return () => void this.resizeListeners.delete(listener)
  }

  /** Lets the rings go. */
  private disconnect(): void {
    const { connection } = this
    if (connection === undefined) return
    this.connection = undefined
    this.shape = undefined
    connection.client.end()
    this.letGo(connection.rings)
  }

  private letGo(rings: readonly Ring[]): void {
    for (const { shared, port } of rings) {
      this.device.kernel.events.close(port)
      // The pages are ours again once the back-end has let them go.
      for (const page of shared) page.release()
    }
  }
}

/** What is published of the rings, in the order in which Linux does: those of a single ring stand in the device's own folder. */
function nodesOf(rings: readonly Ring[], order: number): Record<string, string> {
  const nodes: Record<string, string> = {}
  if (order > 0) nodes['ring-page-order'] = String(order)
  if (rings.length > 1) nodes['multi-queue-num-queues'] = String(rings.length)
  for (const [queue, { shared, port }] of rings.entries()) {
    const folder = rings.length > 1 ? `queue-${queue}/` : ''
    for (const [page, { ref }] of shared.entries()) nodes[`${folder}ring-ref${order > 0 ? page : ''}`] = String(ref)
    nodes[`${folder}event-channel`] = String(port)
  }
  return nodes
}

/**
 * The driver for `vbd` devices of a guest, to be registered with the guest kit's `FrontendBus`.
 *
 * @example
 * const disks = new BlockFrontend()
 * await new FrontendBus(kernel).register(disks)
 * const disk = await disks.disk('xvda')
 * const first = await disk.read(0, 1)
 */
export class BlockFrontend implements FrontendDriver {
  readonly type = 'vbd'
  private readonly options: BlockFrontendOptions
  private readonly known = new Map<string, Disk>()
  private waiting: { readonly id: string; readonly resolve: (disk: Disk) => void }[] = []

  /** Throws INVALID_ARGUMENT for what cannot be asked for. */
  constructor(options: BlockFrontendOptions = {}) {
    checkOptions('BlockFrontend', options, { maxQueues: whole(1, MAX_QUEUES), maxRingPageOrder: whole(0, MAX_DISK_RING_ORDER) })
    this.options = options
  }

  /** Called by the bus. */
  probe(device: FrontendDevice): FrontendInstance {
    const { disk, instance } = openDisk(device, this.options, this.known.get(device.id))
    this.known.set(disk.id, disk)
    for (const { resolve } of this.waiting.filter(({ id }) => id === disk.id)) resolve(disk)
    this.waiting = this.waiting.filter(({ id }) => id !== disk.id)
    return instance
  }

  /** The disks that the guest has, connected or not. */
  get disks(): readonly Disk[] {
    return [...this.known.values()]
  }

  /** The disk of this name (`xvda`, in any spelling) or device number, as soon as it is there and connected. */
  async disk(device: string | number): Promise<Disk> {
    const id = String(parseVirtualDevice(String(device)).number)
    const disk = this.known.get(id) ?? await new Promise<Disk>((resolve) => this.waiting.push({ id, resolve }))
    return disk.ready()
  }
}
