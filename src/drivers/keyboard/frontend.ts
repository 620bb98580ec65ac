/**
 * The front-end of keyboards and pointers for a guest in TypeScript: what is done there, as it comes.
 *
 * Reference: public/io/kbdif.h; Linux, drivers/input/misc/xen-kbdfront.c.
 */
import { XENKBD_TYPE, XenkbdKey, XenkbdPosition } from '../../abi/index.ts'
import { sharePage, type FrontendDevice, type FrontendDriver, type FrontendInstance, type SharedPage } from '../../guest/index.ts'
import { EventConsumer } from '../../rings/index.ts'
import type { EventPort } from '../../util/index.ts'
import { IN_RING, KEYBOARD_TYPE, type ScreenInput } from './protocol.ts'

/** An event as the protocol has it; undefined for one of no known type. */
function inputOf(event: DataView): ScreenInput | undefined {
  const type = event.getUint8(0)
  if (type === XENKBD_TYPE.KEY) {
    const { keycode, pressed } = XenkbdKey.decode(event, 0)
    return { type: 'key', code: keycode, pressed: pressed !== 0 }
  }
  if (type !== XENKBD_TYPE.POS) return undefined
  const { absX, absY, relZ } = XenkbdPosition.decode(event, 0)
  return { type: 'pointer', x: absX, y: absY, wheel: relZ === 0 ? 0 : -relZ }
}

class KeyboardDevice implements FrontendInstance {
  private readonly device: FrontendDevice
  private readonly onInput: (input: ScreenInput, id: number) => void
  private ring: { readonly shared: SharedPage; readonly port: EventPort; readonly events: EventConsumer } | undefined

  constructor(device: FrontendDevice, onInput: (input: ScreenInput, id: number) => void) {
    this.device = device
    this.onInput = onInput
  }

  async publish(): Promise<'Initialised'> {
    const { kernel, otherEnd } = this.device
    this.disconnect()
    const shared = sharePage(kernel, otherEnd)
    const port = kernel.events.allocateUnbound(kernel.domid, otherEnd, () => this.take())
    this.ring = { shared, port, events: new EventConsumer({ memory: kernel.hypercalls.memory, base: shared.page.base }, IN_RING) }
    await this.device.writeTogether({
      'page-ref': String(shared.page.frame), 'page-gref': String(shared.ref), 'event-channel': String(port), 'request-abs-pointer': '1',
    })
    return 'Initialised'
  }

  async connected(): Promise<void> {
    this.take()
  }

  private take(): void {
    const { ring, device: { kernel, id } } = this
    const events = ring?.events.take() ?? []
    if (ring === undefined || events.length === 0) return
    kernel.events.notify(ring.port)
    kernel.turn()
    for (const input of events.map(inputOf)) if (input !== undefined) this.onInput(input, Number(id))
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
 * The driver for `vkbd` devices of a guest, to be registered with the guest kit's `FrontendBus`. `onInput` is told what is done, and at which of
 * the guest's keyboards.
 *
 * @example
 * await new FrontendBus(kernel).register(new KeyboardFrontend((input) => {
 *   if (input.type === 'key' && input.pressed) kernel.console!.log(`key ${input.code}`)
 * }))
 */
export class KeyboardFrontend implements FrontendDriver {
  readonly type = KEYBOARD_TYPE
  private readonly onInput: (input: ScreenInput, id: number) => void

  constructor(onInput: (input: ScreenInput, id: number) => void) {
    this.onInput = onInput
  }

  /** Called by the bus. */
  probe(device: FrontendDevice): FrontendInstance {
    return new KeyboardDevice(device, this.onInput)
  }
}
