/**
 * Faults in the rings of devices: indices that lie, and requests that change behind the reader's back. A ring is found by what XenStore says
 * of the device: its event channel tells that an event is about it, its reference where its page is.
 *
 *   ring page: req_prod u32 | req_event u32 | rsp_prod u32 | rsp_event u32 | 48 bytes | slots
 *
 * Reference: public/io/ring.h.
 */
import type { EventFacts } from '../../hypervisor/index.ts'
import type { Host } from '../../toolstack/index.ts'
import { oneOf, type Mfn, type DomId } from '../../util/index.ts'
import { atSeam, type FaultContext, type FaultParameter, type FaultRow } from './fault-row.ts'
import type { FaultParameters } from './fault-spec.ts'
import { wholeNumber } from './parameters.ts'

const REQUESTS = 0
const RESPONSES = 8
const SLOTS = 64

/** One ring of a device. */
interface Ring {
  readonly device: string
  /** Whose page it is, and the page. */
  readonly domid: number
  readonly frame: number
  /** Bytes of a slot. */
  readonly slot: number
}

/** Slots in bytes, by the node that names the ring. */
const SLOT: Readonly<Record<string, number>> = { 'ring-ref': 112, 'tx-ring-ref': 12, 'rx-ring-ref': 8 }

const which: FaultParameter = { name: 'ring', text: 'the node that names the ring: ring-ref (disks), tx-ring-ref or rx-ring-ref; any unless given', check: oneOf(...Object.keys(SLOT)), isOptional: true }

const half: FaultParameter = { name: 'half', text: 'who lies: front-end or back-end', check: oneOf('front-end', 'back-end'), otherwise: 'front-end' }

/** The rings of a domain's devices that `isMeant` takes. */
function ringsOf({ host, seat }: FaultContext, domid: number, isMeant: (path: string) => boolean): readonly Ring[] {
  const { store } = host
  const home = `/local/domain/${domid}/device`
  if (!store.exists(home)) return []
  const devices = store.list(home).flatMap((kind) => store.list(`${home}/${kind}`).map((id) => `${home}/${kind}/${id}`)).filter(isMeant)
  return devices.flatMap((device) => Object.entries(SLOT).flatMap(([node, slot]) => {
    const ref = Number(store.tryRead(`${device}/${node}`) ?? Number.NaN)
    const frame = Number.isInteger(ref) ? seat.grantedFrame(domid, ref) : undefined
    return frame === undefined ? [] : [{ device: `${device} ${node}`, domid, frame, slot }]
  }))
}

/** The ring that an event is about, seen from the domain whose device it is. */
function ringOfEvent(context: FaultContext, domid: number, port: number, node: string | undefined): Ring | undefined {
  const { store } = context.host
  const isMeant = (path: string): boolean => ['event-channel', 'event-channel-tx', 'event-channel-rx'].some((name) => store.tryRead(`${path}/${name}`) === String(port))
  return ringsOf(context, domid, isMeant).find(({ device }) => node === undefined || device.endsWith(` ${node}`))
}

