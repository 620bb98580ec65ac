import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { builtModule } from '../support/bundle.ts'
import { whyNoProgram } from '../support/programs.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'paravirt-xenstore-'))
const socket = join(folder, 'socket')
const missing = whyNoProgram('xenstore-ls', '--help')
let server: ChildProcess | undefined

/** What a client of Debian's xenstore-utils prints, and how it ends. */
async function client(name: string, ...words: string[]): Promise<{ output: string; status: number }> {
  try {
    const env = { ...process.env, XENSTORED_PATH: socket }
    const { stdout } = await run(`xenstore-${name}`, words, { env, timeout: 10_000 })
    return { output: stdout, status: 0 }
  } catch (error) {
    const { stdout, code } = error as { stdout?: string; code?: number }
    return { output: stdout ?? '', status: code ?? -1 }
  }
}

beforeAll(async () => {
  if (missing !== undefined) return
  server = spawn(process.execPath, [await builtModule('examples/xenstore-server.ts'), socket], { cwd: root })
  await new Promise<void>((resolve, reject) => {
    let said = ''
    server!.stderr!.on('data', (data) => { said += String(data) })
    server!.stdout!.on('data', (data) => {
      if (String(data).startsWith('serving')) resolve()
    })
    server!.on('exit', (code) => reject(new Error(`the example ended with ${code}: ${said}`)))
  })
}, 60_000)

afterAll(() => {
  server?.kill('SIGINT')
  rmSync(folder, { recursive: true, force: true })
})

describe.skipIf(missing !== undefined)(`Debian's xenstore-utils at a running host${missing ?? ''}`, () => {
  test('the socket is its owner\'s alone', () => {
    expect(statSync(socket).mode & 0o777).toBe(0o600)
  })

  test('xenstore-ls prints the tree with permissions', async () => {
    const { output } = await client('ls', '-f', '-p')
    expect(output).toContain('/tool/xenstored = ""   (n0)\n')
    expect(output).toContain('/local/domain/1/name = "guest"   (n0,r1)\n')
    const { output: nested } = await client('ls', '/local/domain/1/memory')
    expect(nested).toMatch(/^static-max = "32768"\ntarget = "32768"\n/)
  })

  test('xenstore-write, -read and -list', async () => {
    expect(await client('write', '/test/a', 'one', '/test/b', 'two words')).toEqual({ output: '', status: 0 })
    expect(await client('read', '/test/a', '/test/b')).toEqual({ output: 'one\ntwo words\n', status: 0 })
    expect(await client('list', '/test')).toEqual({ output: 'a\nb\n', status: 0 })
    expect((await client('read', '/test/none')).status).not.toBe(0)
  })

  test('xenstore-exists', async () => {
    await client('write', '/test/here', '')
    expect((await client('exists', '/test/here')).status).toBe(0)
    expect((await client('exists', '/test/nowhere')).status).not.toBe(0)
  })

  test('xenstore-chmod', async () => {
    await client('write', '/test/perms', 'x')
    expect((await client('chmod', '/test/perms', 'n0', 'r1', 'b2')).status).toBe(0)
    expect((await client('ls', '-p', '-f', '/test')).output).toContain('/test/perms = "x"   (n0,r1,b2)\n')
  })

  test('xenstore-rm', async () => {
    await client('write', '/test/gone/below', 'x')
    expect((await client('rm', '/test/gone')).status).toBe(0)
    expect((await client('exists', '/test/gone/below')).status).not.toBe(0)
    expect((await client('rm', '/no/such/thing')).status).not.toBe(0)
  })

  test('xenstore-watch', async () => {
    const watching = client('watch', '-n', '3', '/test/watched')
    // When the watch is set cannot be seen from here: write until it has seen all that it wants.
    let done = false
    const finished = watching.finally(() => { done = true })
    for (let i = 0; !done; i += 1) await client('write', '/test/watched/node', String(i))
    expect(await finished).toEqual({ output: '/test/watched\n/test/watched/node\n/test/watched/node\n', status: 0 })
  })

  test('a directory too long for one message', async () => {
    const names = Array.from({ length: 500 }, (_, i) => `/test/long/child-number-${i}`)
    expect((await client('write', ...names.flatMap((name) => [name, 'v']))).status).toBe(0)
    const { output } = await client('list', '/test/long')
    expect(output.trim().split('\n')).toEqual(names.map((name) => name.slice('/test/long/'.length)))
  })

  test('an interrupt ends the example and removes its socket', async () => {
    const ended = new Promise<number | null>((resolve) => {
      server!.removeAllListeners('exit')
      server!.on('exit', resolve)
    })
    server!.kill('SIGINT')
    expect(await ended).toBe(0)
    expect(existsSync(socket)).toBe(false)
  })
})
