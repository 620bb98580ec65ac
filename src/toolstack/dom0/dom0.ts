/**
 * Dom0: a guest in TypeScript with power over the others. It serves XenStore and the consoles, and hears from the
 * hypervisor when a domain has ended.
 */
import { GNTTAB_RESERVED_XENSTORE, LAST_DOMID, PAGE_SIZE, VIRQ } from '../../abi/index.ts'
import { ConsoleBackend } from '../../drivers/index.ts'
import { TypeScriptRunner, kernelState, mappedPageState, type BootInfo, type GuestKernel, type MappedPage } from '../../guest/index.ts'
import type { ControlInterface, HypercallPort, ReadyOrder } from '../../hypervisor/index.ts'
import { SeededRandom, XenError, part, shape } from '../../util/index.ts'
import type { DomId, EventPort, GrantRef, Mfn, Part, Quiescible, Savable, StateOf } from '../../util/index.ts'
import { type StoreInterference, type StoreRing, type XenStore, type XenStoreServer } from '../../xenstore/index.ts'
import type { TellFailure } from '../run/callback-failures.ts'
import type { RunLoop } from '../run/run-loop.ts'
import { later } from './later-part.ts'
import { StoreService, storeServiceState } from './store-service.ts'

/** The hypervisor's console, as far as dom0 has to do with it: it is saved with it, and ends with it. */
export interface SavedConsole {
  part(): Part
  end(): void
}

/** What dom0 is made of. */
export interface Dom0Options<C extends SavedConsole = SavedConsole> {
  readonly control: ControlInterface
  readonly store: XenStore
  readonly loop: RunLoop
  readonly pages: number
  readonly maxPages: number
  readonly vcpus: number
  readonly commandLine: string
  readonly seed: number
  /** A domain has shut down or crashed. */
  readonly onDomainException: () => void
  readonly onCrash: (error: unknown) => void
  /** A handler of a watch over dom0's own connection has thrown. */
  readonly onCallbackFailed: TellFailure
  /** What comes between clients and XenStore. */
  readonly storeInterference?: StoreInterference | undefined
  /** The hypervisor's console, where another domain reads it. */
  readonly console?: C | undefined
}

interface StoreConnection {
  readonly page: MappedPage
  readonly port: EventPort
  readonly remotePort: number
  /** Whether a client of XenStore asked for it: then nobody but XenStore's server looks after it. */
  readonly byRequest: boolean
}

/** A hypercall door whose events make a host that stands still go on. */
export function wakingPort(hypercalls: HypercallPort, loop: { kick(): void }): HypercallPort {
  const { sendEvent } = hypercalls
  // The door is the runner's own. A view of it, by its prototype, would make JavaScript keep a shape for each domain.
  return Object.assign(hypercalls, {
    sendEvent: (target: EventPort): number => {
      const result = sendEvent.call(hypercalls, target)
      loop.kick()
      return result
    },
  })
}

const storePageState = /* @__PURE__ */ shape.record({
  domid: /* @__PURE__ */ shape.whole(0, LAST_DOMID), page: mappedPageState, port: shape.word, remotePort: shape.word, byRequest: shape.flag,
})

/** What dom0 has beside its kernel: the port by which it hears of ends, XenStore's service, and the domains' pages. */
const dom0State = /* @__PURE__ */ shape.record({
  exceptionPort: shape.word, service: storeServiceState, connections: /* @__PURE__ */ shape.list(storePageState, 2 ** 15),
})
type Dom0State = StateOf<typeof dom0State>

/** Tells XenStore's clients and the toolstack which domains have ended. */
function announceEnds({ control, store, onDomainException }: Dom0Options, dom0: Dom0 | undefined): void {
  for (const { domid, shutdownReason } of control.endedDomains()) if (shutdownReason !== undefined) store.domainShutdown(domid)
  if (dom0 !== undefined) friends.forgetDead(dom0, (domid) => !control.hasDomain(domid) || control.domainInfo(domid).dying)
  onDomainException()
}

