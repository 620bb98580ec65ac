/**
 * What the store knows of domains: whether they are connected, what they use, which nodes they own and which name
 * them in their permissions. The two sets make the clean-up at a domain's death as cheap as what it leaves behind.
 */
import { DOMAIN_ANY, samePermissions } from '../tree/permissions.ts'
import { nodeSize, type StoreNode } from '../tree/node.ts'
import { DEFAULT_QUOTA, type QuotaLimits, type QuotaUsage } from './quota.ts'
import type { WriteCredit } from './write-rate.ts'

/** The domain that may do everything. */
export const PRIVILEGED_DOMAIN = 0

/** True for a domain to which limits and permissions apply. */
export const isUnprivileged = (domid: number): boolean => domid !== PRIVILEGED_DOMAIN

/** What the store can do for domains. Reference: public/io/xs_wire.h, XENSTORE_SERVER_FEATURE_*, and newer ones. */
export const STORE_FEATURE = { RECONNECTION: 1, ERROR: 2, WATCH_DEPTH: 4, DOMID_ANY: 8 } as const

/** The features on offer. */
export const STORE_FEATURES = STORE_FEATURE.RECONNECTION | STORE_FEATURE.ERROR | STORE_FEATURE.WATCH_DEPTH
  | STORE_FEATURE.DOMID_ANY

/** What the store knows of a domain. */
export interface StoreDomain {
  readonly id: number
  /** Whether the toolstack has introduced it and has not released it. */
  readonly introduced: boolean
  /** Whether its shutdown has been announced. */
  readonly shutdown: boolean
  /** What of the protocol is offered to it, as XenStore's bits say it. */
  readonly features: number
  /** The domain over whose nodes it has power. */
  readonly target: number | undefined
  /** What it may use at most. */
  readonly limits: QuotaLimits
  /** What it uses. */
  readonly usage: Readonly<QuotaUsage>
}

/** A connection, as far as its domain's end is its own. */
export interface ClosableSession {
  close(reason: string): void
}

/** The same as the store works on it. */
export class DomainRecord implements StoreDomain {
  readonly id: number
  /** Whether the toolstack has introduced it and has not released it. */
  introduced = false
  /** Whether its shutdown has been announced. */
  shutdown = false
  /** Features on offer to it; may be narrowed before it is introduced. */
  features: number = STORE_FEATURES
  /** The domain over whose nodes it has power; {@link DomainTable.setTarget} says so. */
  target: number | undefined
  limits: QuotaLimits
  readonly usage: QuotaUsage = { nodes: 0, watches: 0, outstanding: 0, memory: 0, transactions: 0 }
  /** Paths of the nodes it owns; kept for unprivileged domains. */
  readonly owned = new Set<string>()
  /** Paths of the nodes of others that name it in their permissions. */
  readonly named = new Set<string>()
  /** Open connections in its name; kept for unprivileged domains. */
  sessions: readonly ClosableSession[] = []
  /** Its account at the write-rate limit, once introduced. */
  credit: WriteCredit | undefined
  /** Whether the soft limit on memory has been reported. */
  softMemoryReported = false

  constructor(id: number, limits: QuotaLimits) {
    this.id = id
    this.limits = limits
  }

  /** True when using `value` of `what` would be more than the domain may. */
  exceeds(what: keyof QuotaLimits, value: number): boolean {
    const limit = this.limits[what]
    return limit !== 0 && isUnprivileged(this.id) && value > limit
  }
}

/** All domains that the store has heard of. */
export class DomainTable {
  /** Limits that a domain starts with. */
  defaults: QuotaLimits
  private readonly domains = new Map<number, DomainRecord>()
  /** Those that have power over another's nodes. */
  private readonly holders = new Set<DomainRecord>()
  private readonly exists: (domid: number) => boolean

  /** `exists` tells whether there is such a domain on the host. */
  constructor(exists: (domid: number) => boolean, defaults: QuotaLimits = DEFAULT_QUOTA) {
    this.exists = exists
    this.defaults = defaults
  }

  /** The domain if the store has heard of it. */
  get(id: number): DomainRecord | undefined {
    return this.domains.get(id)
  }

  /** The domain, which the store hears of now if not before; undefined when the host has none with this number. */
  find(id: number): DomainRecord | undefined {
    return this.domains.get(id) ?? (this.exists(id) ? this.create(id) : undefined)
  }

  /** The domain, whether the host has it or not. */
  create(id: number): DomainRecord {
    const known = this.domains.get(id)
    if (known !== undefined) return known
    const domain = new DomainRecord(id, this.defaults)
    this.domains.set(id, domain)
    return domain
  }

  forget(id: number): void {
    const domain = this.domains.get(id)
    if (domain === undefined) return
    this.holders.delete(domain)
    this.domains.delete(id)
  }

  /** Gives a domain power over another's nodes; undefined takes it back. */
  setTarget(domain: DomainRecord, target: number | undefined): void {
    domain.target = target
    if (target === undefined) this.holders.delete(domain)
    else this.holders.add(domain)
  }

  /** Nobody has power over a domain's nodes any more: it is gone. */
  untarget(id: number): void {
    for (const domain of this.holders) if (domain.target === id) this.setTarget(domain, undefined)
  }

  /** All of them, in the order of their first appearance. */
  values(): IterableIterator<DomainRecord> {
    return this.domains.values()
  }

  /** Books the change of one node: `before` or `after` is undefined when it is created or removed. */
  account(path: string, before: StoreNode | undefined, after: StoreNode | undefined): void {
    if (before !== undefined && after !== undefined && samePermissions(before.permissions, after.permissions)) {
      // hot path: most changes are of a value alone. What they say counts: copies in a loaded transaction have lists of their own.
      this.create(after.permissions[0].domid).usage.memory += nodeSize(after) - nodeSize(before)
      return
    }
    if (before !== undefined) this.book(path, before, -1)
    if (after !== undefined) this.book(path, after, 1)
  }

  private book(path: string, node: StoreNode, sign: 1 | -1): void {
    const { permissions } = node
    const owner = this.create(permissions[0].domid)
    owner.usage.nodes += sign
    owner.usage.memory += sign * (nodeSize(node) + path.length)
    if (isUnprivileged(owner.id)) this.note(owner.owned, path, sign)
    for (let i = 1; i < permissions.length; i += 1) {
      const { domid, ignored } = permissions[i]!
      if (ignored === true || domid === DOMAIN_ANY || !isUnprivileged(domid)) continue
      this.note(this.create(domid).named, path, sign)
    }
  }

  private note(paths: Set<string>, path: string, sign: 1 | -1): void {
    if (sign > 0) paths.add(path)
    else paths.delete(path)
  }
}
