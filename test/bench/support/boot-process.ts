/**
 * One boot of Linux to its shell in a process of its own, so that each begins cold, with the compiling tier and from the kernel file
 * that it is told; what the child prints is one object. With the tier off samples are taken all the same, and nothing is compiled: they tell where time goes,
 * and cost nothing that can be measured.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { optionalDecompressor } from '../../../src/decompress/index.ts'
import { RunLoop } from '../../../src/hypervisor/execution/run-loop.ts'
import { MachineProcessor } from '../../../src/machine/cpu/index.ts'
import { RegionCompiler, type SampledCore } from '../../../src/machine/cpu/region/life/compiler.ts'
import { Samples } from '../../../src/machine/cpu/region/life/samples.ts'
import type { CompilerFigures, CompilerOptions } from '../../../src/machine/index.ts'
import type { GuestType } from '../../../src/toolstack/config/option-values.ts'
import { type Decompressor, unpackKernel } from '../../../src/toolstack/image/unpack.ts'
import { guestFile } from '../../support/guests.ts'
import { bootLinux } from '../../support/linux.ts'
import { bundle } from '../../support/bundle.ts'
import { kernelSymbols } from './kernel-symbols.ts'
import { guestBytes, residentBytes } from './memory.ts'

/** MiB of the guest. */
export const MEBIBYTES = 256
/** Instructions of a sample. */
export const SAMPLE = 50_000
/** Nothing is sampled so often that it would be compiled. */
const NEVER = Number.MAX_SAFE_INTEGER
/** Seconds of a boot's beginning that are looked at by themselves. */
const BEGINNING = 0.5

/** What one function of the guest has taken. */
export interface SymbolTime {
  readonly name: string
  readonly samples: number
  readonly compiled: number
  readonly seconds: number
}

/** What is booted, and how. */
export interface BootOptions {
  readonly compiler: 'off' | CompilerOptions
  /** As a guest of which type. Default `pv`. */
  readonly type?: GuestType
  /** The unpacked kernel's file. Default: Debian's bzImage, which is unpacked here. */
  readonly kernel?: string
}

/** One boot. */
export interface BootRun {
  /** Seconds: on the clock from creation to the shell; of this process's user time, compilers' threads included, and of its system time. */
  readonly wall: number
  readonly user: number
  readonly system: number
  /** Seconds of user time that unpacking the kernel took. */
  readonly unpacking: number
  /** Seconds of the main thread's own time from the guest's first instruction to the shell. */
  readonly main: number
  /** Instructions in the first half second of the main thread's time. */
  readonly beginning: number
  /** Instructions to the shell, to one sample exactly. */
  readonly instructions: number
  /** Seconds of guest time. */
  readonly guest: number
  readonly stateHash: string
  /** Percent of the boot that hypervisor, dom0 and XenStore take. */
  readonly around: number
  readonly resident: number
  readonly guestResident: number
  readonly idle: number
  readonly largest: number
  readonly figures: CompilerFigures
  readonly exits: Readonly<Record<string, number>>
  /** By time, the longest first. */
  readonly symbols: readonly SymbolTime[]
}

/** Counts the milliseconds that the method `run` of a class takes, until it is stopped. */
function timeRuns<A, R>(prototype: { run(argument: A): R }): { readonly spent: number; stop(): void } {
  const { run } = prototype
  const times = {
    spent: 0,
    stop: (): void => { prototype.run = run },
  }
  prototype.run = function timed(argument: A): R {
    const begun = performance.now()
    const result = run.call(this, argument)
    times.spent += performance.now() - begun
    return result
  }
  return times
}

/** Nanoseconds that the main thread has had of a processor; of the clock where the system does not tell. */
function mainThread(): number {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ')[0])
  } catch {
    return performance.now() * 1e6
  }
}

interface Watched {
  readonly byAddress: Map<number, { samples: number; compiled: number; seconds: number }>
  beginning: number
  samples: number
  stop(): void
}

/**
 * Watches samples: how long each took since the one before, and where it was. What watches is cheap: it is measured as well, and
 * a compiler's figures look at every region.
 */
