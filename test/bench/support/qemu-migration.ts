/** QEMU without KVM as a peer: a machine that writes memory in a loop is migrated over a Unix socket, told by QMP. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

/** A migration of QEMU's, in milliseconds. */
export interface QemuFigures {
  /** From the command until the new machine runs. */
  readonly total: number
  /** From when the old machine stands until the new one runs: the times that both give their events. */
  readonly downtime: number
  /** The same as QEMU counts it: until its sender is done, whether or not the receiver is. */
  readonly own: { readonly total: number; readonly downtime: number }
}

const PROGRAM = 'qemu-system-x86_64'
/** More than a local socket carries: the wire is not what is measured. */
const BANDWIDTH = 2 ** 34

/** What comes over the control socket. */
interface Answer {
  readonly return?: Record<string, unknown>
  readonly error?: { readonly desc: string }
  readonly event?: string
  readonly timestamp?: { readonly seconds: number; readonly microseconds: number }
}

/** One QEMU with its control socket. */
class Machine {
  private readonly process: ChildProcess
  private readonly path: string
  private socket: Socket | undefined
  private lines: AsyncIterator<string> | undefined
  private reader: Interface | undefined
  /** When each event was last sent, in milliseconds of the machine's clock. */
  readonly events = new Map<string, number>()

  constructor(options: {
    readonly folder: string
    readonly name: string
    readonly kernel: string
    readonly memory: number
    readonly extra?: readonly string[]
  }) {
    this.path = join(options.folder, `${options.name}.qmp`)
    this.process = spawn(
      PROGRAM,
      [
        '-machine',
        'pc',
        '-m',
        String(options.memory),
        '-display',
        'none',
        '-nodefaults',
        '-no-reboot',
        '-kernel',
        options.kernel,
        '-qmp',
        `unix:${this.path},server=on,wait=off`,
        ...(options.extra ?? []),
      ],
      { stdio: 'ignore' },
    )
  }

  async open(): Promise<void> {
    this.socket = await this.connected()
    this.reader = createInterface({ input: this.socket })
    this.lines = this.reader[Symbol.asyncIterator]()
    await this.call('qmp_capabilities')
  }

  /** Its control socket, which is there for a moment before anybody listens. */
  private async connected(): Promise<Socket> {
    for (;;) {
      while (!existsSync(this.path)) await sleep(20)
      const socket = connect(this.path)
      const isThere = await once(socket, 'connect').then(() => true, () => false)
      if (isThere) return socket
      await sleep(20)
    }
  }

  async call(execute: string, parameters: object = {}): Promise<Record<string, unknown>> {
    this.socket!.write(`${JSON.stringify({ execute, arguments: parameters })}\n`)
    for (;;) {
      const { value, done } = await this.lines!.next()
      if (done === true) throw new Error(`QEMU ended during ${execute}`)
      const answer = JSON.parse(value) as Answer
      if (answer.event !== undefined) this.events.set(answer.event, answer.timestamp!.seconds * 1000 + answer.timestamp!.microseconds / 1000)
      if (answer.error !== undefined) throw new Error(`QEMU: ${execute}: ${answer.error.desc}`)
      if (answer.return !== undefined) return answer.return
    }
  }

  close(): void {
    this.reader?.close()
    this.socket?.destroy()
    this.process.kill()
  }
}

/** Migrates a machine of so many MB with so many MiB hot. */
export async function migrateQemu(memory: number, hotMebibytes: number): Promise<QemuFigures> {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-qemu-'))
  const kernel = join(folder, 'hot.elf')
  const source = join(import.meta.dirname, '..')
  execFileSync(
    'gcc',
    [
      '-m32',
      '-nostdlib',
      '-static',
      '-no-pie',
      `-DHOT_BYTES=${hotMebibytes * 2 ** 20}`,
      '-Wl,--build-id=none',
      '-Wl,--no-warn-rwx-segments',
      '-Wl,-T,cpu-program/flat.ld',
      '-Wl,--defsym,load_address=0x100000',
      'migration-guest/hot.S',
      '-o',
      kernel,
    ],
    { cwd: source },
  )
  const wire = `unix:${join(folder, 'wire')}`
  const target = new Machine({ folder, name: 'target', kernel, memory, extra: ['-incoming', wire] })
  const origin = new Machine({ folder, name: 'origin', kernel, memory })
  try {
    await target.open()
    await origin.open()
    await sleep(500)
    await origin.call('migrate-set-parameters', { 'max-bandwidth': BANDWIDTH })
    const begun = performance.timeOrigin + performance.now()
    await origin.call('migrate', { uri: wire })
    for (;;) {
      const info = await origin.call('query-migrate')
      if (info['status'] === 'failed') throw new Error('QEMU could not migrate')
      // Events come with the answer to whatever is asked next.
      await target.call('query-status')
      const [stopped, running] = [origin.events.get('STOP'), target.events.get('RESUME')]
      if (info['status'] === 'completed' && stopped !== undefined && running !== undefined) {
        return { total: running - begun, downtime: running - stopped, own: { total: info['total-time'] as number, downtime: info['downtime'] as number } }
      }
      await sleep(10)
    }
  } finally {
    origin.close()
    target.close()
    rmSync(folder, { recursive: true, force: true })
  }
}
