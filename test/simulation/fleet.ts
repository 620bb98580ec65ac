/** Histories of fleets by their seeds: `npm run simulate:fleet -- [--seeds 1000] [--from 1] [--hosts 4] [--domains 8] [--duration 12000] [--workers 2]`. */
import type { FleetHistory } from './fleet-history.ts'
import { numbersOf, SWEEP, sweep } from './seeds.ts'

const { hosts, domains, duration, ...range } = numbersOf({ ...SWEEP, hosts: 4, domains: 8, duration: 12_000 })
const faults = new Map<string, { count: number; histories: number; wrong: number }>()
let [histories, starts, arrivals, looks, running, unplaced, wrong] = [0, 0, 0, 0, 0, 0, 0]
const thrown = await sweep<FleetHistory>({ file: 'fleet-history.ts', name: 'fleetHistory', argument: { hosts, domains, duration } }, range, (history) => {
  const isWrong = history.violations.length > 0
  for (const [what, count] of Object.entries(history.faults)) {
    const row = faults.get(what) ?? { count: 0, histories: 0, wrong: 0 }
    faults.set(what, { count: row.count + count, histories: row.histories + 1, wrong: row.wrong + (isWrong ? 1 : 0) })
  }
  histories += 1
  starts += history.starts
  arrivals += history.arrivals
  looks += history.looks
  running += history.running
  unplaced += history.unplaced
  if (isWrong) {
    wrong += 1
    console.log(`seed ${history.seed}: ${history.violations.join('; ')}`)
  }
  if (histories % 1000 === 0) console.log(`${histories} histories, ${wrong} wrong`)
})
console.log(`${histories} histories from seed ${range.from}, ${hosts} hosts, ${domains} domains`)
for (const [what, row] of [...faults].sort(([a], [b]) => (a < b ? -1 : 1))) console.log(`${what.padEnd(10)} ${row.count} times in ${row.histories} histories, ${row.wrong} of them wrong`)
console.log(`${starts} starts, ${arrivals} moves with memory, ${looks} looks of the witness; in the end ${running} domains run once, ${unplaced} have a reason; ${wrong} histories wrong, ${thrown} threw`)
process.exitCode = wrong + thrown > 0 ? 1 : 0
