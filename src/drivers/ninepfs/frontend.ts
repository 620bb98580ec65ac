/**
 * The 9pfs front-end of a guest in TypeScript: finds its folders on the bus and offers each by its tag.
 *
 * Reference: docs/misc/9pfs.pandoc; Linux, net/9p/trans_xen.c.
 */
import { Xen9pfsDataIntf } from '../../abi/index.ts'
import { sharePage, type FrontendDevice, type FrontendDriver, type FrontendInstance, type SharedPage } from '../../guest/index.ts'
import { XenError, type EventPort } from '../../util/index.ts'
import { FileClient } from './client.ts'
import { MountedFolder } from './mounted-folder.ts'
import { NINEPFS_TYPE, TRANSPORT_VERSION } from './protocol.ts'

/** Rings that it asks for, as Linux does, and their order: 32 KiB for each direction of each ring. */
const RINGS = 2
const ORDER = 4

interface Ring {
  readonly indexes: SharedPage
  readonly pages: readonly SharedPage[]
  readonly port: EventPort
}

class FolderDevice implements FrontendInstance {
  private readonly device: FrontendDevice
  private readonly mounted: (folder: MountedFolder) => void
  private readonly lost: (tag: string) => void
  private readonly order: number
  private rings: readonly Ring[] = []
  private client: FileClient | undefined
  private tag = ''

  constructor(device: FrontendDevice, { order, mounted, lost }: { readonly order: number; readonly mounted: (folder: MountedFolder) => void; readonly lost: (tag: string) => void }) {
    this.device = device
    this.order = order
    this.mounted = mounted
    this.lost = lost
  }

  async publish(): Promise<'Initialised'> {
    const { device } = this
    const { kernel } = device
    this.disconnect()
    const versions = ((await device.readOther('versions')) ?? '').split(',')
    const [most, largest] = [await device.requireOther('max-rings', { minimum: 1 }), await device.requireOther('max-ring-page-order', { minimum: 1 })]
    if (!versions.includes(TRANSPORT_VERSION)) throw new XenError('NOT_SUPPORTED', `${device.otherPath}/versions has no ${TRANSPORT_VERSION}`)
    this.tag = (await device.read('tag')) ?? ''
    const order = Math.min(this.order, largest)
    const made: Ring[] = []
    this.rings = made
    for (let at = 0; at < Math.min(RINGS, most); at += 1) made.push(this.makeRing(at, order))
    this.client = new FileClient({
      memory: kernel.hypercalls.memory, rings: made.map(({ indexes, pages }) => ({ memory: kernel.hypercalls.memory, indexes: indexes.page.base, pages: pages.map(({ page }) => page.base), order })),
      notify: (at) => void kernel.events.notify(made[at]!.port), turn: () => kernel.turn(), failed: () => void device.close(),
    })
    await device.writeTogether({
      version: TRANSPORT_VERSION, 'num-rings': String(made.length),
      ...Object.fromEntries(made.flatMap(({ indexes, port }, at) => [[`ring-ref${at}`, String(indexes.ref)], [`event-channel-${at}`, String(port)]])),
    })
    return 'Initialised'
  }

  private makeRing(at: number, order: number): Ring {
    const { kernel, otherEnd } = this.device
    const shared: SharedPage[] = []
    try {
      for (let page = 0; page <= 2 ** order; page += 1) shared.push(sharePage(kernel, otherEnd))
      const [indexes, ...pages] = shared
      const { view, base, bytes } = { ...indexes!.page, bytes: kernel.hypercalls.memory.bytes }
      bytes.fill(0, base, base + Xen9pfsDataIntf.size)
      Xen9pfsDataIntf.ringOrder.set(view, base, order)
      for (const [index, { ref }] of pages.entries()) view.setUint32(base + Xen9pfsDataIntf.size + 4 * index, ref, true)
      const port = kernel.events.allocateUnbound(kernel.domid, otherEnd, () => this.client?.onEvent(at))
      return { indexes: indexes!, pages, port }
    } catch (error) {
      for (const page of shared) page.release()
      throw error
    }
  }

  async connected(): Promise<void> {
    const { client, tag } = this
    if (client === undefined) return
    // Not waited for: the handshake goes on, and the back-end answers when it has come to its end.
    void this.mount(new MountedFolder(tag, client))
  }

  private async mount(folder: MountedFolder): Promise<void> {
    try {
      await folder.client.begin()
      await folder.attach()
    } catch (error) {
      if (!XenError.is(error)) throw error
      return void this.device.close()
    }
    this.device.kernel.turn()
    this.mounted(folder)
  }

  disconnect(): void {
    const { rings, client, device: { kernel } } = this
    this.rings = []
    this.client = undefined
    client?.end()
    for (const { port, indexes, pages } of rings) {
      kernel.events.close(port)
      for (const page of [indexes, ...pages]) page.release()
    }
    if (client !== undefined) this.lost(this.tag)
  }
}

/** How the front-end makes its rings. */
export interface FolderFrontendOptions {
  /** Order of a pair of rings: `2 ** order` pages. Default 4; the back-end may allow less. */
  readonly order?: number | undefined
}

/**
 * The driver for `9pfs` devices of a guest, to be registered with the guest kit's `FrontendBus`.
 *
 * @example
 * const folders = new FolderFrontend()
 * await new FrontendBus(kernel).register(folders)
 * const shared = await folders.folder('shared')
 * const text = await shared.readFile('/etc/motd')
 */
export class FolderFrontend implements FrontendDriver {
  readonly type = NINEPFS_TYPE
  private readonly options: FolderFrontendOptions
  private readonly known = new Map<string, MountedFolder>()
  private waiting: { readonly tag: string; readonly resolve: (folder: MountedFolder) => void }[] = []

  constructor(options: FolderFrontendOptions = {}) {
    this.options = options
  }

  /** Called by the bus. */
  probe(device: FrontendDevice): FrontendInstance {
    return new FolderDevice(device, {
      order: this.options.order ?? ORDER,
      mounted: (folder) => {
        this.known.set(folder.tag, folder)
        const here = this.waiting.filter(({ tag }) => tag === folder.tag)
        this.waiting = this.waiting.filter(({ tag }) => tag !== folder.tag)
        for (const { resolve } of here) resolve(folder)
      },
      lost: (tag) => void this.known.delete(tag),
    })
  }

  /** The folder of this tag, as soon as it is there and mounted. */
  folder(tag: string): Promise<MountedFolder> {
    const known = this.known.get(tag)
    return known === undefined ? new Promise((resolve) => this.waiting.push({ tag, resolve })) : Promise.resolve(known)
  }
}
