/**
 * A host as a service: calls a second over a Unix socket, client and host in processes of their own, pipelined and one after the
 * other, beside the same call within the process.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Host } from '../../src/index.ts'
import { connectService, listenService } from '../../src/node/index.ts'
import type { Report } from './report.ts'

const TARGET = 20_000
const CALLS = 20_000
const ROUNDS = 5
/** Calls under way at a time. */
const AHEAD = 256
/** Set in the process that serves. */
const SERVES = 'PARAVIRT_BENCH_SERVES'

async function serve(path: string): Promise<void> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16, idle: 'wait' })
  await host.createDomain({ name: 'one', memory: 8 }, { paused: true })
  await listenService(host, { path })
  process.send?.('ready')
  process.on('disconnect', () => process.exit(0))
}

/** Calls a second, the best round. */
async function rate(calls: number, ahead: number, call: () => Promise<unknown>): Promise<number> {
  let best = 0
  for (let round = 0; round < ROUNDS; round += 1) {
    const begun = performance.now()
    let left = calls
    await Promise.all(Array.from({ length: ahead }, async () => {
      while ((left -= 1) >= 0) await call()
    }))
    best = Math.max(best, calls / ((performance.now() - begun) / 1000))
  }
  return best
}

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  const own = process.env[SERVES]
  if (own !== undefined) return serve(own)
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-bench-'))
  const path = join(folder, 'host.sock')
  const server = spawn(process.execPath, process.argv.slice(1), { env: { ...process.env, [SERVES]: path }, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  await once(server, 'message')
  const remote = await connectService({ path })
  const domain = await remote.domain('one')
  const row = (name: string, value: number, target: number | null): void =>
    report({ case: name, value, unit: 'calls/s', baseline: '', ratio: null, target, met: target === null ? null : value >= target })
  row(`domain.info, ${AHEAD} under way`, await rate(CALLS, AHEAD, () => domain.info()), TARGET)
  row(`host.now, ${AHEAD} under way`, await rate(CALLS, AHEAD, () => remote.now()), TARGET)
  row('host.now, one after the other', await rate(CALLS / 10, 1, () => remote.now()), null)
  remote.close()
  server.disconnect()
  await once(server, 'exit')
  rmSync(folder, { recursive: true })
}
