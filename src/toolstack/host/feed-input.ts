/** Puts an input that was taken down on another host into this one, by the calls that its user would make. */
import { XenError, type DomId } from '../../util/index.ts'
import type { DomainOptions } from '../config/domain-config.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import type { HostCall, HostInput } from '../run/inputs.ts'
import type { Domain } from './domain.ts'
import type { Host } from './host.ts'

/** A call by its name, made anew. */
type Calls = { readonly [C in HostCall['call']]: (host: Host, input: Extract<HostCall, { readonly call: C }>) => unknown }

const domainOf = (host: Host, { domid }: { readonly domid: number }): Domain => host.domain(domid)

const CALLS: Calls = {
  // What is no configuration is refused by the call itself.
  create: (host, { config, paused }) => host.createDomain(config as string | DomainOptions<KernelSource>, { paused }),
  pause: (host, input) => domainOf(host, input).pause(),
  unpause: (host, input) => domainOf(host, input).unpause(),
  destroy: (host, input) => domainOf(host, input).destroy(),
  shutdown: (host, input) => domainOf(host, input).shutdown(),
  reboot: (host, input) => domainOf(host, input).reboot(),
  'memory-target': (host, { domid, mebibytes }) => host.setMemTarget(domid, mebibytes),
  'memory-maximum': (host, { domid, mebibytes }) => host.setMaxMem(domid, mebibytes),
  vcpus: (host, input) => domainOf(host, input).setVcpus(input.count),
  attach: (host, input) => domainOf(host, input).attachDevice(input.kind, input.description as string | object),
  detach: (host, input) => domainOf(host, input).detachDevice(input.kind, input.name, { force: input.force }),
  other: (_, { name }) => { throw new XenError('NOT_SUPPORTED', `the call ${name} came with what is no plain data`) },
}

/**
 * Puts an input in; what comes of it is the call's own answer, a promise as a rule. Throws NOT_SUPPORTED for what cannot be
 * put in from here: answers of disks come from the disks, and calls with what is no plain data from their callers.
 */
export function feedInput(host: Host, input: HostInput): unknown {
  switch (input.source) {
    case 'console': return host.domain(input.domid).console.write(input.bytes)
    case 'frame': return host.bridge(input.bridge).send(input.port, input.bytes)
    case 'disk': throw new XenError('NOT_SUPPORTED', `an answer of disk ${input.device} of domain ${input.domid as DomId} comes from the disk`)
    // The table pairs each call with its own input; TypeScript cannot follow that through a lookup.
    case 'call': return (CALLS[input.call] as (host: Host, input: HostCall) => unknown)(host, input)
  }
}
