/**
 * Front-ends and back-ends under the catalogue of faults: guests with a disk and a network interface at work under one plan after the other,
 * and what must hold whatever fails: what was acknowledged is on the disk, no more is written than was asked for, frames are the guest's, nobody
 * waits for ever whom nothing keeps from going on, nobody crashes, nothing is left.
 */
import { BlockFrontend, MemoryBlockStore, NetFrontend, type BlockFrontendOptions } from '../../src/drivers/index.ts'
import { FrontendBus } from '../../src/guest/index.ts'
import * as testing from '../../src/testing/index.ts'
import type { Domain, GuestProgram } from '../../src/index.ts'
import type { FaultPlan, TestHost } from '../../src/testing/index.ts'
import { answerPing } from '../support/ping.ts'

/** What a sweep is made with: the library as it stands, or a copy with a mistake in it. */
export interface FaultLibrary {
  readonly testing: Pick<typeof testing, 'testHost' | 'networkPeer' | 'RequestRecorder' | 'decodePacket'>
  readonly drivers: { readonly BlockFrontend: typeof BlockFrontend; readonly NetFrontend: typeof NetFrontend; readonly MemoryBlockStore: typeof MemoryBlockStore }
  readonly guest: { readonly FrontendBus: typeof FrontendBus }
}

/** The library as it stands. */
export const LIBRARY: FaultLibrary = { testing, drivers: { BlockFrontend, NetFrontend, MemoryBlockStore }, guest: { FrontendBus } }

/** The exports that a copy is to have. */
export const LIBRARY_ENTRY = "export * as testing from './src/testing/index.ts'; export * as drivers from './src/drivers/index.ts'; export * as guest from './src/guest/index.ts'"

/** One plan, and what it allows. */
interface Sweep {
  readonly plan: FaultPlan
  /** The guest may wait for ever: it was not told, or the other half is gone. */
  readonly mayWait?: true
  /** It must wait: whoever was lied to takes nothing more out of the ring. */
  readonly mustWait?: true
}

const guest = { domain: 1 } as const

/** The plans, by name. Grants fail once the rings are mapped, which takes up to sixteen. */
export const SWEEPS: Readonly<Record<string, Sweep>> = {
  'nothing fails': { plan: [] },
  'double fetch': { plan: [{ fault: 'ring-double-fetch', ...guest }] },
  'front-end lies': { plan: [{ fault: 'ring-index', ring: 'ring-ref', nth: 3, ...guest }], mayWait: true, mustWait: true },
  'back-end lies': { plan: [{ fault: 'ring-index', ring: 'ring-ref', half: 'back-end', nth: 3, ...guest }], mayWait: true },
  'grants fail': { plan: [{ fault: 'grant-map-failed', nth: 20, count: 1000, probability: 0.7, ...guest }] },
  'disk errors': { plan: [{ fault: 'disk-error', probability: 0.4 }] },
  'disk is slow': { plan: [{ fault: 'disk-latency', probability: 0.5, delay: '3ms' }] },
  'events come late and twice': { plan: [{ fault: 'event-late', probability: 0.2, ...guest }, { fault: 'event-doubled', probability: 0.2, ...guest }] },
  'back-end restarts': { plan: [{ fault: 'back-end-restarted', device: 'vbd', after: '30ms', ...guest }] },
  'back-end restarts under load': { plan: [{ fault: 'disk-latency', delay: '20ms' }, { fault: 'back-end-restarted', device: 'vbd', after: '30ms', ...guest }] },
  'no port': { plan: [{ fault: 'hypercall-error', domain: 0, hypercall: 'event_channel_op', operation: 'bind_interdomain', error: 'EINVAL', nth: 3 }], mayWait: true },
  conflicts: { plan: [{ fault: 'store-conflict', nth: 1, count: 2, ...guest }] },
  'copies fail': { plan: [{ fault: 'grant-copy-failed', probability: 0.3, after: '5ms', ...guest }] },
  'network loses, doubles, flips': { plan: [{ fault: 'net-loss', probability: 0.2 }, { fault: 'net-duplicate', probability: 0.2 }, { fault: 'net-reorder', probability: 0.2 }] },
}

const ROUNDS = 6
const PARTS = 3
const SECTORS = 16
const pattern = (round: number, part: number): Uint8Array => Uint8Array.from({ length: SECTORS * 512 }, (_, at) => (at * 7 + round * 31 + part * 101 + 1) & 0xff)

