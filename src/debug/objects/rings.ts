/**
 * The rings that a guest's front-ends share with back-ends, as objects: where they are, how far each end is, what stands in their slots. They are found by what front-ends write into
 * XenStore and by what the guest grants; both may be wrong, and are shown as they are.
 * Reference: xen/include/public/io/ring.h, blkif.h, netif.h, console.h, xs_wire.h.
 */
import { BlkifRequest, BlkifResponse, NetifRxRequest, NetifRxResponse, NetifTxRequest, NetifTxResponse, Sring, XenconsInterface, XenstoreDomainInterface } from '../../abi/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'

/** A slot, decoded: numbers by the names of the structure's fields. */
export type RingSlot = Readonly<Record<string, unknown>>

/** A ring of requests and responses. */
export interface SharedRing {
  readonly kind: 'requests'
  /** Of the device: `vbd/51712`, and the node that names the ring: `ring-ref`, `queue-0/tx-ring-ref`. */
  readonly device: string
  readonly name: string
  readonly refs: readonly number[]
  readonly slots: number
  /** Requests that the front-end has put in, and responses that the back-end has; both count on, modulo 2^32. */
  readonly requests: number
  readonly responses: number
  /** At which of them each end wants to be told. */
  readonly requestEvent: number
  readonly responseEvent: number
  /** Requests that were not answered yet. */
  readonly outstanding: number
  /** The slot of a number, as a request; several numbers are one slot. */
  request(number: number): RingSlot
  /** The slot of a number, as a response. */
  response(number: number): RingSlot
}

/** A ring of bytes in two directions: the console's, XenStore's. */
export interface ByteRingView {
  readonly kind: 'bytes'
  readonly device: 'console' | 'xenstore'
  readonly refs: readonly number[]
  /** Towards the guest, and from it: how many bytes were put in, and taken out; and those that wait. */
  readonly toGuest: ByteRingHalf
  readonly fromGuest: ByteRingHalf
}

/** One direction. */
export interface ByteRingHalf {
  readonly produced: number
  readonly consumed: number
  readonly waiting: Uint8Array
}

interface SlotLayout {
  readonly size: number
  decode(view: DataView, base: number): RingSlot
}

/** Rings by kind of device and node. */
const LAYOUTS: Readonly<Record<string, Readonly<Record<string, { readonly request: SlotLayout; readonly response: SlotLayout }>>>> = {
  vbd: { 'ring-ref': { request: BlkifRequest, response: BlkifResponse } },
  vif: { 'tx-ring-ref': { request: NetifTxRequest, response: NetifTxResponse }, 'rx-ring-ref': { request: NetifRxRequest, response: NetifRxResponse } },
}
/** Slots begin behind the indices. */
const SLOTS_AT = 64

/** What rings are found by. */
export interface RingSource {
  /** Children of a node below the domain's own, and a node's value; undefined where there is none. */
  list(path: string): readonly string[]
  read(path: string): string | undefined
  /** Bytes of the page that a reference grants; undefined where it grants none. */
  page(ref: number): Uint8Array | undefined
}

const reference = (text: string | undefined): number | undefined => (text !== undefined && /^\d{1,7}$/.test(text) ? Number(text) : undefined)

/** Nodes of one ring: a single reference, or numbered ones. */
function refsAt({ list, read }: RingSource, folder: string, name: string): readonly number[] {
  const names = [name, ...list(folder).filter((one) => new RegExp(`^${name}\\d{1,2}$`).test(one)).sort((a, b) => Number(a.slice(name.length)) - Number(b.slice(name.length)))]
  return names.flatMap((one) => reference(read(`${folder}/${one}`)) ?? [])
}

/** The pages of a ring as one. */
function joined(source: RingSource, refs: readonly number[]): Uint8Array | undefined {
  const pages = refs.map((ref) => source.page(ref))
  if (pages.length === 0 || pages.some((page) => page === undefined)) return undefined
  const all = new Uint8Array(pages.length * PAGE_SIZE)
  pages.forEach((page, i) => all.set(page!, i * PAGE_SIZE))
  return all
}

function requestRing(bytes: Uint8Array, { request, response }: { readonly request: SlotLayout; readonly response: SlotLayout }): Omit<SharedRing, 'device' | 'name' | 'refs'> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const { reqProd, reqEvent, rspProd, rspEvent } = Sring.decode(view, 0)
  const slot = Math.max(request.size, response.size)
  const slots = 2 ** Math.floor(Math.log2((bytes.length - SLOTS_AT) / slot))
  const at = (number: number): number => SLOTS_AT + ((number >>> 0) % slots) * slot
  return {
    kind: 'requests', slots, requests: reqProd, responses: rspProd, requestEvent: reqEvent, responseEvent: rspEvent, outstanding: (reqProd - rspProd) >>> 0,
    request: (number) => request.decode(view, at(number)), response: (number) => response.decode(view, at(number)),
  }
}

/** Rings of devices. What names no ring, or grants none, is not there. */
export function deviceRings(source: RingSource): readonly SharedRing[] {
  const found: SharedRing[] = []
  for (const [kind, rings] of Object.entries(LAYOUTS)) {
    for (const id of source.list(`device/${kind}`)) {
      const folder = `device/${kind}/${id}`
      const queues = source.list(folder).filter((name) => /^queue-\d{1,4}$/.test(name)).map((name) => `${name}/`)
      for (const queue of ['', ...queues]) {
        for (const [name, layout] of Object.entries(rings)) {
          const refs = refsAt(source, `${folder}/${queue}`.replace(/\/$/, ''), name)
          const bytes = joined(source, refs)
          if (bytes !== undefined) found.push({ device: `${kind}/${id}`, name: `${queue}${name}`, refs, ...requestRing(bytes, layout) })
        }
      }
    }
  }
  return found
}

function half(bytes: Uint8Array, produced: number, consumed: number): ByteRingHalf {
  const waiting = Math.min((produced - consumed) >>> 0, bytes.length)
  return { produced, consumed, waiting: Uint8Array.from({ length: waiting }, (_, i) => bytes[((consumed + i) >>> 0) % bytes.length]!) }
}

/** The rings that every guest has, by the references that are kept for them. */
export function byteRings(source: RingSource, refs: { readonly console: number; readonly xenstore: number }): readonly ByteRingView[] {
  const found: ByteRingView[] = []
  const [console, store] = [source.page(refs.console), source.page(refs.xenstore)]
  if (console !== undefined) {
    const ring = XenconsInterface.decode(new DataView(console.buffer, console.byteOffset, console.byteLength), 0)
    found.push({ kind: 'bytes', device: 'console', refs: [refs.console], toGuest: half(ring.in, ring.inProd, ring.inCons), fromGuest: half(ring.out, ring.outProd, ring.outCons) })
  }
  if (store !== undefined) {
    const ring = XenstoreDomainInterface.decode(new DataView(store.buffer, store.byteOffset, store.byteLength), 0)
    found.push({ kind: 'bytes', device: 'xenstore', refs: [refs.xenstore], toGuest: half(ring.rsp, ring.rspProd, ring.rspCons), fromGuest: half(ring.req, ring.reqProd, ring.reqCons) })
  }
  return found
}
