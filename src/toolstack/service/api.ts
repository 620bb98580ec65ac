/**
 * The types of the other end, made of the API's own: what comes at once there comes as a promise here, a fact is a call without
 * arguments, handles are those of the other end. Which members travel is in travelling.ts.
 */
import type { EventBase, EventFilter, EventsLost, EventStamp, StreamOptions } from '../../util/index.ts'
import type { Catalogue } from '../catalogue/catalogue.ts'
import type { CpuPool, CpuPools } from '../control/cpu-pools.ts'
import type { DomainConsole } from '../domains/domain-console.ts'
import type { Domain } from '../host/domain.ts'
import type { Host } from '../host/host.ts'
import type { HostEvent } from '../host/host-events.ts'
import type { Moment } from '../moments/moment.ts'
import type { Operation } from '../run/operation.ts'
import type { Travels } from './travelling.ts'

/** The version of the messages; ends of different ones do not talk. */
export const SERVICE_VERSION = 1

/** A value at the other end: handles are those of the other end. */
export type RemoteValue<T> = T extends Domain ? RemoteDomain
  : T extends CpuPool ? RemoteCpuPool
    : T extends DomainConsole ? RemoteConsole
    : T extends Moment<Host> ? RemoteMoment
      : T extends readonly (infer I)[] ? (I extends Domain | CpuPool ? readonly RemoteValue<I>[] : T) : T

/** An argument at the other end: handles of there stand for those of here, beside what names them. */
export type RemoteArgument<T> = T | (Domain extends T ? RemoteDomain : never) | (CpuPool extends T ? RemoteCpuPool : never) | (Moment<Host> extends T ? RemoteMoment : never)
/** Arguments at the other end. */
export type RemoteArguments<A extends readonly unknown[]> = { [at in keyof A]: RemoteArgument<A[at]> }

/** A member at the other end: what came at once comes as a promise; operations and streams are what they are. */
export type Remote<F> = F extends (...given: infer A) => infer R
  ? R extends Operation<infer T, infer P>
    ? (...given: RemoteArguments<A>) => Operation<RemoteValue<T>, P extends EventBase ? P : never>
    : R extends AsyncIterable<unknown> ? (...given: A) => R : (...given: RemoteArguments<A>) => Promise<RemoteValue<Awaited<R>>>
  : () => Promise<RemoteValue<F>>

/** The members of a class that travel. */
export type Remotely<T, N extends keyof T> = { readonly [name in N]: Remote<T[name]> }

/** The console of a domain of another process. */
export type RemoteConsole = Remotely<DomainConsole, Travels<'console'>>

/** A domain of another process. Its calls are those of a {@link Domain}, awaited. */
export type RemoteDomain = Remotely<Domain, Travels<'domain'>> & {
  readonly id: number
  readonly uuid: string
  /** Its name when the handle came. */
  readonly name: string
  readonly console: RemoteConsole
}

/** A pool of CPUs of another process's host; what it tells of itself is what was so when the handle came. */
export type RemoteCpuPool = Remotely<CpuPool, Travels<'cpupool'>> & Pick<CpuPool, 'id' | 'name' | 'scheduler' | 'cpus' | 'domains'>

/** The pools of another process's host. */
export type RemoteCpuPools = Remotely<CpuPools, Travels<'cpupools'>>

/** A moment of another process's host. It is let go when the connection ends. */
export type RemoteMoment = Remotely<Moment<Host>, Travels<'moment'>> & Pick<Moment<Host>, 'label' | 'time' | 'newPages'>

/** The catalogue of another process's host. Rejects with NOT_SUPPORTED where that is served without one. */
export type RemoteCatalogue = Remotely<Catalogue, Travels<'catalogue'>> & {
  /** Starts a defined domain. */
  start(name: string): Promise<RemoteDomain>
  /** Starts those that are to be started with their host. */
  startAll(): Promise<readonly ({ readonly name: string; readonly domain?: RemoteDomain; readonly error?: unknown })[]>
}

/** An event of another process's host. */
export type StampedEvent = HostEvent & EventStamp

/** Events of a host of another process. */
export interface RemoteEvents {
  /** Calls `listener` for each event of `type`; returns the function that ends it. */
  on<T extends HostEvent['type']>(type: T, listener: (event: Extract<HostEvent, { readonly type: T }> & EventStamp) => void): () => void
  /** Calls `listener` for each event; returns the function that ends it. */
  onAny(listener: (event: StampedEvent) => void): () => void
  /** The next event of `type` that `accept` lets pass. Rejects with ABORTED, CLOSED. */
  once<T extends HostEvent['type']>(
    type: T, accept?: (event: Extract<HostEvent, { readonly type: T }> & EventStamp) => boolean, options?: { readonly signal?: AbortSignal },
  ): Promise<Extract<HostEvent, { readonly type: T }> & EventStamp>
  /** All events that pass the options, for `for await`: with credit across the connection. */
  stream(options?: Omit<StreamOptions<HostEvent>, 'accept'>): AsyncIterable<StampedEvent | EventsLost>
  /** Those that are kept, the oldest first. */
  recent(filter?: Omit<EventFilter<HostEvent>, 'accept'>): Promise<readonly StampedEvent[]>
}

/** A host of another process. Its calls are those of a {@link Host}, awaited. */
export type RemoteHost = Remotely<Host, Travels<'host'>> & {
  readonly events: RemoteEvents
  readonly cpupools: RemoteCpuPools
  readonly catalogue: RemoteCatalogue
  /** Ends the connection; the host goes on. What is under way rejects with CLOSED and is given up there. */
  close(): void
  /** Resolves when the connection is over. */
  readonly closed: Promise<void>
}
