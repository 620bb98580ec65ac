/**
 * Split drivers: one folder per device, each with protocol, front-end and back-end.
 *
 * @example
 * import { Host } from 'paravirt'
 * import { MemoryBlockStore, OverlayBlockStore } from 'paravirt/drivers'
 *
 * const image = new MemoryBlockStore(1 << 20)
 * const host = await Host.boot({ memory: 64, dom0Memory: 16, openDisk: () => new OverlayBlockStore(image) })
 *
 * @module
 */
export {
  CHANNEL_NAME_LIMIT, CONSOLE_EVENTS, CONSOLE_LOG_LIMIT, CONSOLE_TYPE, CONSOLE_WRITE_LIMIT, ChannelBackend, ChannelFrontend, ConsoleBackend, ConsoleFrontend, ConsoleLog, ConsoleStream, byteLogState,
  consolePath, parseConsoleNodes,
} from './console/index.ts'
export type {
  ByteLogState, ConsoleBackendServices, ConsoleEvent, ConsoleNodes, ConsoleOpenOptions, ConsoleOutputOptions, ConsoleStatistics,
} from './console/index.ts'
export {
  BlockBackend, BlockClient, BlockFrontend, BlockServer, Disk, LAYOUT_32, LAYOUT_64, MemoryBlockStore, MemoryImageFile,
  OverlayBlockStore, QcowBlockStore, backingOf, PERSISTENT_GRANT_LIMIT, SECTOR_SIZE, checkRange, checkSize, checkStore, checkWritable, disksState, layoutOf,
  loadStores, parseVirtualDevice,
} from './block/index.ts'
export type {
  BlockBackendOptions, BlockClientOptions, BlockFeatures, BlockFrontendOptions, BlockLayout, BlockLimits, BlockRequest, BlockServerOptions,
  BlockStatistics, BlockStore, ImageFile, QcowHeader, QcowOptions, DataPage, DiskGeometry, DiskRates, DiskRequest, DisksState, MemoryStoreOptions, MemoryStoreState, OverlayState, ClusterSetState, RecordedAnswer, SavedMemoryStore, SavedOpening,
  RingPages, SavedOverlay, Segment, ServedDisk, StoreAnswer, StoreState,
  VirtualDevice, WriteObserver,
} from './block/index.ts'
export {
  ADDRESS_AGE, ADDRESS_LIMIT, Bridge, CaptureWriter, ETHERNET_HEADER, FRAME_QUEUE_BYTES, FRAME_QUEUE_LIMIT, MulticastFilter, NetBackend,
  NetFrontend, Nic, RECEIVE_QUEUE_BYTES, RECEIVE_QUEUE_LIMIT, ReceiveServer, Staging, TransmitServer, UserPort,
  captureBridge, completeChecksum, formatMac, noStatistics, parseMac,
} from './net/index.ts'
export type { DiskInterference, DiskServices } from './block/index.ts'
export type { FrameFacts, NetInterference, NetServices } from './net/index.ts'
export type { FlexPlace, RingOverrun } from '../rings/index.ts'
export type {
  BridgeEvent, BridgeLink, BridgeOptions, BridgeTap, CaptureOptions, CaptureSink, FrameHandler, NetBackendOptions, NetFrame, NetFrontendOptions, NetPort,
  NetStatistics, NicFeatures, OutputHold, ReceiveFeatures, RingServices, SendOptions, ServedNic, TransmitOptions, UserPortOptions,
} from './net/index.ts'
export {
  FILE_ERRORS, FileClient, FolderBackend, FolderFrontend, MemoryFileStore, MessageReader, MessageWriter, MountedFolder, NINEPFS_TYPE, checkFileStore, errnoOf,
  fileError, memoryFilesState, memoryNodeState, rootOf,
} from './ninepfs/index.ts'
export type {
  Answer, FileChanges, FileClientOptions, FileEntry, FileErrorName, FileKind, FilePath, FileSpace, FileStat, FileStore, FileTime, FileTree, FolderBackendOptions, FolderEffect, FolderInterference, FolderRequestKind,
  FolderFrontendOptions, FolderNode, FolderRequest, LinkEntry, ListedFile, MemoryFilesOptions, MemoryFilesState, MemoryNode, MemoryNodeState, MountedStat, NewFile,
  OpenFile, OpenHow, ServedFolder, TreeNode,
} from './ninepfs/index.ts'
export { FRAMEBUFFER_TYPE, FramebufferBackend, FramebufferFrontend, GuestScreen, encodePng, joinedArea, overlapOfAreas } from './framebuffer/index.ts'
export type { Colour, FramebufferBackendOptions, FramebufferEvent, FramebufferFrontendOptions, FramebufferInterference, FramebufferStatistics, UpdateFacts, Picture, ScreenArea, ServedFramebuffer } from './framebuffer/index.ts'
export { KEYBOARD_TYPE, KEY_CODES, KeyboardBackend, KeyboardFrontend, MAX_KEY, MAX_PLACE, keyCode, strokeOf, strokesOf } from './keyboard/index.ts'
export type { InputEffect, InputFacts, KeyInput, KeyboardBackendOptions, KeyboardInterference, KeyboardStatistics, PointerInput, ScreenInput, ServedKeyboard, Stroke } from './keyboard/index.ts'
export {
  TCP_FLAG, TCP_STATES, TcpConnection, TcpStack, UserNetwork, checkUserNetwork, decodePacket, encodePacket, hasRightChecksums, macBytes, packetText, parseIp, silentOutside,
} from './net/index.ts'
export type {
  ArpPacket, DhcpLease, EchoPacket, Ethernet, Ip, ListenAt, ListenHears, NameAnswer, NameQuestion, NetworkServices, NetworkStatistics, NetworkTimer, Outside,
  OutsideAddress, OutsideFailure, OutsideInput, OutsideListener, OutsideSocket, OutsideSocketHears, OutsideStream, OutsideStreamHears, Packet, PortForward,
  TcpCounts, TcpEnd, TcpEnds, TcpHears, TcpLimits, TcpOptions, TcpPacket, TcpSegment, TcpStackOptions, TcpState, UdpPacket, UnreachablePacket, UserNetworkOptions,
} from './net/index.ts'
export { VCHAN_RING_LIMIT, Vchan, attachVchan, openVchanClient, openVchanServer, vchanState } from './vchan/index.ts'
export type { VchanClientOptions, VchanOptions, VchanRole, VchanServerOptions, VchanStanding, VchanState, VchanStatistics } from './vchan/index.ts'
