/**
 * What protecting a domain costs it: one of Debian's Linux does the same work unprotected and protected at 10, 20 and 40 checkpoints a second of host
 * time, with its standby in a process of its own, over TCP. Slowdown is by the wall, of the same work, the best of several turns; beside it the same in processor time
 * of the primary's process, which other work on the machine lengthens less, and in host time, which is what the guest itself sees of being suspended so often,
 * whatever else the machine does.
 *
 * There are two loads. `build` is that of the paper (Cully et al., NSDI 2008), the build of a kernel: examples/guests/mini by make, gcc, as and ld. The paper has 31, 52, 80 and 103 %
 * at 10, 20, 30 and 40 checkpoints a second. Target: at most 25 % at 40. `shell` is hot: a loop of the shell's, and files that are written and summed; the less a load takes by the wall
 * for each second of host time, the more checkpoints there are in it, so this one is harder, and it has no figures in the paper.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { connectMigration } from '../../src/node/index.ts'
import type { Host } from '../../src/toolstack/index.ts'
import { guestFile } from '../support/guests.ts'
import { bootLinuxHost, createLinux, type LinuxGuest } from '../support/linux.ts'
import type { Report } from './report.ts'
import { bundle } from '../support/bundle.ts'
import { kernelBuild } from './support/kernel-build.ts'

const RATES = [10, 20, 40] as const
const TURNS = 2
/** Nanoseconds for which the other side may be silent: whatever else the machine does, nobody fails over here. */
const PATIENCE = 60e9
const SHELL = 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; for n in 1 2; do dd if=/dev/zero of=/tmp/$n bs=64k count=32 2>/dev/null; md5sum /tmp/$n > /dev/null; done; echo done'
const plain = { baseline: '', ratio: null, target: null, met: null } as const

/** Work for a guest. */
interface Load {
  /** Of the guest. */
  readonly megabytes: number
  readonly files?: Readonly<Record<string, Uint8Array>>
  readonly command: string
  /** What the command says when it has done what it should. */
  readonly says: string
  /** What the paper has at a rate, and what is aimed at. */
  readonly paper?: Readonly<Record<number, string>>
  readonly targets?: Readonly<Record<number, number>>
}

/** The loads by their names; or why one is absent. */
const LOADS: Readonly<Record<string, () => Load | string>> = {
  build: () => {
    const build = kernelBuild()
    return typeof build === 'string' ? build : { megabytes: 256, files: build.files, command: build.command, says: build.sum, paper: { 10: '31 %', 20: '52 %', 40: '103 %' }, targets: { 40: 1.25 } }
  },
  shell: () => ({ megabytes: 128, command: SHELL, says: 'done' }),
}

/** What a turn of the work takes, in milliseconds of the wall, of this process's processor, and of host time. */
interface Turn {
  readonly wall: number
  readonly processor: number
  readonly guest: number
}

/** What protecting it came to meanwhile. */
interface Protected extends Turn {
  readonly checkpoints: number
  readonly pause: number
  readonly bytes: number
  readonly first: number
}

/** A guest and what it works at. */
interface Worker {
  readonly host: Host
  readonly linux: LinuxGuest
  readonly load: Load
}

async function work({ host, linux, load }: Worker): Promise<Turn> {
  const [begun, since, used] = [performance.now(), host.now(), process.cpuUsage()]
  const said = await linux.run(load.command)
  if (said !== load.says) throw new Error(`the work was not done: ${said}`)
  const { user, system } = process.cpuUsage(used)
  return { wall: performance.now() - begun, processor: (user + system) / 1000, guest: (host.now() - since) / 1e6 }
}

/** The best of several turns, each way of counting by itself. */
const best = (turns: readonly Turn[]): Turn => ({
  wall: Math.min(...turns.map(({ wall }) => wall)), processor: Math.min(...turns.map(({ processor }) => processor)), guest: Math.min(...turns.map(({ guest }) => guest)),
})

