/**
 * Dom0: a guest in TypeScript with power over the others. It serves XenStore and the consoles, and hears from the
 * hypervisor when a domain has ended.
 */
import { GNTTAB_RESERVED_XENSTORE, VIRQ } from '../../abi/index.ts'
import { ConsoleBackend } from '../../drivers/index.ts'
import {
  TypeScriptRunner, connectStore, type BootInfo, type GuestKernel, type MappedPage, type Timer,
} from '../../guest/index.ts'
import type { ControlInterface, HypercallPort, VcpuRunner } from '../../hypervisor/index.ts'
import { SeededRandom, type DomId, type EventPort, type GrantRef } from '../../util/index.ts'
import { XenStoreServer, type XenStore } from '../../xenstore/index.ts'
import type { RunLoop } from './run-loop.ts'

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
}

interface StoreConnection {
  readonly page: MappedPage
  readonly port: EventPort
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
  private kernel: GuestKernel | undefined
  private timer: Timer | undefined

  constructor(store: XenStore) {
    this.server = new XenStoreServer({ store, onWork: () => this.kernel?.post(() => this.serve()) })
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
function announceEnds({ control, store, onDomainException }: Dom0Options): void {
  for (const info of control.listDomains()) {
    if (info.shutdownReason !== undefined) store.domainShutdown(info.domid)
  }
  onDomainException()
}

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
    let failure: unknown
    let boot: BootInfo | undefined
    const domid = control.createDomain({
      domid: 0 as DomId, kind: 'typescript', privileged: true, vcpus: options.vcpus, maxPages: options.maxPages,
      createRunner: (port): VcpuRunner => new TypeScriptRunner(wakingPort(port, loop), {
        random: new SeededRandom(options.seed),
        store: (guest) => connectStore(service.server.connectLocal(0), () => guest.turn()),
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
          announceEnds(options)
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
    return new Dom0(kernel!, service)
  }

  /** Connects a new domain to XenStore by the page that its builder granted. */
  connectStore(domid: DomId, remotePort: EventPort): void {
    const { grants, events } = this.kernel
    const page = grants.map(domid, GNTTAB_RESERVED_XENSTORE as GrantRef)
    let port: EventPort
    try {
      port = events.bindInterdomain(domid, remotePort, () => {
        this.server.domainEvent(domid)
        this.service.serve()
      })
    } catch (error) {
      grants.unmap(page)
      throw error
    }
    this.connections.set(domid, { page, port })
    this.server.introduceDomain(domid, { view: page.view, base: page.base, notify: () => void events.notify(port) })
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
