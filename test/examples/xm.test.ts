/** The tool of examples/xm.ts: two hosts in processes of their own, and commands that talk to one, some of them as processes. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runXl } from '../../src/node/xl/tool.ts'
import { builtModule } from '../support/bundle.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const KERNEL = join(ROOT, 'examples/guests/mini/mini.elf')
const PATIENCE = 120_000
/** What Ctrl-] sends. */
const LEAVE = '\x1d'

/** States of a domain that may run: it does, or waits for something. */
const ALIVE = expect.stringMatching(/^[-r][-b]----$/) as string

/** The example, and the package's own command with the same tool in it, as what Node is told. */
const command = { xm: [] as string[], paravirt: [] as string[] }
const folder = mkdtempSync(join(tmpdir(), 'paravirt-xm-'))

/** One xend, and xm as its user. */
class Daemon {
  readonly socket: string
  port = 0
  private process: ChildProcess | undefined

  constructor(name: string) {
    this.socket = join(folder, name)
  }

  private get settings() {
    return { cwd: ROOT, env: { ...process.env, XEND_SOCKET: this.socket } }
  }

  private spawn(words: readonly string[]): ChildProcess {
    return spawn(process.execPath, [...command.xm, ...words], { ...this.settings, stdio: ['pipe', 'pipe', 'inherit'] })
  }

  async start(): Promise<void> {
    this.process = this.spawn(['xend', '--memory', '160M', '--relocation', '0', '--trust-senders'])
    for await (const line of createInterface({ input: this.process.stdout! })) {
      this.port = Number(/domains at port (\d+)$/.exec(line)?.[1] ?? 0)
      if (this.port !== 0) return
    }
    throw new Error('xend did not start')
  }

  async end(): Promise<unknown> {
    const { process } = this
    if (process === undefined || process.exitCode !== null) return undefined
    const ended = once(process, 'exit')
    process.kill('SIGTERM')
    return (await ended)[0]
  }

  /** Runs a command here; what it printed, or its error and status. */
  async xm(...words: string[]): Promise<{ readonly status: number; readonly out: string; readonly err: string }> {
    let [out, err] = ['', '']
    const status = await runXl(words, {
      tool: 'xm', socket: this.socket, folder: ROOT, typed: (async function* () {})(), signal: new AbortController().signal,
      out: (bytes) => { out += typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('latin1') }, err: (text) => { err += text },
    })
    return { status, out, err }
  }

  /** The same in a process of its own. */
  alone(...words: string[]): Promise<{ readonly status: number; readonly out: string; readonly err: string }> {
    return this.node([...command.xm, ...words])
  }

  /** Whatever Node is told, with xend's socket. */
  async node(words: readonly string[]): Promise<{ readonly status: number; readonly out: string; readonly err: string }> {
    const child = spawn(process.execPath, words, { ...this.settings, stdio: ['ignore', 'pipe', 'pipe'] })
    let [out, err] = ['', '']
    child.stdout.on('data', (bytes) => { out += String(bytes) })
    child.stderr.on('data', (bytes) => { err += String(bytes) })
    const [status] = await once(child, 'close') as [number]
    return { status, out, err }
  }

  /** Runs a command that has to succeed and say nothing on the error stream; what it printed. */
  async done(...words: string[]): Promise<string> {
    const { status, out, err } = await this.xm(...words)
    expect({ words, status, err }).toEqual({ words, status: 0, err: '' })
    return out
  }

  /** The list's lines, as words. */
  async list(...names: string[]): Promise<string[][]> {
    const lines = (await this.done('list', ...names)).trimEnd().split('\n').slice(1)
    return lines.map((line) => line.trim().split(/\s+/).slice(0, 5))
  }

  /** Types into a domain's console, waits for an answer, and leaves. */
  async converse(domain: string, typed: string, answer: RegExp): Promise<void> {
    const child = this.spawn(['console', domain])
    const ended = once(child, 'exit')
    let seen = ''
    child.stdin!.write(typed)
    await new Promise<void>((resolve) => {
      child.stdout!.on('end', resolve).on('data', (bytes) => {
        seen += String(bytes)
        if (answer.test(seen)) resolve()
      })
    })
    child.stdin!.write(LEAVE)
    expect(seen).toMatch(answer)
    expect((await ended)[0]).toBe(0)
  }

