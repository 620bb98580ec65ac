/** A store with nothing but what a new one has, served on a socket: what the benchmark's server process runs. */
import { listenXenStore } from '../../../src/node/index.ts'
import { XenStore, XenStoreServer } from '../../../src/xenstore/index.ts'

/** Serves until the process ends. */
export async function serve(socket: string): Promise<void> {
  const server: XenStoreServer = new XenStoreServer({
    store: new XenStore(),
    onWork: () => setImmediate(() => server.process()),
  })
  await listenXenStore(server, socket)
}
