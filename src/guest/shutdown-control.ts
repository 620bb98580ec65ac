/**
 * Obeys the toolstack's shutdown requests: `control/shutdown` names one, the guest acknowledges by emptying the
 * node and then acts. Programs may do something first, by hooks.
 *
 * Reference: docs/misc/xenstore-paths.pandoc, control/shutdown and control/feature-*.
 */
import type { ShutdownReason } from '../abi/index.ts'
import type { Quiescible } from '../util/index.ts'
import type { Attachments } from './attachments.ts'
import type { GuestStore } from './store.ts'
import { readOptional } from './store.ts'

/** What a request asks for, as the toolstack spells it, and the reason that the domain then shuts down with. */
const REQUESTS: Readonly<Record<string, ShutdownReason>> = /* @__PURE__ */ Object.freeze({
  poweroff: 'poweroff', halt: 'poweroff', reboot: 'reboot', suspend: 'suspend',
})
const NODE = 'control/shutdown'

/** Called before the guest obeys; the domain ends when its promise has resolved. */
export type ShutdownHook = (reason: ShutdownReason) => void | Promise<void>
/** Gives the program's state as plain data (what JSON can hold), to be found again when the saved guest is restored. */
export type StateProvider = () => unknown
/** Called when the guest goes on after a suspend that was cancelled. */
export type ResumeHook = () => void | Promise<void>

/** What the control needs of its guest. */
export interface ShutdownServices {
  readonly store: GuestStore | undefined
  /** Ends the domain, or suspends it. */
  shutdown(reason: ShutdownReason): void
  /** Runs asynchronous work beside the program; a rejection crashes the domain. */
  spawn(work: () => Promise<void>): void
}

/** Watches for shutdown requests. */
export class ShutdownControl implements Quiescible {
  private readonly services: ShutdownServices
  private readonly hooks: ShutdownHook[] = []
  private readonly resumeHooks: ResumeHook[] = []
  private provider: StateProvider = () => undefined

  constructor(services: ShutdownServices) {
    this.services = services
  }

  /** Adds something to be done before the guest obeys; hooks run one after another, the latest first. */
  beforeShutdown(hook: ShutdownHook): void {
    this.hooks.unshift(hook)
  }

  /**
   * Says what of the program has to survive a save: asked at the last moment before the guest is suspended. A restored
   * guest starts its program anew, and finds this in `kernel.restoredState`. The latest provider counts.
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
    return this.provider()
  }

  /** Adds something to be done when the guest runs on after a cancelled suspend, in the order they were added. */
  afterResume(hook: ResumeHook): void {
    this.resumeHooks.push(hook)
  }

  /** Says what the guest can do, and starts watching. */
  async start(): Promise<void> {
    const { store } = this.services
    if (store === undefined) return
    for (const feature of ['poweroff', 'reboot', 'suspend']) await store.write(`control/feature-${feature}`, '1')
    await store.watch(NODE, () => this.services.spawn(() => this.obey(store)), { kept: true })
  }

  /** What keeps it from being saved: hooks, which are code. */
  underWay(): string | undefined {
    return this.hooks.length + this.resumeHooks.length > 0 ? 'a hook for the shutdown' : undefined
  }

  /** Watches on, in a kernel that was loaded. */
  load({ attachWatch }: Attachments): void {
    const { store } = this.services
    if (store !== undefined) attachWatch(NODE, () => this.services.spawn(() => this.obey(store)))
  }

  /** Tells the hooks that the domain runs on. */
  resumed(): void {
    for (const hook of this.resumeHooks) this.services.spawn(async () => hook())
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
