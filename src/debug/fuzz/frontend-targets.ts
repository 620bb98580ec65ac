/**
 * Lying back-ends for Linux's front-ends: what comes in as bytes is what the other end of xen-netfront and xenbus may find in its ring, or read in XenStore. A front-end
 * must take any of it: whoever serves a disk or a network may be another domain, and hostile.
 * Reference: xen/include/public/io/ring.h, netif.h, xenbus.h.
 */
import { NetifRxResponse, Sring } from '../../abi/index.ts'
import type { Domain, Host } from '../../toolstack/index.ts'
import { checkArgument, text, XenError, type DomId, type EventPort, type Mfn } from '../../util/index.ts'
import { attempt } from '../memory/virtual-memory.ts'
import { inspectDomain } from '../objects/inspect-domain.ts'
import type { SharedRing } from '../objects/rings.ts'
import type { FuzzInput, FuzzOptions } from './fuzz-types.ts'

/** What `fuzz` needs to know of a front-end: `fuzz({ moment, target, seconds, ...netfrontTarget() })`. */
export interface FrontendTarget {
  readonly input: FuzzInput
  /** It has dealt with an input once its vCPUs wait. */
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
const BELLS = ['event-channel', 'event-channel-rx', 'queue-0/event-channel', 'queue-0/event-channel-rx']

function ringOf(host: Host, domain: Domain, { device, ring }: RingTarget): SharedRing {
  const found = inspectDomain(host, domain).rings().find((one): one is SharedRing => one.kind === 'requests' && one.device === device && one.name.endsWith(ring))
  if (found === undefined) throw new XenError('INVALID_STATE', `the guest has no ${ring} of ${device}`, { details: { device, domid: domain.id } })
  return found
}

/** Writes what is said to be responses into a ring, counts them, and rings the bell. The first two bytes are how far the index goes on, whatever was written. */
function answer(host: Host, domain: Domain, { target, bytes }: { readonly target: RingTarget; readonly bytes: Uint8Array }): void {
  const objects = inspectDomain(host, domain)
  const { refs, slots, responses } = ringOf(host, domain, target)
  const frame = objects.grants().find(({ ref }) => ref === refs[0])?.frame as Mfn
  const page = host.hypervisor.frameBytes(domain.id, frame)
  const [low = 1, high = 0, ...rest] = bytes
  for (let at = 0; at < rest.length; at += target.response) {
    const number = (responses + at / target.response) >>> 0
    page.set(rest.slice(at, at + target.response), SLOTS_AT + (number % slots) * target.slot)
  }
  Sring.rspProd.set(new DataView(page.buffer, page.byteOffset, page.byteLength), 0, (responses + low + 256 * high) >>> 0)
  host.hypervisor.markWritten(frame)
  const folder = `/local/domain/${domain.id}/device/${target.device}`
  const bells = BELLS.flatMap((name) => attempt(() => Number(host.store.read(`${folder}/${name}`))) ?? [])
  const channel = objects.ports().find(({ port, state }) => state === 'interdomain' && bells.includes(port))
  if (channel?.remotePort !== undefined) host.hypervisor.sendEvent(channel.remote as DomId, channel.remotePort as EventPort)
}

const until: FrontendTarget['until'] = ({ domain }) => domain.info().blocked
const bytesOf = (...parts: readonly (readonly number[])[]): Uint8Array => Uint8Array.from(parts.flat())
const words = (...texts: readonly string[]): Uint8Array[] => texts.map((one) => new TextEncoder().encode(one))

/**
 * Responses to buffers that xen-netfront has given out: two bytes of how many there are said to be, then each one's number, offset, flags, length. `device`: the folder of the front-end in
 * XenStore. Throws INVALID_ARGUMENT.
 *
 * @example
 * const { findings } = await fuzz({ moment, target: 'debian', seconds: 60, ...netfrontTarget() })
 */
export function netfrontTarget(device = 'vif/0'): FrontendTarget {
  checkArgument('the device of netfrontTarget', device, text)
  const target: RingTarget = { device, ring: 'rx-ring-ref', slot: NetifRxResponse.size, response: NetifRxResponse.size }
  return {
    until,
    input: {
      most: 256, inject: (bytes, { host, domain }) => answer(host, domain, { target, bytes }),
      seeds: [bytesOf([1, 0], [0, 0, 0, 0, 0, 0, 60, 0]), bytesOf([2, 0], [0, 0, 0, 0, 4, 0, 60, 0], [1, 0, 0, 0, 0, 0, 60, 0]), bytesOf([2, 0], [0, 0, 0, 0, 8, 0, 60, 0], [1, 0, 1, 0, 0xdc, 5, 1, 0])],
    },
  }
}

/**
 * What a back-end writes into its folder of XenStore, which xenbus and the driver read: lines of `NAME=VALUE`, as `state=5`; a line without a value removes the node. `backend`: the folder,
 * `/local/domain/0/backend/vif/1/0`. Throws INVALID_ARGUMENT.
 */
export function xenbusTarget(backend: string): FrontendTarget {
  checkArgument('the folder of xenbusTarget', backend, text)
  const dictionary = words('state=', 'sectors=', 'sector-size=', 'info=', 'feature-', 'feature-rx-copy=', 'feature-persistent=', 'feature-flush-cache=', 'multi-queue-max-queues=', 'max-ring-page-order=', 'mac=', '\n', '4294967295', '-1')
  return {
    until,
    input: {
      most: 256, dictionary, seeds: words('state=5\n', 'sectors=4096\nstate=4\n', 'state=2\nstate=4\n'),
      inject: (bytes, { host }) => {
        for (const line of new TextDecoder('latin1').decode(bytes).split('\n').slice(0, 16)) {
          const [name = '', ...value] = line.split('=')
          // A name that XenStore refuses is no lie that it could tell.
          attempt(() => {
            if (value.length > 0) host.store.write(`${backend}/${name}`, value.join('='))
            else if (name !== '') host.store.rm(`${backend}/${name}`)
          })
        }
      },
    },
  }
}
