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
import { XenError } from '../../util/index.ts'
import { SECTOR_SIZE } from './block-store.ts'
import { BlockClient } from './client.ts'
import type { DiskGeometry } from './protocol.ts'
import { parseVirtualDevice } from './virtual-device.ts'

interface Ring {
  readonly shared: SharedPage
  readonly port: EventPort
  readonly client: BlockClient
}

/** Makes the disk of a device, with what the bus does with it; for {@link BlockFrontend} alone. */
let openDisk: (device: FrontendDevice, before: Disk | undefined) => { readonly disk: Disk; readonly instance: FrontendInstance }

/** One disk of a guest. */
export class Disk {
  private readonly device: FrontendDevice
  private ring: Ring | undefined
  private shape: DiskGeometry | undefined
  private readonly waiting: ((disk: Disk) => void)[] = []
  private readonly resizeListeners = new Set<(disk: Disk) => void>()

  static {
    openDisk = (device, before) => {
      const disk = new Disk(device)
      // Who waits for one that went away waits for the one that has come in its place.
      disk.waiting.push(...before?.waiting.splice(0) ?? [])
      const instance = {
        publish: () => disk.publish(), connected: () => disk.begin(), changed: () => disk.lookAgain(),
        disconnect: () => disk.disconnect(),
      }
      return { disk, instance }
    }
  }

  private constructor(device: FrontendDevice) {
    this.device = device
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

  /** The ring itself, for callers that bring their own pages. */
  client(): BlockClient {
    if (this.ring === undefined || this.shape === undefined) {
      throw new XenError('CLOSED', `disk ${this.id} is not connected`, { details: { device: this.device.path } })
    }
    return this.ring.client
  }

  /** Ends the connection from the guest's side. */
  close(): Promise<void> {
    return this.device.close()
  }

  /** Makes the ring and publishes it. */
  private async publish(): Promise<'Initialised'> {
    const { kernel, otherEnd } = this.device
    await this.disconnect()
    const shared = sharePage(kernel, otherEnd)
    let port: EventPort
    try {
      port = kernel.events.allocateUnbound(kernel.domid, otherEnd, () => this.ring?.client.onEvent())
    } catch (error) {
      shared.release()
      throw error
    }
    const client = new BlockClient({
      kernel, domid: otherEnd, ring: shared.page, notify: () => void kernel.events.notify(port),
      failed: () => void this.device.close(),
    })
    this.ring = { shared, port, client }
    await this.device.writeTogether({
      'ring-ref': String(shared.ref), 'event-channel': String(port), protocol: IO_PROTO_ABI.X86_64,
      'feature-persistent': '1',
    })
    return 'Initialised'
  }

  /** The back-end is connected: reads what it offers. */
  private async begin(): Promise<void> {
    const { device, ring } = this
    if (ring === undefined) return
    const sectors = await device.requireOther('sectors', { maximum: Number.MAX_SAFE_INTEGER / SECTOR_SIZE })
    const info = (await device.readOtherNumber('info')) ?? 0
    const feature = async (name: string): Promise<boolean> => (await device.readOtherNumber(name)) === 1
    this.shape = {
      sectors, readOnly: (info & VDISK.READONLY) !== 0, cdrom: (info & VDISK.CDROM) !== 0,
      removable: (info & VDISK.REMOVABLE) !== 0,
    }
    ring.client.begin({
      geometry: this.shape,
      persistent: await feature('feature-persistent'), flush: await feature('feature-flush-cache'),
      barrier: await feature('feature-barrier'), discard: await feature('feature-discard'),
      indirect: (await device.readOtherNumber('feature-max-indirect-segments')) ?? 0,
    })
    device.kernel.turn()
    for (const resolve of this.waiting.splice(0)) resolve(this)
  }

  /** The back-end has said something new while it is connected: the disk has another size. */
  private async lookAgain(): Promise<void> {
    const { shape, ring } = this
    const sectors = await this.device.readOtherNumber('sectors', { maximum: Number.MAX_SAFE_INTEGER / SECTOR_SIZE })
    if (shape === undefined || ring === undefined || sectors === undefined || sectors === shape.sectors) return
    this.shape = { ...shape, sectors }
    ring.client.resize(this.shape)
    this.device.kernel.turn()
    for (const tell of [...this.resizeListeners]) tell(this)
  }

  /** Calls `listener` whenever the disk has got another size, until the returned function is called. */
  onResize(listener: (disk: Disk) => void): () => void {
    this.resizeListeners.add(listener)
    return () => void this.resizeListeners.delete(listener)
  }

  /** Lets the ring go. */
  private disconnect(): void {
    const { ring, device: { kernel } } = this
    if (ring === undefined) return
    this.ring = undefined
    this.shape = undefined
    kernel.events.close(ring.port)
    ring.client.end()
    // The page is ours again once the back-end has let it go.
    ring.shared.release()
  }
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
  private readonly known = new Map<string, Disk>()
  private waiting: { readonly id: string; readonly resolve: (disk: Disk) => void }[] = []

  /** Called by the bus. */
  probe(device: FrontendDevice): FrontendInstance {
    const { disk, instance } = openDisk(device, this.known.get(device.id))
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
