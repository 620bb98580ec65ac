/**
 * What follows when a guest ends: the action of its configuration, as the process that xl leaves behind for each
 * domain does it.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId } from '../../util/index.ts'
import type { Action, Actions } from '../config/actions.ts'
import type { Ineffective } from '../config/option-table.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import type { DomainCrash } from '../crash/domain-crash.ts'
import type { SymbolTable } from '../symbols/symbol-table.ts'
import { shutdownReasonName, type DestructionReason, type ShutdownReasonName } from '../domains/shutdown-reason.ts'
import type { Domain } from './domain.ts'
import type { HostEvent } from './host-events.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import { RESTART_PAUSE, RestartRule } from './restart-rule.ts'

/** A domain that crashes again within this time is not restarted: xend's rule against endless loops. Nanoseconds. */
const SHORTEST_LIFE = 10e9

/** What carrying out actions needs of the host. */
export interface LifecycleHost {
  readonly control: ControlInterface
  now(): number
  /** A domain's handle; undefined when there is none (any more). */
  domain(domid: DomId): Domain | undefined
  emit(event: HostEvent): void
  /** A domain's handle is to show that it has crashed, and that it has ended. */
  markCrashed(domid: DomId, crash: DomainCrash): void
  markEnded(domid: DomId, reason: ShutdownReasonName): void
  /** How a domain has crashed; undefined when it has not. */
  crashOf(domid: DomId): DomainCrash | undefined
  /** Tells that something else is done than the domain's configuration asks for. */
  warn(domain: Domain, change: { readonly action: Action; readonly instead: Action; readonly why: Ineffective }): void
  /** Resolves when so many nanoseconds of host time are over, or when the signal fires. */
  pause(nanoseconds: number, signal: AbortSignal): Promise<void>
  /** Whether somebody has asked the domain to reboot. */
  wasAskedToReboot(domid: DomId): boolean
  /** Takes a domain apart; the reason that was told in the end, another one where somebody else asked for it, too. */
  destroy(domid: DomId, reason: DestructionReason): Promise<DestructionReason>
  /** An action has been carried out, or has failed. */
  onDone(): void
  /** What a domain's successor is created from: its configuration as it is now. */
  successorConfig(domain: Domain): DomainConfig<KernelSource>
  /** Creates and starts a domain's successor. */
  recreate(config: DomainConfig<KernelSource>, symbols: SymbolTable | undefined): Promise<Domain>
  /** Functions of a domain's kernel, for its successor. */
  symbolsOf(domid: DomId): SymbolTable | undefined
  /** Whether a domain's kind has soft resets. */
  canSoftReset(domid: DomId): boolean
  /** Resets a domain that stays, and lets it go on. */
  softReset(domain: Domain): Promise<void>
  /** Gives a domain that stays another name and UUID, so that its successor can have its own. */
  preserve(domain: Domain): void
  /** Writes the core of a domain that has ended; undefined where nobody takes it. */
  readonly dumpCore: ((domain: Domain) => Promise<void>) | undefined
}

/** Which action a reason calls for; a suspend is somebody's own operation. */
function actionFor(actions: Actions, reason: ShutdownReasonName): Action | undefined {
  switch (reason) {
    case 'poweroff': return actions.poweroff
    case 'reboot': return actions.reboot
    case 'crash': return actions.crash
    case 'watchdog': return actions.watchdog
    case 'soft-reset': return actions.softReset
    case 'suspend': return undefined
  }
}

/** Watches over the domains of one host. */
export class Lifecycle {
  private readonly host: LifecycleHost
  private readonly born = new Map<DomId, number>()
  private readonly handled = new Set<DomId>()
  private readonly work = new Map<DomId, Promise<void>>()
  /** Counts the short lives of domains. */
  readonly rule = new RestartRule()
  private readonly closing = new AbortController()

  constructor(host: LifecycleHost) {
    this.host = host
  }

  /** Begins to watch a domain. */
  watch(domain: Domain): void {
    this.born.set(domain.id, this.host.now())
  }

  /** The domain is gone. */
  forget(domid: DomId): void {
    this.born.delete(domid)
    this.handled.delete(domid)
  }

  /** The domain runs on after a suspend that was cancelled, or a soft reset. */
  resumed(domid: DomId): void {
    this.handled.delete(domid)
  }

  /** Looks for domains that have ended and begins their actions. */
  check(): void {
    for (const { domid, shutdownReason } of this.host.control.endedDomains()) {
      const domain = shutdownReason === undefined || this.handled.has(domid) ? undefined : this.host.domain(domid)
      if (domain !== undefined) this.end(domain, shutdownReasonName(shutdownReason!))
    }
  }

  /** A domain on whose end an action is being carried out; undefined when there is none. */
  get acting(): DomId | undefined {
    const [first] = this.work.keys()
    return first
  }

