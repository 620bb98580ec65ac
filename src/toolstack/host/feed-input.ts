/** Puts an input that was taken down on another host into this one, by the calls that its user would make. */
import type { ServedDisk } from '../../drivers/index.ts'
import { XenError, type DomId } from '../../util/index.ts'
import { SERVED_DISKS } from '../device-kinds/disk/disk-service.ts'
import type { LocalOperations, LocalStore, NodeChange, StoreChanges } from '../../xenstore/index.ts'
import type { DomainOptions } from '../config/domain-config.ts'
import type { KernelSource } from '../domains/kernel-source.ts'
import type { DiskAnswer, HostCall, HostInput } from '../run/inputs.ts'
import type { Domain } from './domain.ts'
import { insidesOf, type Host } from './host.ts'

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

function changeNode(store: LocalOperations | LocalStore, change: NodeChange): void {
  switch (change.operation) {
    case 'write': return store.write(change.path, change.value)
    case 'mkdir': return store.mkdir(change.path)
    case 'rm': return store.rm(change.path)
    case 'set-permissions': return store.setPermissions(change.path, change.permissions)
  }
}

function changeStore(store: LocalStore, { transaction, changes }: StoreChanges): void {
  const givenUp = new Error('the transaction is given up, as it was when it was taken down')
  const changeAll = (to: LocalOperations | LocalStore): void => {
    for (const change of changes) changeNode(to, change)
  }
  if (transaction === 'none') return changeAll(store)
  try {
    store.transaction((own) => {
      changeAll(own)
      if (transaction === 'abort') throw givenUp
    })
  } catch (error) {
    if (error !== givenUp) throw error
  }
}

/** A request is made when its guest comes to it: the answer waits for that. The disk's own store is to stay silent. */
async function answerDisk(host: Host, { domid, device, ...answer }: DiskAnswer): Promise<void> {
  const disks = insidesOf(host).guests.devices.service(SERVED_DISKS)
  const served = (): ServedDisk | undefined => disks.served(domid as DomId, device)
  const waits = (): boolean => served()?.waitsFor(answer.request) === true
  if (!waits()) await host.until(`request ${answer.request} of disk ${device} of domain ${domid}`, waits)
  served()?.answer(answer)
}

/**
 * Puts an input in; what comes of it is the call's own answer, a promise as a rule. The answer of a disk rejects with
 * INVALID_ARGUMENT when its request reads another number of bytes. Throws NOT_SUPPORTED for calls that came with what is no
 * plain data.
 */
export function feedInput(host: Host, input: HostInput): unknown {
  switch (input.source) {
    case 'console': return host.domain(input.domid).console.write(input.bytes)
    case 'frame': return host.bridge(input.bridge).send(input.port, input.bytes)
    case 'store': return changeStore(host.store, input)
    case 'disk': return answerDisk(host, input)
    // The table pairs each call with its own input; TypeScript cannot follow that through a lookup.
    case 'call': return (CALLS[input.call] as (host: Host, input: HostCall) => unknown)(host, input)
  }
}
