/**
 * How long a hostile guest can hold the one JavaScript thread: the wall time of a million virtual instructions of the worst
 * code and hypercalls known, against plain code in the same run, and the longest turn of the host. A turn is what the
 * toolstack's loop runs between two turns of JavaScript: a million instructions, what the exit in hand still makes of
 * them included. Each attack is played twice, turn by turn: both times are the same in virtual time, and of the two times of
 * a turn the shorter counts, as the machine may do other things; so does the processor time of the process where it is less
 * than what passed on the wall.
 *
 * Targets: at most 20 x plain code, no turn above 50 ms. A missed one makes the exit status 1.
 */
import { HostileGuest } from './support/hostile-guest.ts'
import { ATTACKS, PLAIN, type Attack } from './support/hostile-code.ts'
import type { Report } from './report.ts'

const MOST_TIMES = 20
const LONGEST_TURN = 50
const INSTRUCTIONS = 1_000_000
/** Turns before measuring begins, in which everything is compiled and decoded; turns that are measured. */
const WARM = 2
const TURNS = 5

interface Played {
  readonly wall: readonly number[]
  readonly virtual: readonly number[]
  readonly hash: string
  readonly crashed: boolean
}

function play({ body, options, warm = WARM }: Attack): Played {
  const guest = new HostileGuest(body, options)
  const wall: number[] = []
  const virtual: number[] = []
  for (let turn = 0; turn < warm + TURNS; turn += 1) {
    const [start, before, spent] = [performance.now(), guest.clock.now(), process.cpuUsage()]
    guest.hypervisor.run({ instructions: INSTRUCTIONS })
    const { user, system } = process.cpuUsage(spent)
    wall.push(Math.min(performance.now() - start, (user + system) / 1000))
    virtual.push(guest.clock.now() - before)
  }
  return { wall, virtual, hash: guest.hypervisor.stateHash(), crashed: guest.hypervisor.domainInfo(guest.domid).crashed }
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

/** Two rounds of the same; milliseconds per million virtual instructions, and of the longest turn. */
function measure(attack: Attack): { each: number; longest: number } {
  const [first, second] = [play(attack), play(attack)]
  if (first.crashed) throw new Error(`${attack.name}: the guest has crashed`)
  if (first.hash !== second.hash || String(first.virtual) !== String(second.virtual)) {
    throw new Error(`${attack.name}: two runs are not the same run`)
  }
  const wall = first.wall.map((value, turn) => Math.min(value, second.wall[turn]!))
  const each = sum(wall.slice(-TURNS)) / sum(first.virtual.slice(-TURNS)) * INSTRUCTIONS
  return { each, longest: Math.max(...wall.slice(1)) }
}

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  const measurePlain = (): number => measure({ name: 'plain code', body: PLAIN, options: {} }).each
  const plain = Math.min(measurePlain(), measurePlain(), measurePlain())
  const baseline = `plain code: ${plain.toFixed(2)} ms`
  let [worst, longest] = [0, 0]
  for (const attack of ATTACKS) {
    const result = measure(attack)
    const ratio = result.each / plain
    worst = Math.max(worst, ratio)
    longest = Math.max(longest, result.longest)
    report({
      case: attack.name, value: result.each, unit: 'ms/M', baseline: `longest turn ${result.longest.toFixed(1)} ms`, ratio,
      target: MOST_TIMES, met: ratio <= MOST_TIMES && result.longest <= LONGEST_TURN,
    })
  }
  report({ case: 'worst of all', value: worst * plain, unit: 'ms/M', baseline, ratio: worst, target: MOST_TIMES, met: worst <= MOST_TIMES })
  report({
    case: 'longest turn', value: longest, unit: 'ms', baseline: '', ratio: null, target: LONGEST_TURN, met: longest <= LONGEST_TURN,
  })
  if (worst > MOST_TIMES || longest > LONGEST_TURN) process.exitCode = 1
}
