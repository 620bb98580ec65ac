export { SocketTransport, connectXenStore, listenXenStore } from './xenstore-socket.ts'
export type { XenStoreListenOptions, XenStoreListener } from './xenstore-socket.ts'
