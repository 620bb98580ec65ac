/** A network between one host and its store that can be cut: TCP ports of loopback, each of which leads to one of the store's. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

/** How it is cut: nothing arrives and nobody is told, as where a cable is pulled; or connections are ended and refused. */
export type Cut = 'silent' | 'refused'

/** The network. */
export class CutProxy {
  private readonly servers: Server[] = []
  private readonly sockets = new Set<Socket>()
  private cutBy: Cut | undefined

  /** Opens a port for each of the store's. */
  static async open(ports: readonly number[]): Promise<CutProxy> {
    const proxy = new CutProxy()
    for (const port of ports) {
      const server = createServer((socket) => proxy.join(socket, port)).listen(0, '127.0.0.1')
      await once(server, 'listening')
      proxy.servers.push(server)
    }
    return proxy
  }

  /** URLs of its ports. */
  get endpoints(): string[] {
    return this.servers.map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  }

  /** Cuts it. */
  cut(how: Cut): void {
    this.cutBy = how
    for (const socket of this.sockets) {
      if (how === 'refused') socket.destroy()
      else socket.pause()
    }
  }

  /** Everything arrives again, also what was on its way when it was cut silently. */
  heal(): void {
    this.cutBy = undefined
    for (const socket of this.sockets) socket.resume()
  }

  close(): void {
    this.cut('refused')
    for (const server of this.servers) server.close()
  }

  private join(near: Socket, port: number): void {
    if (this.cutBy === 'refused') return void near.destroy()
    const far = connect(port, '127.0.0.1')
    for (const [from, to] of [[near, far], [far, near]] as const) {
      this.sockets.add(from)
      from.on('error', () => undefined)
      from.on('close', () => {
        this.sockets.delete(from)
        to.destroy()
      })
      from.on('data', (bytes) => void to.write(bytes))
      if (this.cutBy === 'silent') from.pause()
    }
  }
}
