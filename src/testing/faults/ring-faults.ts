/**
 * Faults in the rings of devices: indices that lie, and requests that change behind the reader's back. A ring is found by what XenStore says
 * of the device: its event channel tells that an event is about it, its references where its pages are; of a device with several
 * queues each has a folder of its own.
 *
 *   ring: req_prod u32 | req_event u32 | rsp_prod u32 | rsp_event u32 | 48 bytes | slots
 *
 * Reference: public/io/ring.h.
 */
import { PAGE_SIZE } from '../../abi/index.ts'
import type { EventFacts } from '../../hypervisor/index.ts'
import type { Host } from '../../toolstack/index.ts'
import { oneOf, type Mfn, type DomId } from '../../util/index.ts'
import { atSeam, type FaultContext, type FaultParameter, type FaultRow } from './fault-row.ts'
import type { FaultParameters } from './fault-spec.ts'
import { wholeNumber } from './parameters.ts'

const REQUESTS = 0
const RESPONSES = 8
const SLOTS = 64
/** The largest ring has 2 to this power pages. */
const MOST_ORDER = 4

/** One ring of a device. */
interface Ring {
  readonly device: string
  /** The node that names it: `ring-ref`, whatever its pages are numbered. */
  readonly node: string
  /** Whose pages they are, and the pages. */
  readonly domid: number
  readonly frames: readonly number[]
  /** Bytes of a slot. */
  readonly slot: number
}

/** Slots in bytes, by the node that names the ring. */
const SLOT: Readonly<Record<string, number>> = { 'ring-ref': 112, 'tx-ring-ref': 12, 'rx-ring-ref': 8 }

const which: FaultParameter = { name: 'ring', text: 'the node that names the ring: ring-ref (disks), tx-ring-ref or rx-ring-ref; any unless given', check: oneOf(...Object.keys(SLOT)), isOptional: true }

const half: FaultParameter = { name: 'half', text: 'who lies: front-end or back-end', check: oneOf('front-end', 'back-end'), otherwise: 'front-end' }

/** The folders of a domain's devices, and of their queues, that `isMeant` takes. */
function foldersOf({ store }: Host, domid: number, isMeant: (path: string) => boolean): readonly string[] {
  const home = `/local/domain/${domid}/device`
  if (!store.exists(home)) return []
  const devices = store.list(home).flatMap((kind) => store.list(`${home}/${kind}`).map((id) => `${home}/${kind}/${id}`))
  return devices.flatMap((device) => [device, ...store.list(device).filter((name) => /^queue-\d{1,4}$/.test(name)).map((name) => `${device}/${name}`)]).filter(isMeant)
}

/** The rings in the folders that `isMeant` takes. */
function ringsOf({ host, seat }: FaultContext, domid: number, isMeant: (path: string) => boolean): readonly Ring[] {
  const { store } = host
  const frameOf = (path: string): number | undefined => {
    const ref = Number(store.tryRead(path) ?? Number.NaN)
    return Number.isInteger(ref) ? seat.grantedFrame(domid, ref) : undefined
  }
  const framesOf = (folder: string, node: string): readonly number[] => {
    const order = Number(store.tryRead(`${folder.replace(/\/queue-\d+$/, '')}/ring-page-order`) ?? 0)
    const names = order >= 1 && order <= MOST_ORDER ? Array.from({ length: 2 ** order }, (_, page) => `${node}${page}`) : [node]
    return names.flatMap((name) => frameOf(`${folder}/${name}`) ?? [])
  }
  return foldersOf(host, domid, isMeant).flatMap((device) => Object.entries(SLOT).flatMap(([node, slot]) => {
    const frames = framesOf(device, node)
    // While its nodes are being written it is none yet.
    return frames.length === 0 || (frames.length & (frames.length - 1)) !== 0 ? [] : [{ device: `${device} ${node}`, node, domid, frames, slot }]
  }))
}

/** The ring that an event is about, seen from the domain whose device it is. */
function ringOfEvent(context: FaultContext, domid: number, port: number, node: string | undefined): Ring | undefined {
  const { store } = context.host
  const isMeant = (path: string): boolean => ['event-channel', 'event-channel-tx', 'event-channel-rx'].some((name) => store.tryRead(`${path}/${name}`) === String(port))
  return ringsOf(context, domid, isMeant).find((ring) => node === undefined || ring.node === node)
}

