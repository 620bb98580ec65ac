/**
 * The heart of a store: the current root of the tree, the domains, the watches, and the one place where changes take
 * effect. Sessions and the server work on it; what users have of it is store.ts. What a connection may do is decided in
 * session.ts; bytes and transports are the server's.
 *
 * Reference: xen/docs/misc/xenstore.txt; behaviour of tools/xenstored.
 */
import { LAST_DOMID } from '../../abi/index.ts'
import { EventHub, type Clock, anything, callable, checkOptions, having, sameFields, sameOptional, sameState, whole } from '../../util/index.ts'
import { DomainTable, PRIVILEGED_DOMAIN, STORE_FEATURE, isUnprivileged, type DomainRecord } from './domains.ts'
import {
  EMPTY_VALUE, NO_CHILDREN, StoreNode, nodeAt, walkUp, withNode, withoutNode,
} from '../tree/node.ts'
import { isSpecial, parentPath } from '../tree/path.ts'
import { ACCESS, DOMAIN_ANY, type Permissions } from '../tree/permissions.ts'
import { maySee, type WatchedChange } from './change.ts'
import { LIMIT_CHECKS, type QuotaLimits, type QuotaName } from './quota.ts'
import {
  expectSaved, readLimits, readNode, readTree, reorder, saveNode, saveTree, type DomainState, type StoreState,
} from './saved-state.ts'
import { STORE_EVENTS, type StoreEvent } from './store-events.ts'
import type { Access, PlacedNode, StoreTransaction } from './transaction.ts'
import { TreeEdit } from './tree-edit.ts'
import { MATCH, WatchRegistry, type EventCause, type Match, type WatchOwner } from './watches.ts'
import { WriteRate } from './write-rate.ts'

/** Special node that changes when a domain is introduced. */
export const INTRODUCE_DOMAIN = '@introduceDomain'
/** Special node that changes when a domain shuts down or is gone. */
export const RELEASE_DOMAIN = '@releaseDomain'

/** What a store needs from outside. */
export interface XenStoreOptions {
  /** Time for the write-rate limit and the events; without one time stands still. */
  readonly clock?: Clock
  /** Whether the host has a domain with this number. Default: it has every domain that somebody mentions. */
  readonly domainExists?: (domid: number) => boolean
  /** Limits that differ from xenstored's. */
  readonly limits?: Partial<QuotaLimits>
  /** A domain beside 0 that may do everything, as by xenstored's option `--priv-domid`. */
  readonly privilegedDomain?: number | undefined
}

const PRIVATE: Permissions = [{ domid: 0, access: ACCESS.NONE }]

const madeBy = (permissions: Permissions, generation: number): StoreNode =>
  new StoreNode({ value: EMPTY_VALUE, permissions, generation, children: NO_CHILDREN })

/** An open connection as the store sees it. */
export interface OpenSession extends WatchOwner {
  readonly domid: number
  readonly transactions: ReadonlyMap<number, StoreTransaction>
  close(reason: string): void
}

/** Whose writes count against the limit on their rate. */
export interface Writer {
  readonly domid: number
  readonly privileged: boolean
  readonly record: DomainRecord | undefined
}

/** Trees as they were saved: a tree never changes, and is saved at every moment. */
const saved = /* @__PURE__ */ new WeakMap<StoreNode, StoreState['nodes']>()
/** The trees of what was saved here, which stores that go on from it share. */
const trees = /* @__PURE__ */ new WeakMap<StoreState['nodes'], { readonly tree: StoreNode; readonly newest: number }>()

function savedNodes(tree: StoreNode, newest: number): StoreState['nodes'] {
  const known = saved.get(tree) ?? saveTree('/', tree)
  saved.set(tree, known)
  trees.set(known, { tree, newest })
  return known
}

/** The tree of saved nodes, checked where it is not known. */
function treeOf({ nodes, generation }: StoreState): StoreNode {
  const known = trees.get(nodes)
  return known !== undefined && known.newest <= generation ? known.tree : readTree(nodes, generation)
}

