/** A host of a fleet as a process: `tsx fleet-host.ts JSON`. Its guests write into the witness's journal; what its agent says goes to standard output. */
import { appendFileSync } from 'node:fs'
import { etcdStore, FleetAgent, hostMachine } from '../../../src/fleet/index.ts'
import type { GuestKernel } from '../../../src/guest/index.ts'
import { tcpMoves } from '../../../src/node/index.ts'
import { Host } from '../../../src/toolstack/index.ts'
import { witnessLine } from './witness.ts'

/** What the process is started with. */
export interface FleetHostOptions {
  readonly name: string
  readonly endpoints: readonly string[]
  readonly journal: string
  readonly lease: string
  readonly domains: readonly string[]
}

const { name, endpoints, journal, lease, domains } = JSON.parse(process.argv[2]!) as FleetHostOptions
let runs = 0

/** A guest that lets the witness know that it runs. */
const beat = (domain: string) => async (kernel: GuestKernel): Promise<void> => {
  runs += 1
  const run = { host: name, domain, id: `${name}.${process.pid}.${runs}` }
  let { beat: count } = (kernel.restoredState as { beat: number } | undefined) ?? { beat: 0 }
  kernel.control.saveState(() => ({ beat: count }))
  for (;;) {
    count += 1
    appendFileSync(journal, witnessLine(run, count))
    await kernel.sleep('20ms')
  }
}

// Whoever has started it is gone.
process.on('disconnect', () => process.exit())

const host = await Host.boot({ memory: 160, dom0Memory: 16, clock: 'realtime' })
const kernels = Object.fromEntries(domains.map((domain) => [domain, beat(domain)]))
const agent = new FleetAgent({ store: etcdStore({ endpoints }), name, lease, machine: hostMachine(host, { kernels, moves: await tcpMoves() }) })
agent.events.onAny((event) => console.log(JSON.stringify({ ...event, error: 'error' in event ? String(event.error) : undefined })))
for (;;) {
  // The key of a process before this one may still stand.
  const joined = await agent.start().then(() => true, () => false)
  if (joined) break
  await new Promise((resolve) => setTimeout(resolve, 200))
}
