/**
 * A protected guest whose process is killed or stopped while it answers requests, and that goes on in this one: what its observer saw, and what is on the
 * survivor's disk. The two hosts' bridges are joined by a tunnel, so that the observer is at one wire all the time.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Bridge } from '../../../src/drivers/index.ts'
import { bridgeTunnel, listenMigration } from '../../../src/node/index.ts'
import { memoryArbiter } from '../../../src/toolstack/index.ts'
import { builtModule } from '../bundle.ts'
import type { PrimaryMessage, PrimaryOptions } from './primary-process.ts'
import { judgeJournal, Observer } from './request-server.ts'
import { bootServedHost, type ServedKind } from './served-kinds.ts'

/** What came of it. */
export interface Failover {
  /** How the primary's process has ended, or its protection when it was woken. */
  readonly end: string | null
  /** The kind of the domain that went on. */
  readonly kind: string
  /** Requests that were answered before the process was killed, and behind that. */
  readonly before: number
  readonly behind: number
  /** What must not be. */
  readonly violations: readonly string[]
}

/** Requests that are to be answered on each side. */
export const ENOUGH = 12
/** Milliseconds behind which a request is asked again. */
const AGAIN = 5

/** An observer at a bridge, which asks as long as it is wanted. */
class Asking {
  readonly observer = new Observer()
  private readonly port: ReturnType<Bridge['open']>
  private readonly timer: ReturnType<typeof setInterval>
  private readonly waiting = new Set<() => void>()

  constructor(bridge: Bridge) {
    this.port = bridge.open({ onFrame: (bytes) => this.hear(bytes) })
    this.timer = setInterval(() => this.port.send(this.observer.request), AGAIN)
  }

  private hear(bytes: Uint8Array): void {
    const { answered } = this.observer
    this.observer.hear(bytes)
    if (this.observer.answered > answered) this.port.send(this.observer.request)
    for (const look of this.waiting) look()
  }

  /** Resolves when so many have been answered, or something has gone wrong. */
  async answered(count: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.observer.answered < count && this.observer.violations.length === 0) return
        this.waiting.delete(look)
        resolve()
      }
      this.waiting.add(look)
      look()
    })
  }

  stop(): void {
    clearInterval(this.timer)
    this.port.close()
  }
}

/** Has a guest protected in a process of its own, which is killed or stopped while requests are answered, and asks on; one that is stopped is woken then. */
export async function failOver(kind: ServedKind, signal: PrimaryOptions['signal'] = 'SIGKILL'): Promise<Failover> {
  const listener = await listenMigration()
  const { host, disk } = await bootServedHost(kind, { seed: 2 })
  const tunnel = await bridgeTunnel(host.bridge())
  const asking = new Asking(host.bridge())
  const { observer } = asking
  const options: PrimaryOptions = { kind: kind.name, port: listener.port, tunnel: tunnel.port, answers: ENOUGH, signal }
  const child = spawn(process.execPath, [await builtModule('test/support/remus/primary-process.ts'), JSON.stringify(options)], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>
  const arbiter = memoryArbiter()
  const settled = new Promise<string>((resolve) => {
    child.on('message', (message: PrimaryMessage) => {
      if ('tunnel' in message) tunnel.join({ host: '127.0.0.1', port: message.tunnel })
      else if ('end' in message) resolve(message.end)
      else void arbiter.claim('primary', {}).then((isGranted) => child.send(isGranted))
    })
  })
  try {
    const violations: string[] = []
    const transport = await Promise.race([listener.accept(), ended.then(() => Promise.reject(new Error('the primary has not come')))])
    const standing = host.standBy(transport, { kernel: kind.program, trust: 'all', arbiter })
    standing.progress.on('taking-over', () => violations.push(...judgeJournal(disk.bytes, observer)))
    const survivor = await standing
    if (survivor === undefined) throw new Error('the domain did not go on')
    const before = observer.answered
    await asking.answered(before + ENOUGH)
    child.kill('SIGCONT')
    const end = await (signal === 'SIGKILL' ? ended.then(([, by]) => by) : settled)
    await asking.answered(before + 2 * ENOUGH)
    asking.stop()
    const behind = observer.answered - before
    await kind.isWell(host, survivor)
    violations.push(...observer.violations, ...judgeJournal(disk.bytes, observer))
    return { end, kind: host.hypervisor.domainInfo(survivor.id as never).kind, before, behind, violations }
  } finally {
    child.kill('SIGKILL')
    asking.stop()
    tunnel.close()
    listener.close()
    await host.shutdown()
  }
}
