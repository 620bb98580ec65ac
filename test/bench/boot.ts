/**
 * Debian's Linux from its first instruction to BusyBox's shell, in new processes with the compiling tier on and off in turn, and the
 * same kernel and disk in QEMU's TCG by its PVH entry, where that is installed; of each the best round counts. The PV way is longer
 * than the PVH way: 3.0 thousand million instructions against 1.6. As a PVH guest the kernel goes the same way here as there, which a count
 * of the instructions of both shows.
 *
 * QEMU is given the unpacked kernel, as it finds no PVH entry in a bzImage. So the rows that are judged have it too: they compare
 * what processors and hosts do, and no archiver. Beside them stand the boots from Debian's bzImage, which has to be unpacked from xz
 * first, with the user time that this takes.
 *
 * MIPS are told for the two loops that take three quarters of the instructions, and for the rest: the search through all of the
 * physical memory that a PV guest could have, and arithmetic with large numbers. Time between two samples belongs to the function
 * that the later one was in.
 *
 * Host memory beyond the guest's is what the process has in memory at the shell (RSS), without the pages of the guest that are in
 * it, and without what it had in memory before its first host: Node, this repository's loader and the library's code. It is judged
 * after a boot from the bzImage. What the largest moment took is given beside it: unpacking the kernel.
 *
 * What the hypervisor, dom0 and XenStore take is the hypervisor's run without the processor's, from the guest's first
 * instruction to the shell: hypercalls, traps, scheduling, time, and dom0's kernel with XenStore and the consoles in it.
 *
 * Targets: 0.65 of the interpreter's user time; 2.5 times its speed in each of the two loops and 1.7 in the rest; 0.98 of it in the
 * first half second; 150 MiB for code, records and regions; 1.7 of QEMU's time or 3 s; 10 % for hypervisor and XenStore (of the
 * interpreter's time); host memory beyond the guest's under a quarter of it plus 64 MiB.
 */
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { unpackKernel } from '../../src/toolstack/image/unpack.ts'
import { guestFile } from '../support/guests.ts'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import type { Report } from './report.ts'
import { countInstructions } from './support/qemu-instructions.ts'
import { MEBIBYTES, SAMPLE, bootProcess, type BootRun, type SymbolTime } from './support/boot-process.ts'

const ROUNDS = 2
const TARGET = { user: 0.65, loops: 2.5, rest: 1.7, beginning: 0.98, memory: 150, qemu: 1.7, seconds: 3, around: 10 } as const
/** Counts of instructions that differ by no more are alike. */
const ALIKE = 0.05
const READY = 'initramfs: ready'
const QEMU = 'qemu-system-x86_64'
/** Longer than any boot on any machine that this is run on. */
const PATIENCE = 600_000
/** Functions of the guest that are shown. */
const SHOWN = 20

const plain = { baseline: '', ratio: null, target: null, met: null } as const

const mebibytes = (bytes: number): number => bytes / 2 ** 20

/** Rounds of all, from the unpacked kernel unless said otherwise, and of the peer. */
interface Rounds {
  readonly on: readonly BootRun[]
  readonly off: readonly BootRun[]
  readonly pvh: readonly BootRun[]
  /** From Debian's bzImage. */
  readonly packed: { readonly on: readonly BootRun[]; readonly off: readonly BootRun[]; readonly pvh: readonly BootRun[] }
  readonly qemu: readonly number[]
  /** Instructions that the peer has executed, where it is installed. */
  readonly counted: readonly number[]
}

const least = (runs: readonly BootRun[], pick: (run: BootRun) => number): number => Math.min(...runs.map(pick))

interface Paired {
  readonly name: string
  readonly unit: string
  readonly on: number
  readonly off: number
  readonly target?: number
  /** More is better. */
  readonly isSpeed?: boolean
}

function reportPair(report: Report, { name, unit, on, off, target, isSpeed = false }: Paired): void {
  const ratio = on / off
  const met = target === undefined ? null : isSpeed ? ratio >= target : ratio <= target
  report({ case: name, value: on, unit, baseline: `tier off: ${off.toPrecision(4)} ${unit}`, ratio, target: target ?? null, met })
}

