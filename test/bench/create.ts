/**
 * What a domain costs: how many can be created a second (built, started, and destroyed again), how long each kind takes
 * to its first word, and how much memory of the host process a domain takes beyond its own frames.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Host, type DomainOptions, type GuestProgram, type KernelSource } from '../../src/index.ts'
import type { Report } from './report.ts'

const ROUNDS = 40
const STANDING = 32
const MEBIBYTES = 4

/** The smallest guest in TypeScript that says something. */
const hello: GuestProgram = (kernel) => {
  kernel.console?.write('hello\n')
}

const kinds: readonly (readonly [string, Partial<DomainOptions<KernelSource>>, string])[] = [
  ['mini (binary)', {}, 'mini:'],
  ['TypeScript guest', { kernel: hello }, 'hello'],
]

const options = (index: number, extra: Partial<DomainOptions<KernelSource>>): DomainOptions<KernelSource> =>
  ({ name: `guest-${index}`, memory: MEBIBYTES, ...extra })

/** Created, started and destroyed again, one after another. */
async function reportRate(report: Report, name: string, extra: Partial<DomainOptions<KernelSource>>): Promise<void> {
  const host = await Host.boot({ memory: 128, dom0Memory: 16 })
  const cycle = async (index: number): Promise<void> => (await host.createDomain(options(index, extra))).destroy()
  for (let i = 0; i < 5; i += 1) await cycle(i)
  const begun = performance.now()
  for (let i = 0; i < ROUNDS; i += 1) await cycle(i)
  const value = ROUNDS / ((performance.now() - begun) / 1000)
  report({ case: `${name}: create and destroy`, value, unit: 'domains/s', baseline: '', ratio: null, target: null, met: null })
  await host.shutdown()
}

/** From the call to the guest's first words: wall time, and what the guest executed. */
async function reportFirstWord(report: Report, name: string, kind: { extra: Partial<DomainOptions<KernelSource>>; word: string }): Promise<void> {
  const host = await Host.boot({ memory: 128, dom0Memory: 16 })
  const begun = performance.now()
  const domain = await host.createDomain(options(0, kind.extra))
  await domain.console.waitFor(kind.word)
  const value = performance.now() - begun
  report({ case: `${name}: to its first word`, value, unit: 'ms', baseline: '', ratio: null, target: null, met: null })
  report({
    case: `${name}: executed until then`, value: domain.info().cpuTime / 1000, unit: 'k instructions', baseline: '', ratio: null,
    target: null, met: null,
  })
  await host.shutdown()
}

/** Bytes of JavaScript's heap in use. Linear memory, in which all frames lie, is allocated at boot and not part of it. */
function processBytes(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  return process.memoryUsage().heapUsed
}

/** Growth of the process by domains that stand there. The host's frames are allocated at boot, so they do not count. */
async function reportMemory(report: Report, name: string, extra: Partial<DomainOptions<KernelSource>>): Promise<void> {
  const host = await Host.boot({ memory: 64 + STANDING * (MEBIBYTES + 2), dom0Memory: 16 })
  await (await host.createDomain(options(0, extra))).destroy()
  const before = processBytes()
  const frames = host.hypervisor.hostInfo().freeFrames
  for (let i = 0; i < STANDING; i += 1) await host.createDomain(options(i, extra))
  await host.settled()
  const value = (processBytes() - before) / STANDING / 1024
  const overhead = ((frames - host.hypervisor.hostInfo().freeFrames) / STANDING) * 4 - MEBIBYTES * 1024
  report({ case: `${name}: process memory per domain`, value, unit: 'KiB', baseline: '', ratio: null, target: null, met: null })
  report({ case: `${name}: frames beyond its own`, value: overhead, unit: 'KiB', baseline: '', ratio: null, target: null, met: null })
  await host.shutdown()
}

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  for (const [name, extra, word] of kinds) {
    await reportRate(report, name, extra)
    await reportFirstWord(report, name, { extra, word })
    await reportMemory(report, name, extra)
  }
}
