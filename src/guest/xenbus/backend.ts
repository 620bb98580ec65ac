/**
 * The back-end's side of the XenBus handshake, shared by all devices:
 *
 *   Initialising --driver announces its features--> InitWait
 *   InitWait --front-end Initialised or Connected, driver ready--> driver maps the rings --> Connected
 *   any --front-end Closing--> driver lets go --> Closing
 *   any --front-end Closed--> driver lets go --> Closed, and the device ends unless `online` is 1
 *   Closed --front-end Initialising--> InitWait: the guest has loaded its driver anew
 *
 * Reference: public/io/xenbus.h; the captures of Linux and xl on Xen 4.17.
 */
import { LAST_DOMID, XENBUS_STATE, type XenbusStateName } from '../../abi/index.ts'
import type { DomId, Part, Quiescible, Shape } from '../../util/index.ts'
import { part, shape, XenError } from '../../util/index.ts'
import type { DeviceOptions } from './device.ts'
import { XenbusDevice } from './device.ts'
import { readNumber, readState } from './state.ts'

/** What a back-end driver does for one device at each step of the handshake. */
export interface BackendInstance {
  /** What is in flight now, in words for whoever waits for it, as of any {@link Quiescible}; undefined when nothing is. */
  underWay?(): string | undefined
  /** Publishes what does not depend on the front-end; the device goes to InitWait then. */
  announce(): Promise<void>
  /** Called once in InitWait, for what a hotplug script would do. */
  prepare?(): Promise<void>
  /** The front-end has published its rings: map them and publish the rest; false when the driver is not ready yet. */
  connect(frontend: XenbusStateName): Promise<boolean>
  /** Let go of rings, mappings and ports. May be called more than once. */
  disconnect(): Promise<void> | void
  /** The device is gone for good. */
  remove?(): Promise<void> | void
  /** What it is, with its rings and ports, for {@link DriverState}. */
  save?(): unknown
}

/** How a driver's instances are saved with the kernel that they work in, and go on in a loaded one. */
export interface DriverState {
  readonly version: number
  readonly shape: Shape<unknown>
  /** Makes the instance that was saved, and attaches its ports and pages; the front-end sees nothing of it. */
  load(device: BackendDevice, state: unknown): BackendInstance
}

/** A back-end driver: makes an instance for each device of its kind. */
export interface BackendDriver {
  /** The kind as XenStore spells it: `vbd`, `vif`. */
  readonly type: string
  /** False for a device of its kind that somebody else serves, by its number; absent in a driver that serves all. */
  serves?(id: string): boolean
  /** True when the driver passes through Closing on its way to Closed, as Linux's network back-end does. */
  readonly closesInSteps?: boolean
  /** Makes what serves one new device; `otherEnd` and `otherPath` are known already. */
  probe(device: BackendDevice): BackendInstance
  /** Absent in a driver whose devices cannot be saved. */
  readonly state?: DriverState
}

const NAMES = /* @__PURE__ */ Object.keys(XENBUS_STATE) as XenbusStateName[]

/** The back-end's half of one device. */
export class BackendDevice extends XenbusDevice implements Quiescible {
  readonly role = 'backend'
  private readonly driver: BackendDriver
  private instance: BackendInstance | undefined
  private watching = false
  private over = false
  private known: Part | undefined

  constructor(options: DeviceOptions, driver: BackendDriver) {
    super(options)
    this.driver = driver
  }

  /** True once the device is over: removed, or closed and not to come back. */
  get ended(): boolean {
    return this.over
  }

  // State

  /** What keeps the device from being saved: a step of its handshake, or its driver. */
  underWay(): string | undefined {
    const why = this.busy ? 'a step of its handshake' : this.instance?.underWay?.()
    if (why !== undefined) return `${this.path}: ${why}`
    const canSave = this.instance === undefined || (this.driver.state !== undefined && this.instance.save !== undefined)
    return canSave ? undefined : `${this.path}: a driver that cannot be saved`
  }

  /** The device as a part of its bus. */
  part(): Part {
    this.known ??= this.makePart()
    return this.known
  }

  private makePart(): Part {
    const { driver } = this
    const facts = shape.record({
      state: shape.oneOf(...NAMES), otherEnd: shape.whole(0, LAST_DOMID), otherPath: shape.text(4096),
      watching: shape.flag, over: shape.flag, instance: shape.optional(driver.state?.shape ?? shape.oneOf()),
    })
    return part({ name: this.path, version: driver.state?.version ?? 1, shape: facts }, {
      save: () => ({
        state: this.state, otherEnd: this.otherEnd, otherPath: this.otherPath, watching: this.watching, over: this.over,
        instance: this.instance?.save?.(),
      }),
      load: ({ state, otherEnd, otherPath, watching, over, instance }) => {
        this.state = state
        this.otherEnd = otherEnd as DomId
        this.otherPath = otherPath
        this.over = over
        this.watching = watching
        if (watching && !over) this.attachWatch(`${otherPath}/state`, () => this.frontendChanged())
        if (instance !== undefined) this.instance = driver.state?.load(this, instance)
      },
    })
  }

  // Handshake

  /** Starts the handshake; a device that is not in Initialising is left alone. */
  start(): Promise<void> {
    return this.perform(async () => {
      this.state = await readState(this.store, this.path)
      if (this.state !== 'Initialising') return
      const frontendId = await readNumber(this.store, `${this.path}/frontend-id`, { maximum: LAST_DOMID })
      const frontend = await this.read('frontend')
      if (frontendId === undefined || frontend === undefined) {
        const details = { path: this.path }
        throw new XenError('INVALID_ARGUMENT', `${this.path} does not name its front-end`, { details })
      }
      this.otherEnd = frontendId as DomId
      this.otherPath = frontend
      this.instance = this.driver.probe(this)
      await this.instance.announce()
      await this.switchTo('InitWait')
      await this.watch(`${frontend}/state`, () => this.frontendChanged())
      this.watching = true
      await this.instance.prepare?.()
    })
  }

  /** Looks at the front-end again: the driver has become ready. */
  reconsider(): Promise<void> {
    return this.perform(() => this.frontendChanged())
  }

  /** The device's directory is gone: lets everything go without a word. */
  removed(): Promise<void> {
    return this.perform(() => this.end())
  }

  private async frontendChanged(): Promise<void> {
    if (this.instance === undefined || !this.watching) return
    const frontend = await readState(this.store, this.otherPath)
    await this.react(frontend, this.instance)
  }

  private async react(frontend: XenbusStateName, instance: BackendInstance): Promise<void> {
    switch (frontend) {
      case 'Initialising':
        if (this.state === 'Closed') await this.switchTo('InitWait')
        return
      case 'Initialised':
      case 'Connected':
        if (this.state !== 'InitWait') return
        if (await instance.connect(frontend)) await this.switchTo('Connected')
        return
      case 'Closing':
        await this.giveUp()
        await this.switchTo('Closing')
        return
      case 'Closed':
        await this.closed()
        return
      case 'Unknown':
        await this.end()
        return
      default:
        return
    }
  }

  private async closed(): Promise<void> {
    await this.giveUp()
    if (this.driver.closesInSteps === true) await this.switchTo('Closing')
    await this.switchTo('Closed')
    if ((await this.read('online')) !== '1') await this.end()
  }

  private async end(): Promise<void> {
    const instance = this.instance
    if (instance === undefined) return
    this.over = true
    await this.giveUp()
    this.instance = undefined
    await this.unwatch()
    await instance.remove?.()
  }

  protected override async giveUp(): Promise<void> {
    await this.instance?.disconnect()
  }
}
