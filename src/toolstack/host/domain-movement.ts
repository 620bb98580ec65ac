/**
 * Saving, restoring and moving domains as operations of a host. What they do is in ../save and ../migrate; here they
 * get their host, their progress and their signal.
 */
import { checkArgument, shown, XenError, type DomId, tryRead } from '../../util/index.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import type { SymbolTable } from '../symbols/symbol-table.ts'
import { receiveDomain, type ReceiveOptions, type ReceiveProgress } from '../migrate/receive.ts'
import {
  sendDomain,
  takeBack,
  type MigrateOptions,
  type MigrateProgress,
  type MigrationSummary,
} from '../migrate/send.ts'
import type { MigrationTransport } from '../migrate/transport.ts'
import { Protection, type ProtectHost, type ProtectionStatistics, type ProtectionSummary, type ProtectOptions, type ProtectProgress } from '../remus/protect-domain.ts'
import { Standby, type StandByHost, type StandByOptions, type StandByProgress } from '../remus/stand-by.ts'
import {
  restoreDomain,
  type RestoredDomain,
  type RestoreProgress,
} from '../save/restore-domain.ts'
import { saveDomain, type SavedDomain, type SaveOptions, type SaveProgress } from '../save/save-domain.ts'
import { byteInput, byteOutput, SaveStreamReader, type ByteInput, type ByteOutput } from '../stream/index.ts'
import { checkCall, type CallOptions, type RestoreDomainOptions } from './call-options.ts'
import { checkStartable } from './policy-checks.ts'
import type { CreateHost } from '../create/domain-shell.ts'
import { loadSymbols, type KernelSource } from '../domains/kernel-source.ts'
import type { Operation, OperationContext, OperationOptions } from '../run/operation.ts'
import type { Operations, OperationSettings } from '../run/operations.ts'

/** What moving domains needs of its host. */
export interface MovementHost<D> extends ProtectHost, Pick<StandByHost, 'openDisk'> {
  readonly operations: Operations
  create(): CreateHost
  /** Makes the handle of a domain that is there, and starts it. */
  adopt(
    config: DomainConfig<KernelSource>,
    made: { readonly domid: DomId; readonly uuid: string; readonly symbols?: SymbolTable | undefined },
    options: { readonly paused: boolean },
  ): D
}

/** A protection under way: resolves when it has ended. */
export type ProtectOperation = Operation<ProtectionSummary, ProtectProgress> & {
  /** Ends it, and resolves with it: the domain runs here, unprotected. */
  unprotect(): Promise<ProtectionSummary>
  /** What it has done so far; undefined before it has begun. */
  statistics(): ProtectionStatistics | undefined
}

/** Facts of a domain that do not change while it is on its way. */
const snapshot = ({ id, name, uuid, config }: SavedDomain): SavedDomain => ({ id, name, uuid, config })

/** Throws INVALID_ARGUMENT for what is no connection. */
function checkTransport(call: 'migrate' | 'receiveMigration' | 'protect' | 'standBy', transport: MigrationTransport): void {
  const name = `the transport of ${call}`
  checkArgument(name, transport, (value) => (typeof value === 'object' && value !== null
    ? undefined : `must be an object with readable and writable, got ${shown(value)}`))
  checkArgument(`readable of ${name}`, tryRead(() => transport.readable), byteInput)
  checkArgument(`writable of ${name}`, tryRead(() => transport.writable), byteOutput)
}

/** Throws NOT_SUPPORTED for a domain whose description says that it stays where it is. */
function checkMovable({ id, config }: SavedDomain, what: string): void {
  if (!config.noMigrate) return
  throw new XenError('NOT_SUPPORTED', `domain ${id} cannot be ${what}: its description says nomigrate`, { details: { domid: id } })
}

/** The operations of one host; `D` is what its users hold of a domain. */
export class DomainMovement<D extends SavedDomain> {
  private readonly host: MovementHost<D>

  constructor(host: MovementHost<D>) {
    this.host = host
  }

  save(domain: D, target: ByteOutput, options: SaveOptions & OperationOptions): Operation<void, SaveProgress> {
    const settings = { name: `saving domain ${domain.id}`, domid: domain.id, activity: { kind: 'movement', doing: 'being saved' } as const }
    const check = (): void => {
      checkArgument('the target of save', target, byteOutput)
      checkMovable(domain, 'saved')
    }
    return this.start('save', { ...settings, check }, options, (context) =>
      saveDomain(this.host, snapshot(domain), target, { ...options, context }))
  }

