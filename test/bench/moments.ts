/**
 * Moments of a host with one 256 MiB Linux of Debian at its shell: taken, come back to, branched from, written and read; what
 * memory they take, and what they cost a host that has taken one. Times are by the wall, p50 and p99 of 200 rounds behind 50
 * that warm up, or 20,000 where a round takes some ten microseconds; beside them copying the same pages within memory, and the processor time of a round.
 *
 * Targets: first branch 10 ms, further ones 1 ms; reset with 256 dirty pages 50 us (p99 150 us), with 8,192 1.5 ms; checkpoint
 * with 256 dirty pages 200 us; a file of at most 15 MB; a file to the first answer of the shell 300 ms; 100 moments along a run, or a boot, in
 * at most 5 % more than the pages that differ (behind a first one); a host that has a moment at most 2 % slower.
 *
 * `npm run bench -- moments resets fixture` measures only these parts of it; see PARTS.
 *
 * A first branch takes the machine that the first checkpoint has made ready; where none is, it waits for memory that the process has never
 * touched, which is the system's time and has a row of its own. Dirty pages that lie in a row are copied at once, those that lie apart one by one.
 */
import { guestFile } from '../support/guests.ts'
import { bootLinux, bootLinuxHost, createLinux, type LinuxGuest } from '../support/linux.ts'
import { nodeCompressions } from '../../src/node/index.ts'
import { DEFLATE, Host, NO_COMPRESSION, type LoadMomentOptions, type Moment, type MomentSaveOptions } from '../../src/toolstack/index.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { MOST_SPARE } from '../../src/toolstack/moments/moment.ts'
import type { Report } from './report.ts'
import { fixtureProcesses } from './support/fixture-process.ts'
import { momentMemory, type SteppedRun } from './support/moment-memory.ts'

const ROUNDS = 200
const WARM = 50
/** The same for what takes some ten microseconds, which V8 compiles anew, by what it has seen, in the course of ten thousand rounds. */
const LONG_WARM = 20_000
const PAGE_SIZE = 4096
/** Milliseconds in which the machine copied a page by whose figures the targets were set: beside them stands what a reset takes in copies of this machine. */
const TARGET_COPY = 0.000115
/** Moments whose memory is measured, and instructions between two of those along a boot, which they see from its first instruction to the shell. */
const MOMENTS = 100
const BOOT_STEP = 32_000_000
/** Processes with a fixture of their own. */
const FIXTURES = 7
/** Moments that are branched from first: a machine is made for each. */
const FIRSTS = 20
/** Pairs of measurements of what a moment costs a host that goes on. */
const PAIRS = 7

const plain = { baseline: '', ratio: null, target: null, met: null } as const

/** What a round takes, in milliseconds. */
interface Times {
  readonly p50: number
  readonly p99: number
  /** Of this process's processors. */
  readonly cpu: number
}

/** How often something is timed, and done before that. */
interface Rounds {
  readonly rounds?: number
  readonly warm?: number | undefined
}