/** Wall, user and main thread's time, and how it begins. */
function reportTimes(report: Report, { on, off, packed }: Rounds): void {
  const pair = (name: string, pick: (run: BootRun) => number, target?: number): void =>
    reportPair(report, { name, unit: 's', on: least(on, pick), off: least(off, pick), ...(target === undefined ? {} : { target }) })
  const user = ({ user: seconds }: BootRun): number => seconds
  pair('to the shell', ({ wall }) => wall)
  pair('user time, compilers\' threads included', user, TARGET.user)
  reportPair(report, { name: 'the same, unpacking the bzImage as well', unit: 's', on: least(packed.on, user), off: least(packed.off, user) })
  pair('main thread, from the first instruction', ({ main }) => main)
  const beginning = (runs: readonly BootRun[]): number => Math.max(...runs.map((run) => run.beginning)) / 1e6
  reportPair(report, { name: 'first half second of the main thread', unit: 'M instr', on: beginning(on), off: beginning(off), target: TARGET.beginning, isSpeed: true })
}

/** The parts of a boot by their functions' names. */
const PARTS = [
  { name: 'physical memory\'s list', isIn: (name: string) => /p2m/.test(name), target: TARGET.loops },
  { name: 'large numbers', isIn: (name: string) => /^mpih/.test(name), target: TARGET.loops },
  { name: 'everything else', isIn: (name: string) => !/p2m|^mpih/.test(name), target: TARGET.rest },
] as const

function reportSpeeds(report: Report, { on, off }: Rounds): void {
  for (const { name, isIn, target } of PARTS) {
    const speed = (runs: readonly BootRun[]): number => Math.max(...runs.map(({ symbols }) => {
      const own = symbols.filter((symbol) => isIn(symbol.name))
      const sum = (pick: (symbol: SymbolTime) => number): number => own.reduce((all, symbol) => all + pick(symbol), 0)
      return sum(({ samples }) => samples) * SAMPLE / sum(({ seconds }) => seconds) / 1e6
    }))
    reportPair(report, { name: `speed: ${name}`, unit: 'MIPS', on: speed(on), off: speed(off), target, isSpeed: true })
  }
}

function reportTier(report: Report, { figures }: BootRun): void {
  const { made, modulesMade, regions, modules, instructions, moduleBytes, codeBytes, frontBytes, writing, compiling, samples, samplesInRegions, visits, dropped } = figures
  report({ case: 'regions made', value: made, unit: '', ...plain, baseline: `${modulesMade} modules; ${dropped} dropped; ${regions} in ${modules} at the end` })
  report({ case: 'instructions in regions at the end', value: instructions, unit: '', ...plain, baseline: `${moduleBytes} bytes of WebAssembly` })
  report({ case: 'writing them', value: writing, unit: 'ms', ...plain })
  report({ case: 'compiling and installing them', value: compiling, unit: 'ms', ...plain })
  report({ case: 'samples in regions', value: 100 * samplesInRegions / samples, unit: '%', ...plain, baseline: `of ${samples}; ${visits} returns from regions` })
  const value = mebibytes(codeBytes + frontBytes + moduleBytes)
  const baseline = `${mebibytes(codeBytes).toFixed(1)} decoded, ${mebibytes(frontBytes).toFixed(1)} fronts, ${mebibytes(moduleBytes).toFixed(1)} modules`
  report({ case: 'code, records, regions', value, unit: 'MiB', baseline, ratio: null, target: TARGET.memory, met: value <= TARGET.memory })
}

