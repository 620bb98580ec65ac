/**
 * The back-end of keyboards and pointers: what QEMU's `xenkbd` is.
 *
 * Reference: public/io/kbdif.h; QEMU, hw/display/xenfb.c.
 */
import type { BackendDevice, BackendDriver, BackendInstance, DriverState } from '../../guest/index.ts'
import type { DomId } from '../../util/index.ts'
import type { KeyboardInterference } from './interference.ts'
import { KEYBOARD_TYPE } from './protocol.ts'
import { KeyboardInstance, servedKeyboardState, type ServedKeyboard, type ServedKeyboardState } from './served-keyboard.ts'

/** What a back-end of keyboards is made with. */
export interface KeyboardBackendOptions {
  /** Comes between what is done at them and their guests. */
  readonly interference?: KeyboardInterference | undefined
}

/**
 * The driver for `vkbd` devices of other domains, to be registered with the guest kit's `BackendBus`.
 *
 * @example
 * const keyboards = new KeyboardBackend()
 * await new BackendBus(kernel).register(keyboards)
 * keyboards.keyboard(domid, 0)?.send([{ type: 'key', code: 30, pressed: true }, { type: 'key', code: 30, pressed: false }])
 */
export class KeyboardBackend implements BackendDriver {
  readonly type = KEYBOARD_TYPE
  private readonly options: KeyboardBackendOptions
  private readonly instances = new Map<string, KeyboardInstance>()

  readonly state: DriverState = {
    version: 1, shape: servedKeyboardState,
    load: (device, state) => {
      const instance = this.open(device)
      // The shape has been checked.
      instance.load(state as ServedKeyboardState)
      return instance
    },
  }

  constructor(options: KeyboardBackendOptions = {}) {
    this.options = options
  }

  /** Called by the bus. */
  probe(device: BackendDevice): BackendInstance {
    return this.open(device)
  }

  private open(device: BackendDevice): KeyboardInstance {
    const instance = new KeyboardInstance(device, { over: () => this.instances.delete(device.path), interference: this.options.interference })
    this.instances.set(device.path, instance)
    return instance
  }

  /** A keyboard that is served, by its number in its domain. */
  keyboard(domid: DomId, id: number): ServedKeyboard | undefined {
    return this.instances.get(`backend/${KEYBOARD_TYPE}/${domid}/${id}`)
  }
}