async function timed(round: () => Promise<void>, between: () => void | Promise<void>, { rounds = ROUNDS, warm = Math.min(WARM, rounds) }: Rounds = {}): Promise<Times> {
  const times: number[] = []
  let cpu = 0
  for (let i = -warm; i < rounds; i += 1) {
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

interface Targets {
  readonly p50?: number
  readonly p99?: number
}

/** Rows for p50 and p99 with their targets in milliseconds. */
function tell(report: Report, name: string, { p50, p99, cpu }: Times, targets: Targets = {}): void {
  for (const [which, value] of [['p50', p50], ['p99', p99]] as const) {
    const target = targets[which] ?? null
    report({ case: `${name}, ${which}`, value, unit: 'ms', baseline: `${cpu.toFixed(2)} ms of processor time`, ratio: null, target, met: target === null ? null : value <= target })
  }
}

/** Writes a word into the guest's pages that are `frames`. */
function dirty(host: Host, frames: readonly number[]): void {
  const { memory } = insidesOf(host).parts.machine
  for (const frame of frames) {
    memory.words[frame * (PAGE_SIZE / 4) + 7]! ^= 1
    memory.markWritten(frame)
  }
}

/** Of some pages so many, each so far behind the one before. */
const every = (frames: readonly number[], count: number, distance: number): readonly number[] =>
  Array.from({ length: count }, (_, i) => frames[(i * distance) % frames.length]!)

async function measureResets(report: Report, host: Host, moment: Moment<Host>): Promise<void> {
  const frames = [...insidesOf(host).parts.control.domainFrames(host.domain('linux').id)]
  tell(report, 'reset, nothing dirty', await timed(() => host.reset(moment), () => undefined, { warm: LONG_WARM }))
  const few = every(frames, 256, 5)
  const { words } = insidesOf(host).parts.machine.memory
  const copy = new Uint32Array(8192 * 1024)
  const beside = async (how: string, pages: readonly number[], { targets, warm }: { readonly targets: Targets; readonly warm?: number }): Promise<void> => {
    const reset = await timed(() => host.reset(moment), () => dirty(host, pages), { warm })
    const memcpy = await timed(async () => copyPages(words, copy, pages), () => undefined, { warm })
    const name = `${pages.length.toLocaleString('en-US')} dirty pages, ${how}`
    tell(report, `reset, ${name}`, reset, targets)
    tell(report, `memcpy of ${name}`, memcpy)
    const target = Number((targets.p50! / (pages.length * TARGET_COPY)).toFixed(2))
    const ratio = reset.p50 / memcpy.p50
    report({ case: `reset to memcpy, ${name}`, value: ratio, unit: 'memcpys', baseline: `${(memcpy.p50 / pages.length * 1000).toFixed(2)} us a page`, ratio: null, target, met: ratio <= target })
  }
  await beside('one of five', few, { targets: { p50: 0.05, p99: 0.15 }, warm: LONG_WARM })
  for (const [how, distance] of [['in a row', 1], ['one of five', 5]] as const) await beside(how, every(frames, 8192, distance), { targets: { p50: 1.5 } })
  await host.reset(moment)
  tell(report, 'reset after a command of the shell', await timed(() => host.reset(moment), async () => {
    const shell = host.domain('linux').console
    await shell.write('echo done\r')
    await shell.waitFor(/\ndone\n/)
  }))
  tell(report, 'checkpoint, 256 dirty pages', await timed(async () => (await host.checkpoint()).dispose(), () => dirty(host, few), { warm: LONG_WARM / 20 }), { p50: 0.2 })
  await host.reset(moment)
}

/** Copies pages to where they lie, out of memory in which they follow each other: at once where they do so in both. */
function copyPages(words: Uint32Array, from: Uint32Array, frames: readonly number[]): void {
  for (let i = 0; i < frames.length;) {
    let end = i + 1
    while (end < frames.length && frames[end] === frames[i]! + end - i) end += 1
    from.set(words.subarray(frames[i]! << 10, (frames[i]! + end - i) << 10), i << 10)
    i = end
  }
}

/** The first branch of a moment before which there was none, on the machine that was made ready with it. */
async function measureFirstBranch(report: Report, host: Host): Promise<void> {
  let moment: Moment<Host> | undefined
  const branches: Host[] = []
  const times = await timed(async () => void branches.push(await moment!.branch()), async () => {
    for (const branch of branches.splice(0)) await branch.shutdown()
    moment?.dispose()
    moment = await host.checkpoint()
  }, { rounds: FIRSTS, warm: 10 })
  tell(report, 'first branch', times, { p50: 10 })
  for (const branch of branches) await branch.shutdown()
  moment?.dispose()
}

async function measureBranches(report: Report, moment: Moment<Host>): Promise<void> {
  const branches: Host[] = []
  // None is shut down meanwhile, so that none leaves its machine to the next.
  await timed(async () => void branches.push(await moment.branch()), () => undefined, { rounds: 1 })
  tell(report, 'branch where no machine is ready', await timed(async () => void branches.push(await moment.branch()), () => undefined, { rounds: 3 }))
  for (const branch of branches.splice(0)) await branch.shutdown()
  moment.prepare(MOST_SPARE)
  tell(report, 'branch on a machine that was prepared', await timed(async () => void branches.push(await moment.branch()), () => undefined, { rounds: MOST_SPARE >> 1 }), { p50: 10 })
  for (const branch of branches.splice(0)) await branch.shutdown()
  tell(report, 'further branch', await timed(async () => void branches.push(await moment.branch()), async () => {
    for (const branch of branches.splice(0)) await branch.shutdown()
  }), { p50: 1 })
  for (const branch of branches.splice(0)) await branch.shutdown()
  // What is made ahead for the next one is done by the shutdown.
  tell(report, 'further branch and its shutdown', await timed(async () => (await moment.branch()).shutdown(), () => undefined))
}

async function writeFile(moment: Moment<Host>, options: MomentSaveOptions): Promise<{ readonly bytes: Uint8Array; readonly seconds: number }> {
  const chunks: Uint8Array[] = []
  const begun = performance.now()
  await moment.save({ write: (chunk: Uint8Array) => void chunks.push(chunk) }, options)
  return { bytes: Buffer.concat(chunks), seconds: (performance.now() - begun) / 1000 }
}

/** Sizes and speeds of files: whole, and without kernel and ramdisk, which are packed already and which a fixture has. */
async function measureFiles(report: Report, moment: Moment<Host>, apart: readonly Uint8Array[]): Promise<void> {
  const raw = await writeFile(moment, { compression: NO_COMPRESSION, apart })
  const mebibytes = raw.bytes.length / 2 ** 20
  report({ case: 'file written, not packed', value: mebibytes / raw.seconds, unit: 'MiB/s', ...plain })
  for (const compression of [DEFLATE, ...nodeCompressions()]) {
    const packed = await writeFile(moment, { compression, apart })
    const name = compression === DEFLATE ? 'deflate-raw of the web' : compression.name
    const size = packed.bytes.length / 1e6
    const baseline = `${mebibytes.toFixed(0)} MiB not packed`
    report({ case: `file without kernel and ramdisk, ${name}`, value: size, unit: 'MB', baseline, ratio: null, target: 15, met: size <= 15 })
    report({ case: `file written, ${name}`, value: mebibytes / packed.seconds, unit: 'MiB/s', ...plain })
    await measureReading(report, packed.bytes, { name, mebibytes, target: null, load: { compression, apart } })
  }
  const whole = await writeFile(moment, {})
  report({ case: 'file with kernel and ramdisk, deflate-raw', value: whole.bytes.length / 1e6, unit: 'MB', ...plain })
  await measureReading(report, raw.bytes, { name: 'not packed', mebibytes, target: null, load: { apart } })
  await measureReading(report, raw.bytes, { name: 'not packed, as a fixture reads it', mebibytes, target: null, load: { apart, trusted: true } })
}

interface FileRead {
  readonly name: string
  readonly mebibytes: number
  /** Milliseconds to the first answer. */
  readonly target: number | null
  readonly load: LoadMomentOptions
}

async function measureReading(report: Report, bytes: Uint8Array, { name, mebibytes, target, load }: FileRead): Promise<void> {
  const before = process.cpuUsage()
  const begun = performance.now()
  const host = await (await Host.loadMoment(bytes, load)).branch()
  const read = performance.now() - begun
  await host.domain('linux').console.write('echo $((6 * 7))\r')
  await host.domain('linux').console.waitFor(/\n42\n/)
  const value = performance.now() - begun
  const { user, system } = process.cpuUsage(before)
  report({ case: `file, ${name}, to a host`, value: mebibytes / (read / 1000), unit: 'MiB/s', ...plain })
  const baseline = `${((user + system) / 1000).toFixed(0)} ms of processor time`
  report({ case: `file, ${name}, to the first answer`, value, unit: 'ms', baseline, ratio: null, target, met: target === null ? null : value <= target })
  await host.shutdown()
}

/** A process of its own for each, which begins cold, as a test file does. */
async function measureFixture(report: Report): Promise<void> {
  const { wall, cpu } = await fixtureProcesses(FIXTURES)
  const baseline = `${cpu.toFixed(0)} ms of processor time`
  report({ case: 'fixture to the first answer, in a new process', value: wall, unit: 'ms', baseline, ratio: null, target: 300, met: wall <= 300 })
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

/**
 * What a moment costs a host that goes on: against another that has none, in turn, and as these two stood to each other before it
 * had one.
 */
async function measureTracking(report: Report, host: Host): Promise<void> {
  const other = (await (await bootLinux({ domain: { memory: 256 } })).ready()).host
  const pairs = async (): Promise<{ readonly ratio: number; readonly speed: number }> => {
    const found: { readonly ratio: number; readonly speed: number }[] = []
    for (let i = 0; i < PAIRS; i += 1) {
      const [first, second] = [await speed(other), await speed(host)]
      found.push({ ratio: first / second, speed: second })
    }
    return found.sort((one, two) => one.ratio - two.ratio)[PAIRS >> 1]!
  }
  const before = await pairs()
  const begun = performance.now()
  const moment = await host.checkpoint()
  report({ case: 'first checkpoint, with a machine made ready', value: performance.now() - begun, unit: 'ms', ...plain })
  const after = await pairs()
  const slower = after.ratio / before.ratio
  const baseline = `${before.speed.toFixed(1)} without`
  report({ case: 'M instructions/s with a moment', value: after.speed, unit: '1/s', baseline, ratio: slower, target: 1.02, met: slower <= 1.02 })
  await host.reset(moment)
  moment.dispose()
  await other.shutdown()
}

/** Lets a host run for some instructions, and stand. */
async function advance(host: Host, instructions: number): Promise<void> {
  using held = await host.hold()
  await held.run(instructions)
}

/** What 100 moments take along commands of the shell, and along a boot of Linux. */
async function measureMemory(report: Report, host: Host, shell: Moment<Host>): Promise<void> {
  await tellMemory(report, 'a run', {
    begin: async () => {
      await host.reset(shell)
      return host
    },
    step: async (_, number) => {
      await host.domain('linux').console.write(`ls -lR /bin > /tmp/list${number % 7}\r`)
      await advance(host, 2_000_000)
    },
  })
  const empty = await bootLinuxHost({ moments: { memory: 8192 } })
  const before = await empty.checkpoint({ label: 'empty' })
  // It alone copies kernel and ramdisk, which are the user's.
  let first: Moment<Host> | undefined
  let begun = 0
  await tellMemory(report, 'a boot', {
    begin: async () => {
      first?.dispose()
      await empty.reset(before)
      await createLinux(empty, { domain: { memory: 256 } })
      first = await empty.checkpoint()
      begun = insidesOf(empty).parts.control.executedInstructions()
      return empty
    },
    step: async (_, number) => {
      const { control } = insidesOf(empty).parts
      const isOver = (): boolean => empty.domain('linux').console.text().includes('initramfs: ready')
      // A run is over where a guest waits, too.
      for (const end = begun + (number + 1) * BOOT_STEP; control.executedInstructions() < end && !isOver();) await advance(empty, end - control.executedInstructions())
      if (number === MOMENTS - 1 && !isOver()) throw new Error('the boot is not over')
    },
  })
  await empty.shutdown()
}

async function tellMemory(report: Report, along: string, run: SteppedRun): Promise<void> {
  const { taken, differ, without, moments } = await momentMemory(run, MOMENTS)
  const mebibytes = (bytes: number): number => bytes / 2 ** 20
  const baseline = `pages that differ: ${mebibytes(differ).toFixed(1)} MiB; without moments ${mebibytes(without).toFixed(1)}`
  const name = `memory of ${moments} moments along ${along}`
  if (taken === undefined) report({ case: `${name}: NOT MEASURED, less than its pages`, value: NaN, unit: 'MiB', baseline, ratio: null, target: 1.05, met: false })
  else report({ case: name, value: mebibytes(taken), unit: 'MiB', baseline, ratio: taken / differ, target: 1.05, met: taken <= differ * 1.05 })
}

/** What parts are measured with. */
interface Measured {
  readonly linux: LinuxGuest
  readonly host: Host
  /** At the shell. */
  moment(): Promise<Moment<Host>>
}

/** What can be measured by itself, in this order. */
const PARTS: Readonly<Record<string, (report: Report, measured: Measured) => Promise<void>>> = {
  tracking: (report, { host }) => measureTracking(report, host),
  first: (report, { host }) => measureFirstBranch(report, host),
  resets: async (report, { host, moment }) => measureResets(report, host, await moment()),
  branches: async (report, { moment }) => measureBranches(report, await moment()),
  files: async (report, { linux, moment }) => {
    const { kernel, ramdisk } = linux.domain.config
    await measureFiles(report, await moment(), [kernel, ramdisk].filter((bytes) => bytes instanceof Uint8Array))
  },
  fixture: (report) => measureFixture(report),
  memory: async (report, { host, moment }) => measureMemory(report, host, await moment()),
}

/** Runs the benchmark, or those of its parts that are named. */
export async function run(report: Report, only: readonly string[] = []): Promise<void> {
  if (guestFile('linux') === undefined || guestFile('busybox') === undefined) {
    console.error('absent: Linux and BusyBox (npm run guests -- linux busybox)')
    return
  }
  const unknown = only.find((name) => PARTS[name] === undefined)
  if (unknown !== undefined) throw new Error(`no part ${unknown}; there are ${Object.keys(PARTS).join(', ')}`)
  const linux = await (await bootLinux({ domain: { memory: 256 } })).ready()
  let shell: Promise<Moment<Host>> | undefined
  const measured = { linux, host: linux.host, moment: () => (shell ??= linux.host.checkpoint({ label: 'shell' })) }
  for (const [name, measure] of Object.entries(PARTS)) if (only.length === 0 || only.includes(name)) await measure(report, measured)
  await linux.host.shutdown()
}