/** Several requests at once in each round, and what came of each; answers pings beside. */
const worker = ({ drivers: { BlockFrontend: Disks, NetFrontend: Nics }, guest: { FrontendBus: Bus } }: FaultLibrary, rings: BlockFrontendOptions): GuestProgram => async (kernel) => {
  const [disks, nics, bus] = [new Disks(rings), new Nics(), new Bus(kernel)]
  await bus.register(disks)
  await bus.register(nics)
  void nics.nic(0).then((nic) => nic.onFrame((frame) => {
    const answer = answerPing(frame, nic.mac, [10, 0, 0, 7])
    if (answer !== undefined) nic.send(answer)
  }))
  const attempt = async (round: number, part: number): Promise<string> => {
    const wanted = pattern(round, part)
    const sector = (round * PARTS + part) * SECTORS
    try {
      const disk = await disks.disk('xvda')
      await disk.write(sector, wanted)
      kernel.console!.log(`${round}.${part} acknowledged`)
      const back = await disk.read(sector, SECTORS)
      return back.every((byte, at) => byte === wanted[at]) ? 'same' : 'other'
    } catch {
      return 'failed'
    }
  }
  for (let round = 0; round < ROUNDS; round += 1) {
    const words = await Promise.all(Array.from({ length: PARTS }, (_, part) => attempt(round, part)))
    kernel.console!.log(`round ${round}: ${words.join(' ')}`)
    await kernel.sleep('10ms')
  }
  kernel.console!.log('done')
}

/** What is wrong with a disk: acknowledged and not there, or written more often than the guest did. */
function diskFindings(text: string, disk: MemoryBlockStore, writes: number): string[] {
  const findings: string[] = []
  for (const [, round, part] of text.matchAll(/^(\d)\.(\d) acknowledged$/gm)) {
    const at = (Number(round) * PARTS + Number(part)) * SECTORS * 512
    if (pattern(Number(round), Number(part)).some((byte, place) => disk.bytes[at + place] !== byte)) findings.push(`the disk holds something else than what was acknowledged in ${round}.${part}`)
  }
  if (/round \d: .*other/.test(text)) findings.push('the guest has read something else than it had written: other')
  // A request may be done once more by a page of its own where a grant could not stay mapped; never more often than there are pages.
  const most = ROUNDS * PARTS * 2
  if (writes > most) findings.push(`the disk was written ${writes} times for ${ROUNDS * PARTS} writes`)
  return findings
}

/** Pings the guest some times; frames of it that are none of its answers. */
async function pingAway(host: TestHost, { testing: { networkPeer, decodePacket } }: FaultLibrary): Promise<string[]> {
  using peer = networkPeer(host)
  for (let ping = 0; ping < 8; ping += 1) await peer.ping('10.0.0.7', { timeout: '30ms', bytes: 40 + ping * 32 }).catch(() => undefined)
  return peer.frames.flatMap((frame) => {
    const packet = decodePacket(frame)
    const isOwn = packet.kind === 'arp' || (packet.kind === 'icmp-echo' && packet.operation === 'reply' && packet.data.every((byte, at) => byte === (at & 0xff)))
    return packet.source === '00:16:3e:00:00:07' && isOwn ? [] : ['there came a frame of the guest that it did not send']
  })
}

function guestFindings(domain: Domain, { mayWait, mustWait }: Sweep): string[] {
  if (domain.crash !== undefined) return [`the guest has crashed: ${domain.crash.text.split('\n')[0]}`]
  if (mustWait === true && domain.console.text().includes('done')) return ['a half went on with a ring that lies']
  return mayWait === true || domain.console.text().includes('done') ? [] : [`the guest waits for ever behind ${JSON.stringify(domain.console.text().slice(-60))}`]
}

/** What one plan finds; nothing on a library that is right. By even seeds the disk has several rings of several pages. */
export async function sweep(name: string, library: FaultLibrary = LIBRARY, seed = 1): Promise<readonly string[]> {
  const { testing: { testHost, RequestRecorder }, drivers } = library
  const setting = SWEEPS[name]!
  const disk = new drivers.MemoryBlockStore(1 << 20)
  const recorder = new RequestRecorder(disk)
  const host = await testHost({ memory: 48, seed, faults: setting.plan, openDisk: () => recorder, capture: false })
  const findings: string[] = []
  host.events.on('callback-failed', ({ callback, error }) => { if (callback !== 'block-store') findings.push(`${callback} failed: ${String(error)}`) })
  const created = await host.createDomain({
    name: 'worker', memory: 4, kernel: worker(library, seed % 2 === 0 ? { maxQueues: 3, maxRingPageOrder: 2 } : {}), disks: ['phy:any,xvda,w'], nics: ['mac=00:16:3e:00:00:07'], actions: { crash: 'preserve' },
  }).catch((error: unknown) => {
    // Where it can, dom0 may take a creation back.
    if (setting.mayWait !== true) findings.push(`the guest cannot be created: ${String(error)}`)
    return undefined
  })
  if (created !== undefined) {
    await host.advance('20ms')
    findings.push(...await pingAway(host, library))
    await host.advance('3s')
    // Of a ring that lies nothing is taken: answers to what was not asked would make the front-end close.
    const refused = setting.mustWait === true && host.store.tryRead('/local/domain/1/device/vbd/51712/state') !== '4'
    if (refused) findings.push('a half went on with a ring that lies')
    findings.push(...guestFindings(created, setting), ...diskFindings(created.console.text(), disk, recorder.requests.filter(({ kind }) => kind === 'write').length))
  }
  await host.dispose().catch((error: Error) => findings.push(error.message.split('\n\n')[0]!))
  return findings
}
