/**
 * The front-end of framebuffers for a guest in TypeScript: pages of its own as a picture, and a word for each rectangle that it has drawn.
 *
 * Reference: public/io/fbif.h; Linux, drivers/video/fbdev/xen-fbfront.c.
 */
import { IO_PROTO_ABI, PAGE_SIZE, XENFB_TYPE, XenfbPage, XenfbResize, XenfbUpdate } from '../../abi/index.ts'
import type { FrontendDevice, FrontendDriver, FrontendInstance, Page } from '../../guest/index.ts'
import { EventProducer } from '../../rings/index.ts'
import { checkOptions, whole, type EventPort } from '../../util/index.ts'
import { clipped, type ScreenArea } from './picture.ts'
import { FRAMEBUFFER_TYPE, MAX_SIDE, OUT_RING, numbersPerPage } from './protocol.ts'

/** How a guest's picture is made. */
export interface FramebufferFrontendOptions {
  /** Pixels. Default 640 x 480. */
  readonly width?: number | undefined
  readonly height?: number | undefined
}

/** A colour: red, green, blue, each from 0 to 255. */
export type Colour = readonly [red: number, green: number, blue: number]

interface Memory {
  readonly shared: Page
  readonly directory: readonly Page[]
  readonly pixels: readonly Page[]
  readonly port: EventPort
  readonly out: EventProducer
}

class FramebufferDevice implements FrontendInstance {
  private readonly device: FrontendDevice
  private readonly frontend: Pick<FramebufferFrontend, 'width' | 'height'>
  private readonly opened: (screen: GuestScreen) => void
  memory: Memory | undefined
  private wanted = false
  /** What the ring had no room for: told when it has. */
  private readonly later: ScreenArea[] = []

  constructor(device: FrontendDevice, frontend: Pick<FramebufferFrontend, 'width' | 'height'>, opened: (screen: GuestScreen) => void) {
    this.device = device
    this.frontend = frontend
    this.opened = opened
  }

  async publish(): Promise<'Initialised'> {
    const { device, frontend: { width, height } } = this
    this.disconnect()
    const memory = this.memory = this.allocate(width * height * 4)
    const { shared: { view, base, frame } } = memory
    XenfbPage.encode(view, base, { width, height, lineLength: width * 4, memLength: memory.pixels.length * PAGE_SIZE, depth: 32 })
    await device.writeTogether({ 'page-ref': String(frame), 'event-channel': String(memory.port), protocol: IO_PROTO_ABI.X86_64, 'feature-update': '1' })
    return 'Initialised'
  }

  /** All pages, each named in the one before. */
  private allocate(bytes: number): Memory {
    const { kernel, otherEnd } = this.device
    const taken: Page[] = []
    const page = (): Page => {
      const one = kernel.frames.allocate()
      taken.push(one)
      return one
    }
    try {
      const shared = page()
      const pixels = Array.from({ length: Math.ceil(bytes / PAGE_SIZE) }, page)
      const directory = Array.from({ length: Math.ceil(pixels.length / numbersPerPage(8)) }, page)
      for (const [at, { frame }] of pixels.entries()) directory[Math.floor(at / numbersPerPage(8))]!.view.setUint32(directory[Math.floor(at / numbersPerPage(8))]!.base + (at % numbersPerPage(8)) * 8, frame, true)
      for (const [at, { frame }] of directory.entries()) XenfbPage.pd.element.setNumber(shared.view, XenfbPage.pd.at(shared.base, at), frame)
      const port = kernel.events.allocateUnbound(kernel.domid, otherEnd, () => this.tellLater())
      return { shared, pixels, directory, port, out: new EventProducer({ memory: kernel.hypercalls.memory, base: shared.base }, OUT_RING) }
    } catch (error) {
      for (const one of taken) kernel.frames.release(one)
      throw error
    }
  }

  async connected(): Promise<void> {
    this.wanted = (await this.device.readOther('request-update')) === '1'
    this.opened(openScreen(this, this.frontend))
  }

  disconnect(): void {
    const { memory, device: { kernel } } = this
    if (memory === undefined) return
    this.memory = undefined
    this.later.length = 0
    kernel.events.close(memory.port)
    for (const page of [memory.shared, ...memory.directory, ...memory.pixels]) kernel.frames.release(page)
  }

  /** Tells that a rectangle has been drawn. */
  drawn(area: ScreenArea): void {
    if (!this.wanted) return
    this.later.push(area)
    this.tellLater()
  }

