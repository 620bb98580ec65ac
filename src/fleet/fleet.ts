/**
 * A fleet as its users have it: what is wanted of domains and hosts is written into the store's records, and the agents carry it out. What is to be
 * done is planned first, as data; `carryOut` does it where the records still are those that the plan was made from.
 */
import { abortSignal, checkOptions, listOf, oneOf, real, text, whole, XenError, type OptionChecks } from '../util/index.ts'
import { isName, readRecord, writeRecord, type FleetDomain, type FleetState, type Ownership } from './plan/fleet-state.ts'
import { bearableFailures, planDrain, planRebalance, planRollingRestart, type FailureOutlook, type Plan, type RebalanceOptions } from './plan/plans.ts'
import { absent, KEY, readFleet, unchanged, type FleetView } from './records.ts'
import type { ClusterStore, StoreBatch, StoreChange, StoreOperation } from './store/cluster-store.ts'


/** A domain as it is defined; what is left out has its usual value. */
export type DomainDefinition = Pick<FleetDomain, 'name' | 'memory'> & Partial<FleetDomain>

const CHECKS: OptionChecks<DomainDefinition> = {
  name: (value) => (isName(value) ? undefined : 'must be a name: letters, digits, dots, dashes and underscores'), memory: /* @__PURE__ */ whole(1, 2 ** 30), vcpus: /* @__PURE__ */ whole(1, 4096),
  wanted: /* @__PURE__ */ oneOf('running', 'stopped'), priority: /* @__PURE__ */ real(-1e9, 1e9), order: /* @__PURE__ */ real(-1e9, 1e9), with: /* @__PURE__ */ listOf(text), apart: text, requires: /* @__PURE__ */ listOf(text),
  eviction: /* @__PURE__ */ oneOf('move', 'restart', 'stop', 'stay'), description: text,
  clone: (value) => (typeof value === 'object' && value !== null ? undefined : 'must be an object with of and number'),
}

/** How clones are made. */
export interface CloneOptions {
  readonly count: number
  /** A group of which no two are on one host. Default: the original's. */
  readonly apart?: string | undefined
}

/** How hosts are restarted one after the other. */
export interface RollingRestartOptions {
  /** Gives it up. */
  readonly signal?: AbortSignal | undefined
}

/** A definition as a record. Throws INVALID_ARGUMENT for one that nobody could read. */
function recordOf(definition: DomainDefinition): string {
  const usual = { vcpus: 1, wanted: 'running', priority: 0, order: 0, with: [], requires: [], eviction: 'move', description: '' } as const
  const given = Object.fromEntries(Object.entries(definition).filter(([, value]) => value !== undefined)) as unknown as DomainDefinition
  const value = writeRecord('domain', { ...usual, ...given })
  if (readRecord('domain', value) === undefined) throw new XenError('INVALID_ARGUMENT', `the definition of ${definition.name} has what no record has`, { details: { domain: definition.name } })
  return value
}

/** An owner's record that has the domain move. Nothing that was handed to another host is this one's. */
const movedTo = ({ isHanded: _, ...owner }: Ownership, to: string): Ownership => ({ ...owner, to })

/** What happens in a fleet; `revision` is where to go on from. */
export type FleetEvent =
  | { readonly type: 'host-joined' | 'host-left' | 'drain-begun' | 'drain-ended'; readonly revision: number; readonly host: string }
  | { readonly type: 'domain-defined'; readonly revision: number; readonly domain: string; readonly wanted: FleetDomain['wanted'] }
  | { readonly type: 'domain-removed' | 'domain-released'; readonly revision: number; readonly domain: string }
  | { readonly type: 'domain-assigned' | 'domain-claimed'; readonly revision: number; readonly domain: string; readonly host: string; readonly epoch: number }
  /** It is to move from a host to another; it stands still there, until the other has it with its memory. */
  | { readonly type: 'domain-moving' | 'domain-handed'; readonly revision: number; readonly domain: string; readonly host: string; readonly to: string; readonly epoch: number }

/** What a change of a key means; undefined for one that means nothing to users. */
function eventOf(change: StoreChange, revision: number): FleetEvent | undefined {
  const key = change.type === 'put' ? change.entry.key : change.key
  const [kind, name] = [key.slice(0, key.indexOf('/')), key.slice(key.indexOf('/') + 1)]
  const value = change.type === 'put' ? change.entry.value : undefined
  if (kind === 'hosts') return { type: value === undefined ? 'host-left' : 'host-joined', revision, host: name }
  if (kind === 'draining') return { type: value === undefined ? 'drain-ended' : 'drain-begun', revision, host: name }
  if (kind === 'domains') {
    const record = value === undefined ? undefined : readRecord('domain', value)
    return record === undefined ? { type: 'domain-removed', revision, domain: name } : { type: 'domain-defined', revision, domain: name, wanted: record.wanted }
  }
  if (kind !== 'owners') return undefined
  const owner = value === undefined ? undefined : readRecord('owner', value)
  if (owner === undefined) return { type: 'domain-released', revision, domain: name }
  const { host, epoch, to, member, isHanded } = owner
  if (to !== undefined) return { type: isHanded === true ? 'domain-handed' : 'domain-moving', revision, domain: name, host, to, epoch }
  return { type: member === undefined ? 'domain-assigned' : 'domain-claimed', revision, domain: name, host, epoch }
}

