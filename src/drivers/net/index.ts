/**
 * Network interfaces.
 *
 * @module
 */
export type { FrameFacts, NetInterference, NetServices } from './interference.ts'
export { ETHERNET_HEADER, completeChecksum, formatMac, parseMac } from './frame.ts'
export type { NetFrame } from './frame.ts'
export { ADDRESS_AGE, ADDRESS_LIMIT } from './address-table.ts'
export { Bridge, UserPort } from './bridge.ts'
export type { BridgeEvent, BridgeLink, BridgeOptions, BridgeTap, NetPort, UserPortOptions } from './bridge.ts'
export { CaptureWriter, captureBridge } from './pcapng.ts'
export type { CaptureOptions, CaptureSink } from './pcapng.ts'
export { MulticastFilter } from './multicast-filter.ts'
export { TransmitServer, noStatistics } from './transmit.ts'
export type { NetStatistics, RingServices, TransmitOptions } from './transmit.ts'
export { RECEIVE_QUEUE_BYTES, RECEIVE_QUEUE_LIMIT, ReceiveServer } from './receive.ts'
export type { ReceiveFeatures } from './receive.ts'
export { Staging } from './staging.ts'
export { NetBackend } from './backend.ts'
export type { NetBackendOptions, ServedNic } from './backend.ts'
export { FRAME_QUEUE_BYTES, FRAME_QUEUE_LIMIT } from './frame-queue.ts'
export { NetFrontend } from './frontend.ts'
export { Nic } from './nic.ts'
export type { FrameHandler, NetFrontendOptions, NicFeatures, SendOptions } from './nic.ts'
export type { OutputHold } from './held-output.ts'
export {
  TCP_FLAG, TCP_STATES, TcpConnection, TcpStack, UserNetwork, checkUserNetwork, decodePacket, encodePacket, hasRightChecksums, macBytes, packetText, parseIp, silentOutside,
} from './internet/index.ts'
export type {
  ArpPacket, DhcpLease, EchoPacket, Ethernet, Ip, ListenAt, ListenHears, NameAnswer, NameQuestion, NetworkServices, NetworkStatistics, NetworkTimer, Outside,
  OutsideAddress, OutsideFailure, OutsideInput, OutsideListener, OutsideSocket, OutsideSocketHears, OutsideStream, OutsideStreamHears, Packet, PortForward,
  TcpCounts, TcpEnd, TcpEnds, TcpHears, TcpLimits, TcpOptions, TcpPacket, TcpSegment, TcpStackOptions, TcpState, UdpPacket, UnreachablePacket, UserNetworkOptions,
} from './internet/index.ts'
