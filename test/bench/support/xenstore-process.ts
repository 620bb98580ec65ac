/** A store with nothing but what a new one has, served on the socket that is named on the command line. */
import { listenXenStore } from '../../../src/node/index.ts'
import { XenStore, XenStoreServer } from '../../../src/xenstore/index.ts'

const server: XenStoreServer = new XenStoreServer({
  store: new XenStore(),
  onWork: () => queueMicrotask(() => server.process()),
})
await listenXenStore(server, process.argv[2]!)