/** A fleet, by its store. */
export class Fleet {
  private readonly store: ClusterStore

  constructor({ store }: { readonly store: ClusterStore }) {
    this.store = store
  }

  /** All hosts, domains and owners, at one revision. Rejects with IO. */
  state(): Promise<FleetView> {
    return readFleet(this.store)
  }

  /** Defines a domain, or another of its name anew. It is started when it is `wanted: 'running'`, which is usual. Rejects with INVALID_ARGUMENT, IO. */
  async define(definition: DomainDefinition): Promise<void> {
    checkOptions('define', definition, CHECKS)
    const value = recordOf(definition)
    await this.store.txn([], [{ type: 'put', key: KEY.domain(definition.name), value }])
  }

  /**
   * Defines clones of a domain: `web-1`, `web-2` and so on beside `web`, no two of them on one host where `apart` says so. Each finds in its XenStore which one it is
   * (`vm-data/fleet`), so that it can be another than the others: take its own address, make its own keys. Resolves with their names. Rejects with DOMAIN_NOT_FOUND,
   * INVALID_ARGUMENT, BUSY where one of the names is taken.
   */
  async clone(name: string, { count, apart }: CloneOptions): Promise<readonly string[]> {
    checkOptions('clone', { count, apart }, { count: whole(1, 1000), apart: text })
    const original = this.domain(await this.state(), name)
    const names = Array.from({ length: count }, (_, i) => `${name}-${i + 1}`)
    for (const [i, clone] of names.entries()) {
      const value = recordOf({ ...original, name: clone, clone: { of: name, number: i + 1 }, ...(apart === undefined ? {} : { apart }) })
      const { succeeded } = await this.store.txn([absent(KEY.domain(clone))], [{ type: 'put', key: KEY.domain(clone), value }])
      if (!succeeded) throw new XenError('BUSY', `the fleet has a domain ${clone}`, { details: { domain: clone, doing: 'defined' } })
    }
    return names
  }

  /** Wants a domain to run. Rejects with DOMAIN_NOT_FOUND, BUSY when somebody else changes it. */
  start(name: string): Promise<void> {
    return this.want(name, 'running')
  }

  /** Wants a domain to be stopped. */
  stop(name: string): Promise<void> {
    return this.want(name, 'stopped')
  }

  /** Forgets a domain; it is ended where it runs. */
  async remove(name: string): Promise<void> {
    await this.store.txn([], [{ type: 'delete', key: KEY.domain(name) }])
  }

  /** Moves a domain to a host. Rejects with DOMAIN_NOT_FOUND, INVALID_STATE for a domain or a host that is not there, BUSY. */
  async move(name: string, to: string): Promise<void> {
    const view = await this.state()
    this.domain(view, name)
    const owner = view.owners.get(name)
    if (owner === undefined || !view.hosts.has(to)) throw new XenError('INVALID_STATE', owner === undefined ? `no host has domain ${name}` : `there is no host ${to}`, { details: { domain: name, host: to } })
    if (owner.host !== to) await this.write(view, KEY.owner(name), { type: 'put', key: KEY.owner(name), value: writeRecord('owner', movedTo(owner, to)) })
  }

  /** What emptying a host would come to: its steps, and which domains prevent it and why. */
  async planDrain(host: string): Promise<Plan> {
    return planDrain(await this.state(), host)
  }

  /** Marks a host as to be emptied, and moves its domains away: all of the plan that can be done, which it resolves with. */
  async drain(host: string): Promise<Plan> {
    await this.store.txn([], [{ type: 'put', key: KEY.draining(host), value: '1' }])
    const plan = await this.planDrain(host)
    await this.carryOut(plan)
    return plan
  }

  /** The host takes domains again. */
  async undrain(host: string): Promise<void> {
    await this.store.txn([], [{ type: 'delete', key: KEY.draining(host) }])
  }

  /** What evening out would come to. */
  async planRebalance(options: RebalanceOptions = {}): Promise<Plan> {
    return planRebalance(await this.state(), options)
  }

  /** How each host could be restarted, one after the other. */
  async planRollingRestart(): Promise<Plan> {
    return planRollingRestart(await this.state())
  }

