/**
 * What Node has and browsers have not: files as disks, kernels and moments, sockets for services, migrations, XenStore, gdb and the XenAPI, threads that
 * explore, Debian's packages, catalogues in folders, the command `npx paravirt`.
 *
 * @example
 * import { Host } from 'paravirt'
 * import { listenService, nodeOutside } from 'paravirt/node'
 *
 * const host = await Host.boot({ memory: 64, dom0Memory: 16, networks: { xenbr0: { outside: nodeOutside() } } })
 * const service = await listenService(host, { path: '/tmp/host.sock' })
 *
 * @module
 */
export { BusyPoll } from './busy-poll.ts'
export { SocketTransport, connectXenStore, listenXenStore } from './xenstore-socket.ts'
export type { XenStoreListenOptions, XenStoreListener } from './xenstore-socket.ts'
export { fileSink } from './file-sink.ts'
export { bridgeTunnel } from './bridge-tunnel.ts'
export type { BridgeTunnel, TunnelEnd } from './bridge-tunnel.ts'
export { MigrationListener, connectMigration, listenMigration } from './migration-socket.ts'
export type { MigrationConnectOptions, MigrationListenOptions } from './migration-socket.ts'
export { tcpMoves } from './tcp-moves.ts'
export type { TcpMoves } from './tcp-moves.ts'
export type { SocketLimits } from './socket-limits.ts'
export type { ConfinedOptions } from './confined-path.ts'
export { nodeFiles } from './files.ts'
export { nodeDisks } from './disks.ts'
export type { DiskFolderOptions } from './disks.ts'
export { HostFolderStore, nodeFolders } from './host-folder.ts'
export type { HostFolderOptions } from './host-folder.ts'
export { FileBlockStore } from './file-block-store.ts'
export type { FileStoreOptions } from './file-block-store.ts'
export { cacheFolder, folderCache } from './folder-cache.ts'
export { exploreWorkers } from './explore-workers.ts'
export type { ExploreWorkersOptions } from './explore-workers.ts'
export { brotliCompression, deflateCompression, nodeCompressions, zstdCompression } from './compressions.ts'
export type { CompressionLevel } from './compressions.ts'
export { debianDom0, debianGuests, fetchDebianGuests } from './debian-guests.ts'
export type { DebianDom0, DebianDom0Options, DebianSet } from './debian-guests.ts'
export { artifactFolder, goldenFolder } from './test-files.ts'
export { catalogueFolder } from './catalogue-folder.ts'
export { DIAGNOSTICS_CHANNEL, publishDiagnostics } from './diagnostics.ts'
export { serveChannels } from './channel-sockets.ts'
export type { ChannelSockets, ChannelSocketsOptions } from './channel-sockets.ts'
export { serveScreens } from './vnc/index.ts'
export type { Screens, ScreensOptions, ServedScreen } from './vnc/index.ts'
export { connectService, listenService } from './service-socket.ts'
export type { ServiceAddress, ServiceListener } from './service-socket.ts'
export { xl } from './xl/terminal.ts'
export { listenXapi } from './xapi-server.ts'
export type { XapiListener } from './xapi-server.ts'
export { NodeOutside, nodeOutside } from './node-outside.ts'
export type { ListeningPort, NodeOutsideOptions, OutsideReach } from './node-outside.ts'
export { serveDebugAdapter } from './debug-adapter.ts'
export type { DebugAdapterStreams } from './debug-adapter.ts'
export { listenGdb } from './gdb-socket.ts'
export type { GdbListenOptions, GdbListener } from './gdb-socket.ts'
