/**
 * Dom0: a guest in TypeScript with power over the others. It serves XenStore and the consoles, and hears from the
 * hypervisor when a domain has ended.
 */
import { GNTTAB_RESERVED_XENSTORE, VIRQ } from '../../abi/index.ts'
import { ConsoleBackend } from '../../drivers/index.ts'
import {
  TypeScriptRunner, connectStore, type BootInfo, type GuestKernel, type GuestStore, type MappedPage, type Timer,
} from '../../guest/index.ts'
import type { ControlInterface, HypercallPort, VcpuRunner } from '../../hypervisor/index.ts'
import { SeededRandom, XenError, callGuarded, type DomId, type EventPort, type GrantRef } from '../../util/index.ts'
import { XenStoreServer, type StoreRing, type XenStore } from '../../xenstore/index.ts'
import type { TellFailure } from '../run/callback-failures.ts'
import type { RunLoop } from '../run/run-loop.ts'

/** What dom0 is made of. */
export interface Dom0Options {
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
}

interface StoreConnection {
  readonly page: MappedPage
  readonly port: EventPort
  readonly remotePort: number
  /** Whether a client of XenStore asked for it: then nobody but XenStore's server looks after it. */
  readonly byRequest: boolean
}

/** A hypercall door whose events make a host that stands still go on. */
export function wakingPort(port: HypercallPort, loop: { kick(): void }): HypercallPort {
  const sendEvent = (target: EventPort): number => {
    const result = port.sendEvent(target)
    loop.kick()
    return result
  }
  // A view of the door with one call replaced; everything else is the door's own.
  return Object.create(port, { sendEvent: { value: sendEvent } }) as HypercallPort
}

/** XenStore's server as a part of dom0: it works inside dom0's kernel, when there is work or when a client is due. */
class StoreService {
  readonly server: XenStoreServer
  /** Connects a domain that a client introduces. */
  connectDomain: (domain: number, port: number) => StoreRing | undefined = () => undefined
  private kernel: GuestKernel | undefined
  private timer: Timer | undefined

  constructor(store: XenStore) {
    this.server = new XenStoreServer({
      store,
      onWork: () => this.kernel?.post(() => this.serve()),
      connectDomain: (domain, _frame, port) => this.connectDomain(domain, port),
    })
  }

  /** Begins to work in `kernel`. */
  start(kernel: GuestKernel): void {
    this.kernel = kernel
    kernel.post(() => this.serve())
  }

  serve(): void {
    const { kernel, server } = this
    if (kernel === undefined) return
    server.process()
    this.timer?.cancel()
    const deadline = server.nextDeadline()
    if (Number.isFinite(deadline))
      this.timer = kernel.after(Math.max(0, deadline * 1e6 - kernel.now()), () => this.serve())
  }
}

/** Tells XenStore's clients and the toolstack which domains have ended. */
function announceEnds({ control, store, onDomainException }: Dom0Options, dom0: Dom0 | undefined): void {
  const domains = control.listDomains()
  for (const info of domains) {
    if (info.shutdownReason !== undefined) store.domainShutdown(info.domid)
  }
  dom0?.forgetDead(new Set(domains.filter(({ dying }) => !dying).map(({ domid }) => domid)))
  onDomainException()
}

/** Dom0's connection: a handler of a watch that throws is told and harms nobody, as any program's in dom0. */
const guardWatches = (store: GuestStore, tell: TellFailure): GuestStore => ({
  ...store,
  watch: (path, handler) => store.watch(path, (changed) => callGuarded(() => handler(changed),
    (error) => tell({ callback: 'store-watch', subject: path, error }))),
})

/** The control domain of a host. */
export class Dom0 {
  readonly kernel: GuestKernel
  readonly consoles: ConsoleBackend
  private readonly service: StoreService
  private readonly connections = new Map<number, StoreConnection>()

  private constructor(kernel: GuestKernel, service: StoreService) {
    this.kernel = kernel
    this.service = service
    this.consoles = new ConsoleBackend(kernel)
    service.connectDomain = (domain, port) => this.connectByRequest(domain, port)
  }

  /** XenStore's server, for connections from outside the host. */
  get server(): XenStoreServer {
    return this.service.server
  }