  /**
   * Restarts all hosts, one after the other: each is emptied as by `drain`, `restart` is called with its name, and when that has resolved and the host is a member again it takes domains
   * again. Resolves with the hosts that were restarted. Rejects with INVALID_STATE at a host that cannot be emptied, of which nothing is moved then, with what `restart` says, and
   * with ABORTED when the signal fires; then the host at which it was stays marked as to be emptied.
   */
  async rollingRestart(restart: (host: string) => void | Promise<void>, options: RollingRestartOptions = {}): Promise<readonly string[]> {
    checkOptions('rollingRestart', options, { signal: abortSignal })
    const restarted: string[] = []
    for (const host of [...(await this.state()).hosts.keys()].sort()) {
      const { unplaced } = await this.planDrain(host)
      if (unplaced.length > 0) {
        throw new XenError('INVALID_STATE', `host ${host} cannot be emptied, for ${unplaced.map(({ domain, why }) => `${domain}: ${why}`).join('; ')}`, { details: { host, domains: unplaced.map(({ domain }) => domain), restarted } })
      }
      await this.drain(host)
      await this.until(`host ${host} to be empty`, async (view) => {
        // Those that somebody else was changing at first.
        await this.carryOut(planDrain(view, host))
        return [...view.owners.values()].every((owner) => owner.host !== host)
      }, options)
      await restart(host)
      await this.until(`host ${host} to be back`, ({ hosts }) => hosts.has(host), options)
      await this.undrain(host)
      restarted.push(host)
    }
    return restarted
  }

  /** Resolves when something holds of the records. */
  private async until(what: string, met: (view: FleetView) => boolean | Promise<boolean>, { signal }: RollingRestartOptions): Promise<void> {
    for (;;) {
      const view = await this.state()
      if (signal?.aborted === true) throw new XenError('ABORTED', `waiting for ${what} was aborted`, { cause: signal.reason })
      if (await met(view)) return
      try {
        for await (const _ of this.store.watch('', { from: view.revision + 1, signal })) break
      } catch (error) {
        // What has happened since is not kept: it is in the next reading.
        if (!XenError.is(error, 'COMPACTED')) throw error
      }
    }
  }

  /** Which failures of one host can be borne. */
  async bearableFailures(): Promise<readonly FailureOutlook[]> {
    return bearableFailures(await this.state())
  }

  /** Carries out a plan's moves and stops; how many were begun. One whose domain has another owner by now is passed over. */
  async carryOut(plan: Plan): Promise<number> {
    const view = await this.state()
    let begun = 0
    for (const step of plan.steps) {
      if (step.type !== 'move' && step.type !== 'stop') continue
      const owner = view.owners.get(step.domain)
      if (owner?.host !== step.from || owner.to !== undefined) continue
      const [key, own] = [KEY.owner(step.domain), KEY.domain(step.domain)]
      const put: StoreOperation = step.type === 'move'
        ? { type: 'put', key, value: writeRecord('owner', movedTo(owner, step.to)) } : { type: 'put', key: own, value: writeRecord('domain', { ...this.domain(view, step.domain), wanted: 'stopped' }) }
      const { succeeded } = await this.store.txn([unchanged(view, key), unchanged(view, own)], [put])
      if (succeeded) begun += 1
    }
    return begun
  }

  /**
   * What happens, from a revision on, or from now. Ends when the signal fires; rejects with COMPACTED where that revision is not kept any more, IO.
   *
   * @example
   * for await (const event of fleet.events({ signal })) console.log(event.type, event.revision)
   */
  async *events(options: { readonly from?: number | undefined; readonly signal?: AbortSignal | undefined } = {}): AsyncGenerator<FleetEvent, void> {
    const batches: AsyncIterable<StoreBatch> = this.store.watch('', options)
    for await (const { revision, changes } of batches) {
      for (const change of changes) {
        const event = eventOf(change, revision)
        if (event !== undefined) yield event
      }
    }
  }

  private async want(name: string, wanted: FleetDomain['wanted']): Promise<void> {
    const view = await this.state()
    const domain = this.domain(view, name)
    await this.write(view, KEY.domain(name), { type: 'put', key: KEY.domain(name), value: writeRecord('domain', { ...domain, wanted }) })
  }

  private domain({ domains }: FleetState, name: string): FleetDomain {
    const domain = domains.get(name)
    if (domain === undefined) throw new XenError('DOMAIN_NOT_FOUND', `the fleet has no domain ${name}`, { details: { domain: name } })
    return domain
  }

  private async write(view: FleetView, key: string, operation: StoreOperation): Promise<void> {
    const { succeeded } = await this.store.txn([unchanged(view, key)], [operation])
    if (!succeeded) throw new XenError('BUSY', `somebody else has just changed ${key}`, { details: { key, doing: 'being changed' } })
  }
}
