/** What becomes of a domain: its name and UUID, its crash, its end. Its host writes it, its handle shows it. */
import type { DomId, XenError } from '../../util/index.ts'
import type { DomainCrash } from '../crash/domain-crash.ts'
import type { DestructionReason, ShutdownReasonName } from '../domains/shutdown-reason.ts'
import { goneError } from '../run/operations.ts'

/** How a domain ended: by itself, or because it was destroyed, saved or migrated while it ran. */
export type DomainEnd = ShutdownReasonName | 'destroyed' | 'saved' | 'migrated'

/** The fate of one domain. */
export class DomainFate {
  readonly id: DomId
  name: string
  uuid: string
  /** How it has ended; undefined while it has not. */
  ended: DomainEnd | undefined
  /** Why it is gone; undefined while it is there. */
  destroyed: DestructionReason | undefined
  /** How it has crashed; undefined while it has not. */
  crash: DomainCrash | undefined

  constructor({ id, name, uuid }: Pick<DomainFate, 'id' | 'name' | 'uuid'>) {
    this.id = id
    this.name = name
    this.uuid = uuid
  }

  /** The guest has ended. */
  end(reason: ShutdownReasonName): void {
    this.ended ??= reason
  }

  /** It goes on behind its end: it was reset. */
  revive(): void {
    this.ended = undefined
    this.crash = undefined
  }

  /** The domain is gone. */
  destroy(reason: DestructionReason): void {
    this.destroyed = reason
    this.ended ??= reason === 'saved' || reason === 'migrated' ? reason : 'destroyed'
  }

  /** The error of whoever wants something of a domain that is gone or has ended. */
  gone(): XenError {
    return goneError(this, this.destroyed === undefined ? 'has ended' : `is gone: ${this.destroyed}`)
  }
}