/** What of a domain follows from nodes. */
const PATHS: ReadonlySet<string> = /* @__PURE__ */ new Set(['owned', 'named'])
/** What a state out of a file may lack. */
const OPTIONAL = ['target', 'credit'] as const

/** A store without its connections' rights. */
export class StoreCore {
  readonly hub: EventHub<StoreEvent>
  readonly domains: DomainTable
  /** The domain beside 0 that may do everything, where there is one. */
  readonly privilegedDomain: number | undefined
  readonly watches = new WatchRegistry()
  readonly rate = new WriteRate()
  /** All connections by number. */
  readonly sessions = new Map<number, OpenSession>()
  /** Transactions open on all connections. */
  openTransactions = 0
  /** The request at work, for counting the events that it causes. */
  cause: EventCause | undefined
  private tree: StoreNode
  private changeCount = 0
  private special = new Map<string, StoreNode>()
  private lastGeneration = 0
  private lastSession = 0
  private readonly clock: Clock
  private deferred: (() => void)[] = []
  private lastSaved: { readonly state: StoreState; readonly changes: number } | undefined
  private delivering = false

  constructor(options: XenStoreOptions = {}) {
    checkOptions('XenStore', options, { clock: having('now'), domainExists: callable, limits: anything, privilegedDomain: whole(1, LAST_DOMID) })
    checkOptions('the limits of XenStore', options.limits ?? {}, LIMIT_CHECKS)
    this.clock = options.clock ?? { now: () => 0 }
    this.hub = new EventHub<StoreEvent>(() => this.clock.now(), undefined, { names: STORE_EVENTS })
    this.domains = new DomainTable(options.domainExists ?? (() => true))
    this.privilegedDomain = options.privilegedDomain
    this.domains.defaults = { ...this.domains.defaults, ...options.limits }
    // The domain that XenStore serves first of all needs nobody to introduce it.
    this.domains.create(PRIVILEGED_DOMAIN).introduced = true
    this.tree = madeBy(PRIVATE, this.nextGeneration())
    this.domains.account('/', undefined, this.tree)
    for (const path of ['/tool', '/tool/xenstored']) this.replace(path, madeBy(PRIVATE, this.nextGeneration()))
    const readable: Permissions = [PRIVATE[0], { domid: DOMAIN_ANY, access: ACCESS.READ }]
    this.replace(RELEASE_DOMAIN, madeBy(readable, this.nextGeneration()))
    this.replace(INTRODUCE_DOMAIN, madeBy(PRIVATE, this.nextGeneration()))
  }

  /** How often any node has changed. */
  get changes(): number {
    return this.changeCount
  }

  /** The root of the current tree. It never changes; the store moves on to another one. */
  get root(): StoreNode {
    return this.tree
  }

  /** Milliseconds of host time. */
  milliseconds(): number {
    return Math.floor(this.clock.now() / 1e6)
  }

  /** A number for a new connection; one that a saved connection had is kept. */
  nextSession(wanted?: number): number {
    const id = wanted ?? this.lastSession + 1
    this.lastSession = Math.max(this.lastSession, id)
    return id
  }

  /** Counts a connection in. */
  enter(id: number, session: OpenSession): void {
    this.sessions.set(id, session)
    if (!isUnprivileged(session.domid)) return this.tellOpened(id, session)
    const domain = this.domains.create(session.domid)
    domain.sessions = [...domain.sessions, session]
    this.tellOpened(id, session)
  }

  private tellOpened(id: number, session: OpenSession): void {
    this.hub.emit({ type: 'connection-opened', connection: id, domid: session.domid })
  }

  /** A connection is closed. */
  leave(id: number, session: OpenSession): void {
    this.sessions.delete(id)
    const domain = this.domains.get(session.domid)
    if (domain !== undefined) domain.sessions = domain.sessions.filter((other) => other !== session)
  }

  /** The newest generation number. */
  get generation(): number {
    return this.lastGeneration
  }

