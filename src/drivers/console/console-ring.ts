/**
 * The ring of a console as its back-end has it: the page, which the builder has granted or which is mapped as a frame of
 * the domain, and the port. What moves through it is console-stream.ts.
 *
 * Reference: public/io/console.h.
 */
import { GNTTAB_RESERVED_CONSOLE } from '../../abi/index.ts'
import type { GuestKernel, MappedPage, Page } from '../../guest/index.ts'
import { mapForeignPage } from '../../guest/index.ts'
import { BytePipe, CONSOLE_PIPE, mirror } from '../../rings/index.ts'
import { type DomId, type EventPort, type GrantRef, type StateOf, sameState } from '../../util/index.ts'
import { XenError, shape } from '../../util/index.ts'
import type { ConsoleNodes } from './protocol.ts'

/** What it is mapped with. */
export type ConsoleRingServices = Pick<GuestKernel, 'events' | 'grants' | 'hypercalls' | 'attachments'>

/** The page: mapped by the grant that the builder left for it, or as a frame of the domain where there is none. */
interface MappedPageOfRing {
  readonly page: Page
  /** Of the grant; undefined for a foreign frame. */
  readonly handle: number | undefined
  release(): void
}

/** The form in which a connected ring is saved. */
export const consoleRingState = /* @__PURE__ */ shape.record({
  nodes: /* @__PURE__ */ shape.record<ConsoleNodes>({ ringFrame: shape.time, port: shape.word, limit: /* @__PURE__ */ shape.whole(0, 2 ** 30) }),
  port: shape.word,
  /** The frame; of a mapped grant its handle, too. */
  page: /* @__PURE__ */ shape.record({ frame: shape.word, handle: /* @__PURE__ */ shape.optional(shape.word) }),
})

/** Where a ring is, and what is called when its port is pending. */
interface ConsoleRingPlace {
  readonly domid: DomId
  readonly nodes: ConsoleNodes
  /** Whether the nodes name the ring's page by a grant of the guest's own, as those of a further console do. */
  readonly isGranted: boolean
  handler(): void
}

/** A ring that is mapped, with the port that wakes for it. */
export class ConsoleRing {
  readonly nodes: ConsoleNodes
  readonly pipe: BytePipe
  readonly port: EventPort
  private readonly mapped: MappedPageOfRing

  private constructor(nodes: ConsoleNodes, port: EventPort, mapped: MappedPageOfRing) {
    this.nodes = nodes
    this.port = port
    this.mapped = mapped
    this.pipe = new BytePipe(mapped.page.view, mapped.page.base, mirror(CONSOLE_PIPE))
  }

  /** Connects to what the nodes of a domain name; undefined when the domain has no such frame or port (any more). */
  static connect({ domid, nodes, isGranted, handler }: ConsoleRingPlace, services: ConsoleRingServices): ConsoleRing | undefined {
    const { events } = services
    const mapped = isGranted ? mapGrant(services, domid, nodes.ringFrame) : mapRing(services, domid, nodes.ringFrame)
    if (mapped === undefined) return undefined
    try {
      return new ConsoleRing(nodes, events.keep(events.bindInterdomain(domid, nodes.port as EventPort, handler)), mapped)
    } catch (error) {
      mapped.release()
      if (XenError.is(error, 'HYPERCALL_FAILED')) return undefined
      throw error
    }
  }

  /** Takes up the ring of a loaded kernel. */
  static attach({ page: { frame, handle }, port, nodes }: ConsoleRingState, services: ConsoleRingServices, { domid, handler }: Pick<ConsoleRingPlace, 'domid' | 'handler'>): ConsoleRing {
    const { attachPage, attachPort } = services.attachments
    const mapped = handle === undefined
      ? foreign(services, domid, attachPage({ frame, handle: 0 }))
      : granted(services, attachPage({ frame, handle }))
    return new ConsoleRing(nodes, attachPort(port, handler), mapped)
  }

  /** What `attach` takes. */
  save(): ConsoleRingState {
    const { nodes, port, mapped: { page: { frame }, handle } } = this
    return { nodes: { ...nodes }, port, page: { frame, handle } }
  }

  isAsSaved({ nodes, port, page }: ConsoleRingState): boolean {
    const { mapped } = this
    return port === this.port && page.frame === mapped.page.frame && page.handle === mapped.handle && sameState(this.nodes, nodes)
  }

  /** Closes the port and lets the page go. */
  disconnect(services: ConsoleRingServices): void {
    services.events.close(this.port)
    this.mapped.release()
  }
}

/** A ring as it is saved. */
export type ConsoleRingState = StateOf<typeof consoleRingState>

/** What a hypercall gives; undefined where it is refused. */
function unlessRefused<T>(map: () => T): T | undefined {
  try {
    return map()
  } catch (error) {
    if (XenError.is(error, 'HYPERCALL_FAILED')) return undefined
    throw error
  }
}

const mapGrant = (services: ConsoleRingServices, domid: DomId, ref: number): MappedPageOfRing | undefined =>
  unlessRefused(() => granted(services, services.grants.map(domid, ref as GrantRef)))

const mapRing = (services: ConsoleRingServices, domid: DomId, frame: number): MappedPageOfRing | undefined =>
  mapGrant(services, domid, GNTTAB_RESERVED_CONSOLE)
  ?? unlessRefused(() => foreign(services, domid, mapForeignPage(services.hypercalls, domid, frame)))

const granted = ({ grants }: ConsoleRingServices, page: MappedPage): MappedPageOfRing =>
  ({ page, handle: page.handle, release: () => grants.unmap(page) })

const foreign = ({ hypercalls }: ConsoleRingServices, domid: DomId, page: Page): MappedPageOfRing =>
  ({ page, handle: undefined, release: () => void hypercalls.unmapForeign(domid, page.frame) })