/** A process with a host that stands by for one domain: its port, and its end. */
async function standbyProcess({ megabytes }: Load): Promise<{ readonly port: number; end(): Promise<void> }> {
  const { path, remove } = await bundle(`
    import { Host } from '../../src/toolstack/index.ts'
    import { listenMigration } from '../../src/node/index.ts'
    import { optionalDecompressor } from '../../src/decompress/index.ts'
    const host = await Host.boot({ memory: ${megabytes + 64}, dom0Memory: 16, decompress: optionalDecompressor })
    const listener = await listenMigration()
    console.log(listener.port)
    await host.standBy(await listener.accept(), { trust: 'all', peerTimeout: ${PATIENCE} }).catch((error) => console.error(error))
    listener.close()
    await host.shutdown()
  `, 'test/bench')
  const child = spawn(process.execPath, [path], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const { value } = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next() as { value: string }
  return {
    port: Number(value),
    end: async () => {
      await ended
      remove()
    },
  }
}

/** The work of a protected domain: the best turn, and what the others were, too. */
async function protectedWork(worker: Worker, rate: number): Promise<Protected> {
  const { host, linux, load } = worker
  const standby = await standbyProcess(load)
  const protection = linux.domain.protect(await connectMigration({ port: standby.port }), { interval: `${1000 / rate}ms`, peerTimeout: PATIENCE })
  let first = 0
  await new Promise<void>((resolve, reject) => {
    protection.progress.on('protected', () => {
      first = protection.statistics()!.bytes
      resolve()
    })
    protection.catch(reject)
  })
  const [before, since] = [protection.statistics()!, host.now()]
  const turns: Turn[] = []
  for (let i = 0; i < TURNS; i += 1) turns.push(await work(worker))
  const [after, now] = [protection.statistics()!, host.now()]
  await protection.unprotect()
  await standby.end()
  const epochs = after.acknowledged - before.acknowledged
  return {
    ...best(turns), first,
    checkpoints: epochs / ((now - since) / 1e9), pause: (after.totalPause - before.totalPause) / epochs / 1e6, bytes: (after.bytes - before.bytes) / epochs,
  }
}

/** The work unprotected, and protected at a rate. */
async function measure(report: Report, worker: Worker, { name, rate }: { readonly name: string; readonly rate: number }): Promise<void> {
  // Directly before the protected turns: whoever else uses the machine for long slows both.
  const alone: Turn[] = []
  for (let i = 0; i < TURNS; i += 1) alone.push(await work(worker))
  const { wall, processor, guest } = best(alone)
  const own = await protectedWork(worker, rate)
  const { load: { paper, targets } } = worker
  const [ratio, target] = [own.wall / wall, targets?.[rate] ?? null]
  const inPaper = paper?.[rate]
  report({
    case: `${name}, ${rate} checkpoints a second: work`, value: own.wall, unit: 'ms',
    baseline: `unprotected ${wall.toFixed(0)} ms${inPaper === undefined ? '' : `; 2008: +${inPaper}`}`, ratio, target, met: target === null ? null : ratio <= target,
  })
  report({ case: '  in processor time', value: own.processor, unit: 'ms', baseline: `unprotected ${processor.toFixed(0)} ms`, ratio: own.processor / processor, target: null, met: null })
  report({ case: '  in host time', value: own.guest, unit: 'ms', baseline: `unprotected ${guest.toFixed(0)} ms`, ratio: own.guest / guest, target: null, met: null })
  report({ case: '  checkpoints a second of host time', value: own.checkpoints, unit: '/s', ...plain })
  report({ case: '  pause of a checkpoint, host time', value: own.pause, unit: 'ms', ...plain })
  report({ case: '  bytes of a checkpoint', value: own.bytes / 1024, unit: 'KiB', ...plain, baseline: `first copy ${(own.first / 2 ** 20).toFixed(1)} MiB` })
}

/** Measures everything, or the loads and the rates that are named: `build 40`. */
export async function run(report: Report, parts: readonly string[] = []): Promise<void> {
  if (guestFile('linux') === undefined || guestFile('busybox') === undefined) {
    report({ case: 'Linux protected', value: NaN, unit: '', ...plain, baseline: 'absent: npm run guests -- linux busybox' })
    return
  }
  const chosen = <T extends string | number>(all: readonly T[]): readonly T[] => {
    const named = all.filter((each) => parts.includes(String(each)))
    return named.length === 0 ? all : named
  }
  for (const name of chosen(Object.keys(LOADS))) {
    const load = LOADS[name]!()
    if (typeof load === 'string') {
      report({ case: `${name} protected`, value: NaN, unit: '', ...plain, baseline: load })
      continue
    }
    const host = await bootLinuxHost({ memory: load.megabytes + 64 })
    const linux = await (await createLinux(host, { domain: { memory: load.megabytes }, ...(load.files === undefined ? {} : { files: load.files }) })).ready()
    const worker = { host, linux, load }
    await work(worker)
    for (const rate of chosen(RATES)) await measure(report, worker, { name, rate })
    await host.shutdown()
  }
}
