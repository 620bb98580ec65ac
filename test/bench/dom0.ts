/**
 * Debian's Linux as dom0: its boot to a prompt where xl answers, from `xl create` of a small guest to the first byte on its console,
 * and what Linux's blkback gives a guest beside our own back-end.
 *
 * Real Xen under QEMU's TCG was at its prompt after 14 s. Both disks lie in memory: one is a file behind a loop device in a driver
 * domain, the other a store of the host's. The same front-end reads them in turn.
 *
 * Targets: half of real Xen's time for the boot.
 */
import { BlockFrontend, MemoryBlockStore, type Disk } from '../../src/drivers/index.ts'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { FrontendBus, type GuestKernel } from '../../src/guest/index.ts'
import { debianDom0 } from '../../src/node/index.ts'
import { Host } from '../../src/toolstack/index.ts'
import { Dom0Shell } from '../support/dom0.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import type { Report, Row } from './report.ts'
import { bestRates } from './support/rates.ts'

/** Seconds that real Xen and Debian's dom0 took under QEMU's TCG, and the part of it that is aimed at. */
const REAL_XEN = 14
const GOAL = 0.5
const DISK = 8 << 20
const SECTORS_PER_MEBIBYTE = 2048
/** MiB of one round. */
const ROUND = 16

const plain = { baseline: '', ratio: null, target: null, met: null } as const

/** Seconds of this process's CPU. */
const seconds = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

/** What some work took: seconds of CPU and on the clock, and of the guests' own time. */
async function taken<T>(now: (done: T) => number, work: () => Promise<T>): Promise<{ readonly done: T; readonly cpu: number; readonly clock: number; readonly guests: number }> {
  const [cpu, clock] = [seconds(), performance.now()]
  const done = await work()
  return { done, cpu: seconds() - cpu, clock: (performance.now() - clock) / 1000, guests: now(done) }
}

/** Busy time of the host's domains, which is 1 ns an instruction. */
const instructions = (host: Host): number => host.hypervisor.listDomains().reduce((sum, { cpuTime }) => sum + cpuTime, 0) / 1e6

/** Boot and `xl create`. */
async function commands(report: Report): Promise<void> {
  const boot = await taken((shell) => instructions(shell.host), () => Dom0Shell.boot())
  const shell = boot.done
  const ratio = boot.clock / REAL_XEN
  report({ case: 'dom0 to its prompt', value: boot.clock, unit: 's', baseline: `real Xen in QEMU's TCG: ${REAL_XEN} s`, ratio, target: GOAL, met: ratio <= GOAL })
  report({ case: 'dom0 to its prompt, CPU', value: boot.cpu, unit: 's', ...plain })
  report({ case: 'dom0 to its prompt', value: boot.guests, unit: 'M instr.', ...plain })
  await shell.run('xl list')
  const before = instructions(shell.host)
  const create = await taken(() => instructions(shell.host) - before, async () => {
    await shell.host.console.write('xl create -c a.cfg\r')
    await shell.host.console.waitFor('mini', { timeout: '60s' })
  })
  report({ case: 'xl create of mini to its first console byte', value: create.clock, unit: 's', ...plain })
  report({ case: 'xl create of mini, CPU', value: create.cpu, unit: 's', ...plain })
  report({ case: 'xl create of mini', value: create.guests, unit: 'M instr.', ...plain })
  await shell.host.shutdown()
}

/** A guest with a disk of a driver domain's and one of ours. */
async function disksOf(host: Host): Promise<readonly [linux: Disk, own: Disk]> {
  const debian = debianDom0({ folder: GUESTS_FOLDER })
  const driver = await host.createDomain({
    name: 'driver', memory: 320, driverDomain: true, kernel: debian.kernel, ramdisk: debian.ramdisk, commandLine: `${debian.commandLine} services=host`,
  })
  await driver.console.waitFor('dom0: ready', { timeout: '60s' })
  await driver.console.waitFor(/dom0# $/, { timeout: '10s' })
  await driver.console.write(`head -c ${DISK} /dev/urandom >/tmp/disk; losetup /dev/loop0 /tmp/disk; echo "made"":disk"\r`)
  await driver.console.waitFor('made:disk', { timeout: '60s' })
  const disks = new BlockFrontend()
  const guest = await host.createDomain({
    name: 'guest', memory: 32, disks: [{ vdev: 'xvda', target: 'loop0', backend: 'driver' }],
    kernel: async (kernel: GuestKernel) => { await new FrontendBus(kernel).register(disks) },
  })
  const store = new MemoryBlockStore(DISK)
  store.bytes.fill(0x5a)
  await guest.attachDisk({ vdev: 'xvdb', target: 'own' }, { store })
  return [await disks.disk('xvda'), await disks.disk('xvdb')]
}

/** Both back-ends. */
async function throughput(report: Report): Promise<void> {
  const host = await Host.boot({ memory: 768, dom0Memory: 16, decompress: optionalDecompressor })
  const [linux, own] = await disksOf(host)
  const reads = (disk: Disk) => async (count: number): Promise<void> => {
    for (let round = 0; round < count; round += 1) await disk.read((round * SECTORS_PER_MEBIBYTE) % (DISK / 512), SECTORS_PER_MEBIBYTE)
  }
  const [rate = 0, ours = 0] = await bestRates([{ work: reads(linux), count: ROUND }, { work: reads(own), count: ROUND }], 3)
  report({ case: 'read 1 MiB by Linux\'s blkback', value: rate, unit: 'MiB/s', baseline: `our back-end: ${Math.round(ours)} MiB/s`, ratio: rate / ours, target: null, met: null })
  await host.shutdown()
}

/** Measures and reports. */
export async function run(report: Report): Promise<void> {
  const missing = whyMissing('linux', 'busybox', 'dom0Tools')
  if (missing !== undefined) {
    const row: Row = { case: 'dom0', value: NaN, unit: '', ...plain, baseline: `absent:${missing}` }
    report(row)
    return
  }
  await commands(report)
  await throughput(report)
}