/** Dom0 on its way: what runs in the domain, and how it is booted, or loaded as it was. */
export class Dom0Plan<C extends SavedConsole = SavedConsole> implements Quiescible, Savable {
  /** XenStore, consoles and devices are this library's. */
  readonly serves = true
  private readonly options: Dom0Options<C>
  private readonly service: StoreService
  private runner: TypeScriptRunner | undefined
  private boot: BootInfo | undefined
  private failure: unknown
  private exceptionPort = 0 as EventPort
  private memory: HypercallPort['memory'] | undefined
  private made: Dom0 | undefined

  constructor(options: Dom0Options<C>) {
    this.options = options
    this.service = new StoreService(options.store, options.onCallbackFailed, options.storeInterference)
  }

  /** Makes what runs on dom0's vCPU. */
  readonly createRunner = (hypercalls: HypercallPort, _vcpu: number, order: ReadyOrder): TypeScriptRunner => {
    this.memory = hypercalls.memory
    return (this.runner = new TypeScriptRunner(wakingPort(hypercalls, this.options.loop), {
      random: new SeededRandom(this.options.seed), order,
      store: (kernel) => this.service.connect(kernel),
      boot: () => this.boot!,
      onBoot: (kernel) => this.service.start(kernel),
      onCrash: (error) => {
        this.failure = error
        this.options.onCrash(error)
      },
      program: ({ events }) => { this.exceptionPort = events.keep(events.bindVirq(VIRQ.DOM_EXC, this.onException)) },
    }))
  }

  private readonly onException = (): void => {
    announceEnds(this.options, this.made)
    this.made?.kernel.turn()
  }

  /** Makes the domain and boots it; resolves when it serves. */
  async start(): Promise<Dom0> {
    const { control, loop, vcpus, maxPages, pages, commandLine } = this.options
    const domid = control.createDomain({
      domid: 0 as DomId, kind: 'typescript', privileged: true, vcpus, maxPages, createRunner: this.createRunner,
    })
    this.boot = {
      sharedInfo: control.domainInfo(domid).sharedInfoFrame, commandLine, frames: control.populatePhysmap(domid, pages, 0),
    }
    control.startVcpu(domid, 0)
    control.unpauseDomain(domid)
    await loop.until('dom0 to boot', () => {
      if (this.failure !== undefined) throw this.failure
      return this.runner?.kernel !== undefined
    })
    return (this.made = friends.make(this, this.runner!.kernel!))
  }

  /** Dom0, once it has booted or was loaded. */
  get dom0(): Dom0 {
    if (this.made === undefined) throw new Error('dom0 is not there yet')
    return this.made
  }

  /** The hypervisor's console. Throws NOT_SUPPORTED where nobody reads it. */
  get console(): C {
    if (this.options.console !== undefined) return this.options.console
    throw new XenError('NOT_SUPPORTED', 'dom0 is a kernel of this library, which reads no console: `dmesg` has what the hypervisor says', {
      details: { services: 'host' },
    })
  }

  /** XenStore's server, for connections from outside the host. */
  get server(): XenStoreServer {
    return this.service.server
  }

  /** Everything that was saved of it has been taken up. Throws INVALID_STATE. */
  checkAttached(): void {
    this.dom0.kernel.checkAttached()
  }

  /** Works as XenStore's server does when there is news of a domain. */
  serve(domid: DomId): void {
    this.server.domainEvent(domid)
    this.service.serve()
  }

  set connectDomain(connect: (domid: number, port: number) => StoreRing | undefined) {
    this.service.connectDomain = connect
  }

  /** The host goes on as another: nothing of this dom0 reaches it any more. */
  retire(why: XenError): void {
    this.options.console?.end()
    this.dom0.kernel.retire(why)
  }

  // State

  /** Frames that dom0 writes without a word. */
  silentFrames(): Mfn[] {
    return this.dom0.kernel.frames.lent()
  }

  /** What keeps dom0 from being saved; undefined when nothing does. */
  underWay(): string | undefined {
    return this.service.underWay() ?? this.dom0.kernel.underWay()
  }

  /** What dom0 has that can never be saved; undefined when nothing. */
  unsavable(): string | undefined {
    return this.dom0.kernel.unsavable()
  }