/** Memory at the shell. */
function reportMemory(report: Report, on: BootRun, off: BootRun): void {
  const beyond = ({ resident, guestResident, idle }: BootRun): number => mebibytes(resident - guestResident - idle)
  const value = beyond(on)
  const target = MEBIBYTES / 4 + 64
  const baseline = `tier off: ${beyond(off).toFixed(0)}; ${mebibytes(on.guestResident).toFixed(0)} guest, ${mebibytes(on.idle).toFixed(0)} idle`
  report({ case: 'host memory beyond the guest\'s', value, unit: 'MiB', baseline, ratio: null, target, met: value <= target })
  report({ case: 'the process at its largest', value: mebibytes(on.largest), unit: 'MiB', ...plain })
}

function reportSymbols(report: Report, on: BootRun, off: BootRun): void {
  const others = new Map(off.symbols.map((symbol) => [symbol.name, symbol]))
  for (const { name, samples, compiled, seconds } of on.symbols.slice(0, SHOWN)) {
    const other = others.get(name)?.seconds
    const baseline = `${(100 * compiled / samples).toFixed(0)} % compiled${other === undefined ? '' : `; tier off: ${other.toFixed(3)} s`}`
    report({ case: `in ${name}`, value: seconds, unit: 's', baseline, ratio: other === undefined ? null : seconds / other, target: null, met: null })
  }
  for (const [cause, count] of Object.entries(on.exits).slice(0, 10)) report({ case: `exits: ${cause}`, value: count, unit: '', ...plain })
}

interface AgainstQemu {
  readonly name: string
  readonly runs: readonly BootRun[]
  readonly qemu: readonly number[]
  readonly isJudged?: boolean
}

/** Seconds to the shell against the peer's. */
function reportAgainst(report: Report, { name, runs, qemu, isJudged = false }: AgainstQemu): void {
  const value = least(runs, ({ wall }) => wall)
  const unpacking = least(runs, (one) => one.unpacking)
  const more = [`${least(runs, ({ user }) => user).toFixed(1)} s user`, ...(unpacking > 0 ? [`${unpacking.toFixed(2)} s of it unpacking`] : [])].join(', ')
  const plainRow = { case: `${name}, against QEMU`, value, unit: 's', target: null, met: null }
  if (qemu.length === 0) return report({ ...plainRow, baseline: `absent: ${QEMU}; ${more}`, ratio: null })
  const best = Math.min(...qemu)
  const row = { ...plainRow, baseline: `QEMU TCG, PVH: ${best.toFixed(2)} s; ${more}`, ratio: value / best }
  report(isJudged ? { ...row, target: TARGET.qemu, met: value / best <= TARGET.qemu || value <= TARGET.seconds } : row)
}

/** Instructions to the shell as a PVH guest, here and there: only where they are alike does the ratio of times say something. */
function reportCounts(report: Report, { instructions }: BootRun, [there]: readonly number[]): void {
  const millions = (count: number): string => `${(count / 1e6).toFixed(1)} M`
  const row = { case: 'PVH: instructions to the shell', value: instructions / 1e6, unit: 'M', target: null, met: null } as const
  if (there === undefined) return report({ ...row, baseline: `absent: ${QEMU}`, ratio: null })
  const ratio = instructions / there
  report({ ...row, baseline: `QEMU TCG: ${millions(there)}; alike within ${100 * ALIKE} %: ${Math.abs(ratio - 1) <= ALIKE ? 'yes' : 'no'}`, ratio, target: 1 + ALIKE, met: Math.abs(ratio - 1) <= ALIKE })
}

/** The same unpacked kernel for all first; then what a user waits for who has Debian's file. */
function reportPeer(report: Report, { on, pvh, packed, qemu, counted }: Rounds): void {
  reportAgainst(report, { name: 'PV to the shell', runs: on, qemu, isJudged: true })
  reportAgainst(report, { name: 'PVH to the shell', runs: pvh, qemu })
  reportAgainst(report, { name: 'PV from the bzImage', runs: packed.on, qemu })
  reportAgainst(report, { name: 'PVH from the bzImage', runs: packed.pvh, qemu })
  reportCounts(report, pvh[0]!, counted)
}

