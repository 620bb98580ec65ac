/** A relay of the Wisp protocol that nobody here wrote (wisp-js), on the loopback address; names that end in `.example` are this machine's. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { logging, server } from '@mercuryworkshop/wisp-js/server'

/** A relay. */
export interface WispRelay {
  readonly url: string
  /** Connections that there have been. */
  readonly connections: () => number
  /** Cuts all connections. */
  cut(): void
  close(): Promise<void>
}

/** Starts one. `blocked`: a port that it opens nothing at. */
export async function startWispRelay({ blocked }: { readonly blocked?: number } = {}): Promise<WispRelay> {
  logging.set_level(logging.NONE)
  Object.assign(server.options, {
    allow_loopback_ips: true, port_blacklist: blocked === undefined ? null : [blocked],
    dns_method: (name: string) => (name.endsWith('.example') ? Promise.resolve('127.0.0.1') : Promise.reject(new Error(`there is no ${name}`))),
  })
  const http = createServer()
  const sockets = new Set<Duplex>()
  let count = 0
  http.on('upgrade', (request, socket, head) => {
    count += 1
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    server.routeRequest(request, socket, head)
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  const cut = (): void => { for (const socket of sockets) socket.destroy() }
  return {
    url: `ws://127.0.0.1:${(http.address() as AddressInfo).port}/wisp/`, connections: () => count, cut,
    close: async () => {
      cut()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}
