/**
 * Saving, restoring and moving domains as operations of a host. What they do is in ../save and ../migrate; here they
 * get their host, their progress and their signal.
 */
import type { DomId } from '../../util/index.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import { receiveDomain, type ReceiveOptions, type ReceiveProgress } from '../migrate/receive.ts'
import {
  sendDomain,
  takeBack,
  type MigrateOptions,
  type MigrateProgress,
  type MigrationSummary,
  type SendHost,
} from '../migrate/send.ts'
import type { MigrationTransport } from '../migrate/transport.ts'
import {
  restoreDomain,
  type RestoredDomain,
  type RestoreOptions,
  type RestoreProgress,
} from '../save/restore-domain.ts'
import { saveDomain, type SavedDomain, type SaveOptions, type SaveProgress } from '../save/save-domain.ts'
import { SaveStreamReader, type ByteInput, type ByteOutput } from '../stream/index.ts'
import type { Domain } from './domain.ts'
import type { CreateHost } from './domain-shell.ts'
import type { KernelSource } from './kernel-source.ts'
import { startOperation, type Operation, type OperationOptions } from './operation.ts'

/** What moving domains needs of its host. */
export interface MovementHost extends SendHost {
  create(): CreateHost
  /** Makes the handle of a domain that is there, and starts it. */
  adopt(
    config: DomainConfig<KernelSource>,
    made: { readonly domid: DomId; readonly uuid: string },
    options: { readonly paused: boolean },
  ): Domain
}

/** How a saved domain is started again. */
export interface RestoreDomainOptions extends RestoreOptions, OperationOptions {
  /** Leaves the domain paused, as `xl restore -p` does. */
  readonly paused?: boolean | undefined
}

/** Facts of a domain that do not change while it is on its way. */
const snapshot = ({ id, name, uuid, config }: Domain): SavedDomain => ({ id, name, uuid, config })

/** The operations of one host. */
export class DomainMovement {
  private readonly host: MovementHost

  constructor(host: MovementHost) {
    this.host = host
  }

  save(domain: Domain, target: ByteOutput, options: SaveOptions & OperationOptions): Operation<void, SaveProgress> {
    return this.start(`saving domain ${domain.id}`, options, (context) =>
      saveDomain(this.host, snapshot(domain), target, { ...options, context }))
  }

  migrate(
    domain: Domain,
    transport: MigrationTransport,
    options: MigrateOptions & OperationOptions,
  ): Operation<MigrationSummary, MigrateProgress> {
    return this.start(`migrating domain ${domain.id}`, options, (context) =>
      sendDomain(this.host, snapshot(domain), transport, { ...options, context }))
  }

  resume(domain: Domain): void {
    takeBack(this.host, snapshot(domain))
  }

  restore(source: ByteInput, options: RestoreDomainOptions): Operation<Domain, RestoreProgress> {
    return this.start('restoring a domain', options, async (context) => {
      const reader = new SaveStreamReader(source, options.signal, 'reused')
      context.undo(() => void reader.close().catch(() => undefined))
      const restored = await restoreDomain(this.host.create(), reader, { ...options, context })
      void reader.close().catch(() => undefined)
      return this.host.adopt(restored.config, restored, { paused: options.paused === true })
    })
  }

  receive(
    transport: MigrationTransport,
    options: ReceiveOptions & OperationOptions,
  ): Operation<Domain, ReceiveProgress> {
    return this.start('receiving a domain', options, async (context) => {
      let domain: Domain | undefined
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

  private start<T, P extends { readonly type: string }>(
    name: string,
    options: OperationOptions,
    body: Parameters<typeof startOperation<T, P>>[1],
  ): Operation<T, P> {
    return startOperation<T, P>({ name, now: () => this.host.now(), signal: options.signal }, body)
  }
}
