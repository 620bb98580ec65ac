/** Faults between guests and the hypervisor: hypercalls that fail, events, grants, memory that is refused. */
import { ERRNO, EVTCHNOP, GNTST, GNTTABOP, HYPERVISOR, SCHEDOP, VCPUOP, XENMEM } from '../../abi/index.ts'
import { oneOf, XenError } from '../../util/index.ts'
import { atSeam, type FaultParameter, type FaultRow } from './fault-row.ts'
import { lengthOfTime } from './parameters.ts'

/** Operations by name, for the families that have some. */
const OPERATIONS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  event_channel_op: EVTCHNOP, grant_table_op: GNTTABOP, memory_op: XENMEM, sched_op: SCHEDOP, vcpu_op: VCPUOP,
}

const errorName: FaultParameter = { name: 'error', text: "the error's name", check: oneOf(...Object.keys(ERRNO)), otherwise: 'ENOMEM' }

const errorOf = (name: string | number | undefined): number => -ERRNO[name as keyof typeof ERRNO]

/** Number of an operation. Throws INVALID_ARGUMENT for one that its hypercall has not. */
export function operationNumber(hypercall: string, operation: string): number {
  const number = OPERATIONS[hypercall]?.[operation]
  if (number !== undefined) return number
  const known = Object.keys(OPERATIONS[hypercall] ?? {})
  throw new XenError('INVALID_ARGUMENT', `${hypercall} has no operation ${operation}; it has ${known.join(', ') || 'none'}`, { details: { hypercall, operation } })
}

const nameOfHypercall = (number: number): string => Object.entries(HYPERVISOR).find(([, each]) => each === number)?.[0] ?? String(number)

const status = (name: string): FaultParameter => ({ name: 'status', text: 'the GNTST status, by its name', check: oneOf(...Object.keys(GNTST).filter((each) => each !== 'okay')), otherwise: name })

/** The rows. */
export const HYPERVISOR_FAULTS: readonly FaultRow[] = [
  atSeam('hypercall', {
    name: 'hypercall-error', family: 'Hypercalls', where: 'a hypercall of a binary guest, alone or in a multicall, or of a guest in TypeScript: it is not made, and has an error as its result',
    parameters: [
      { name: 'hypercall', text: 'its name, as in public/xen.h', check: oneOf(...Object.keys(HYPERVISOR)) },
      { name: 'operation', text: "its operation, by the name in Xen's header", check: (value) => (typeof value === 'string' ? undefined : 'must be a text'), isOptional: true },
      errorName,
    ],
    peer: 'takes the error: tries again where that can help, or does without; it crashes only of what it cannot live without',
    accepts: ({ number, sub }, { hypercall, operation }) => number === HYPERVISOR[hypercall as keyof typeof HYPERVISOR]
      && (operation === undefined || sub === operationNumber(String(hypercall), String(operation))),
    act: ({ number }, { error, operation }) => ({ effect: errorOf(error), text: `${nameOfHypercall(number)}${operation === undefined ? '' : ` ${operation}`} failed with ${error}` }),
  }),
  atSeam('event', {
    name: 'event-lost', family: 'Events', where: 'an event channel or VIRQ: the event is sent and never raised',
    parameters: [], peer: 'looks at its ring again at the next event, or by a time-out of its own; Xen itself loses none, so that a peer may wait for ever, and must not crash',
    act: ({ port, from }) => ({ effect: [], text: `an event of domain ${from} at port ${port} was lost` }),
  }),
  atSeam('event', {
    name: 'event-late', family: 'Events', where: 'an event channel or VIRQ: the event is raised later', parameters: [lengthOfTime('delay', 'how much later', 1e6)],
    peer: 'waits; what it sends meanwhile is in its ring', act: ({ port, from }, { delay }) => ({ effect: [Number(delay)], text: `an event of domain ${from} at port ${port} came ${delay} ns late` }),
  }),
  atSeam('event', {
    name: 'event-doubled', family: 'Events', where: 'an event channel or VIRQ: the event is raised at once and once more later', parameters: [lengthOfTime('delay', 'how much later', 1e5)],
    peer: 'finds nothing new in its ring, and goes on', act: ({ port, from }, { delay }) => ({ effect: [0, Number(delay)], text: `an event of domain ${from} at port ${port} came twice` }),
  }),
  atSeam('grant', {
    name: 'grant-map-failed', family: 'Grants', where: 'the mapping of a grant, by whichever kind of guest', parameters: [status('general_error')],
    peer: 'fails the one request that needed it, or the connection that it was for; what was mapped before is let go',
    accepts: ({ action }) => action === 'map',
    act: ({ remote, ref }, parameters) => ({ effect: GNTST[parameters['status'] as keyof typeof GNTST], text: `grant ${ref} of domain ${remote} was not mapped: ${parameters['status']}` }),
  }),
  atSeam('grant', {
    name: 'grant-copy-failed', family: 'Grants', where: 'a copy from or to a grant', parameters: [status('general_error')],
    peer: 'fails or drops what it copied for, such as one frame of a network', accepts: ({ action }) => action === 'copy',
    act: ({ remote, ref }, parameters) => ({ effect: GNTST[parameters['status'] as keyof typeof GNTST], text: `grant ${ref} of domain ${remote} was not copied: ${parameters['status']}` }),
  }),
  atSeam('allocation', {
    name: 'allocation-failed', family: 'Memory', where: 'frames that a domain is to be given, by the toolstack or by its own hypercall: there are none', parameters: [],
    peer: 'the toolstack takes a creation back and rejects with OUT_OF_MEMORY; a guest does with what it has',
    act: ({ domid, frames }) => ({ effect: true, text: `domain ${domid} was refused ${frames} frames` }),
  }),
  atSeam('hypercall', {
    name: 'balloon-refused', family: 'Memory', where: "a guest's own hypercall for more memory (XENMEM_populate_physmap, XENMEM_increase_reservation): no extent is given", parameters: [],
    peer: 'its balloon stays as large as it is, and tries again later',
    accepts: ({ number, sub }) => number === HYPERVISOR.memory_op && (sub === XENMEM.populate_physmap || sub === XENMEM.increase_reservation),
    act: ({ domid }) => ({ effect: 0, text: `the balloon of domain ${domid} was refused more memory` }),
  }),
]
