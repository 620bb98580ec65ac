/**
 * A guest's connection to XenStore: the xenstore layer's client over the ring that the domain was given at boot, or
 * over any other transport.
 */
import type { BootRing } from './boot-info.ts'
import type { StatefulStore, StoreAccess } from './store.ts'
import type { Page } from './pages.ts'
import { RingTransport, XenStoreClient } from '../xenstore/index.ts'
import type { StoreTransport, TransportFault, TransportListener } from '../xenstore/index.ts'
import type { EventPort } from '../util/index.ts'

/** What a connection over the ring needs of its guest. */
export interface StoreServices {
  /** Hears a port. */
  listen(port: EventPort, handler: () => void): EventPort
  /** Wakes the other end of the ring; a negative error number when the port is not open. */
  notify(port: EventPort): number
  /** A promise was resolved: JavaScript is to have a turn. */
  turn(): void
}

/** The operations of a client, or of one of its transactions. */
type ClientAccess = Pick<XenStoreClient, 'read' | 'write' | 'list' | 'rm' | 'getPermissions' | 'setPermissions'>

const access = (client: ClientAccess): StoreAccess => ({
  read: (path) => client.read(path),
  write: (path, value) => client.write(path, value),
  directory: (path) => client.list(path),
  remove: (path) => client.rm(path),
  getPermissions: (path) => client.getPermissions(path),
  setPermissions: (path, permissions) => client.setPermissions(path, permissions),
})

/** A transport that calls `turn` whenever something has come. */
class TurningTransport implements StoreTransport {
  private readonly transport: StoreTransport
  private readonly turn: () => void

  constructor(transport: StoreTransport, turn: () => void) {
    this.transport = transport
    this.turn = turn
  }

  get state(): StoreTransport['state'] {
    return this.transport.state
  }

  receive(): Uint8Array | undefined {
    return this.transport.receive()
  }

  send(bytes: Uint8Array): number {
    return this.transport.send(bytes)
  }

  close(fault?: TransportFault): void {
    this.transport.close(fault)
  }

  listen(listener: TransportListener): void {
    this.transport.listen({
      readable: () => {
        this.turn()
        listener.readable()
      },
      writable: () => listener.writable(),
    })
  }
}

/** XenStore over `transport`; `turn` is called whenever something may have been resolved. */
export function connectStore(transport: StoreTransport, turn: () => void): StatefulStore {
  const client = new XenStoreClient(new TurningTransport(transport, turn))
  // Paths of watches that nobody would attach again.
  const unkept: string[] = []
  let kept = 0
  /** A watch of a service, which would take it up again. */
  const keeping = (end: () => Promise<void>): () => Promise<void> => {
    kept += 1
    let isOver = false
    return () => {
      if (!isOver) kept -= 1
      isOver = true
      return end()
    }
  }
  return Object.assign(access(client), {
    watch: async (path, handler, options) => {
      const end = await client.onChange(path, (event) => handler(event.path))
      if (options?.kept === true) return keeping(end)
      unkept.push(path)
      return () => {
        unkept.splice(unkept.indexOf(path), 1)
        return end()
      }
    },
    transaction: (body) => client.transaction((transaction) => body(access(transaction))),
    underWay: () => client.underWay(),
    unsavable: () => (unkept.length > 0 ? `a watch on ${unkept[0]} of code that cannot be saved` : undefined),
    save: () => client.save(),
    isAsSaved: (state) => client.isAsSaved(state),
    load: (state) => client.load(state),
    attach: (path, handler) => keeping(client.attach(path, (event) => handler(event.path))),
    keptWatches: () => kept,
    unattached: () => client.unattached(),
  } satisfies Omit<StatefulStore, keyof StoreAccess>)
}

/** XenStore over the ring of the boot information. */
export function connectStoreRing(page: Page, ring: BootRing, services: StoreServices): StatefulStore {
  const transport = new RingTransport({ view: page.view, base: page.base, notify: () => void services.notify(ring.port) }, 'client')
  services.listen(ring.port, () => transport.event())
  return connectStore(transport, services.turn)
}
