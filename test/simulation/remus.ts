/** Histories of protected domains by their seeds: `tsx test/simulation/remus.ts [--seeds 1000] [--from 1]`. The table is by faults. */
import { FAULTS, protectionHistory, type ProtectionHistory } from './protection.ts'

const valueOf = (name: string, usual: number): number => {
  const at = process.argv.indexOf(`--${name}`)
  return at < 0 ? usual : Number(process.argv[at + 1])
}

const [seeds, from] = [valueOf('seeds', 1000), valueOf('from', 1)]
const histories: ProtectionHistory[] = []
for (let seed = from; seed < from + seeds; seed += 1) {
  const history = await protectionHistory(seed)
  histories.push(history)
  if (history.violations.length > 0) console.log(`seed ${seed}, ${history.fault} at ${history.at.toFixed(1)} ms: ${history.violations.join('; ')}`)
}
const sum = (list: readonly ProtectionHistory[], what: 'answered' | 'epochs'): number => list.reduce((total, history) => total + history[what], 0)
for (const fault of FAULTS) {
  const own = histories.filter((history) => history.fault === fault)
  const by = (survivor: ProtectionHistory['survivor']): number => own.filter((history) => history.survivor === survivor).length
  console.log(`${fault.padEnd(14)} ${own.length} seeds, survivor primary ${by('primary')}, standby ${by('standby')}; ${sum(own, 'answered')} answers in ${sum(own, 'epochs')} epochs; ${own.filter(({ violations }) => violations.length > 0).length} wrong`)
}
process.exitCode = histories.some(({ violations }) => violations.length > 0) ? 1 : 0
