/**
 * The front-end's side of the XenBus handshake, shared by all devices:
 *
 *   Initialising --back-end InitWait--> driver publishes its rings --> Initialised (or Connected at once)
 *   Initialised --back-end Connected--> driver reads what the back-end offers --> Connected
 *   any --back-end Closing or Closed--> driver lets go --> Closed
 *   Connected --close()--> Closing --back-end Closing--> driver lets go --> Closed
 *
 * Reference: public/io/xenbus.h; the captures of Linux and xl on Xen 4.17.
 */
import { LAST_DOMID, type XenbusStateName } from '../../abi/index.ts'
import type { DomId } from '../../util/index.ts'
import { XenError } from '../../util/index.ts'
import type { DeviceOptions } from './device.ts'
import { XenbusDevice } from './device.ts'
import { readNumber, readState } from './state.ts'

/** What a front-end driver does for one device at each step of the handshake. */
export interface FrontendInstance {
  /** The back-end waits: make rings, publish them; the state to go to then. */
  publish(): Promise<'Initialised' | 'Connected'>
  /** The back-end is connected: read what it offers, and begin. */
  connected(): Promise<void>
  /** The back-end says once more that it is connected: something that it offers has changed. */
  changed?(): Promise<void>
  /** Let go of rings, grants and ports; requests under way fail. May be called more than once. */
  disconnect(): Promise<void> | void
}

/** A front-end driver: makes an instance for each device of its kind. */
export interface FrontendDriver {
  /** The kind as XenStore spells it: `vbd`, `vif`. */
  readonly type: string
  /** Makes what serves one new device; `otherEnd` and `otherPath` are known already. */
  probe(device: FrontendDevice): FrontendInstance
}

/** The guest's half of one device. */
export class FrontendDevice extends XenbusDevice {
  readonly role = 'frontend'
  private readonly driver: FrontendDriver
  private instance: FrontendInstance | undefined
  private live = false
  private over = false

  constructor(options: DeviceOptions, driver: FrontendDriver) {
    super(options)
    this.driver = driver
  }

  /** True once the device is over: removed, or closed. */
  get ended(): boolean {
    return this.over || this.state === 'Closed'
  }

  /** Starts the handshake; a device that is not in Initialising is left alone. */
  start(): Promise<void> {
    return this.perform(async () => {
      this.state = await readState(this.store, this.path)
      if (this.state !== 'Initialising') return
      const backendId = await readNumber(this.store, `${this.path}/backend-id`, { maximum: LAST_DOMID })
      const backend = await this.read('backend')
      if (backendId === undefined || backend === undefined) {
        const details = { path: this.path }
        throw new XenError('INVALID_ARGUMENT', `${this.path} does not name its back-end`, { details })
      }
      this.otherEnd = backendId as DomId
      this.otherPath = backend
      this.instance = this.driver.probe(this)
      await this.watch(`${backend}/state`, () => this.backendChanged())
    })
  }

  /** Asks the back-end to end the connection; resolves when that has been asked. */
  close(): Promise<void> {
    return this.perform(() => this.switchTo('Closing'))
  }

  /** The device's directory is gone: lets everything go without a word. */
  removed(): Promise<void> {
    return this.perform(async () => {
      this.over = true
      await this.giveUp()
      this.instance = undefined
      await this.unwatch()
    })
  }

  private async backendChanged(): Promise<void> {
    if (this.instance === undefined) return
    const backend = await readState(this.store, this.otherPath)
    await this.react(backend, this.instance)
  }

  private async react(backend: XenbusStateName, instance: FrontendInstance): Promise<void> {
    switch (backend) {
      case 'InitWait':
        if (this.state === 'Initialising') await this.switchTo(await instance.publish())
        return
      case 'Connected':
        if (this.live) return void await instance.changed?.()
        if (this.state !== 'Initialised' && this.state !== 'Connected') return
        this.live = true
        await instance.connected()
        await this.switchTo('Connected')
        return
      case 'Closing':
      case 'Closed':
        if (this.state === 'Closed') return
        await this.giveUp()
        await this.switchTo('Closed')
        return
      default:
        return
    }
  }

  protected override async giveUp(): Promise<void> {
    this.live = false
    await this.instance?.disconnect()
  }
}