const viewOf = (host: Host, { domid, frame }: Ring): DataView => {
  const bytes = host.hypervisor.frameBytes(domid as DomId, frame as Mfn)
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Adds to an index of a ring; what stands there then. */
function lie(host: Host, ring: Ring, { at, by }: { readonly at: number; readonly by: number }): number {
  const view = viewOf(host, ring)
  const value = (view.getUint32(at, true) + by) >>> 0
  view.setUint32(at, value, true)
  host.hypervisor.markWritten(ring.frame as Mfn)
  return value
}

/** Segments of a block request that stand in it, from this byte on. */
const SEGMENTS = { at: 24, size: 8, most: 11 } as const

/** Whether a request in a slot names a grant. */
function names(view: DataView, at: number, { slot }: Ring, ref: number): boolean {
  if (slot !== SLOT['ring-ref']) return view.getUint32(at, true) === ref || (slot === SLOT['rx-ring-ref'] && view.getUint32(at + 4, true) === ref)
  for (let segment = 0; segment < Math.min(SEGMENTS.most, view.getUint8(at + 1)); segment += 1) if (view.getUint32(at + SEGMENTS.at + segment * SEGMENTS.size, true) === ref) return true
  return false
}

/** Changes the request that a grant is used for: flips bits of what it is about, not of its number. */
function changeRequest({ host, memory }: FaultContext, ring: Ring, ref: number): boolean {
  const view = viewOf(host, ring)
  const [requests, responses] = [view.getUint32(REQUESTS, true), view.getUint32(RESPONSES, true)]
  const count = 2 ** Math.floor(Math.log2((view.byteLength - SLOTS) / ring.slot))
  const waiting = Math.min(count, (requests - responses) >>> 0)
  const slots = Array.from({ length: waiting }, (_, place) => SLOTS + ((responses + place) & (count - 1)) * ring.slot)
  const at = slots.find((slot) => names(view, slot, ring, ref))
  // Once for each request, however many grants it names.
  const index = at === undefined ? -1 : (responses + slots.indexOf(at)) >>> 0
  if (at === undefined || memory.get(ring.device) === index) return false
  memory.set(ring.device, index)
  // Of a block request: the first sector and the segments' sectors. Of a frame: where it lies and how long it is.
  if (ring.slot === SLOT['ring-ref']) view.setUint32(at + 16, view.getUint32(at + 16, true) ^ 8, true)
  else view.setUint16(at + 4, view.getUint16(at + 4, true) ^ 0x40, true)
  host.hypervisor.markWritten(ring.frame as Mfn)
  return true
}

/** The ring that an event is about, where it comes from the half that is to lie. */
function ringOfFacts({ domid, from, fromPort, port }: EventFacts, parameters: FaultParameters, context: FaultContext): Ring | undefined {
  const [owner, ownPort] = parameters['half'] === 'front-end' ? [from, fromPort] : [domid, port]
  if (owner <= 0 || (context.domid !== undefined && context.domid !== owner)) return undefined
  return ringOfEvent(context, owner, ownPort, parameters['ring'] as string | undefined)
}

/** The rows. */
export const RING_FAULTS: readonly FaultRow[] = [
  atSeam('event', {
    name: 'ring-index', family: 'Rings', where: "an event of a device's channel: before it is raised the sender's index in the ring is moved on",
    parameters: [which, half, wholeNumber('by', 'how far', { least: 1, most: 2 ** 31, otherwise: 4096 })],
    peer: 'sees that the ring holds less than that, takes nothing more out of it, and ends the device; nothing outside the ring is touched',
    accepts: (facts, parameters, context) => ringOfFacts(facts, parameters, context) !== undefined,
    act: (facts, parameters, context) => {
      const found = ringOfFacts(facts, parameters, context)!
      const [at, by] = [parameters['half'] === 'front-end' ? REQUESTS : RESPONSES, Number(parameters['by'])]
      const value = lie(context.host, found, { at, by })
      // Whoever goes on at once moves the index to where it belongs: the lie stands when the other half looks.
      context.later(0, () => {
        if (viewOf(context.host, found).getUint32(at, true) !== value) lie(context.host, found, { at, by })
      })
      return { effect: [0], text: `the ${parameters['half']} of ${found.device} says that it is at ${value}` }
    },
  }),
  atSeam('grant', {
    name: 'ring-double-fetch', family: 'Rings', where: "a grant that a back-end uses for a request: the request in the ring is changed meanwhile", parameters: [which],
    peer: 'has copied the request before it looked at it, and does what it said then',
    accepts: ({ remote }, { ring }, context) => ringsOf(context, remote, () => true).some(({ device }) => ring === undefined || device.endsWith(` ${ring}`)),
    act: ({ remote, ref }, { ring }, context) => {
      const changed = ringsOf(context, remote, () => true).filter(({ device }) => ring === undefined || device.endsWith(` ${ring}`)).filter((each) => changeRequest(context, each, ref))
      return { effect: undefined, text: `a request of ${changed.map(({ device }) => device).join(', ') || 'no ring'} was changed in the ring` }
    },
  }),
]
