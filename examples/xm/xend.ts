/** xend: one host in one process, which carries out what xm sends, and takes in domains that other hosts send. */
import { once } from 'node:events'
import { unlinkSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { resolve } from 'node:path'
import { Host, XenError, type StreamTrust } from '../../src/index.ts'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { listenMigration, nodeDisks, nodeFiles, type MigrationListener } from '../../src/node/index.ts'
import { runVerb } from './verbs.ts'
import { receive, send, socketPath, type Request } from './wire.ts'

/** What xend is started with. */
export interface XendOptions {
  /** The host's memory, as `1G`. */
  readonly memory: string
  /** Where to listen for domains from other hosts; 0 chooses a port. Anybody who gets there can send one. */
  readonly relocationPort: number | undefined
  /** Lets senders name disks and bridges of this host; by default a domain that has any is refused. */
  readonly trustSenders: boolean
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

async function* typedOf(requests: AsyncIterable<Request>): AsyncGenerator<Uint8Array, void> {
  for await (const request of requests) if ('typed' in request) yield Buffer.from(request.typed, 'latin1')
}

/** Serves one xm. */
async function serve(host: Host, socket: Socket): Promise<void> {
  const gone = new AbortController()
  socket.on('error', () => undefined).on('close', () => gone.abort())
  const requests = receive<Request>(socket)
  const { value: first } = await requests.next()
  if (first === undefined || !('words' in first)) return void socket.destroy()
  const [name = '', ...words] = first.words
  try {
    await runVerb({
      host, signal: gone.signal, typed: typedOf(requests),
      path: (file) => resolve(first.folder, file),
      print: (text) => send(socket, { out: Buffer.from(text).toString('latin1') }),
      printBytes: (bytes) => send(socket, { out: Buffer.from(bytes).toString('latin1') }),
    }, name, words)
    send(socket, { status: 0 })
  } catch (error) {
    send(socket, { err: `Error: ${messageOf(error)}\n` })
    send(socket, { status: 1 })
  }
  socket.end()
}

/** Takes in every domain that is sent. */
async function takeIn(host: Host, listener: MigrationListener, trust: StreamTrust): Promise<void> {
  for (;;) {
    const transport = await listener.accept()
    host.receiveMigration(transport, { trust }).then(
      (domain) => console.log(`xend: ${domain.name} has come`),
      (error: unknown) => console.error(`xend: a domain did not come: ${messageOf(error)}`),
    )
  }
}

/** Listens where its owner alone gets in; a file that a dead xend has left is replaced. */
async function listen(server: Server, path: string): Promise<void> {
  const probe = connect(path)
  const taken = await once(probe, 'connect').then(() => true, (error: NodeJS.ErrnoException) => {
    if (error.code === 'ECONNREFUSED') unlinkSync(path)
    return false
  })
  probe.destroy()
  if (taken) throw new XenError('IO', `another xend listens at ${path}`)
  // The file has its permissions before anybody can open it.
  const before = process.umask(0o177)
  server.listen(path)
  process.umask(before)
  await once(server, 'listening')
}

/** Boots a host and serves it until the process is told to end. */
export async function xend({ memory, relocationPort, trustSenders }: XendOptions): Promise<void> {
  const host = await Host.boot({
    memory, clock: 'realtime', files: nodeFiles(), decompress: optionalDecompressor, openDisk: nodeDisks(),
  })
  host.events.on('warning', ({ warning }) => console.error(`xend: ${warning.message}`))
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    serve(host, socket).catch((error: unknown) => {
      console.error(`xend: ${messageOf(error)}`)
      socket.destroy()
    })
  })
  await listen(server, socketPath())
  const relocation = relocationPort === undefined ? undefined : await listenMigration({ port: relocationPort })
  // It ends by an error when the listener is closed.
  if (relocation !== undefined) takeIn(host, relocation, trustSenders ? 'all' : {}).catch(() => undefined)
  console.log(`xend: listening at ${socketPath()}`)
  if (relocation !== undefined) console.log(`xend: taking in domains at port ${relocation.port}`)
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  relocation?.close()
  server.close()
  await host.shutdown()
  for (const socket of sockets) socket.destroy()
}
