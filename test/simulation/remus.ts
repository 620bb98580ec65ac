/** Histories of protected domains by their seeds: `npm run simulate:remus -- [--seeds 1000] [--from 1] [--workers 2]`. The table is by faults. */
import { FAULTS, type Fault, type ProtectionHistory } from './protection.ts'
import { numbersOf, SWEEP, sweep } from './seeds.ts'

const range = numbersOf(SWEEP)
const rows = new Map(FAULTS.map((fault) => [fault, { seeds: 0, primary: 0, standby: 0, none: 0, answers: 0, epochs: 0, wrong: 0 }]))
let [histories, wrong] = [0, 0]
const thrown = await sweep<ProtectionHistory>({ file: 'protection.ts', name: 'protectionHistory' }, range, ({ seed, fault, at, survivor, answered, epochs, violations }) => {
  const row = rows.get(fault as Fault)!
  row.seeds += 1
  row[survivor] += 1
  row.answers += answered
  row.epochs += epochs
  histories += 1
  if (violations.length > 0) {
    row.wrong += 1
    wrong += 1
    console.log(`seed ${seed}, ${fault} at ${at.toFixed(1)} ms: ${violations.join('; ')}`)
  }
  if (histories % 500 === 0) console.log(`${histories} histories, ${wrong} wrong`)
})
console.log(`${histories} histories from seed ${range.from}`)
for (const [fault, row] of rows) {
  console.log(`${fault.padEnd(14)} ${row.seeds} seeds, survivor primary ${row.primary}, standby ${row.standby}, none ${row.none}; ${row.answers} answers in ${row.epochs} epochs; ${row.wrong} wrong`)
}
process.exitCode = wrong + thrown > 0 ? 1 : 0