  /** The store without its connections; nodes that have not changed since are those of the last save. */
  save(): StoreState {
    const domains = [...this.domains.values()].map((domain): DomainState => {
      const { id, introduced, shutdown, features, target, limits, credit, owned, named } = domain
      return {
        id, introduced, shutdown, features, target, limits: { ...limits }, credit: credit && { ...credit },
        owned: [...owned], named: [...named],
      }
    })
    const state: StoreState = {
      generation: this.lastGeneration,
      lastSession: this.lastSession,
      nodes: savedNodes(this.tree, this.lastGeneration),
      special: [...this.special].map(([path, node]) => saveNode(path, node)),
      domains,
      limits: { ...this.domains.defaults },
      rate: this.rate.save(),
    }
    this.lastSaved = { state, changes: this.changeCount }
    return state
  }

  /** Nodes, and who owns them, are those of the last save as long as none has changed since. */
  isAsSaved(state: StoreState): boolean {
    const { lastSaved, domains } = this
    if (lastSaved?.state !== state) {
      if (!sameState(this.save(), state)) return false
      this.lastSaved = { state, changes: this.changeCount }
      return true
    }
    if (lastSaved.changes !== this.changeCount || state.generation !== this.lastGeneration || state.lastSession !== this.lastSession) return false
    let at = 0
    for (const domain of domains.values()) {
      const saved = state.domains[at++]
      if (saved === undefined || !sameFields(domain, saved, PATHS) || !sameOptional(domain, saved, OPTIONAL)) return false
    }
    return at === state.domains.length && sameState(domains.defaults, state.limits) && sameFields(this.rate, state.rate)
  }

  /** Goes on from a saved store, in place of what a new one has. */
  load(saved: StoreState): void {
    const tree = treeOf(saved)
    for (const { path, node } of this.everyNode()) this.domains.account(path, node, undefined)
    this.domains.defaults = readLimits(saved.limits)
    for (const each of saved.domains) this.loadDomain(each)
    this.tree = tree
    this.lastGeneration = saved.generation
    this.lastSession = saved.lastSession
    for (const each of saved.special) {
      expectSaved(each.path === INTRODUCE_DOMAIN || each.path === RELEASE_DOMAIN, `a special node ${each.path}`)
      this.special.set(each.path, readNode(each, saved.generation))
    }
    for (const { path, node } of this.everyNode()) this.domains.account(path, undefined, node)
    for (const { id, owned, named } of saved.domains) {
      const domain = this.domains.create(id)
      reorder(domain.owned, owned, `of domain ${id}`)
      reorder(domain.named, named, `that name domain ${id}`)
    }
    this.rate.load(saved.rate)
  }

  private everyNode(): readonly PlacedNode[] {
    const nodes: PlacedNode[] = [...this.special].map(([path, node]) => ({ path, node }))
    walkUp('/', this.tree, (path, node) => nodes.push({ path, node }))
    return nodes
  }

  private loadDomain(saved: DomainState): void {
    const domain = this.domains.create(saved.id)
    domain.introduced = saved.introduced || !isUnprivileged(saved.id)
    domain.shutdown = saved.shutdown
    domain.features = saved.features
    this.domains.setTarget(domain, saved.target)
    domain.limits = readLimits(saved.limits)
    domain.credit = saved.credit === undefined ? undefined : { ...saved.credit }
  }

  /** Changes a limit for the domains that are there and for those to come. */
  setLimit(name: QuotaName, value: number): void {
    this.domains.defaults = { ...this.domains.defaults, [name]: value }
    for (const domain of this.domains.values()) domain.limits = { ...domain.limits, [name]: value }
  }

  /** The next generation number. */
  nextGeneration(): number {
    this.lastGeneration += 1
    return this.lastGeneration
  }

  /** The node in the current tree. */
  get(path: string): StoreNode | undefined {
    return isSpecial(path) ? this.special.get(path) : nodeAt(this.tree, path)
  }

  /** Puts a node that exists, or whose parent exists, in its place. */
  replace(path: string, node: StoreNode, before = this.get(path)): void {
    this.domains.account(path, before, node)
    if (isSpecial(path)) this.special.set(path, node)
    else this.tree = withNode(this.tree, path, { node, generation: node.generation })
    this.changeCount += 1
  }