  /**
   * Dom0 in four parts, in the order in which they are loaded: its services, XenStore, its kernel, which takes them up,
   * and the consoles.
   */
  parts(): readonly Part[] {
    const saved: { state?: Dom0State } = {}
    return [
      part({ name: 'services', version: 1, shape: dom0State }, {
        save: () => ({ exceptionPort: this.exceptionPort, service: this.service.save(), connections: friends.saveConnections(this.dom0) }),
        isAsSaved: (state) => state.exceptionPort === this.exceptionPort && this.service.isAsSaved(state.service) && friends.connectionsAsSaved(this.dom0, state.connections),
        load: (state) => { saved.state = state },
      }),
      this.service.part(({ domid }) => this.savedRing(saved.state!, domid)),
      part({ name: 'kernel', version: 2, shape: kernelState }, {
        save: () => this.dom0.kernel.save(),
        isAsSaved: (state) => this.dom0.kernel.isAsSaved(state),
        rewind: (state, now) => this.dom0.kernel.rewind(state, now),
        load: (state) => {
          const kernel = this.runner!.load(state)
          const { service, connections, exceptionPort } = saved.state!
          this.exceptionPort = kernel.attachments.attachPort(exceptionPort, this.onException)
          this.service.load(service, kernel)
          this.made = friends.make(this, kernel)
          friends.loadConnections(this.made, connections)
        },
      }),
      later('consoles', () => this.dom0.consoles.part()),
      ...(this.options.console === undefined ? [] : [this.options.console.part()]),
    ]
  }

  /** The page of a domain's connection, before the kernel is there that will be told of it. */
  private savedRing({ connections }: Dom0State, domid: number): StoreRing | undefined {
    const known = connections.find((connection) => connection.domid === domid)
    if (known === undefined || this.memory === undefined) return undefined
    const { view } = this.memory
    return { view, base: known.page.frame * PAGE_SIZE, notify: () => void this.dom0.kernel.events.notify(known.port as EventPort) }
  }
}

/** What its plan does with dom0, and nobody else. */
interface Friends {
  make(plan: Dom0Plan, kernel: GuestKernel): Dom0
  forgetDead(dom0: Dom0, isDead: (domid: DomId) => boolean): void
  saveConnections(dom0: Dom0): Dom0State['connections']
  connectionsAsSaved(dom0: Dom0, connections: Dom0State['connections']): boolean
  loadConnections(dom0: Dom0, connections: Dom0State['connections']): void
}

let friends: Friends

/** The control domain of a host. */
export class Dom0 {
  readonly kernel: GuestKernel
  readonly consoles: ConsoleBackend
  private readonly plan: Dom0Plan
  private readonly connections = new Map<number, StoreConnection>()
  /** Those of them that a client of XenStore asked for. */
  private readonly requested = new Set<DomId>()

  static {
    friends = {
      make: (plan, kernel) => new Dom0(plan, kernel),
      forgetDead: (dom0, isDead) => dom0.forgetDead(isDead),
      saveConnections: (dom0) => dom0.saveConnections(),
      connectionsAsSaved: (dom0, connections) => dom0.connectionsAsSaved(connections),
      loadConnections: (dom0, connections) => dom0.loadConnections(connections),
    }
  }

  private constructor(plan: Dom0Plan, kernel: GuestKernel) {
    this.kernel = kernel
    this.plan = plan
    this.consoles = new ConsoleBackend(kernel)
    plan.connectDomain = (domid, port) => this.connectByRequest(domid, port)
  }

  /** XenStore's server, for connections from outside the host. */
  get server(): XenStoreServer {
    return this.plan.server
  }

  /** The domains' pages, as {@link Dom0.loadConnections} takes them up. */
  private saveConnections(): Dom0State['connections'] {
    return [...this.connections].map(([domid, { page, port, remotePort, byRequest }]) =>
      ({ domid, page: { frame: page.frame, handle: page.handle }, port, remotePort, byRequest }))
  }

