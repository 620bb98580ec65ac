/** Internet protocols at a bridge: packets, TCP, DHCP, DNS, and the user-mode network that is made of them. */
export { TCP_FLAG, decodePacket, encodePacket, hasRightChecksums, macBytes, packetText, parseIp } from './packet.ts'
export type { ArpPacket, EchoPacket, Ethernet, Ip, Packet, TcpPacket, UdpPacket, UnreachablePacket } from './packet.ts'
export { TCP_STATES, TcpConnection } from './tcp-connection.ts'
export type { TcpEnd, TcpHears, TcpOptions, TcpSegment, TcpState } from './tcp-connection.ts'
export { TcpStack } from './tcp-stack.ts'
export type { TcpCounts, TcpEnds, TcpLimits, TcpStackOptions } from './tcp-stack.ts'
export type { DhcpLease } from './dhcp-server.ts'
export { silentOutside } from './outside.ts'
export type {
  ListenAt, ListenHears, NameAnswer, NameQuestion, Outside, OutsideAddress, OutsideFailure, OutsideInput, OutsideListener, OutsideSocket, OutsideSocketHears,
  OutsideStream, OutsideStreamHears,
} from './outside.ts'
export { checkUserNetwork } from './network-settings.ts'
export type { PortForward, UserNetworkOptions } from './network-settings.ts'
export { UserNetwork } from './user-network.ts'
export type { NetworkServices, NetworkStatistics, NetworkTimer } from './user-network.ts'