  /** Adds a chain of new nodes, the topmost last, below an existing parent. */
  insert(chain: readonly PlacedNode[], generation: number): void {
    const top = chain[chain.length - 1]!
    const above = parentPath(top.path)
    const parent = this.get(above)!
    this.tree = withNode(this.tree, top.path, { node: top.node, generation })
    this.changeCount += 1
    for (const { path, node } of chain) this.domains.account(path, undefined, node)
    this.domains.account(above, parent, this.get(above))
  }

  /** Removes a node and all below it, and fires the watches of each. How many nodes that were. */
  remove(path: string): number {
    const { tree } = this
    const above = parentPath(path)
    const parent = this.get(above)!
    const removed: PlacedNode[] = []
    walkUp(path, this.get(path)!, (at, node) => removed.push({ path: at, node }))
    this.tree = withoutNode(tree, path, this.nextGeneration())
    this.changeCount += 1
    this.domains.account(above, parent, this.get(above))
    for (const each of removed) this.domains.account(each.path, each.node, undefined)
    if (this.watches.size === 0) return removed.length
    for (const each of removed) {
      this.fire({ ...each, match: each.path === path ? MATCH.SUBTREE : MATCH.EXACT, root: tree })
    }
    return removed.length
  }

  /** Makes a transaction's changes the store's. The caller has checked that it may. */
  apply(transaction: StoreTransaction): number {
    const changes = transaction.changes()
    this.tree = this.changedBy(changes)
    this.changeCount += 1
    for (const { path, before, current } of changes) this.domains.account(path, before, current)
    this.fireAll(transaction.accesses.values())
    return changes.length
  }

  /** The tree with changes, parents before their children; special nodes take theirs. */
  private changedBy(changes: readonly Access[]): StoreNode {
    let { tree } = this
    let edit: TreeEdit | undefined
    for (const change of changes) {
      const { path, current } = change
      if (isSpecial(path)) {
        if (current !== undefined) this.special.set(path, current.with({ generation: this.nextGeneration() }))
      } else if (path.length === 1) tree = current!.with({ children: tree.children, generation: this.nextGeneration() })
      else (edit ??= new TreeEdit(tree)).apply(change, this.nextGeneration())
    }
    return edit === undefined ? tree : edit.changed()
  }

  private fireAll(accesses: Iterable<Access>): void {
    if (this.watches.size === 0) return
    for (const { path, fire, before } of accesses) {
      // Most nodes are nobody's concern.
      if (fire === undefined || this.watches.matching(path, fire).length === 0) continue
      this.fire({ path, match: fire, node: this.get(path), root: this.tree, old: before?.permissions })
    }
  }

  /** Sends an event to every watch that a change concerns and whose owner may see it. */
  fire(change: WatchedChange): void {
    const watches = this.watches.matching(change.path, change.match)
    if (watches.length === 0) return
    const allowed = new Map<WatchOwner, boolean>()
    for (const watch of watches) {
      const { session } = watch
      let visible = allowed.get(session)
      if (visible === undefined) allowed.set(session, visible = maySee(session, change))
      if (visible) session.deliver(watch, change.path, this.cause)
    }
  }

  private fireSpecial(name: string, match: Match, path = name): void {
    const node = this.special.get(name)
    if (node !== undefined) this.fire({ path, match, node, root: this.tree })
  }

  /** Tells the store that a domain is there: counts it in, and lets `@introduceDomain` fire. */
  introduceDomain(id: number): DomainRecord {
    const domain = this.domains.create(id)
    if (domain.introduced) return domain
    domain.introduced = true
    domain.shutdown = false
    domain.credit = this.rate.open(this.milliseconds())
    if (isUnprivileged(id)) {
      this.fireSpecial(INTRODUCE_DOMAIN, MATCH.WITHOUT_DEPTH)
      this.fireSpecial(INTRODUCE_DOMAIN, MATCH.WITH_DEPTH, `${INTRODUCE_DOMAIN}/${id}`)
    }
    this.hub.emit({ type: 'domain-introduced', domid: id })
    this.settle()
    return domain
  }