  /** @internal Makes dom0 and boots it; resolves when it serves. */
  static async boot(options: Dom0Options): Promise<Dom0> {
    const { control, loop } = options
    const service = new StoreService(options.store)
    let kernel: GuestKernel | undefined
    let dom0: Dom0 | undefined
    let failure: unknown
    let boot: BootInfo | undefined
    const domid = control.createDomain({
      domid: 0 as DomId, kind: 'typescript', privileged: true, vcpus: options.vcpus, maxPages: options.maxPages,
      createRunner: (port): VcpuRunner => new TypeScriptRunner(wakingPort(port, loop), {
        random: new SeededRandom(options.seed),
        store: (guest) => guardWatches(connectStore(service.server.connectLocal(0), () => guest.turn()), options.onCallbackFailed),
        boot: () => boot!,
        onBoot: (booted) => {
          kernel = booted
          service.start(booted)
        },
        onCrash: (error) => {
          failure = error
          options.onCrash(error)
        },
        program: (booted) => void booted.events.bindVirq(VIRQ.DOM_EXC, () => {
          announceEnds(options, dom0)
          booted.turn()
        }),
      }),
    })
    boot = {
      sharedInfo: control.domainInfo(domid).sharedInfoFrame, commandLine: options.commandLine,
      frames: control.populatePhysmap(domid, options.pages, 0),
    }
    control.startVcpu(domid, 0)
    control.unpauseDomain(domid)
    await loop.until('dom0 to boot', () => {
      if (failure !== undefined) throw failure
      return kernel !== undefined
    })
    return (dom0 = new Dom0(kernel!, service))
  }

  /** Connects a new domain to XenStore by the page that its builder granted. */
  connectStore(domid: DomId, remotePort: EventPort): void {
    this.server.introduceDomain(domid, this.open(domid, { remotePort, byRequest: false }))
  }

  private open(domid: DomId, { remotePort, byRequest }: { remotePort: number; byRequest: boolean }): StoreRing {
    const { grants, events } = this.kernel
    const page = grants.map(domid, GNTTAB_RESERVED_XENSTORE as GrantRef)
    try {
      const port = this.bind(domid, remotePort)
      this.connections.set(domid, { page, port, remotePort, byRequest })
      return { view: page.view, base: page.base, notify: () => void events.notify(port) }
    } catch (error) {
      grants.unmap(page)
      throw error
    }
  }

  private bind(domid: DomId, remotePort: number): EventPort {
    return this.kernel.events.bindInterdomain(domid, remotePort as EventPort, () => {
      this.server.domainEvent(domid)
      this.service.serve()
    })
  }

  /**
   * A client of XenStore introduces a domain: like xenstored, the page is found by the grant that is reserved for it,
   * whatever frame the request names. For one that is connected its connection begins anew, over the port it names now.
   */
  private connectByRequest(domain: number, remotePort: number): StoreRing | undefined {
    const domid = domain as DomId
    const known = this.connections.get(domain)
    try {
      if (known === undefined) return this.open(domid, { remotePort, byRequest: true })
      const { events } = this.kernel
      let { port } = known
      if (remotePort !== known.remotePort) {
        port = this.bind(domid, remotePort)
        events.close(known.port)
        this.connections.set(domain, { ...known, port, remotePort })
      }
      return { view: known.page.view, base: known.page.base, notify: () => void events.notify(port) }
    } catch (error) {
      // No such domain, no such grant, or a port that is none: the client is told, and nothing has changed.
      if (XenError.is(error)) return undefined
      throw error
    }
  }

  /** @internal Lets go of the domains that only XenStore's server looks after and that are not among the living. */
  forgetDead(living: ReadonlySet<number>): void {
    for (const [domain, { byRequest }] of this.connections) {
      if (byRequest && !living.has(domain)) this.disconnectStore(domain as DomId)
    }
  }

  /** Lets a domain's connection to XenStore go. */
  disconnectStore(domid: DomId): void {
    const connection = this.connections.get(domid)
    if (connection === undefined) return
    this.connections.delete(domid)
    this.server.releaseDomain(domid)
    this.kernel.events.close(connection.port)
    this.kernel.grants.unmap(connection.page)
  }
}
