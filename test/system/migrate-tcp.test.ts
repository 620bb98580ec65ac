/** Live migration over TCP, within one process and between two, and connections that die. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { connectMigration, listenMigration } from '../../src/node/index.ts'
import { withoutLeaks } from '../../src/testing/index.ts'
import { Host, type Domain } from '../../src/toolstack/index.ts'
import { builtModule } from '../support/bundle.ts'
import { whyMissing } from '../support/guests.ts'
import { verifyStream } from '../support/verify-stream.ts'
import { answers, hostsOfTests, startMini } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 32, dom0Memory: 8 })

/** One that starts itself again, as Node is told of it. */
const LIVE_MIGRATION = ['--import', 'tsx', fileURLToPath(new URL('../../examples/live-migration.ts', import.meta.url))]

/** A wire between two hosts that breaks after a number of bytes from the sender. */
async function breakingWire(target: number, limit: number): Promise<{ readonly port: number; close(): void }> {
  const sockets: Socket[] = []
  const server = createServer({ allowHalfOpen: true }, (left) => {
    const right = connect({ port: target, allowHalfOpen: true })
    sockets.push(left, right)
    let passed = 0
    for (const socket of [left, right]) socket.on('error', () => undefined)
    left.on('data', (data) => {
      passed += data.length
      if (passed <= limit) right.write(data)
      else for (const socket of [left, right]) socket.resetAndDestroy()
    })
    left.on('end', () => right.end())
    right.pipe(left)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    close: () => {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

describe('a migration over TCP', () => {
  test('moves a domain there and back', { timeout: 60_000 }, async () => {
    const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const listener = await listenMigration()
    const go = async (domain: Domain, to: Host): Promise<Domain> => {
      const receiving = listener.accept().then((transport) => to.receiveMigration(transport))
      await domain.migrate(await connectMigration({ port: listener.port }))
      return receiving
    }
    const there = await go(await startMini(first), second)
    await there.console.waitFor('mini: restored')
    await answers(there)
    const back = await go(there, first)
    await answers(back)
    expect(second.domains()).toEqual([])
    listener.close()
    await expect(listener.accept()).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(connectMigration({ port: listener.port })).rejects.toMatchObject({ code: 'IO' })
  })

  test.each([100, 5_000, 3_000_000, 8_000_000])(
    'whose connection is reset after %i bytes leaves the domain where it was',
    { timeout: 60_000 },
    async (limit) => {
      const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
      const domain = await startMini(first)
      const listener = await listenMigration()
      const wire = await breakingWire(listener.port, limit)
      await withoutLeaks(second, async () => {
        const receiving = listener.accept().then((transport) => second.receiveMigration(transport))
        const [sent, received] = await Promise.allSettled([
          connectMigration({ port: wire.port }).then((end) => domain.migrate(end)),
          receiving,
        ])
        expect(sent).toMatchObject({ status: 'rejected', reason: { code: expect.stringMatching(/^(IO|CLOSED)$/) } })
        expect(received).toMatchObject({ status: 'rejected' })
        await answers(domain)
      })
      wire.close()
      listener.close()
    },
  )

  test('goes on here when the other process is killed in the middle', { timeout: 60_000 }, async () => {
    const first = await boot({ seed: 1 })
    const domain = await startMini(first)
    const receiver = spawn(process.execPath, [...LIVE_MIGRATION, 'receive'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = once(receiver, 'exit')
    const [line] = await once(createInterface({ input: receiver.stdout }), 'line') as [string]
    const migration = domain.migrate(await connectMigration({ port: Number(line.replace('port ', '')) }))
    migration.progress.on('suspended', () => void receiver.kill('SIGKILL'))
    await expect(migration).rejects.toMatchObject({ code: 'CLOSED' })
    await ended
    await domain.console.waitFor('mini: suspend was cancelled')
    await answers(domain)
  })
})

describe('the example', () => {
  test('live-migration moves a domain to another process', { timeout: 60_000 }, () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, LIVE_MIGRATION, {
      encoding: 'utf8',
    })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toMatch(/here : \(gone; \d+ pages, \d+ of them while it stood still\)/)
    expect(stdout).toContain('there: mini: restored')
    expect(stdout).toContain('there: I live in another process now')
    expect(stdout).toContain('to power off: poweroff)')
  })

  test('save-restore writes a file that Xen accepts, and goes on from it', { timeout: 60_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-example-'))
    const file = join(folder, 'sleeper.xl')
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [await builtModule('examples/save-restore.ts'), file],
      { encoding: 'utf8' },
    )
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).toContain('mini: restored')
    expect(stdout).toContain('it ended by poweroff')
    if (whyMissing('verifyStream', 'xenPython') === undefined) {
      expect(verifyStream(readFileSync(file)).status).toBe(0)
    }
    rmSync(folder, { recursive: true })
  })
})
