/**
 * A lying back-end for Linux's front-ends: what comes in as bytes is what the other end of xen-netfront, xen-blkfront and xenbus may find in its ring, or read in XenStore. A front-end
 * must take any of it: whoever serves a disk or a network may be another domain, and hostile.
 */
import type { Domain, Host } from 'paravirt'
import { inspectDomain, type FuzzInput, type FuzzOptions, type SharedRing } from 'paravirt/debug'

/** A target of the fuzzer. */
export interface FrontendTarget {
  readonly input: FuzzInput
  readonly until: NonNullable<FuzzOptions['until']>
}

/** Where a ring's responses lie, and how large each slot is. */
interface RingTarget {
  readonly device: string
  readonly ring: string
  /** Bytes from slot to slot, and those of a response. */
  readonly slot: number
  readonly response: number
}

const SLOTS_AT = 64
const RSP_PROD = 8

const ringOf = (host: Host, domain: Domain, { device, ring }: RingTarget): SharedRing => {
  const found = inspectDomain(host, domain).rings().find((one): one is SharedRing => one.kind === 'requests' && one.device === device && one.name.endsWith(ring))
  if (found === undefined) throw new Error(`the guest has no ${ring} of ${device}`)
  return found
}

/** Writes what is said to be responses into a ring, counts them, and rings the bell. The first two bytes are how far the index goes on, whatever was written. */
function answer(host: Host, domain: Domain, target: RingTarget, bytes: Uint8Array): void {
  const objects = inspectDomain(host, domain)
  const { refs: [ref], slots, responses } = ringOf(host, domain, target)
  const frame = objects.grants().find((grant) => grant.ref === ref)!.frame! as Parameters<Host['hypervisor']['markWritten']>[0]
  const page = host.hypervisor.frameBytes(domain.id, frame)
  const [low = 1, high = 0, ...rest] = bytes
  for (let at = 0; at < rest.length; at += target.response) {
    const number = (responses + at / target.response) >>> 0
    page.set(rest.slice(at, at + target.response), SLOTS_AT + (number % slots) * target.slot)
  }
  new DataView(page.buffer, page.byteOffset).setUint32(RSP_PROD, (responses + low + 256 * high) >>> 0, true)
  host.hypervisor.markWritten(frame)
  const folder = `/local/domain/${domain.id}/device/${target.device}`
  const bells = ['event-channel', 'event-channel-rx', 'queue-0/event-channel', 'queue-0/event-channel-rx'].flatMap((name) => {
    try {
      return [Number(host.store.read(`${folder}/${name}`))]
    } catch {
      return []
    }
  })
  const channel = objects.ports().find(({ port, state }) => state === 'interdomain' && bells.includes(port))
  if (channel?.remotePort !== undefined) host.hypervisor.sendEvent(channel.remote as Domain['id'], channel.remotePort as Parameters<Host['hypervisor']['sendEvent']>[1])
}

const waits: FrontendTarget['until'] = ({ domain }) => domain.info().blocked
const bytesOf = (...parts: readonly (readonly number[])[]): Uint8Array => Uint8Array.from(parts.flat())
const words = (...texts: readonly string[]): Uint8Array[] => texts.map((text) => new TextEncoder().encode(text))

/** Responses to buffers that xen-netfront has given out: number, offset, flags, length; some are more about the packet before. */
export const netfront = (device = 'vif/0'): FrontendTarget => ({
  until: waits,
  input: {
    most: 256, inject: (bytes, { host, domain }) => answer(host, domain, { device, ring: 'rx-ring-ref', slot: 8, response: 8 }, bytes),
    seeds: [bytesOf([1, 0], [0, 0, 0, 0, 0, 0, 60, 0]), bytesOf([2, 0], [0, 0, 0, 0, 4, 0, 60, 0], [1, 0, 0, 0, 0, 0, 60, 0]), bytesOf([2, 0], [0, 0, 0, 0, 8, 0, 60, 0], [1, 0, 1, 0, 0xdc, 5, 1, 0])],
  },
})

/** Responses to requests that xen-blkfront has under way: the request's number, its operation, how it went. */
export const blkfront = (device = 'vbd/51712'): FrontendTarget => ({
  until: waits,
  input: {
    most: 384, inject: (bytes, { host, domain }) => answer(host, domain, { device, ring: 'ring-ref', slot: 112, response: 12 }, bytes),
    seeds: [bytesOf([1, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), bytesOf([1, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), bytesOf([2, 0], new Array<number>(24).fill(0))],
  },
})

/** What a back-end writes into its folder of XenStore: lines of `NAME=VALUE`, as `state=5`. A line without a value removes the node. */
export const xenbus = (backend: string): FrontendTarget => ({
  until: waits,
  input: {
    most: 256, dictionary: words('state=', 'sectors=', 'sector-size=', 'info=', 'feature-', 'feature-rx-copy=', 'feature-persistent=', 'feature-flush-cache=', 'multi-queue-max-queues=', 'max-ring-page-order=', 'mac=', '\n', '4294967295', '-1'),
    seeds: words('state=5\n', 'sectors=4096\nstate=4\n', 'state=2\nstate=4\n'),
    inject: (bytes, { host }) => {
      for (const line of new TextDecoder('latin1').decode(bytes).split('\n').slice(0, 16)) {
        const [name = '', ...value] = line.split('=')
        try {
          if (value.length > 0) host.store.write(`${backend}/${name}`, value.join('='))
          else if (name !== '') host.store.rm(`${backend}/${name}`)
        } catch {
          // A name that XenStore refuses is no lie that it could tell.
        }
      }
    },
  },
})
