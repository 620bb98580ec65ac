/** Types of foreign packages that bring none, as far as tests use them. */
declare module '@mercuryworkshop/wisp-js/server' {
  import type { IncomingMessage } from 'node:http'
  import type { Duplex } from 'node:stream'
  export const server: {
    routeRequest(request: IncomingMessage, socket: Duplex, head: Buffer): void
    readonly options: {
      allow_loopback_ips: boolean
      allow_udp_streams: boolean
      port_blacklist: readonly (number | readonly [number, number])[] | null
      dns_method: string | ((name: string) => Promise<string>)
    }
  }
  export const logging: { readonly NONE: number; set_level(level: number): void }
}

declare module 'ws' {
  export class WebSocket {
    constructor(url: string)
    binaryType: string
    readonly bufferedAmount: number
    send(bytes: Uint8Array): void
    close(): void
    addEventListener(type: 'open' | 'message' | 'close' | 'error', listener: (event: { readonly data?: unknown }) => void): void
  }
  /** A connection as a server has it. */
  export interface ServedSocket {
    send(bytes: Uint8Array): void
    close(): void
    on(event: 'message', heard: (bytes: Uint8Array) => void): void
    on(event: 'close', heard: () => void): void
  }
  export class WebSocketServer {
    constructor(options: { readonly server: import('node:http').Server })
    on(event: 'connection', heard: (socket: ServedSocket) => void): void
    close(): void
  }
}
