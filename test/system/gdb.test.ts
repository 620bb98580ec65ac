/** Debian's gdb at guests: breakpoints, steps, watchpoints, registers and memory of kernels with their symbols, and what becomes of the guest behind it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { Host } from '../../src/index.ts'
import { listenGdb } from '../../src/node/index.ts'
import { buildMini, type MiniKind } from '../support/build-mini.ts'
import { gdb } from '../support/gdb.ts'
import { whyNoProgram } from '../support/programs.ts'

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

const KINDS = [['pv64', 'pv'], ['pv32', 'pv'], ['pvh', 'pvh']] as const satisfies readonly (readonly [MiniKind, 'pv' | 'pvh'])[]
const build = (kind: MiniKind): ReturnType<typeof buildMini> => buildMini(kind, { variables: { STRIP: '', WARNINGS: '-g' } })

const lacking = whyNoProgram('gdb', '--version') ?? build('pv64').reason

describe.skipIf(lacking !== undefined)(`gdb${lacking === undefined ? '' : `, SKIPPED: ${lacking}`}`, () => {
  test.each(KINDS)('stops %s where it is told, shows where it is and what it holds, and lets it go on', { timeout: 90_000 }, async (kind, type) => {
    const image = build(kind).path!
    const host = await Host.boot({ memory: 64, dom0Memory: 16, idle: 'wait' })
    hosts.push(host)
    const domain = await host.createDomain({ name: 'debugged', memory: 8, type, kernel: readFileSync(image) })
    await domain.console.waitFor('mini> ')
    const { port } = await listenGdb(host, 'debugged')
    // What is typed comes as soon as gdb lets it run.
    const end = host.events.on('domain-unpaused', () => {
      end()
      void domain.console.write('echo seen by gdb\n')
    })
    const out = await gdb(image, port, [
      'info threads', 'break run_echo', 'continue', 'backtrace 2', 'printf "rest=<%s>\\n", rest',
      'set var rest[0] = \'S\'', 'printf "changed=<%s>\\n", rest', 'stepi', 'stepi', 'printf "behind=%d\\n", $pc > (unsigned long)&run_echo',
      'set $saved = $sp', 'set var $sp = $sp - 64', 'printf "lower=%d\\n", $saved - $sp', 'set var $sp = $saved',
      'delete', 'print/x *(int *)8', 'monitor now', 'monitor nothing', 'detach',
    ])
    expect(out).toMatch(/Thread 1\.1 "vCPU 0"/)
    expect(out).toMatch(/Breakpoint 1, run_echo \(rest=.*\) at .*shell\.c:\d+/)
    expect(out).toMatch(/#0 +run_echo .*\n#1 +.* in /)
    expect(out).toContain('rest=<seen by gdb>')
    expect(out).toContain('changed=<Seen by gdb>')
    expect(out).toContain('behind=1')
    expect(out).toContain('lower=64')
    if (type === 'pv') expect(out).toContain('Cannot access memory at address 0x8')
    expect(out).toMatch(/\d+\.\d{9} s, up \d+ s/)
    expect(out).toContain('there is no nothing; monitor help lists what there is')
    expect(out).toMatch(/detached|Detaching/)
    await domain.console.waitFor(/^Seen by gdb$/, { timeout: '5s' })
    await domain.console.write('echo and on it goes\n')
    await domain.console.waitFor(/^and on it goes$/, { timeout: '5s' })
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('stops behind the instruction that writes a word, and where it is interrupted', { timeout: 90_000 }, async () => {
    const image = build('pv64').path!
    const host = await Host.boot({ memory: 64, dom0Memory: 16, idle: 'wait' })
    hosts.push(host)
    const domain = await host.createDomain({ name: 'debugged', memory: 8, kernel: readFileSync(image) })
    await domain.console.waitFor('mini> ')
    const { port } = await listenGdb(host, domain)
    const end = host.events.on('domain-unpaused', () => {
      end()
      void domain.console.write('hot 4\n')
    })
    const out = await gdb(image, port, ['watch hot_rounds', 'continue', 'continue', 'printf "rounds=%d\\n", (int)hot_rounds', 'info symbol $pc', 'kill'])
    expect(out).toMatch(/Hardware watchpoint 1: hot_rounds/)
    expect(out).toMatch(/Old value = 0\n+New value = 1/)
    expect(out).toContain('rounds=2')
    expect(out).toMatch(/shell_timer .*in section/)
    await host.until('it is gone', () => !domain.exists)
  })

  test('is served by the command from before the first instruction on, with AVX, control registers and the way back', { timeout: 90_000 }, async () => {
    const image = build('pv64').path!
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-debug-'))
    writeFileSync(join(folder, 'kernel'), readFileSync(image))
    writeFileSync(join(folder, 'guest.cfg'), 'name = "app"\nmemory = 8\nkernel = "kernel"\n')
    const root = join(import.meta.dirname, '../..')
    const command = spawn(join(root, 'node_modules/.bin/tsx'), [join(root, 'src/node/cli.ts'), 'debug', 'guest.cfg', '--memory', '64M', '--until', 'mini> '], { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    const port = new Promise<number>((resolve) => command.stderr.on('data', (bytes: Buffer) => {
      const found = /localhost:(\d+)/.exec(said += bytes.toString())
      if (found !== null) resolve(Number(found[1]))
    }))
    const ended = once(command, 'exit')
    const out = await gdb(image, await port, ['info symbol $pc', 'break kernel_main', 'continue', 'reverse-stepi', 'info symbol $pc', 'print $cr3 != 0', 'print $ymm0.v8_int32', 'detach'])
    expect(out).toMatch(/_text in section[^]*Breakpoint 1, kernel_main[^]*\$1 = 1\n\$2 = \{0/)
    expect(await ended).toEqual([0, null])
    rmSync(folder, { recursive: true })
  })

  test('is told how a guest crashed and ended', { timeout: 90_000 }, async () => {
    const image = build('pv64').path!
    for (const [command, said] of [['crash', /received signal SIGABRT/], ['poweroff', /exited normally/]] as const) {
      const host = await Host.boot({ memory: 64, dom0Memory: 16, idle: 'wait' })
      hosts.push(host)
      const domain = await host.createDomain({ name: 'debugged', memory: 8, kernel: readFileSync(image), actions: { crash: 'preserve' } })
      await domain.console.waitFor('mini> ')
      const { port } = await listenGdb(host, domain)
      const end = host.events.on('domain-unpaused', () => {
        end()
        void domain.console.write(`${command}\n`)
      })
      expect(await gdb(image, port, ['continue', 'backtrace', 'detach'])).toMatch(said)
    }
  })
})
