/**
 * Moments of a host with one 256 MiB Linux of Debian at its shell: taken, come back to, branched from, written and read; what
 * memory they take, and what they cost a host that has taken one. Times are by the wall, p50 and p99 of 200 rounds behind 50
 * that warm up; beside them copying the same pages within memory, and the processor time of a round.
 *
 * Targets: first branch 10 ms, further ones 1 ms; reset with 256 dirty pages 50 us (p99 150 us), with 8,192 1.5 ms; checkpoint
 * with 256 dirty pages 200 us; a file of at most 15 MB; a file to the first answer of the shell 300 ms; 100 moments along a run in
 * at most 5 % more than the pages that differ; a host that has a moment at most 2 % slower.
 */
import { guestFile } from '../support/guests.ts'
import { bootLinux } from '../support/linux.ts'
import { Host, NO_COMPRESSION, type Compression, type Moment } from '../../src/toolstack/index.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import type { Report } from './report.ts'

const ROUNDS = 200
const WARM = 50
const PAGE_SIZE = 4096

const plain = { baseline: '', ratio: null, target: null, met: null } as const

/** What a round takes, in milliseconds. */
interface Times {
  readonly p50: number
  readonly p99: number
  /** Of this process's processors. */
  readonly cpu: number
}

async function timed(round: () => Promise<void>, between: () => void | Promise<void>, rounds = ROUNDS): Promise<Times> {
  const times: number[] = []
  let cpu = 0
  for (let i = -Math.min(WARM, rounds); i < rounds; i += 1) {
    await between()
    const before = process.cpuUsage()
    const begun = performance.now()
    await round()
    if (i < 0) continue
    times.push(performance.now() - begun)
    const { user, system } = process.cpuUsage(before)
    cpu += (user + system) / 1000 / rounds
  }
  times.sort((one, other) => one - other)
  return { p50: times[Math.floor(rounds / 2)]!, p99: times[Math.floor(rounds * 0.99)]!, cpu }
}

/** Rows for p50 and p99 with their targets in milliseconds. */
function tell(report: Report, name: string, { p50, p99, cpu }: Times, targets: { readonly p50?: number; readonly p99?: number } = {}): void {
  for (const [which, value] of [['p50', p50], ['p99', p99]] as const) {
    const target = targets[which] ?? null
    report({ case: `${name}, ${which}`, value, unit: 'ms', baseline: `${cpu.toFixed(2)} ms of processor time`, ratio: null, target, met: target === null ? null : value <= target })
  }
}

/** Writes a word into so many of the guest's pages. */
function dirty(host: Host, pages: number): void {
  const { control, machine: { memory } } = insidesOf(host).parts
  const frames = control.domainFrames(host.domain('linux').id)
  for (let i = 0; i < pages; i += 1) {
    const frame = frames[(i * 5) % frames.length]!
    memory.words[frame * (PAGE_SIZE / 4) + 7]! ^= 1
    memory.markWritten(frame)
  }
}

async function measureResets(report: Report, host: Host, moment: Moment<Host>): Promise<void> {
  tell(report, 'reset, nothing dirty', await timed(() => host.reset(moment), () => undefined))
  tell(report, 'reset, 256 dirty pages', await timed(() => host.reset(moment), () => dirty(host, 256)), { p50: 0.05, p99: 0.15 })
  tell(report, 'reset, 8,192 dirty pages', await timed(() => host.reset(moment), () => dirty(host, 8192)), { p50: 1.5 })
  const { words } = insidesOf(host).parts.machine.memory
  const copy = new Uint32Array(8192 * 1024)
  tell(report, 'memcpy of 8,192 pages', await timed(async () => copy.set(words.subarray(words.length - copy.length)), () => undefined))
  await host.reset(moment)
  tell(report, 'checkpoint, 256 dirty pages', await timed(async () => (await host.checkpoint()).dispose(), () => dirty(host, 256)), { p50: 0.2 })
  await host.reset(moment)
}

async function measureBranches(report: Report, moment: Moment<Host>): Promise<void> {
  const branches: Host[] = []
  // None is shut down meanwhile, so that none leaves its machine to the next.
  tell(report, 'branch on a machine of its own', await timed(async () => void branches.push(await moment.branch()), () => undefined, 3), { p50: 10 })
  for (const branch of branches.splice(0)) await branch.shutdown()
  tell(report, 'further branch', await timed(async () => void branches.push(await moment.branch()), async () => {
    for (const branch of branches.splice(0)) await branch.shutdown()
  }), { p50: 1 })
  for (const branch of branches.splice(0)) await branch.shutdown()
}

