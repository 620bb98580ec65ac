/**
 * Going back in ten seconds of Debian's Linux: idle for most of them, then a shell that computes for about a thousand million instructions. What
 * recording costs is what keyframes took of the time; the ways are measured at random places and from the end, by the wall.
 *
 * Targets: a seek 250 ms at most; keyframes 10 % of the time and 100 MB; one step back 50 ms; back over the run to a breakpoint that lies at its beginning 5 s; the
 * last write of a word that was written there 3 s.
 */
import { kernelSymbols, recordRun } from '../../../src/debug/index.ts'
import { Timeline } from '../../../src/debug/history/timeline.ts'
import { SeededRandom } from '../../../src/util/index.ts'
import { bootLinux } from '../../support/linux.ts'
import type { Report } from '../report.ts'

const SEEKS = 12
const STEPS = 5

/** Milliseconds by the wall, and of the processors: the first are what users wait for, the second tell where a machine does other things. */
interface Taken {
  readonly wall: number
  readonly processor: number
}

const timed = async (work: () => Promise<unknown>): Promise<Taken> => {
  const [begun, used] = [performance.now(), process.cpuUsage()]
  await work()
  const { user, system } = process.cpuUsage(used)
  return { wall: performance.now() - begun, processor: (user + system) / 1000 }
}

/** Measures it. */
export async function measureBackwards(report: Report): Promise<void> {
  const row = (what: string, value: number, unit: string, target: number): void => report({ case: what, value, unit, baseline: '', ratio: null, target, met: value <= target })
  const took = (what: string, { wall, processor }: Taken, target: number): void =>
    report({ case: what, value: wall, unit: 'ms', baseline: `${processor.toFixed(0)} of processor time`, ratio: null, target, met: wall <= target })
  const shell = await (await bootLinux({ domain: { memory: 128 } })).ready()
  const { host } = shell
  const run = await recordRun(host)
  const begun = performance.now()
  await shell.run('echo begin; sleep 8')
  const early = run.instruction
  await shell.run('i=0; while [ $i -lt 32000 ]; do i=$((i+1)); done; echo end', { timeout: 200e9 })
  const wall = performance.now() - begun
  const held = await host.hold()
  const { count, mebibytes, cost } = run.keyframes
  report({ case: 'instructions of the run', value: run.instruction, unit: '', baseline: `${count} keyframes`, ratio: null, target: null, met: null })
  row('keyframes: of the time', 100 * cost / wall, '%', 10)
  row('keyframes: memory', mebibytes, 'MiB', 100)
  const random = new SeededRandom(1)
  let longest: Taken = { wall: 0, processor: 0 }
  for (let i = 0; i < SEEKS; i += 1) {
    const place = Math.floor(run.instruction * random.next() / 2 ** 32)
    const taken = await timed(async () => (await run.at(place)).release())
    if (taken.wall > longest.wall) longest = taken
  }
  took('seek, the longest of twelve', longest, 250)
  held.release()
  const timeline = await Timeline.of(run)
  let step: Taken = { wall: 0, processor: 0 }
  for (let i = 0; i < STEPS; i += 1) step = await timed(() => timeline.stepBack({ domid: shell.domain.id, vcpu: 0 }))
  took('one step back, the last of five', step, 50)
  const sleep = kernelSymbols(host, shell.domain)!.addressOf('hrtimer_nanosleep')!
  await timeline.goTo(run.instruction)
  const back = await timed(() => timeline.back({
    hooks: ({ domid }, see) => (domid !== shell.domain.id ? undefined : { breakpoints: new Set([sleep]), breakpoint: () => { see(undefined, 0); return 'stop' } }),
  }))
  took('back over the run to a breakpoint', back, 5000)
  await timeline.release()
  const [call] = await run.calls('hrtimer_nanosleep', { domain: shell.domain, to: early, most: 1 })
  const past = await run.at(call!.instruction)
  const { user: { rsp } } = past.registers(shell.domain.id)
  await past.release()
  took('who wrote a word last', await timed(() => run.lastWrite(shell.domain.id, rsp)), 3000)
  await run.end()
  await host.shutdown()
}