  private connectionsAsSaved(connections: Dom0State['connections']): boolean {
    if (connections.length !== this.connections.size) return false
    let at = 0
    for (const [domid, { page, port, remotePort, byRequest }] of this.connections) {
      const saved = connections[at++]!
      if (saved.domid !== domid || saved.port !== port || saved.remotePort !== remotePort || saved.byRequest !== byRequest) return false
      if (saved.page.frame !== page.frame || saved.page.handle !== page.handle) return false
    }
    return true
  }

  /** Takes the domains' pages and ports up in a kernel that was loaded. */
  private loadConnections(connections: Dom0State['connections']): void {
    const { attachPage, attachPort } = this.kernel.attachments
    for (const { domid, page, port, remotePort, byRequest } of connections) {
      const attached = attachPort(port, () => this.plan.serve(domid as DomId))
      this.connections.set(domid, { page: attachPage(page), port: attached, remotePort, byRequest })
      if (byRequest) this.requested.add(domid as DomId)
    }
  }

  /** Connects a new domain to XenStore by the page that its builder granted. */
  connectStore(domid: DomId, remotePort: EventPort): void {
    this.server.introduceDomain(domid, this.open(domid, { remotePort, byRequest: false }))
  }

  /** The same for a domain that is connected and has been reset: its connection begins anew. */
  reconnectStore(domid: DomId, remotePort: EventPort): void {
    const known = this.connections.get(domid)
    if (known !== undefined) {
      this.connections.delete(domid)
      this.kernel.events.close(known.port)
      this.kernel.grants.unmap(known.page)
    }
    this.connectStore(domid, remotePort)
  }

  private open(domid: DomId, { remotePort, byRequest }: { remotePort: number; byRequest: boolean }): StoreRing {
    const { grants, events } = this.kernel
    const page = grants.map(domid, GNTTAB_RESERVED_XENSTORE as GrantRef)
    try {
      const port = this.bind(domid, remotePort)
      this.connections.set(domid, { page, port, remotePort, byRequest })
      if (byRequest) this.requested.add(domid)
      return { view: page.view, base: page.base, notify: () => void events.notify(port) }
    } catch (error) {
      grants.unmap(page)
      throw error
    }
  }

  private bind(domid: DomId, remotePort: number): EventPort {
    const { events } = this.kernel
    return events.keep(events.bindInterdomain(domid, remotePort as EventPort, () => this.plan.serve(domid)))
  }

  /**
   * A client of XenStore introduces a domain: like xenstored, the page is found by the grant that is reserved for it,
   * whatever frame the request names. For one that is connected its connection begins anew, over the port it names now.
   */
  private connectByRequest(given: number, remotePort: number): StoreRing | undefined {
    const domid = given as DomId
    const known = this.connections.get(domid)
    try {
      if (known === undefined) {
        const ring = this.open(domid, { remotePort, byRequest: true })
        // Whoever makes the domain waits until its console is served.
        this.consoles.open(domid, { tty: `paravirt:${domid}` })
        return ring
      }
      const { events } = this.kernel
      let { port } = known
      if (remotePort !== known.remotePort) {
        port = this.bind(domid, remotePort)
        events.close(known.port)
        this.connections.set(domid, { ...known, port, remotePort })
      }
      return { view: known.page.view, base: known.page.base, notify: () => void events.notify(port) }
    } catch (error) {
      // No such domain, no such grant, or a port that is none: the client is told, and nothing has changed.
      if (XenError.is(error)) return undefined
      throw error
    }
  }

  /** Lets go of the domains that only XenStore's server looks after and that are dead. */
  private forgetDead(isDead: (domid: DomId) => boolean): void {
    for (const domid of this.requested) {
      if (!isDead(domid)) continue
      this.disconnectStore(domid)
      void this.consoles.close(domid)
    }
  }

  /** Lets a domain's connection to XenStore go. */
  disconnectStore(domid: DomId): void {
    // One that was never connected may own nodes all the same.
    this.server.releaseDomain(domid)
    const connection = this.connections.get(domid)
    if (connection === undefined) return
    this.connections.delete(domid)
    this.requested.delete(domid)
    this.kernel.events.close(connection.port)
    this.kernel.grants.unmap(connection.page)
  }
}
