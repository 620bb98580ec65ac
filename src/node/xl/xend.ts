/** xend: one host in one process, served to xl at a socket; it takes in domains that other hosts send. */
import { once } from 'node:events'
import { Host, type StreamTrust } from '../../toolstack/index.ts'
import { optionalDecompressor } from '../../decompress/index.ts'
import { nodeDisks } from '../disks.ts'
import { nodeFolders } from '../host-folder.ts'
import { nodeFiles } from '../files.ts'
import { listenMigration, type MigrationListener } from '../migration-socket.ts'
import { serveChannels } from '../channel-sockets.ts'
import { serveScreens } from '../vnc/index.ts'
import { listenService } from '../service-socket.ts'
import { socketPath } from './session.ts'

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

/** Boots a host and serves it until the process is told to end. */
export async function xend({ memory, relocationPort, trustSenders }: XendOptions): Promise<void> {
  const host = await Host.boot({
    memory, clock: 'realtime', files: nodeFiles(), decompress: optionalDecompressor, openDisk: nodeDisks(), openFolder: nodeFolders(),
  })
  host.events.on('warning', ({ warning }) => console.error(`xend: ${warning.message}`))
  serveChannels(host, { onFailed: ({ message }) => console.error(`xend: ${message}`) })
  serveScreens(host, { onFailed: ({ message }) => console.error(`xend: ${message}`) })
  const service = await listenService(host, { path: socketPath() })
  const relocation = relocationPort === undefined ? undefined : await listenMigration({ port: relocationPort })
  // It ends by an error when the listener is closed.
  if (relocation !== undefined) takeIn(host, relocation, trustSenders ? 'all' : {}).catch(() => undefined)
  console.log(`xend: listening at ${socketPath()}`)
  if (relocation !== undefined) console.log(`xend: taking in domains at port ${relocation.port}`)
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  relocation?.close()
  await service.close()
  await host.shutdown()
}
