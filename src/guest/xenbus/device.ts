/**
 * What both halves of a split device share: where it stands in XenStore, its state, and how it tells of errors.
 *
 * Reference: public/io/xenbus.h; Linux writes errors to error/PATH/error below its own directory, and tools read them.
 */
import type { XenbusStateName } from '../../abi/index.ts'
import type { DomId } from '../../util/index.ts'
import { thrownMessage, XenError } from '../../util/index.ts'
import type { GuestKernel } from '../kernel.ts'
import type { GuestStore, StoreAccess } from '../store.ts'
import { readOptional } from '../store.ts'
import { Sequence } from './sequence.ts'
import { readNumber, switchState } from './state.ts'

/** Something that happened to a device, for observers. */
export type XenbusEvent =
  | {
    readonly type: 'state'
    readonly role: 'frontend' | 'backend'
    readonly path: string
    readonly from: XenbusStateName
    readonly to: XenbusStateName
  }
  | { readonly type: 'failed'; readonly role: 'frontend' | 'backend'; readonly path: string; readonly message: string }

/** How a device is made known to its half's code. */
export interface DeviceOptions {
  readonly kernel: GuestKernel
  readonly store: GuestStore
  /** Path relative to the own domain's directory, such as `device/vbd/51712`. */
  readonly path: string
  /** Where changes of state and failures are told. */
  readonly emit: (event: XenbusEvent) => void
}

/** One half of one device. */
export abstract class XenbusDevice {
  abstract readonly role: 'frontend' | 'backend'
  readonly kernel: GuestKernel
  readonly store: GuestStore
  readonly path: string
  /** The state that this half is in. */
  state: XenbusStateName = 'Unknown'
  /** The domain of the other half. */
  otherEnd = 0 as DomId
  /** Absolute path of the other half's directory. */
  otherPath = ''
  private readonly steps = new Sequence((error) => this.fail(error))
  private readonly emit: (event: XenbusEvent) => void
  private readonly unwatches: (() => Promise<void>)[] = []

  constructor(options: DeviceOptions) {
    this.kernel = options.kernel
    this.store = options.store
    this.path = options.path
    this.emit = options.emit
  }

  /** The last part of the path: the device's number or handle. */
  get id(): string {
    return this.path.slice(this.path.lastIndexOf('/') + 1)
  }

  /** Steps of the handshake that changes of the other half have asked for and that have not begun. */
  get backlog(): number {
    return this.steps.backlog
  }

  /** True while a step of the handshake waits or is at work. */
  protected get busy(): boolean {
    return this.steps.busy
  }

  /** The value of an own node. */
  read(name: string): Promise<string | undefined> {
    return readOptional(this.store, `${this.path}/${name}`)
  }

  /** The value of a node of the other half. */
  readOther(name: string): Promise<string | undefined> {
    return readOptional(this.store, `${this.otherPath}/${name}`)
  }

  /** A number in a node of the other half; undefined when it is absent, no number, or beyond the limits. */
  readOtherNumber(
    name: string, limits?: { readonly minimum?: number; readonly maximum?: number },
  ): Promise<number | undefined> {
    return readNumber(this.store, `${this.otherPath}/${name}`, limits)
  }

  /** A number that the handshake cannot do without; rejects with INVALID_ARGUMENT when it is absent or wrong. */
  async requireOther(name: string, limits?: { readonly minimum?: number; readonly maximum?: number }): Promise<number> {
    const value = await this.readOtherNumber(name, limits)
    if (value !== undefined) return value
    const details = { path: this.otherPath, name }
    throw new XenError('INVALID_ARGUMENT', `${this.otherPath}/${name} is missing or wrong`, { details })
  }

  /** Does something behind the steps that are under way. Resolves when it is done; a failure closes the device. */
  perform(step: () => Promise<void> | void): Promise<void> {
    return this.steps.add(step)
  }

  /** Writes own nodes one by one; none when the device has been removed: a node would bring a part of it back. */
  async write(nodes: Readonly<Record<string, string>>): Promise<void> {
    await this.writeBelow(this.store, this.path, nodes)
  }

  /** Writes own nodes in one transaction. */
  writeTogether(nodes: Readonly<Record<string, string>>): Promise<void> {
    return this.store.transaction((transaction) => this.writeBelow(transaction, this.path, nodes))
  }

  /** Writes nodes of the other half one by one, as long as it is there. */
  async writeOther(nodes: Readonly<Record<string, string>>): Promise<void> {
    await this.writeBelow(this.store, this.otherPath, nodes)
  }

  private async writeBelow(store: StoreAccess, path: string, nodes: Readonly<Record<string, string>>): Promise<void> {
    if ((await readOptional(store, `${path}/state`)) === undefined) return
    for (const [name, value] of Object.entries(nodes)) await store.write(`${path}/${name}`, value)
  }

  /**
   * Watches a path for as long as the device lives; `handler` runs after the steps that are under way, and once for all
   * the changes that came before it.
   */
  async watch(path: string, handler: () => Promise<void> | void): Promise<void> {
    // A back-end's half is saved with its kernel, and attaches its watches again.
    const options = this.role === 'backend' ? { kept: true } as const : {}
    this.unwatches.push(await this.store.watch(path, () => this.steps.addOnce(handler, handler), options))
  }

  /** Takes a watch up again that was loaded with the device's own. */
  attachWatch(path: string, handler: () => Promise<void> | void): void {
    this.unwatches.push(this.kernel.attachments.attachWatch(path, () => this.steps.addOnce(handler, handler)))
  }

  /** Goes into another state and tells the other half. */
  async switchTo(next: XenbusStateName): Promise<void> {
    const from = this.state
    if (from === next || !(await switchState(this.store, this.path, next))) return
    this.state = next
    this.emit({ type: 'state', role: this.role, path: this.path, from, to: next })
  }

  /**
   * Gives up: lets everything go, says why in XenStore, and closes. An exception that is no XenError is a fault of the
   * program: a guest that uses the device ends by it, a domain that serves many devices goes on without this one.
   */
  protected async fail(error: unknown): Promise<void> {
    if (!XenError.is(error) && this.role === 'frontend') {
      this.kernel.crash(error)
      return
    }
    const message = thrownMessage(error)
    try {
      await this.giveUp()
      await this.tellError(message)
      this.emit({ type: 'failed', role: this.role, path: this.path, message })
      await this.switchTo('Closing')
    } catch (again) {
      // The toolstack may have taken the directories away meanwhile; then nobody wants to know.
      if (!XenError.is(again, 'XENSTORE')) this.kernel.crash(again)
    }
  }

  /** Leaves a message where tools look for it, unless the device is gone. */
  private tellError(message: string): Promise<void> {
    return this.store.transaction(async (transaction) => {
      if ((await readOptional(transaction, `${this.path}/state`)) === undefined) return
      await transaction.write(`error/${this.path}/error`, message)
    })
  }

  /** Lets go of rings, grants and ports after a failure. */
  protected abstract giveUp(): Promise<void> | void

  /** Ends all watches of the device. */
  protected async unwatch(): Promise<void> {
    for (const end of this.unwatches.splice(0)) await end()
  }
}
