/**
 * Obeys the toolstack's shutdown requests: `control/shutdown` names one, the guest acknowledges by emptying the
 * node and then acts. Programs may do something first, by hooks.
 *
 * Reference: docs/misc/xenstore-paths.pandoc, control/shutdown and control/feature-*.
 */
import type { ShutdownReason } from '../abi/index.ts'
import { badState, shape, thrownText, XenError, type Savable } from '../util/index.ts'
import type { Attachments } from './attachments.ts'
import type { GuestStore } from './store.ts'
import { readOptional } from './store.ts'

/** What a request asks for, as the toolstack spells it, and the reason that the domain then shuts down with. */
const REQUESTS: Readonly<Record<string, ShutdownReason>> = /* @__PURE__ */ Object.freeze({
  poweroff: 'poweroff', halt: 'poweroff', reboot: 'reboot', suspend: 'suspend',
})
const NODE = 'control/shutdown'
/** Characters of a program's state, about as much as a save stream has room for. */
const STATE_LIMIT = 2 ** 21

/** Called before the guest obeys; the domain ends when its promise has resolved. */
export type ShutdownHook = (reason: ShutdownReason) => void | Promise<void>
/** Gives the program's state as plain data (what JSON can hold), to be found again when the saved guest is restored. */
export type StateProvider = () => unknown
/** Called when the guest goes on after a suspend that was cancelled. */
export type ResumeHook = () => void | Promise<void>

const hookCount = /* @__PURE__ */ shape.whole(0, 2 ** 16)

/** What the program has said of itself as JSON, where it says anything, and how many hooks it has set. */
export const controlState = /* @__PURE__ */ shape.record({
  program: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(STATE_LIMIT)), hooks: hookCount, resumeHooks: hookCount,
})

/** A saved control. */
export interface ControlState {
  /** What the program said of itself, as JSON; undefined where it says nothing. */
  readonly program: string | undefined
  /** Numbers of hooks, which the program sets anew where it goes on. */
  readonly hooks: number
  readonly resumeHooks: number
}

/** What the control needs of its guest. */
export interface ShutdownServices {
  readonly store: GuestStore | undefined
  /** Ends the domain, or suspends it. */
  shutdown(reason: ShutdownReason): void
  /** Runs asynchronous work beside the program; a rejection crashes the domain. */
  spawn(work: () => Promise<void>): void
}

/** The state that a program has said. Throws INVALID_STATE for what is no JSON. */
export function statedIn({ program }: ControlState): unknown {
  try {
    return program === undefined ? undefined : JSON.parse(program)
  } catch (error) {
    throw badState(`its program's state is no JSON: ${thrownText(error)}`)
  }
}

/** Watches for shutdown requests. */
export class ShutdownControl implements Savable {
  private readonly services: ShutdownServices
  private readonly hooks: ShutdownHook[] = []
  private readonly resumeHooks: ResumeHook[] = []
  private provider: StateProvider | undefined
  /** Hooks of each kind that were there before a load. */
  private expected = { hooks: 0, resumeHooks: 0 }

  constructor(services: ShutdownServices) {
    this.services = services
  }

  /** Adds something to be done before the guest obeys; hooks run one after another, the latest first. */
  beforeShutdown(hook: ShutdownHook): void {
    this.hooks.unshift(hook)
  }

  /**
   * Says what of the program has to survive a save: asked at the last moment before the guest is suspended, or its host is
   * saved. A restored guest starts its program anew, and finds this in `kernel.restoredState`; one whose host was saved has
   * besides all that it had open (`kernel.isLoaded`). The latest provider counts.
   *
   * @example
   * let visits = (kernel.restoredState as { visits: number } | undefined)?.visits ?? 0
   * kernel.control.saveState(() => ({ visits }))
   */
  saveState(provider: StateProvider): void {
    this.provider = provider
  }

  /** The program's state as it is now. */
  state(): unknown {
    return this.provider?.()
  }

  /** Whether the program says its state. */
  get isStated(): boolean {
    return this.provider !== undefined
  }

  /** Adds something to be done when the guest runs on after a cancelled suspend, in the order they were added. */
  afterResume(hook: ResumeHook): void {
    this.resumeHooks.push(hook)
  }

  /** Says what the guest can do, and starts watching. */
  async start(): Promise<void> {
    const { store } = this.services
    if (store === undefined) return
    await Promise.all(['poweroff', 'reboot', 'suspend'].map((feature) => store.write(`control/feature-${feature}`, '1')))
    await store.watch(NODE, () => this.services.spawn(() => this.obey(store)), { kept: true })
  }

  /** Hooks of code that would not set them again. */
  unsavable(): string | undefined {
    return !this.isStated && this.hooks.length + this.resumeHooks.length > 0 ? 'a hook for the shutdown' : undefined
  }

  /** What the program says, and its hooks. Throws NOT_SUPPORTED for what JSON cannot hold. */
  save(): ControlState {
    return { program: this.isStated ? this.text() : undefined, hooks: this.hooks.length, resumeHooks: this.resumeHooks.length }
  }

  /** What a program says is asked of it each time. */
  isAsSaved({ program, hooks, resumeHooks }: ControlState): boolean {
    return !this.isStated && program === undefined && hooks === this.hooks.length && resumeHooks === this.resumeHooks.length
  }

  /** Watches on, in a kernel that was loaded. */
  load({ hooks, resumeHooks }: ControlState, { attachWatch }: Attachments): void {
    const { store } = this.services
    this.expected = { hooks, resumeHooks }
    if (store !== undefined) attachWatch(NODE, () => this.services.spawn(() => this.obey(store)))
  }

  /** Tells the hooks that the domain runs on. */
  resumed(): void {
    for (const hook of this.resumeHooks) this.services.spawn(async () => hook())
  }

  /** Whether hooks that were there before a load are not there now. */
  get unattached(): boolean {
    return this.hooks.length < this.expected.hooks || this.resumeHooks.length < this.expected.resumeHooks
  }

  private text(): string {
    let text: string
    try {
      text = JSON.stringify(this.state() ?? null)
    } catch (error) {
      throw new XenError('NOT_SUPPORTED', `its program cannot say its state: ${thrownText(error)}`, { cause: error })
    }
    if (text.length <= STATE_LIMIT) return text
    throw new XenError('NOT_SUPPORTED', `its program's state has ${text.length} characters, at most ${STATE_LIMIT} can be saved`)
  }

  private async obey(store: GuestStore): Promise<void> {
    const reason = await this.acknowledge(store)
    if (reason === undefined) return
    for (const hook of this.hooks) await hook(reason)
    this.services.shutdown(reason)
  }

  /** Takes the request out of the node, in one transaction, so that none is lost and none is obeyed twice. */
  private acknowledge(store: GuestStore): Promise<ShutdownReason | undefined> {
    return store.transaction(async (transaction) => {
      const request = await readOptional(transaction, NODE)
      const reason = request !== undefined && Object.hasOwn(REQUESTS, request) ? REQUESTS[request] : undefined
      if (reason !== undefined) await transaction.write(NODE, '')
      return reason
    })
  }
}
