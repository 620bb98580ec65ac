/**
 * Lying back-ends for Linux's front-ends: what comes in as bytes is what the other end of xen-blkfront, xen-netfront and xenbus may find in its ring, or read in XenStore. A front-end
 * must take any of it: whoever serves a disk or a network may be another domain, and hostile.
 * Reference: xen/include/public/io/ring.h, blkif.h, netif.h, xenbus.h.
 */
import { BlkifRequest, BlkifResponse, NetifRxResponse, Sring } from '../../abi/index.ts'
import type { Domain, Host } from '../../toolstack/index.ts'
import { checkArgument, text, XenError, type DomId, type EventPort, type Mfn } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
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
/** A ring of queue 0, or of a front-end that has no queues. */
const isFirst = (name: string, ring: string): boolean => name === ring || name === `queue-0/${ring}`

function ringOf(host: Host, domain: Domain, { device, ring }: RingTarget): SharedRing {
  const found = inspectDomain(host, domain).rings().find((one): one is SharedRing => one.kind === 'requests' && one.device === device && isFirst(one.name, ring))
  if (found === undefined) throw new XenError('INVALID_STATE', `the guest has no ${ring} of ${device}`, { details: { device, domid: domain.id } })
  return found
}

/** Writes what is said to be responses into a ring, counts them, and rings the bell. The first two bytes are how far the index goes on, whatever was written. */
function answer(host: Host, domain: Domain, { target, bytes }: { readonly target: RingTarget; readonly bytes: Uint8Array }): void {
  const objects = inspectDomain(host, domain)
  const { refs, slots, responses } = ringOf(host, domain, target)
  const frames = refs.map((one) => objects.grants().find(({ ref }) => ref === one)?.frame as Mfn)
  const pages = frames.map((frame) => host.hypervisor.frameBytes(domain.id, frame))
  const [low = 1, high = 0, ...rest] = bytes
  rest.forEach((byte, i) => {
    const number = (responses + Math.floor(i / target.response)) >>> 0
    const at = SLOTS_AT + (number % slots) * target.slot + (i % target.response)
    pages[Math.floor(at / PAGE_SIZE)]![at % PAGE_SIZE] = byte
  })
  const head = pages[0]!
  Sring.rspProd.set(new DataView(head.buffer, head.byteOffset, head.byteLength), 0, (responses + low + 256 * high) >>> 0)
  for (const frame of frames) host.hypervisor.markWritten(frame)
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
 * Responses to requests of xen-blkfront: two bytes of how many there are said to be, then each one's id (8 bytes), operation, a byte of nothing, status (2), and 4 bytes of nothing. `device`: the folder of
 * the front-end in XenStore. Most is reached from a moment at which requests wait, as those of a disk that is slow do. Throws INVALID_ARGUMENT.
 *
 * @example
 * await domain.setDiskLimits('xvda', { requestsPerSecond: 1 })
 * await domain.console.write('dd if=/dev/xvda of=/dev/null bs=4096 count=64 iflag=direct &\n')
 * const { findings } = await fuzz({ moment: await host.checkpoint(), target: 'debian', seconds: 60, ...blkfrontTarget() })
 */
export function blkfrontTarget(device = 'vbd/51712'): FrontendTarget {
  checkArgument('the device of blkfrontTarget', device, text)
  const target: RingTarget = { device, ring: 'ring-ref', slot: BlkifRequest.size, response: BlkifResponse.size }
  const response = (id: number, operation: number, status: number): number[] => [id, 0, 0, 0, 0, 0, 0, 0, operation, 0, status & 0xff, (status >> 8) & 0xff, 0, 0, 0, 0]
  return {
    until,
    input: {
      most: 256, inject: (bytes, { host, domain }) => answer(host, domain, { target, bytes }),
      seeds: [bytesOf([1, 0], response(0, 0, 0)), bytesOf([2, 0], response(1, 0, -1), response(0, 6, 0)), bytesOf([1, 0], response(2, 3, -2))],
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
