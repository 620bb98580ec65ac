/**
 * The back-end of framebuffers: what QEMU's `xenfb` is. It runs in dom0: front-ends name frames instead of granting them. What looks at a picture
 * and who may is not its business.
 *
 * Reference: public/io/fbif.h; QEMU, hw/display/xenfb.c.
 */
import type { BackendDevice, BackendDriver, BackendInstance, DriverState } from '../../guest/index.ts'
import type { DomId } from '../../util/index.ts'
import type { FramebufferInterference } from './interference.ts'
import { FRAMEBUFFER_TYPE } from './protocol.ts'
import { FramebufferInstance, servedFramebufferState, type ServedFramebuffer, type ServedFramebufferState } from './served-framebuffer.ts'

/** What a back-end of framebuffers is made with. */
export interface FramebufferBackendOptions {
  /** Comes between what is drawn and whoever looks. */
  readonly interference?: FramebufferInterference | undefined
}

/**
 * The driver for `vfb` devices of other domains, to be registered with the guest kit's `BackendBus`.
 *
 * @example
 * const screens = new FramebufferBackend()
 * await new BackendBus(kernel).register(screens)
 * const picture = screens.framebuffer(domid, 0)?.read({ x: 0, y: 0, width: 800, height: 600 })
 */
export class FramebufferBackend implements BackendDriver {
  readonly type = FRAMEBUFFER_TYPE
  private readonly options: FramebufferBackendOptions
  private readonly instances = new Map<string, FramebufferInstance>()

  readonly state: DriverState = {
    version: 1, shape: servedFramebufferState,
    load: (device, state) => {
      const instance = this.open(device)
      // The shape has been checked.
      instance.load(state as ServedFramebufferState)
      return instance
    },
  }

  constructor(options: FramebufferBackendOptions = {}) {
    this.options = options
  }

  /** Called by the bus. */
  probe(device: BackendDevice): BackendInstance {
    return this.open(device)
  }

  private open(device: BackendDevice): FramebufferInstance {
    // Whoever listens does so behind a host that is brought back, too.
    const hub = this.instances.get(device.path)?.hub
    const instance = new FramebufferInstance(device, { over: () => this.instances.delete(device.path), hub, interference: this.options.interference })
    this.instances.set(device.path, instance)
    return instance
  }

  /** A framebuffer that is served, by its number in its domain. */
  framebuffer(domid: DomId, id: number): ServedFramebuffer | undefined {
    return this.instances.get(`backend/${FRAMEBUFFER_TYPE}/${domid}/${id}`)
  }
}
