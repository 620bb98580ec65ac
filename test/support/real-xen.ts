/**
 * Real Xen 4.17 with Debian's Linux as dom0, in QEMU without KVM: the judge of what is exchanged with it. Its console is a serial port, its
 * disk a file by which files come out.
 */
import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { dom0Ramdisk } from '../../src/node/dom0-image.ts'
import { GUESTS_FOLDER, guestFile, whyMissing } from './guests.ts'

/** Modules by which dom0 sees the emulator's disk, each behind those that it needs. */
const MODULES = [
  'drivers/virtio/virtio_ring', 'drivers/virtio/virtio', 'drivers/virtio/virtio_pci_legacy_dev', 'drivers/virtio/virtio_pci_modern_dev',
  'drivers/virtio/virtio_pci', 'drivers/block/virtio_blk',
] as const
const nameOf = (module: string): string => module.split('/').at(-1)!
/** An ordinary processor with what domains of this library may use, and no leaf of CPUID more than it has. */
const PROCESSOR = 'Haswell-noTSX'
/** Milliseconds that a command may take. */
const PATIENCE = 300_000
const PROMPT = 'dom0# '
/** Letters that are typed at once, and milliseconds that they may take to be shown: those of a password never are. */
const PIECE = 16
const SHOWN_WITHIN = 10_000

/** Why it cannot run here; undefined where it can. */
export function whyNoRealXen(): string | undefined {
  return whyMissing('xen', 'linux', 'linuxModules', 'dom0Tools')
    ?? (spawnSync('qemu-system-x86_64', ['--version']).status === 0 ? undefined : ' SKIPPED: no qemu-system-x86_64')
}

/** A running one. */
export class RealXen {
  /** All that its console has said. */
  said = ''
  private at = 0
  private readonly folder: string
  private readonly machine: ChildProcessWithoutNullStreams

  private constructor(folder: string, machine: ChildProcessWithoutNullStreams) {
    this.folder = folder
    this.machine = machine
    machine.stdout.on('data', (bytes: Buffer) => { this.said += bytes.toString('latin1') })
  }

  /** Boots it to dom0's shell, with further files of its disk by path. `diskSize`: bytes that may come out. */
  static async boot(files: Readonly<Record<string, Uint8Array | string>>, diskSize: number): Promise<RealXen> {
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-xen-'))
    const kernel = join(guestFile('linuxModules')!, 'kernel')
    const modules = Object.fromEntries(MODULES.map((name) => [`root/${nameOf(name)}.ko`, readFileSync(join(kernel, `${name}.ko`))]))
    writeFileSync(join(folder, 'xen'), gunzipSync(readFileSync(guestFile('xen')!)))
    writeFileSync(join(folder, 'vmlinuz'), readFileSync(guestFile('linux')!))
    writeFileSync(join(folder, 'dom0.cpio'), dom0Ramdisk(GUESTS_FOLDER, { ...modules, ...files }))
    writeFileSync(join(folder, 'disk'), '')
    truncateSync(join(folder, 'disk'), diskSize)
    const machine = spawn('qemu-system-x86_64', [
      '-accel', 'tcg', '-cpu', PROCESSOR, '-m', '1280', '-display', 'none', '-serial', 'stdio', '-no-reboot', '-net', 'none',
      '-drive', 'file=disk,format=raw,if=virtio', '-kernel', 'xen', '-append', 'console=com1 com1=115200 dom0_mem=700M loglvl=warning',
      '-initrd', 'vmlinuz console=hvc0 rdinit=/init quiet,dom0.cpio',
    ], { cwd: folder })
    const xen = new RealXen(folder, machine)
    try {
      await xen.waitFor(PROMPT)
      await xen.run(`for m in ${MODULES.map(nameOf).join(' ')}; do insmod /root/$m.ko; done`)
      return xen
    } catch (error) {
      // Nobody else knows of it yet.
      await xen.end()
      throw error
    }
  }

  /** Sends letters that are not shown. */
  write(text: string): void {
    this.machine.stdin.write(text)
  }

  /** Types a line, no faster than it is shown: consoles lose what comes while nobody reads them. */
  async type(line: string): Promise<void> {
    for (let at = 0; at < line.length; at += PIECE) {
      const piece = line.slice(at, at + PIECE)
      const shown = this.said.length + piece.length
      this.write(piece)
      const deadline = performance.now() + SHOWN_WITHIN
      while (this.said.length < shown && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    this.write('\n')
  }

  /** Waits for a text behind the last one that was found; gives what was said before it. */
  async waitFor(text: string): Promise<string> {
    const deadline = performance.now() + PATIENCE
    for (;;) {
      const found = this.said.indexOf(text, this.at)
      if (found >= 0) {
        const before = this.said.slice(this.at, found)
        this.at = found + text.length
        return before
      }
      if (this.machine.exitCode !== null || performance.now() > deadline) throw new Error(`real Xen does not say ${JSON.stringify(text)}; it said\n${this.said.slice(-2000)}`)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  /** Runs a command in dom0's shell; gives what it printed. */
  async run(command: string): Promise<string> {
    await this.type(command)
    // The shell shows what was typed.
    await this.waitFor('\n')
    return (await this.waitFor(PROMPT)).replaceAll('\r', '')
  }

  /** A file of dom0's. */
  async file(path: string): Promise<Uint8Array> {
    const size = Number((await this.run(`stat -c %s ${path}`)).trim())
    await this.run(`dd if=${path} of=/dev/vda bs=1M 2>/dev/null; sync`)
    return readFileSync(join(this.folder, 'disk')).subarray(0, size)
  }

  /** Ends it. */
  async end(): Promise<void> {
    if (this.machine.exitCode === null) {
      const ended = new Promise((resolve) => this.machine.once('exit', resolve))
      this.machine.kill('SIGKILL')
      await ended
    }
    rmSync(this.folder, { recursive: true, force: true })
  }
}
