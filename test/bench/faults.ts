/**
 * What the seams of faults cost where no fault is set: the same guests at work on a host as it is, and on one whose faults are an empty
 * plan, so that every seam asks; in turns, in one run. A host that is booted without an interference has none of the seams in it.
 */
import { BlockFrontend, MemoryBlockStore, NetFrontend, type Nic } from '../../src/drivers/index.ts'
import { FrontendBus } from '../../src/guest/index.ts'
import { Host, type GuestProgram } from '../../src/index.ts'
import { FaultInjector } from '../../src/testing/index.ts'
import { XENVER, HYPERVISOR } from '../../src/abi/index.ts'
import type { Report } from './report.ts'
import { bestRates, type Measurement } from './support/rates.ts'

/** At most so much slower. */
const TARGET = 0.99
const FRAME = 1500
/** Rounds of each: one in a hundred does not show in fewer. */
const ROUNDS = 60

/** A host with a guest that works when it is told to. */
interface Rig {
  readonly host: Host
  readonly hypercalls: (count: number) => void
  readonly requests: (count: number) => Promise<void>
  readonly frames: (count: number) => Promise<void>
}

async function rig(faults: FaultInjector | undefined): Promise<Rig> {
  const host = await Host.boot({
    memory: 64, dom0Memory: 16, openDisk: () => new MemoryBlockStore(1 << 20), ...(faults === undefined ? {} : { interference: faults.interference }),
  })
  faults?.attach(host)
  let wanted: { readonly what: 'requests' | 'frames'; readonly count: number } | undefined
  let wake = (): void => undefined
  let done = (): void => undefined
  let nic: Nic | undefined
  const program: GuestProgram = async (kernel) => {
    const [disks, nics, bus] = [new BlockFrontend(), new NetFrontend(), new FrontendBus(kernel)]
    await bus.register(disks)
    await bus.register(nics)
    nic = await nics.nic(0)
    const disk = await disks.disk('xvda')
    const [bytes, frame] = [new Uint8Array(4096), new Uint8Array(FRAME).fill(0xff)]
    wake = () => kernel.post(() => kernel.turn())
    done()
    for (;;) {
      while (wanted === undefined) await kernel.sleep('1ms')
      const { what, count } = wanted
      wanted = undefined
      for (let i = 0; i < count; i += 1) {
        if (what === 'requests') await disk.write((i & 63) * 8, bytes)
        else {
          nic.send(frame)
          if ((i & 31) === 31) await kernel.sleep('10us')
        }
      }
      done()
    }
  }
  const ready = new Promise<void>((resolve) => { done = resolve })
  await host.createDomain({ name: 'guest', memory: 4, kernel: program, disks: ['phy:any,xvda,w'], nics: [''] })
  host.bridge().open({ onFrame: () => undefined })
  await ready
  const work = async (what: 'requests' | 'frames', count: number): Promise<void> => {
    const over = new Promise<void>((resolve) => { done = resolve })
    wanted = { what, count }
    wake()
    let isOver = false
    void over.then(() => { isOver = true })
    await host.until('the work to be done', () => isOver)
  }
  const port = host.hypervisor.port(host.domain('guest').id)
  return {
    host, requests: (count) => work('requests', count), frames: (count) => work('frames', count),
    hypercalls: (count) => { for (let i = 0; i < count; i += 1) port.hypercall(HYPERVISOR.xen_version, [XENVER.version, 0]) },
  }
}

/** Runs it. */
export async function run(report: Report): Promise<void> {
  const [plain, seams] = [await rig(undefined), await rig(new FaultInjector({ seed: 1, plan: [] }))]
  const cases: readonly (readonly [string, string, (of: Rig) => Measurement])[] = [
    ['hypercalls', 'M/s', ({ hypercalls }) => ({ work: hypercalls, count: 400_000 })],
    ['disk requests of 4 KiB', 'k/s', ({ requests }) => ({ work: requests, count: 4000 })],
    ['frames of 1500 bytes', 'k/s', ({ frames }) => ({ work: frames, count: 8000 })],
  ]
  for (const [name, unit, measure] of cases) {
    const [without, withSeams] = await bestRates([measure(plain), measure(seams)], ROUNDS)
    const ratio = withSeams! / without!
    report({ case: `${name}: seams that ask an empty plan`, value: withSeams! / (unit === 'M/s' ? 1e6 : 1e3), unit, baseline: 'no seams', ratio, target: TARGET, met: ratio >= TARGET })
  }
  await Promise.all([plain.host.shutdown(), seams.host.shutdown()])
}
