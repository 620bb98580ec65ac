/**
 * What protecting a domain costs it: one of Debian's Linux with 128 MB does the same work unprotected and protected at 10, 20 and 40 checkpoints a second of host
 * time, with its standby in a process of its own, over TCP. The work is a shell's: a loop, and files that are written and summed. Slowdown is by the wall, of
 * the same work, the best of several turns; beside it the same in processor time of the primary's process, which other work on the machine lengthens less, and in
 * host time, which is what the guest itself sees of being suspended so often, whatever else the machine does.
 *
 * The paper (Cully et al., NSDI 2008) has 31, 52, 80 and 103 % for a kernel's build at 10, 20, 30 and 40 checkpoints a second. Target: at most 25 % at 40.
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

const RATES = [10, 20, 40] as const
const TARGET = 1.25
const PAPER: Readonly<Record<number, string>> = { 10: '31 %', 20: '52 %', 40: '103 %' }
const TURNS = 2
/** Nanoseconds for which the other side may be silent: whatever else the machine does, nobody fails over here. */
const PATIENCE = 60e9
const MEGABYTES = 128
const WORK = 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; for n in 1 2; do dd if=/dev/zero of=/tmp/$n bs=64k count=32 2>/dev/null; md5sum /tmp/$n > /dev/null; done; echo done'
const plain = { baseline: '', ratio: null, target: null, met: null } as const

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

async function work(host: Host, linux: LinuxGuest): Promise<Turn> {
  const [begun, since, used] = [performance.now(), host.now(), process.cpuUsage()]
  if (await linux.run(WORK) !== 'done') throw new Error('the work was not done')
  const { user, system } = process.cpuUsage(used)
  return { wall: performance.now() - begun, processor: (user + system) / 1000, guest: (host.now() - since) / 1e6 }
}

/** The best of several turns, each way of counting by itself. */
const best = (turns: readonly Turn[]): Turn => ({
  wall: Math.min(...turns.map(({ wall }) => wall)), processor: Math.min(...turns.map(({ processor }) => processor)), guest: Math.min(...turns.map(({ guest }) => guest)),
})

/** A process with a host that stands by for one domain: its port, and its end. */
async function standbyProcess(): Promise<{ readonly port: number; end(): Promise<void> }> {
  const { path, remove } = await bundle(`
    import { Host } from '../../src/toolstack/index.ts'
    import { listenMigration } from '../../src/node/index.ts'
    import { optionalDecompressor } from '../../src/decompress/index.ts'
    const host = await Host.boot({ memory: ${MEGABYTES + 64}, dom0Memory: 16, decompress: optionalDecompressor })
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
async function protectedWork(host: Host, linux: LinuxGuest, rate: number): Promise<Protected> {
  const standby = await standbyProcess()
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
  for (let i = 0; i < TURNS; i += 1) turns.push(await work(host, linux))
  const [after, now] = [protection.statistics()!, host.now()]
  await protection.unprotect()
  await standby.end()
  const epochs = after.acknowledged - before.acknowledged
  return {
    ...best(turns), first,
    checkpoints: epochs / ((now - since) / 1e9), pause: (after.totalPause - before.totalPause) / epochs / 1e6, bytes: (after.bytes - before.bytes) / epochs,
  }
}

/** Measures everything, or at the rates that are named: `40`. */
export async function run(report: Report, parts: readonly string[] = []): Promise<void> {
  if (guestFile('linux') === undefined || guestFile('busybox') === undefined) {
    report({ case: 'Linux protected', value: NaN, unit: '', ...plain, baseline: 'absent: npm run guests -- linux busybox' })
    return
  }
  const host = await bootLinuxHost({ memory: MEGABYTES + 64 })
  const linux = await (await createLinux(host, { domain: { memory: MEGABYTES } })).ready()
  await work(host, linux)
  for (const rate of RATES.filter((each) => parts.length === 0 || parts.includes(String(each)))) {
    // In turns: whoever else uses the machine slows both.
    const alone: Turn[] = []
    for (let i = 0; i < TURNS; i += 1) alone.push(await work(host, linux))
    const { wall, processor, guest } = best(alone)
    const own = await protectedWork(host, linux, rate)
    const ratio = own.wall / wall
    const isTarget = rate === 40
    report({
      case: `${rate} checkpoints a second: work`, value: own.wall, unit: 'ms', baseline: `unprotected ${wall.toFixed(0)} ms; 2008: +${PAPER[rate]!}`, ratio,
      target: isTarget ? TARGET : null, met: isTarget ? ratio <= TARGET : null,
    })
    report({ case: '  in processor time', value: own.processor, unit: 'ms', baseline: `unprotected ${processor.toFixed(0)} ms`, ratio: own.processor / processor, target: null, met: null })
    report({ case: '  in host time', value: own.guest, unit: 'ms', baseline: `unprotected ${guest.toFixed(0)} ms`, ratio: own.guest / guest, target: null, met: null })
    report({ case: '  checkpoints a second of host time', value: own.checkpoints, unit: '/s', ...plain })
    report({ case: '  pause of a checkpoint, host time', value: own.pause, unit: 'ms', ...plain })
    report({ case: '  bytes of a checkpoint', value: own.bytes / 1024, unit: 'KiB', ...plain, baseline: `first copy ${(own.first / 2 ** 20).toFixed(1)} MiB` })
  }
  await host.shutdown()
}