const qemuArguments = (kernel: string, disk: string): string[] => [
  '-accel', 'tcg', '-cpu', 'max', '-m', String(MEBIBYTES), '-nographic', '-no-reboot', '-nodefaults', '-serial', 'stdio',
  '-kernel', kernel, '-initrd', disk, '-append', 'console=ttyS0 panic=-1 rdinit=/init',
]

/** Boots in QEMU; wall seconds until the disk's init speaks. */
function bootInQemu(kernel: string, disk: string): Promise<number> {
  const begun = performance.now()
  const child = spawn(QEMU, qemuArguments(kernel, disk), { stdio: ['ignore', 'pipe', 'ignore'], timeout: PATIENCE })
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

/** Whether the peer is installed. */
function hasPeer(): boolean {
  try {
    execFileSync(QEMU, ['--version'])
    return true
  } catch {
    return false
  }
}

/** The unpacked kernel and the disk as files. */
interface BootFiles {
  readonly kernel: string
  readonly disk: string
  remove(): void
}

async function bootFiles(): Promise<BootFiles> {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-boot-'))
  const [kernel, disk] = [join(folder, 'vmlinux'), join(folder, 'disk.cpio')]
  writeFileSync(kernel, await unpackKernel(readFileSync(guestFile('linux')!), optionalDecompressor))
  writeFileSync(disk, busyboxInitramfs({ busybox: readFileSync(guestFile('busybox')!) }))
  return { kernel, disk, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  if (guestFile('linux') === undefined || guestFile('busybox') === undefined) {
    console.error('absent: Linux and BusyBox (npm run guests -- linux busybox)')
    return
  }
  const rounds = await inTurn()
  const [on, off] = [rounds.on[0]!, rounds.off[0]!]
  checkEqual([...rounds.on, ...rounds.off, ...rounds.packed.on, ...rounds.packed.off])
  checkEqual([...rounds.pvh, ...rounds.packed.pvh])
  reportTimes(report, rounds)
  reportPeer(report, rounds)
  reportSpeeds(report, rounds)
  report({ case: 'guest time to the shell, both', value: on.guest, unit: 's', ...plain, baseline: `state ${on.stateHash}` })
  const around = least(rounds.off, (one) => one.around)
  report({ case: 'hypervisor, dom0 and XenStore, tier off', value: around, unit: '%', baseline: '', ratio: null, target: TARGET.around, met: around <= TARGET.around })
  reportTier(report, on)
  reportMemory(report, rounds.packed.on[0]!, rounds.packed.off[0]!)
  reportSymbols(report, on, off)
}

/** The guest does the same whatever the tier does, and whoever has unpacked its kernel. */
function checkEqual(runs: readonly BootRun[]): void {
  const [first] = runs
  if (runs.some(({ stateHash, guest }) => stateHash !== first!.stateHash || guest !== first!.guest)) throw new Error('the tier has changed what the guest does')
}

/** Boots in turn. */
async function inTurn(): Promise<Rounds> {
  const rounds = { on: [] as BootRun[], off: [] as BootRun[], pvh: [] as BootRun[], packed: { on: [] as BootRun[], off: [] as BootRun[], pvh: [] as BootRun[] }, qemu: [] as number[], counted: [] as number[] }
  const child = await bootProcess()
  const files = await bootFiles()
  const { kernel } = files
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      rounds.off.push(child.run({ compiler: 'off', kernel }))
      rounds.on.push(child.run({ compiler: {}, kernel }))
      rounds.pvh.push(child.run({ compiler: {}, kernel, type: 'pvh' }))
      if (hasPeer()) rounds.qemu.push(await bootInQemu(kernel, files.disk))
      rounds.packed.off.push(child.run({ compiler: 'off' }))
      rounds.packed.on.push(child.run({ compiler: {} }))
      rounds.packed.pvh.push(child.run({ compiler: {}, type: 'pvh' }))
    }
    if (hasPeer()) rounds.counted.push(await countInstructions({ program: QEMU, arguments: qemuArguments(kernel, files.disk), until: READY, patience: PATIENCE }))
  } finally {
    files.remove()
    child.remove()
  }
  return rounds
}