async function writeFile(moment: Moment<Host>, compression?: Compression): Promise<{ readonly bytes: Uint8Array; readonly seconds: number }> {
  const chunks: Uint8Array[] = []
  const begun = performance.now()
  await moment.save({ write: (chunk: Uint8Array) => void chunks.push(chunk) }, { compression })
  return { bytes: Buffer.concat(chunks), seconds: (performance.now() - begun) / 1000 }
}

async function measureFiles(report: Report, moment: Moment<Host>): Promise<void> {
  const [packed, raw] = [await writeFile(moment), await writeFile(moment, NO_COMPRESSION)]
  const size = packed.bytes.length / 1e6
  const mebibytes = raw.bytes.length / 2 ** 20
  report({ case: 'file, packed by deflate', value: size, unit: 'MB', baseline: `${mebibytes.toFixed(0)} MiB not packed`, ratio: null, target: 15, met: size <= 15 })
  report({ case: 'file written, packed', value: mebibytes / packed.seconds, unit: 'MiB/s', ...plain })
  report({ case: 'file written, not packed', value: mebibytes / raw.seconds, unit: 'MiB/s', ...plain })
  for (const [name, { bytes }] of [['packed', packed], ['not packed', raw]] as const) {
    const begun = performance.now()
    const host = await (await Host.loadMoment(bytes)).branch()
    const read = performance.now() - begun
    await host.domain('linux').console.write('echo $((6 * 7))\r')
    await host.domain('linux').console.waitFor(/\n42\n/)
    const value = performance.now() - begun
    report({ case: `file read, ${name}, to a host`, value: mebibytes / (read / 1000), unit: 'MiB/s', ...plain })
    const target = name === 'packed' ? null : 300
    report({ case: `file, ${name}, to the first answer`, value, unit: 'ms', baseline: '', ratio: null, target, met: target === null ? null : value <= target })
    await host.shutdown()
  }
}

/** Instructions of a shell that counts, per second of processor time. */
async function speed(host: Host): Promise<number> {
  await host.domain('linux').console.write('i=0; while :; do i=$((i+1)); done\r')
  const { loop } = insidesOf(host).parts
  const goOn = await loop.halt()
  const before = process.cpuUsage()
  for (let i = 0; i < 100; i += 1) await loop.step(1_000_000)
  const { user, system } = process.cpuUsage(before)
  goOn()
  await host.domain('linux').console.write('\x03')
  return 100 / ((user + system) / 1e6)
}

/** Pages that 100 moments along a run take, and the pages in which each differs from the one before. */
async function measureMemory(report: Report, host: Host): Promise<void> {
  const pages = (): number => familyPages(moments)
  const moments: Moment<Host>[] = [await host.checkpoint()]
  const begun = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 100; i += 1) {
    await host.domain('linux').console.write(`ls -lR /bin > /tmp/list${i % 7}\r`)
    await host.until('a while', () => true)
    moments.push(await host.checkpoint())
  }
  const taken = (process.memoryUsage().arrayBuffers - begun) / 2 ** 20
  const differ = pages() * PAGE_SIZE / 2 ** 20
  report({
    case: 'memory of 100 moments along a run', value: taken, unit: 'MiB', baseline: `pages that differ: ${differ.toFixed(1)} MiB`, ratio: taken / differ,
    target: 1.05, met: taken <= differ * 1.05,
  })
  for (const moment of moments) moment.dispose()
}

/** Pages in which moments differ from those before. */
function familyPages(moments: readonly Moment<Host>[]): number {
  return moments.slice(1).reduce((sum, moment) => sum + moment.newPages, 0)
}

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  if (guestFile('linux') === undefined || guestFile('busybox') === undefined) {
    console.error('absent: Linux and BusyBox (npm run guests -- linux busybox)')
    return
  }
  const linux = await (await bootLinux({ domain: { memory: 256 } })).ready()
  const { host } = linux
  const before = await speed(host)
  const begun = performance.now()
  const moment = await host.checkpoint({ label: 'shell' })
  report({ case: 'first checkpoint', value: performance.now() - begun, unit: 'ms', ...plain })
  const after = await speed(host)
  const slower = before / after
  report({ case: 'M instructions/s with a moment', value: after, unit: '1/s', baseline: `${before.toFixed(1)} without`, ratio: slower, target: 1.02, met: slower <= 1.02 })
  await host.reset(moment)
  await measureResets(report, host, moment)
  await measureBranches(report, moment)
  await measureFiles(report, moment)
  await measureMemory(report, host)
  await host.shutdown()
}