function watchSamples(): Watched {
  const { sample } = RegionCompiler.prototype
  const { add } = Samples.prototype
  const watched: Watched = {
    byAddress: new Map(), beginning: 0, samples: 0,
    stop: () => {
      RegionCompiler.prototype.sample = sample
      Samples.prototype.add = add
    },
  }
  let isCompiled = false
  Samples.prototype.add = function noted(this: Samples, address, kind) {
    isCompiled = kind === 'compiled'
    add.call(this, address, kind)
  }
  const begun = mainThread()
  let last = performance.now()
  RegionCompiler.prototype.sample = function timed(this: RegionCompiler, core: SampledCore, samples) {
    const rip = core.registers.linearRip
    const result = sample.call(this, core, samples)
    const now = performance.now()
    const one = watched.byAddress.get(rip) ?? { samples: 0, compiled: 0, seconds: 0 }
    one.samples += 1
    if (isCompiled) one.compiled += 1
    one.seconds += (now - last) / 1000
    watched.byAddress.set(rip, one)
    watched.samples += 1
    if (watched.samples % 20 === 0 && watched.beginning === 0 && mainThread() - begun > BEGINNING * 1e9) watched.beginning = watched.samples * SAMPLE
    last = now
    return result
  }
  return watched
}

async function bySymbol({ byAddress }: Watched): Promise<SymbolTime[]> {
  const symbols = kernelSymbols(await unpackKernel(readFileSync(guestFile('linux')!), optionalDecompressor))
  const sums = new Map<string, { samples: number; compiled: number; seconds: number }>()
  for (const [address, { samples, compiled, seconds }] of byAddress) {
    const name = address >= 0 ? 'user mode' : symbols?.nameOf(address) ?? `0x${BigInt.asUintN(64, BigInt(address)).toString(16)}`
    const sum = sums.get(name) ?? { samples: 0, compiled: 0, seconds: 0 }
    sums.set(name, { samples: sum.samples + samples, compiled: sum.compiled + compiled, seconds: sum.seconds + seconds })
  }
  return [...sums].map(([name, sum]) => ({ name, ...sum })).sort((one, other) => other.seconds - one.seconds)
}

const userSeconds = (since: NodeJS.CpuUsage): number => process.cpuUsage(since).user / 1e6

/** A decompressor that tells how many seconds of user time it has taken. */
function timedDecompressor(): { readonly decompress: Decompressor; readonly spent: () => number } {
  let spent = 0
  return {
    spent: () => spent,
    decompress: async (...data) => {
      const before = process.cpuUsage()
      const unpacked = await optionalDecompressor(...data)
      spent += userSeconds(before)
      return unpacked
    },
  }
}

/** Boots in this process and prints what came of it: for the child. */
export async function bootHere({ compiler, type = 'pv', kernel }: BootOptions): Promise<void> {
  const idle = await residentBytes()
  const begun = performance.now()
  const before = process.cpuUsage()
  const sampled = compiler === 'off' ? { samples: NEVER, slice: SAMPLE } : { slice: SAMPLE, ...compiler, now: () => performance.now() }
  const { decompress, spent } = timedDecompressor()
  const unpacked = kernel === undefined ? {} : { kernel: readFileSync(kernel) }
  const linux = await bootLinux({ host: { compiler: sampled, decompress }, domain: { type, memory: MEBIBYTES, ...unpacked } })
  const [processor, hypervisor] = [timeRuns(MachineProcessor.prototype), timeRuns(RunLoop.prototype)]
  const [started, main, watched] = [performance.now(), mainThread(), watchSamples()]
  await linux.ready()
  const around = 100 * (hypervisor.spent - processor.spent) / (performance.now() - started)
  for (const one of [processor, hypervisor, watched]) one.stop()
  const { user, system } = process.cpuUsage(before)
  const { host, domain } = linux
  const times = { wall: (performance.now() - begun) / 1000, user: user / 1e6, system: system / 1e6, unpacking: spent(), main: (mainThread() - main) / 1e9 }
  const { compiler: figures, domains } = host.profile()
  const guest = domain.info().cpuTime / 1e9
  // Nothing of the guest goes on while the collector is waited for.
  domain.pause()
  // First: the hash reads every page of the guest, and what has been read is there.
  const memory = { resident: await residentBytes(), guestResident: guestBytes(host, domain) }
  const run: BootRun = {
    ...times, around, beginning: watched.beginning, instructions: watched.samples * SAMPLE,
    guest, stateHash: host.hypervisor.stateHash(),
    ...memory, idle, largest: process.resourceUsage().maxRSS * 1024,
    figures: figures!, exits: domains[0]!.profile.exits, symbols: await bySymbol(watched),
  }
  console.log(JSON.stringify(run))
  await host.shutdown()
}

/** A way to boot in new processes. */
export interface BootProcess {
  run(options: BootOptions): BootRun
  remove(): void
}

/** Builds the child. */
export async function bootProcess(): Promise<BootProcess> {
  const built = await bundle(`
    import { bootHere } from './support/boot-process.ts'
    await bootHere(JSON.parse(process.argv[2]))
  `, 'test/bench')
  return {
    remove: () => built.remove(),
    run: (options) => {
      const output = execFileSync(process.execPath, [built.path, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 26 })
      return JSON.parse(output.toString()) as BootRun
    },
  }
}
