/** Event channels: ports, their two ABIs, VIRQs and polling. */
export { EventChannels } from './event-channels.ts'
export type { PortStatus } from './event-channels.ts'
export { DomainEvents, VIRQ_COUNT, isGlobalVirq } from './domain-events.ts'
export type { DomainEventState, EventState } from './event-state.ts'
export { FIFO_LINK_BITS } from './fifo.ts'
export type { FifoState } from './fifo.ts'
export { CHANNEL } from './types.ts'
export type { Channel, ChannelState, EventDelivery, EventDomain, EventHost } from './types.ts'
