/** A domain's ports as plain data, for whoever looks at it from outside. */
import type { DomainEvents } from './domain-events.ts'
import { CHANNEL } from './types.ts'

/** What a port in use is. */
export type PortState = 'reserved' | 'unbound' | 'interdomain' | 'virq' | 'ipi'

/** One port in use. */
export interface PortRecord {
  readonly port: number
  readonly state: PortState
  /** vCPU that is told. */
  readonly vcpu: number
  /** Unbound: who may bind. Interdomain: the peer, and its port. */
  readonly remote: number | undefined
  readonly remotePort: number | undefined
  readonly virq: number | undefined
  /** An event has come, and the guest has not taken it; it does not want to hear of any. */
  readonly isPending: boolean
  readonly isMasked: boolean
}

const STATES: readonly (PortState | undefined)[] = Object.entries(CHANNEL).reduce<(PortState | undefined)[]>((all, [name, value]) => {
  all[value] = name === 'free' ? undefined : name as PortState
  return all
}, [])

/** Ports in use, in their order; without port 0, which nobody has. */
export function portRecords({ ports, delivery }: DomainEvents): readonly PortRecord[] {
  const found: PortRecord[] = []
  for (let port = 1; port < ports.length; port += 1) {
    const channel = ports.known(port)
    const state = channel && STATES[channel.state]
    if (channel === undefined || state === undefined) continue
    const { vcpu, remoteDomain, remotePort, virq } = channel
    found.push({
      port, state, vcpu, isPending: delivery.isPending(channel), isMasked: delivery.isMasked(channel), virq: state === 'virq' ? virq : undefined,
      remote: state === 'unbound' || state === 'interdomain' ? remoteDomain : undefined, remotePort: state === 'interdomain' ? remotePort : undefined,
    })
  }
  return found
}