  private tellLater(): void {
    for (let area = this.later[0]; area !== undefined && this.memory !== undefined; area = this.later[0]) {
      const event = new Uint8Array(XenfbUpdate.size)
      XenfbUpdate.encode(new DataView(event.buffer), 0, { type: XENFB_TYPE.UPDATE, ...area })
      if (this.memory.out.add(event) !== true) return
      this.later.shift()
      this.device.kernel.events.notify(this.memory.port)
    }
  }

  /** Tells of another size. */
  resized(width: number, height: number): void {
    const { memory } = this
    if (memory === undefined) return
    const event = new Uint8Array(XenfbResize.size)
    XenfbResize.encode(new DataView(event.buffer), 0, { type: XENFB_TYPE.RESIZE, width, height, stride: width * 4, depth: 32, offset: 0 })
    memory.out.add(event)
    this.device.kernel.events.notify(memory.port)
  }
}

/** Makes a screen of a device; not published. */
let openScreen: (device: FramebufferDevice, size: { readonly width: number; readonly height: number }) => GuestScreen

/** A picture that a guest in TypeScript draws. */
export class GuestScreen {
  private readonly device: FramebufferDevice
  private size: { readonly width: number; readonly height: number }
  private readonly most: number

  static {
    openScreen = (device, { width, height }) => new GuestScreen(device, { width, height })
  }

  private constructor(device: FramebufferDevice, size: { readonly width: number; readonly height: number }) {
    this.device = device
    this.size = size
    this.most = size.width * size.height
  }

  /** Pixels of a row. */
  get width(): number {
    return this.size.width
  }

  /** Rows. */
  get height(): number {
    return this.size.height
  }

  /** Fills what of a rectangle lies within the picture. Does nothing once the back-end is gone. */
  fill(area: ScreenArea, [red, green, blue]: Colour): void {
    const { memory } = this.device
    const within = clipped(area, this.size)
    if (memory === undefined || within === undefined) return
    for (let y = within.y; y < within.y + within.height; y += 1) {
      for (let x = within.x; x < within.x + within.width; x += 1) {
        const at = (y * this.width + x) * 4
        const { view, base } = memory.pixels[Math.floor(at / PAGE_SIZE)]!
        view.setUint32(base + (at % PAGE_SIZE), (red << 16) | (green << 8) | blue, true)
      }
    }
    this.device.drawn(within)
  }

  /** Goes to another size with no more pixels than it began with; what is in it then is for the guest to draw. */
  resize(width: number, height: number): void {
    checkOptions('resize', { width, height }, { width: whole(1, MAX_SIDE), height: whole(1, Math.min(MAX_SIDE, Math.floor(this.most / width))) })
    this.size = { width, height }
    this.device.resized(width, height)
  }
}

/**
 * The driver for `vfb` devices of a guest, to be registered with the guest kit's `FrontendBus`.
 *
 * @example
 * const screens = new FramebufferFrontend({ width: 320, height: 200 })
 * await new FrontendBus(kernel).register(screens)
 * const screen = await screens.screen(0)
 * screen.fill({ x: 0, y: 0, width: 320, height: 200 }, [0, 0, 255])
 */
export class FramebufferFrontend implements FrontendDriver {
  readonly type = FRAMEBUFFER_TYPE
  /** Pixels of each screen as it begins. */
  readonly width: number
  readonly height: number
  private readonly known = new Map<number, GuestScreen>()
  private waiting: { readonly id: number; readonly resolve: (screen: GuestScreen) => void }[] = []

  constructor(options: FramebufferFrontendOptions = {}) {
    checkOptions('FramebufferFrontend', options, { width: whole(1, MAX_SIDE), height: whole(1, MAX_SIDE) })
    this.width = options.width ?? 640
    this.height = options.height ?? 480
  }

  /** Called by the bus. */
  probe(device: FrontendDevice): FrontendInstance {
    return new FramebufferDevice(device, this, (screen) => this.connected(Number(device.id), screen))
  }

  private connected(id: number, screen: GuestScreen): void {
    this.known.set(id, screen)
    const here = this.waiting.filter((one) => one.id === id)
    this.waiting = this.waiting.filter((one) => one.id !== id)
    for (const { resolve } of here) resolve(screen)
  }

  /** The screen of a number, as soon as it is there and connected. */
  screen(id: number): Promise<GuestScreen> {
    const known = this.known.get(id)
    return known === undefined ? new Promise((resolve) => this.waiting.push({ id, resolve })) : Promise.resolve(known)
  }
}
