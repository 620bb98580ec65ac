/**
 * Debian's Linux from its first instruction to BusyBox's shell: instructions, seconds, what the library needs of the
 * machine beside the guest's memory; the same kernel and disk in QEMU's TCG by its PVH entry, where that is installed.
 * The PV way is longer than the PVH way: 3.2 thousand million instructions against 1.5.
 *
 * Host memory beyond the guest's is what this process has in memory at the shell (RSS), without the pages of the guest
 * that are in it, and without what the process had in memory before its first host: Node, this repository's loader and
 * the library's code. What the largest moment took is given beside it: unpacking the kernel.
 *
 * What the hypervisor, dom0 and XenStore take is the hypervisor's run without the processor's, from the guest's first
 * instruction to the shell: hypercalls, traps, scheduling, time, and dom0's kernel with XenStore and the consoles in it.
 *
 * Targets: the shell within 25 s, under 10 % of it for hypervisor and XenStore; host memory beyond the guest's under a
 * quarter of it plus 64 MiB.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { RunLoop } from '../../src/hypervisor/execution/run-loop.ts'
import { MachineProcessor } from '../../src/machine/cpu/index.ts'
import { unpackKernel } from '../../src/toolstack/image/unpack.ts'
import { guestFile } from '../support/guests.ts'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import { type LinuxGuest, bootLinux } from '../support/linux.ts'
import type { Report } from './report.ts'
import { guestBytes, residentBytes } from './support/memory.ts'

const MEBIBYTES = 256
const TARGET_SECONDS = 25
const READY = 'initramfs: ready'
const TARGET_PERCENT = 10
const QEMU = 'qemu-system-x86_64'
/** Longer than any boot on any machine that this is run on. */
const PATIENCE = 600_000

const plain = { baseline: '', ratio: null, target: null, met: null } as const

const mebibytes = (bytes: number): number => bytes / 2 ** 20

/** Memory at the shell. */
async function reportMemory(report: Report, { host, domain }: LinuxGuest, idle: number): Promise<void> {
  const resident = await residentBytes()
  const guest = guestBytes(host, domain)
  const value = mebibytes(resident - guest - idle)
  const target = MEBIBYTES / 4 + 64
  const parts = `${mebibytes(resident).toFixed(0)} in all, ${mebibytes(guest).toFixed(0)} guest, ${mebibytes(idle).toFixed(0)} idle`
  report({ case: 'host memory beyond the guest\'s', value, unit: 'MiB', baseline: parts, ratio: null, target, met: value <= target })
  report({ case: 'the process at its largest', value: process.resourceUsage().maxRSS / 1024, unit: 'MiB', ...plain })
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

/** Boots here; wall seconds from creation to the shell. */
async function bootHere(report: Report): Promise<number> {
  const idle = await residentBytes()
  const begun = performance.now()
  const before = process.cpuUsage()
  const linux = await bootLinux({ domain: { memory: MEBIBYTES } })
  const [processor, hypervisor] = [timeRuns(MachineProcessor.prototype), timeRuns(RunLoop.prototype)]
  const started = performance.now()
  await linux.ready()
  const around = 100 * (hypervisor.spent - processor.spent) / (performance.now() - started)
  for (const times of [processor, hypervisor]) times.stop()
  const seconds = (performance.now() - begun) / 1000
  const cpu = process.cpuUsage(before)
  const { cpuTime } = linux.domain.info()
  report({ case: 'guest time to the shell', value: cpuTime / 1e9, unit: 's', ...plain })
  report({ case: 'processor seconds of this process', value: (cpu.user + cpu.system) / 1e6, unit: 's', ...plain })
  report({
    case: 'hypervisor, dom0 and XenStore', value: around, unit: '%', baseline: '', ratio: null, target: TARGET_PERCENT,
    met: around <= TARGET_PERCENT,
  })
  await reportMemory(report, linux, idle)
  await linux.host.shutdown()
  return seconds
}

/** Boots in QEMU; wall seconds until the disk's init speaks. */
function bootInQemu(kernel: string, disk: string): Promise<number> {
  const begun = performance.now()
  const child = spawn(QEMU, [
    '-accel', 'tcg', '-cpu', 'max', '-m', String(MEBIBYTES), '-nographic', '-no-reboot', '-nodefaults', '-serial', 'stdio',
    '-kernel', kernel, '-initrd', disk, '-append', 'console=ttyS0 panic=-1 rdinit=/init',
  ], { stdio: ['ignore', 'pipe', 'ignore'], timeout: PATIENCE })
  return new Promise((resolve, reject) => {
    let text = ''
    child.stdout.on('data', (data: Buffer) => {
      text += data.toString('latin1')
      if (!text.includes(READY)) return
      resolve((performance.now() - begun) / 1000)
      child.kill()
    })
    child.on('error', reject)
    child.on('exit', () => reject(new Error(`${QEMU} ended before the shell: ${text.slice(-300)}`)))
  })
}

async function peer(): Promise<number | undefined> {
  try {
    execFileSync(QEMU, ['--version'])
  } catch {
    return undefined
  }
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-boot-'))
  try {
    const [kernel, disk] = [join(folder, 'vmlinux'), join(folder, 'disk.cpio')]
    // QEMU finds the PVH entry in an ELF image, not in a bzImage.
    writeFileSync(kernel, await unpackKernel(readFileSync(guestFile('linux')!), optionalDecompressor))
    writeFileSync(disk, busyboxInitramfs({ busybox: readFileSync(guestFile('busybox')!) }))
    return await bootInQemu(kernel, disk)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  if (guestFile('linux') === undefined || guestFile('busybox') === undefined) {
    console.error('absent: Linux and BusyBox (npm run guests -- linux busybox)')
    return
  }
  const here = await bootHere(report)
  report({
    case: 'to the shell', value: here, unit: 's', baseline: '', ratio: null, target: TARGET_SECONDS, met: here <= TARGET_SECONDS,
  })
  const there = await peer()
  report({
    case: 'to the shell, against QEMU', value: here, unit: 's',
    baseline: there === undefined ? `absent: ${QEMU}` : `QEMU TCG, PVH: ${there.toFixed(1)} s`,
    ratio: there === undefined ? null : here / there, target: null, met: null,
  })
}