/** The page of a ring in which a byte of it lies, and where in the page. No number of a ring is split between two pages. */
function placeOf(host: Host, { domid, frames }: Ring, offset: number): { readonly view: DataView; readonly at: number; readonly frame: Mfn } {
  const frame = frames[Math.floor(offset / PAGE_SIZE)] as Mfn
  const bytes = host.hypervisor.frameBytes(domid as DomId, frame)
  return { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), at: offset % PAGE_SIZE, frame }
}

function readWord(host: Host, ring: Ring, offset: number): number {
  const { view, at } = placeOf(host, ring, offset)
  return view.getUint32(at, true)
}

function writeWord(host: Host, ring: Ring, { offset, value }: { readonly offset: number; readonly value: number }): void {
  const { view, at, frame } = placeOf(host, ring, offset)
  view.setUint32(at, value, true)
  host.hypervisor.markWritten(frame)
}

/** Adds to an index of a ring; what stands there then. */
function lie(host: Host, ring: Ring, { at, by }: { readonly at: number; readonly by: number }): number {
  const value = (readWord(host, ring, at) + by) >>> 0
  writeWord(host, ring, { offset: at, value })
  return value
}

/** Segments of a block request that stand in it, from this byte on. */
const SEGMENTS = { at: 24, size: 8, most: 11 } as const

/** Whether a request in a slot names a grant. */
function names(host: Host, ring: Ring, { at, ref }: { readonly at: number; readonly ref: number }): boolean {
  if (ring.node !== 'ring-ref') return readWord(host, ring, at) === ref || (ring.node === 'rx-ring-ref' && readWord(host, ring, at + 4) === ref)
  const count = (readWord(host, ring, at) >>> 8) & 0xff
  for (let segment = 0; segment < Math.min(SEGMENTS.most, count); segment += 1) if (readWord(host, ring, at + SEGMENTS.at + segment * SEGMENTS.size) === ref) return true
  return false
}

/** Changes the request that a grant is used for: flips bits of what it is about, not of its number. */
function changeRequest({ host, memory }: FaultContext, ring: Ring, ref: number): boolean {
  const [requests, responses] = [readWord(host, ring, REQUESTS), readWord(host, ring, RESPONSES)]
  const count = 2 ** Math.floor(Math.log2((ring.frames.length * PAGE_SIZE - SLOTS) / ring.slot))
  const waiting = Math.min(count, (requests - responses) >>> 0)
  const slots = Array.from({ length: waiting }, (_, place) => SLOTS + ((responses + place) & (count - 1)) * ring.slot)
  const at = slots.find((slot) => names(host, ring, { at: slot, ref }))
  // Once for each request, however many grants it names.
  const index = at === undefined ? -1 : (responses + slots.indexOf(at)) >>> 0
  if (at === undefined || memory.get(ring.device) === index) return false
  memory.set(ring.device, index)
  // Of a block request: the first sector and the segments' sectors. Of a frame: where it lies and how long it is.
  const [offset, bits] = ring.node === 'ring-ref' ? [at + 16, 8] : [at + 4, 0x40]
  writeWord(host, ring, { offset, value: (readWord(host, ring, offset) ^ bits) >>> 0 })
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
        if (readWord(context.host, found, at) !== value) lie(context.host, found, { at, by })
      })
      return { effect: [0], text: `the ${parameters['half']} of ${found.device} says that it is at ${value}` }
    },
  }),
  atSeam('grant', {
    name: 'ring-double-fetch', family: 'Rings', where: "a grant that a back-end uses for a request: the request in the ring is changed meanwhile", parameters: [which],
    peer: 'has copied the request before it looked at it, and does what it said then',
    accepts: ({ remote }, { ring }, context) => ringsOf(context, remote, () => true).some(({ node }) => ring === undefined || node === ring),
    act: ({ remote, ref }, { ring }, context) => {
      const changed = ringsOf(context, remote, () => true).filter(({ node }) => ring === undefined || node === ring).filter((each) => changeRequest(context, each, ref))
      return { effect: undefined, text: `a request of ${changed.map(({ device }) => device).join(', ') || 'no ring'} was changed in the ring` }
    },
  }),
]