  /** When a domain began, and whether its end has been seen to. */
  saveDomain(domid: DomId): { readonly born: number; readonly handled: boolean } {
    return { born: this.born.get(domid) ?? 0, handled: this.handled.has(domid) }
  }

  loadDomain(domid: DomId, { born, handled }: ReturnType<Lifecycle['saveDomain']>): void {
    this.born.set(domid, born)
    if (handled) this.handled.add(domid)
  }

  /** Resolves when all actions that have begun are done. */
  async finished(): Promise<void> {
    while (this.work.size > 0) await Promise.all(this.work.values())
  }

  /** Starts nothing anew any more, and resolves when all actions that have begun are done. */
  close(): Promise<void> {
    this.closing.abort()
    return this.finished()
  }

  /** True while the action on a domain's end is being carried out. */
  isActing(domid: DomId): boolean {
    return this.work.has(domid)
  }

  private end(domain: Domain, reason: ShutdownReasonName): void {
    this.handled.add(domain.id)
    const action = this.possible(domain, actionFor(domain.config.actions, reason), reason)
    const crash = this.host.crashOf(domain.id)
    if (crash !== undefined) {
      this.host.markCrashed(domain.id, crash)
      this.host.emit({ type: 'domain-crashed', domid: domain.id, name: domain.name, crash })
    }
    this.host.emit({ type: 'domain-shutdown', domid: domain.id, reason, action })
    if (reason !== 'suspend') this.host.markEnded(domain.id, reason)
    if (action === undefined) return
    const why = reason === 'crash' || reason === 'watchdog' ? 'crashed' : 'shutdown'
    const work = this.carryOut(domain, action, why).catch((error: unknown) => {
      this.host.emit({ type: 'action-failed', domid: domain.id, action, error })
    }).finally(() => {
      this.work.delete(domain.id)
      this.host.onDone()
    })
    this.work.set(domain.id, work)
  }

  /** The action as it can be carried out here. */
  private possible(domain: Domain, action: Action | undefined, reason: ShutdownReasonName): Action | undefined {
    const life = this.host.now() - (this.born.get(domain.id) ?? 0)
    const restarts = action === 'restart' || action === 'rename-restart' || action === 'coredump-restart' || (action === 'soft-reset' && this.host.canSoftReset(domain.id))
    let instead = action
    const dumps = this.host.dumpCore !== undefined
    const cannot = action === 'soft-reset' && !this.host.canSoftReset(domain.id)
    if (cannot || (action === 'coredump-destroy' && !dumps)) instead = 'destroy'
    if (action === 'coredump-restart' && !dumps) instead = 'restart'
    let why: Ineffective = cannot ? 'not for PV guests' : 'not implemented'
    const crashes = reason === 'crash' || reason === 'watchdog'
    const wasAsked = reason === 'reboot' && this.host.wasAskedToReboot(domain.id)
    if (!restarts) {
      this.rule.forget(domain.name)
    } else if ((crashes && life < SHORTEST_LIFE) || !this.rule.allows(domain.name, { life, wasAsked })) {
      this.rule.forget(domain.name)
      why = 'too often and too soon'
      instead = action === 'coredump-restart' && dumps ? 'coredump-destroy' : 'destroy'
    }
    if (action !== undefined && instead !== undefined && instead !== action) this.host.warn(domain, { action, instead, why })
    return instead
  }

  private async carryOut(domain: Domain, action: Action, why: DestructionReason): Promise<void> {
    if (action === 'preserve') return
    if (action === 'soft-reset') return this.reset(domain)
    const config = this.host.successorConfig(domain)
    const symbols = this.host.symbolsOf(domain.id)
    if (action === 'coredump-destroy' || action === 'coredump-restart') await this.dump(domain, action)
    // Somebody may have destroyed it meanwhile: then nothing of it is wanted any more.
    if (this.host.domain(domain.id) !== domain) return
    if (action === 'rename-restart') this.host.preserve(domain)
    else if (await this.host.destroy(domain.id, why) !== why) return
    if (action === 'destroy' || action === 'coredump-destroy') return
    await this.host.pause(RESTART_PAUSE, this.closing.signal)
    if (this.closing.signal.aborted) return
    const successor = await this.host.recreate(config, symbols)
    this.host.emit({ type: 'domain-restarted', domid: domain.id, newDomid: successor.id, name: successor.name })
  }

  /** Behind a pause, as a restart: a guest that asks for it again at once costs a turn in two seconds. */
  private async reset(domain: Domain): Promise<void> {
    await this.host.pause(RESTART_PAUSE, this.closing.signal)
    if (this.closing.signal.aborted || this.host.domain(domain.id) !== domain) return
    await this.host.softReset(domain)
  }

  /** Writes the domain's core. What else there is to do is done also when this fails, as by xl. */
  private async dump(domain: Domain, action: Action): Promise<void> {
    try {
      await this.host.dumpCore?.(domain)
    } catch (error) {
      this.host.emit({ type: 'action-failed', domid: domain.id, action, error })
    }
  }
}
