/** Strangers at the door of a migration listener: how many, for how long, and what is left of them. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { Host } from '../../../src/index.ts'
import { connectMigration, listenMigration, type MigrationListener } from '../../../src/node/index.ts'

const sockets: Socket[] = []
const listeners: MigrationListener[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const listener of listeners.splice(0)) listener.close()
})

async function listen(options: Parameters<typeof listenMigration>[0] = {}): Promise<MigrationListener> {
  const listener = await listenMigration(options)
  listeners.push(listener)
  return listener
}

/** A stranger, connected; `ended` resolves when the connection is over. */
async function stranger(port: number): Promise<{ socket: Socket; ended: Promise<void> }> {
  const socket = connect({ port, host: '127.0.0.1' })
  sockets.push(socket)
  socket.on('error', () => undefined).resume()
  // Not `once` of node:events, which rejects at an error: one that still writes when it is closed is reset (ECONNRESET).
  const ended = new Promise<void>((resolve) => void socket.once('close', () => resolve()))
  await once(socket, 'connect')
  return { socket, ended }
}

const settle = (listener: MigrationListener, count: number): Promise<void> => expect.poll(() => listener.connections).toBe(count)

describe('a migration listener', () => {
  test('has so many connections at a time, accepted or not, and closes the others at once', async () => {
    const listener = await listen({ connections: 3 })
    const first = await Promise.all([1, 2, 3].map(() => stranger(listener.port)))
    await settle(listener, 3)
    await listener.accept()
    for (const { ended } of await Promise.all([1, 2, 3, 4].map(() => stranger(listener.port)))) await ended
    expect(listener.connections).toBe(3)
    first[1]!.socket.resetAndDestroy()
    await settle(listener, 2)
    const { socket } = await stranger(listener.port)
    await settle(listener, 3)
    expect(socket.destroyed).toBe(false)
  })

  test('has room for eight where nobody says how many', async () => {
    const listener = await listen()
    const all = await Promise.all(Array.from({ length: 20 }, () => stranger(listener.port)))
    await Promise.any(all.map(({ ended }) => ended))
    await expect.poll(() => all.filter(({ socket }) => !socket.destroyed).length).toBe(8)
    expect(listener.connections).toBe(8)
  })

  test('ends one that waits and is silent', async () => {
    const listener = await listen({ idleTimeout: '30ms' })
    const { ended } = await stranger(listener.port)
    await ended
    await settle(listener, 0)
  })

  test.each([
    ['says nothing', { handshakeTimeout: '200ms' }, (): void => undefined, 'has not begun'],
    ['says a byte now and then, and never its header', { handshakeTimeout: '200ms' }, (socket: Socket): void => {
      const timer = setInterval(() => socket.write('x'), 20)
      socket.once('close', () => clearInterval(timer))
    }, 'has not begun'],
    ['stops in the middle of its header', { idleTimeout: '300ms' }, (socket: Socket): void => void socket.write(new Uint8Array(20)), 'has said nothing'],
  ])('a sender that %s is given up, and leaves the host as it was', async (_what, options, act, message) => {
    const host = await Host.boot({ memory: 32, dom0Memory: 8 })
    const listener = await listen(options)
    const { socket, ended } = await stranger(listener.port)
    const receiving = host.receiveMigration(await listener.accept())
    act(socket)
    await expect(receiving).rejects.toMatchObject({ code: 'TIMED_OUT', message: expect.stringContaining(message) as string })
    await ended
    await settle(listener, 0)
    expect([host.domains(), host.hypervisor.listDomains().length]).toEqual([[], 1])
    await host.shutdown()
  })

  test.each([
    [{ connections: 0 }, 'connections'], [{ idleTimeout: 'soon' as never }, 'idleTimeout'], [{ port: 65536 }, 'port'],
    [{ handshake: '1s' } as object, 'handshakeTimeout'],
  ])('refuses %j by name', async (options, name) => {
    await expect(listenMigration(options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(name) as string })
  })
})

test('a receiver that says nothing is given up by the sender, whose domain runs on', async () => {
  const server = createServer(() => undefined).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const host = await Host.boot({ memory: 32, dom0Memory: 8 })
  const domain = await host.createDomain({ name: 'stays', memory: 4, kernel: () => undefined })
  const transport = await connectMigration({ port, handshakeTimeout: '200ms' })
  await expect(domain.migrate(transport)).rejects.toMatchObject({ code: 'TIMED_OUT' })
  expect(host.domains()).toEqual([domain])
  await host.shutdown()
  server.close()
})