  /** Tells the store that a domain has shut down or crashed but is still there: `@releaseDomain` fires, once. */
  domainShutdown(id: number): void {
    const domain = this.domains.get(id)
    if (domain === undefined || !domain.introduced || domain.shutdown) return
    domain.shutdown = true
    this.fireSpecial(RELEASE_DOMAIN, MATCH.WITH_DEPTH, `${RELEASE_DOMAIN}/${id}`)
    this.fireSpecial(RELEASE_DOMAIN, MATCH.WITHOUT_DEPTH)
    this.settle()
  }

  /** Tells the store that a suspended domain goes on: its next shutdown is news again. */
  domainResumed(id: number): void {
    const domain = this.domains.get(id)
    if (domain !== undefined) domain.shutdown = false
  }

  /** Tells the store that a domain is gone: its connections end, its nodes and its name in permissions go with it. */
  releaseDomain(id: number): void {
    const domain = this.domains.get(id)
    if (domain === undefined || !isUnprivileged(id)) return
    for (const session of domain.sessions) session.close('domain released')
    this.removeTraces(domain)
    this.domains.forget(id)
    if (domain.introduced) {
      if (domain.credit !== undefined) this.rate.close(domain.credit)
      this.fireSpecial(RELEASE_DOMAIN, MATCH.WITHOUT_DEPTH)
      this.fireSpecial(RELEASE_DOMAIN, MATCH.WITH_DEPTH, `${RELEASE_DOMAIN}/${id}`)
      this.hub.emit({ type: 'domain-released', domid: id })
    }
    this.settle()
  }

  private removeTraces({ id, owned, named }: DomainRecord): void {
    // Shorter paths first: removing a node takes those below it along, and `owned` shrinks meanwhile.
    for (const path of [...owned].sort((a, b) => a.length - b.length)) {
      const node = this.get(path)
      if (node === undefined || node.permissions[0].domid !== id) continue
      if (path === '/' || isSpecial(path)) this.disown(path, node, id)
      else this.remove(path)
    }
    for (const path of [...named]) this.disown(path, this.get(path)!, id)
    this.domains.untarget(id)
    if (this.openTransactions === 0) return
    for (const session of this.sessions.values()) {
      for (const transaction of session.transactions.values()) transaction.conflicted ||= mentions(transaction, id)
    }
  }

  private disown(path: string, node: StoreNode, id: number): void {
    const [owner, ...others] = node.permissions
    const permissions: Permissions = [
      owner.domid === id ? { ...owner, domid: 0 } : owner,
      ...others.filter((permission) => permission.domid !== id),
    ]
    this.replace(path, node.with({ permissions, generation: this.nextGeneration() }))
  }

  /** Charges writes against the limit on their rate; only while transactions could be hurt by them. */
  chargeWrites(session: Writer, writes: number): void {
    const credit = session.record?.credit
    if (credit === undefined || session.privileged) return
    const now = this.milliseconds()
    for (let i = 0; i < writes; i += 1) this.rate.charge(credit, now)
    if (credit.credit < 0) {
      this.hub.emit({ type: 'quota-hit', domid: session.domid, quota: 'writeRate', value: credit.credit })
    }
  }

  /** Puts off a call until the operation at work is done. */
  defer(call: () => void): void {
    this.deferred.push(call)
  }

  /** Tells of a listener in this process that threw. */
  listenerFailed(path: string, token: string, error: unknown): void {
    this.hub.emit({ type: 'listener-failed', path, token, error })
  }

  /** Makes the calls that were put off. Every operation ends with it. */
  settle(): void {
    if (this.deferred.length === 0 || this.delivering) return
    this.delivering = true
    try {
      for (let call = this.deferred.shift(); call !== undefined; call = this.deferred.shift()) call()
    } finally {
      this.delivering = false
    }
  }

  /** True when a domain was offered this feature. */
  offers(domain: DomainRecord | undefined, feature: keyof typeof STORE_FEATURE): boolean {
    return domain === undefined || (domain.features & STORE_FEATURE[feature]) !== 0
  }
}

/** True when a node that the transaction changed names the domain. */
const mentions = (transaction: StoreTransaction, id: number): boolean =>
  transaction.changes().some(({ current }) => current?.permissions.some(({ domid }) => domid === id) === true)
