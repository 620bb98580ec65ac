/**
 * How many instructions a guest executes in QEMU's TCG until it says something: QEMU counts each of them while it records a run
 * for replay. That is slower than a plain run, so it is counted once, and nothing else is measured of it.
 * Reference: QEMU, docs/system/replay.rst; qapi/replay.json, query-replay.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What is run. */
export interface CountedRun {
  readonly program: string
  /** Arguments; the guest's first serial port has to be stdio. */
  readonly arguments: readonly string[]
  /** What it says in the end. */
  readonly until: string
  /** Milliseconds after which it is given up. */
  readonly patience: number
}

/** Asks QEMU's monitor; milliseconds of counting go on meanwhile, a thousandth of a boot. */
function askCount(socket: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const monitor = connect(socket)
    let text = ''
    monitor.on('error', reject)
    monitor.on('data', (data: Buffer) => {
      text += data.toString('latin1')
      const count = /"icount": (\d+)/.exec(text)?.[1]
      if (count === undefined) return
      resolve(Number(count))
      monitor.destroy()
    })
    monitor.write('{"execute":"qmp_capabilities"}\n{"execute":"query-replay"}\n')
  })
}

/** Runs it once. Rejects when it ends before, or takes too long. */
export async function countInstructions({ program, arguments: words, until, patience }: CountedRun): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-count-'))
  const [socket, record] = [join(folder, 'monitor'), join(folder, 'record')]
  const child = spawn(program, [...words, '-icount', `shift=0,rr=record,rrfile=${record}`, '-qmp', `unix:${socket},server=on,wait=off`], {
    stdio: ['ignore', 'pipe', 'ignore'], timeout: patience,
  })
  try {
    return await new Promise((resolve, reject) => {
      let text = ''
      child.stdout.on('data', (data: Buffer) => {
        const before = text.includes(until)
        text += data.toString('latin1')
        if (!before && text.includes(until)) askCount(socket).then(resolve, reject)
      })
      child.on('error', reject)
      child.on('exit', () => reject(new Error(`${program} ended before it said ${until}: ${text.slice(-300)}`)))
    })
  } finally {
    child.removeAllListeners('exit')
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
}
