/** What a host tells of its operations, whoever has asked for them. */
import type { EventBase, EventNames } from '../../util/index.ts'

/** Which operation an event is about. */
export interface OperationFacts {
  /** Counts the operations of a host. */
  readonly operation: number
  /** What it is called in its errors: "saving domain 3". */
  readonly name: string
  /** The domain that it is about; absent where there is none yet, or it is about the host. */
  readonly domid?: number
}

/** Events of operations, by `type`. */
export type OperationEvent =
  | { readonly type: 'operation-started' } & OperationFacts
  /** What its own `progress` tells. It is not kept for later readers. */
  | { readonly type: 'operation-progress'; readonly progress: EventBase } & OperationFacts
  | { readonly type: 'operation-completed' } & OperationFacts
  /** It has failed, and was undone. */
  | { readonly type: 'operation-failed'; readonly error: unknown } & OperationFacts
  /** Its caller has given it up, and it was undone. */
  | { readonly type: 'operation-aborted' } & OperationFacts

/** Names of these events. */
export const OPERATION_EVENTS: EventNames<OperationEvent> = {
  'operation-started': true, 'operation-progress': true, 'operation-completed': true, 'operation-failed': true, 'operation-aborted': true,
}

/** Who passes them on. */
export interface OperationEvents {
  emit(event: OperationEvent): void
  wants(type: OperationEvent['type']): boolean
}