  /** Begins a command and interrupts it after a while. */
  async interrupted(...words: string[]): Promise<void> {
    const child = this.spawn(words)
    const ended = once(child, 'exit')
    await new Promise((resolve) => setTimeout(resolve, 2_000))
    child.kill('SIGINT')
    await ended
  }
}

const [here, there] = [new Daemon('here'), new Daemon('there')]

beforeAll(async () => {
  command.xm = [await builtModule('examples/xm.ts')]
  command.paravirt = [await builtModule('src/node/cli.ts'), 'xl']
  expect(await here.xm('list')).toMatchObject({ status: 1, err: expect.stringContaining('start one by `xm xend`') })
  writeFileSync(join(folder, 'guest'), `name = "guest"\nmemory = 16\nkernel = "${KERNEL}"\nextra = "from a file"\n`)
  writeFileSync(join(folder, 'disk.img'), new Uint8Array(1 << 20))
  await Promise.all([here.start(), there.start()])
}, PATIENCE)

afterAll(async () => {
  expect(await Promise.all([here.end(), there.end()])).toEqual([0, 0])
  expect(existsSync(here.socket)).toBe(false)
  rmSync(folder, { recursive: true })
}, PATIENCE)

describe('examples/xm.ts', () => {
  test('serves its owner alone, and one host at a socket', { timeout: PATIENCE }, async () => {
    expect(statSync(here.socket).mode & 0o777).toBe(0o600)
    expect(await here.alone('xend')).toMatchObject({ status: 1, err: expect.stringContaining('another process listens') })
    expect(await here.done('help')).toContain('xm create [-n] [-p] [FILE] [KEY=VALUE ...]\n')
    expect(await here.node([...command.paravirt, 'list'])).toMatchObject({ status: 0, err: '', out: expect.stringMatching(/^Name .*\nDomain-0 .*\n$/) })
    expect(await here.node([...command.paravirt, 'pause', 'nobody'])).toMatchObject({ status: 1, err: 'nobody is an invalid domain identifier (rc=-6)\n' })
    expect(await here.node([...command.paravirt, 'lst'])).toMatchObject({ status: 1, err: expect.stringContaining('paravirt xl help lists them') })
  })

  test('creates a domain, lists it and types into its console', { timeout: PATIENCE }, async () => {
    expect(await here.done('create', join(folder, 'guest'), 'name=first')).toBe('Started domain first, id=1\n')
    expect(await here.alone('list')).toEqual({ status: 0, err: '', out: expect.stringMatching(/^Name {40}ID {3}Mem VCPUs\tState\tTime\(s\)\nDomain-0 +0 /) })
    await here.converse('first', 'mem\r', /command line: from a file[^]*memory: \d+ KiB of 16384 KiB/)
    expect(await here.list('first')).toEqual([['first', '1', '16', '1', ALIVE]])
  })

  test('changes memory and vCPUs, and pauses', { timeout: PATIENCE }, async () => {
    await here.done('mem-set', 'first', '12')
    await here.done('mem-max', '1', '14')
    expect(await here.xm('mem-set', 'first', '15')).toMatchObject({
      status: 1, err: 'Error: domain 1 can have at most 14 MiB, got 15\n',
    })
    await here.done('vcpu-set', 'first', '1')
    await here.done('pause', 'first')
    expect((await here.list('first'))[0]).toEqual(['first', '1', '12', '1', expect.stringContaining('p')])
    await here.done('unpause', 'first')
    expect(await here.list('first')).toEqual([['first', '1', '12', '1', ALIVE]])
  })

  test('attaches and detaches devices in the spelling of xm and of xl', { timeout: PATIENCE }, async () => {
    const disk = join(folder, 'disk.img')
    await here.done('block-attach', 'first', `file:${disk}`, 'xvda', 'w')
    await here.done('block-attach', 'first', `${disk},raw,xvdb,r`)
    await here.done('network-attach', 'first', 'mac=00:16:3e:00:00:07', 'bridge=xenbr1')
    expect(await here.done('block-list', 'first')).toMatch(/^Vdev {2}BE {2}handle .*\n51712 0 {3}1 {6}1 .*\/vbd\/1\/51712\n51728 0 {3}1 {6}1 .*\/vbd\/1\/51728\n$/)
    expect(await here.done('network-list', 'first')).toMatch(/^Idx BE Mac .*\n0 {3}0 {2}00:16:3e:00:00:07 {5}0 .*\/vif\/1\/0\n$/)
    expect(await here.xm('block-attach', 'first', '/nosuch', 'xvdc', 'w')).toMatchObject({ status: 1 })
    await here.done('block-detach', 'first', 'xvda')
    await here.done('block-detach', 'first', 'xvdb')
    await here.done('network-detach', 'first', '0')
    expect(await here.done('block-list', 'first')).toMatch(/^Vdev .*\n$/)
  })

  test('saves, restores, and moves a domain to another host', { timeout: PATIENCE }, async () => {
    const file = join(folder, 'first.xl')
    await here.done('save', 'first', file)
    expect(await here.list()).toHaveLength(1)
    await here.done('restore', file)
    expect(await here.list('first')).toEqual([['first', '2', '12', '1', ALIVE]])
    const said = await here.done('migrate', 'first', `127.0.0.1:${there.port}`)
    expect(said).toMatch(/^first has gone to .*: \d+ pages, \d+ of them/)
    expect(await here.list()).toHaveLength(1)
    expect(await there.list('first')).toEqual([['first', '1', '12', '1', ALIVE]])
    await there.converse('first', 'echo in another process\r', /\nin another process/)
  })

  test('ends domains in every way', { timeout: PATIENCE }, async () => {
    await there.done('reboot', 'first')
    await there.converse('first', 'echo again\r', /\nagain/)
    expect((await there.list('first'))[0]![1]).toBe('2')
    await there.done('shutdown', 'first')
    expect(await there.list()).toHaveLength(1)
    await there.done('create', join(folder, 'guest'))
    await there.done('destroy', 'guest')
    expect(await there.xm('list', 'guest')).toMatchObject({ status: 1, err: 'guest is an invalid domain identifier (rc=-6)\n' })
  })

  test('takes back what it was interrupted in', { timeout: PATIENCE }, async () => {
    await here.done('create', join(folder, 'guest'))
    await here.converse('guest', '\r', /mini> /)
    await here.done('pause', 'guest')
    await here.interrupted('shutdown', 'guest')
    await here.done('unpause', 'guest')
    await here.converse('guest', 'echo alive\r', /\nalive/)
    await here.done('destroy', 'guest')
  })

  test.each([
    [['nosuch'], 1, /^Error: there is no command nosuch/],
    [['constructor'], 1, /^Error: there is no command constructor/],
    [['create'], 6, /^Config file not specified and none in save file\n$/],
    [['mem-set', 'first'], 2, /^'xm mem-set' requires at least 2 arguments\.\n/],
    [['create', '/nosuch'], 3, /^Failed to read config file: \/nosuch: No such file or directory\n$/],
    [['restore', '/nosuch'], 1, /^Can't open restore file: No such file or directory\n$/],
    [['destroy', '0'], 1, /^Not destroying domain 0; use -f to force\.\nThis can only/],
    [['pause', 'a', 'b'], 1, /^Error: usage: xm pause DOMAIN/],
    [['mem-set', '0', 'much'], 1, /^invalid memory size: much\n$/],
  ])('answers %j by status %i', { timeout: PATIENCE }, async (words, status, err) => {
    expect(await here.xm(...words)).toEqual({ status, out: '', err: expect.stringMatching(err) })
  })
  test.each([
    [[], 2, /^usage: xm xend/],
    [['xend', '--nosuch'], 1, /^Error: .*--nosuch/],
  ])('as a process answers %j by status %i', { timeout: PATIENCE }, async (words, status, err) => {
    expect(await here.alone(...words)).toEqual({ status, out: '', err: expect.stringMatching(err) })
  })
})
