/** Histories of fleets by their seeds: `tsx test/simulation/fleet.ts [--seeds 1000] [--from 1] [--hosts 4] [--domains 8]`. */
import { fleetHistory } from './fleet-history.ts'

const valueOf = (name: string, usual: number): number => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? usual : Number(process.argv[at + 1])
}

const [seeds, from] = [valueOf('seeds', 1000), valueOf('from', 1)]
const size = { hosts: valueOf('hosts', 4), domains: valueOf('domains', 8), duration: valueOf('duration', 12_000) }
const faults: Record<string, number> = {}
let [starts, arrivals, looks, running, unplaced, wrong] = [0, 0, 0, 0, 0, 0]
for (let seed = from; seed < from + seeds; seed += 1) {
  const history = await fleetHistory(seed, size)
  for (const [what, count] of Object.entries(history.faults)) faults[what] = (faults[what] ?? 0) + count
  starts += history.starts
  arrivals += history.arrivals
  looks += history.looks
  running += history.running
  unplaced += history.unplaced
  if (history.violations.length === 0) continue
  wrong += 1
  console.log(`seed ${seed}: ${history.violations.join('; ')}`)
}
console.log(`${seeds} histories from seed ${from}, ${size.hosts} hosts, ${size.domains} domains: ${Object.entries(faults).map(([what, count]) => `${what} ${count}`).join(', ')}`)
console.log(`${starts} starts, ${arrivals} moves with memory, ${looks} looks of the witness; in the end ${running} domains run once, ${unplaced} have a reason; ${wrong} histories wrong`)
process.exitCode = wrong > 0 ? 1 : 0