  migrate(
    domain: D,
    transport: MigrationTransport,
    options: MigrateOptions & OperationOptions,
  ): Operation<MigrationSummary, MigrateProgress> {
    const settings = { name: `migrating domain ${domain.id}`, domid: domain.id, activity: { kind: 'movement', doing: 'being migrated' } as const }
    const check = (): void => {
      checkTransport('migrate', transport)
      checkMovable(domain, 'migrated')
    }
    return this.start('migrate', { ...settings, check }, options, (context) =>
      sendDomain(this.host, snapshot(domain), transport, { ...options, context }))
  }

  protect(domain: D, transport: MigrationTransport, options: ProtectOptions & OperationOptions): ProtectOperation {
    const settings = { name: `protecting domain ${domain.id}`, domid: domain.id, activity: { kind: 'protection', doing: 'protected' } as const }
    const check = (): void => {
      checkTransport('protect', transport)
      checkMovable(domain, 'protected')
    }
    let protection: Protection | undefined
    let isOver = false
    const operation = this.start<ProtectionSummary, ProtectProgress, 'protect'>('protect', { ...settings, check }, options, (context) => {
      protection = new Protection(this.host, snapshot(domain), { transport, options, context })
      if (isOver) protection.stop()
      return protection.run()
    })
    return Object.assign(operation, {
      unprotect: () => {
        isOver = true
        protection?.stop()
        return operation
      },
      statistics: () => protection?.statistics,
    })
  }

  standBy(transport: MigrationTransport, options: StandByOptions & OperationOptions): Operation<D | undefined, StandByProgress> {
    const check = (): void => checkTransport('standBy', transport)
    return this.start('standBy', { name: 'standing by for a domain', check }, options, async (context) => {
      let domain: D | undefined
      const start = (restored: RestoredDomain, name: string): void => {
        domain = this.host.adopt({ ...restored.config, name }, restored, { paused: options.paused ?? false })
      }
      await new Standby({ ...this.host.create(), openDisk: (disk) => this.host.openDisk(disk), start }, { transport, options, context }).run()
      return domain
    })
  }

  /** Throws BUSY while a save or a migration goes on: the domain may be about to run elsewhere. */
  resume(domain: D): void {
    this.host.operations.checkFree(domain.id, 'movement', `resuming domain ${domain.id}`)
    takeBack(this.host, snapshot(domain))
  }

  restore(source: ByteInput, options: RestoreDomainOptions): Operation<D, RestoreProgress> {
    const check = (): void => checkArgument('the source of restore', source, byteInput)
    return this.start('restore', { name: 'restoring a domain', check }, options, async (context) => {
      const reader = new SaveStreamReader(source, context.signal, 'reused')
      context.undo(() => void reader.close().catch(() => undefined))
      const host = this.host.create()
      const symbols = options.symbols === undefined ? undefined : await loadSymbols(options.symbols, host.files)
      const restored = await restoreDomain(host, reader, { ...options, context })
      void reader.close().catch(() => undefined)
      if (options.paused !== true) checkStartable(host.control, restored.domid)
      context.commit()
      return this.host.adopt(restored.config, { ...restored, symbols }, { paused: options.paused === true })
    })
  }

  receive(
    transport: MigrationTransport,
    options: ReceiveOptions & OperationOptions,
  ): Operation<D, ReceiveProgress> {
    const check = (): void => checkTransport('receiveMigration', transport)
    return this.start('receiveMigration', { name: 'receiving a domain', check }, options, async (context) => {
      let domain: D | undefined
      const host = this.host.create()
      const start = (restored: RestoredDomain, name: string): void => {
        host.claimName(name)
        domain = this.host.adopt({ ...restored.config, name }, restored, { paused: false })
        this.host.rename(restored.domid, name)
      }
      await receiveDomain({ ...host, start }, transport, { ...options, context })
      // `start` was called, or receiveDomain has thrown.
      return domain!
    })
  }

  private start<T, P extends { readonly type: string }, C extends keyof CallOptions>(
    call: C,
    settings: OperationSettings,
    options: CallOptions[C] & OperationOptions,
    body: (context: OperationContext<P>) => Promise<T>,
  ): Operation<T, P> {
    // Streams are read and written: the other end is outside.
    const check = (): void => {
      settings.check?.()
      checkCall(call, options)
    }
    return this.host.operations.start<T, P>({ ...settings, signal: tryRead(() => options?.signal), isOutside: true, check }, body)
  }
}
