/**
 * Debian's gdb at processes of Debian's stock Linux, with nothing of a debugger in the guest: each process is an inferior with its threads, of which those that wait have their registers where
 * the kernel has saved them. What gdb makes of stacks, variables and system calls is judged by the program's own ELF.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { linux as view, recordRun, serveGdb, VirtualMemory } from '../../src/debug/index.ts'
import { debianGuests, listenGdb } from '../../src/node/index.ts'
import { linux, type LinuxShell } from '../../src/testing/index.ts'
import { GdbClient } from '../support/gdb-client.ts'
import { gdb, maskedTranscript } from '../support/gdb.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'
import { buildNative } from '../support/native-build.ts'
import { whyNoProgram } from '../support/programs.ts'

const PATIENCE = { timeout: 300_000 }
const source = join(import.meta.dirname, '..', 'guests', 'threads.c')
const fixed = buildNative(source, ['-O1', '-g', '-static', '-no-pie', '-pthread'])
const movable = buildNative(source, ['-O1', '-g', '-static-pie', '-fPIE', '-pthread'])
const lacking = whyMissing(...LINUX_FILES) ?? whyNoProgram('gdb', '--version') ?? fixed.reason ?? movable.reason

/** Debian on two vCPUs, booted once. */
const debian = lacking === undefined
  ? linux({ guests: debianGuests(GUESTS_FOLDER), memory: 128, vcpus: 2, files: { fixed: readFileSync(fixed.path!), movable: readFileSync(movable.path!) } }) : undefined

/** Has programs run beside the shell, and stands; their numbers. */
async function standing(shell: LinuxShell, ...commands: readonly string[]): Promise<number[]> {
  const begun = commands.map((command) => `/tmp/${command} & echo $!`).join('; ')
  const said = await shell.run(`cp /fixed /movable /tmp; chmod 755 /tmp/fixed /tmp/movable; ${begun}; sleep 0.3`)
  shell.domain.pause()
  return said.split('\n').filter((line) => /^\d+$/.test(line.trim())).map(Number)
}

/** Numbers differ from kernel to kernel. */
const masked = (out: string): string => `${maskedTranscript(out).replace(/(?:Thread|process|Process) \d+(?:\.\d+)?/g, (one) => one.replace(/\d+/g, '…')).replace(/\(LWP \d+\)/g, '(LWP …)').replace(/\/tmp\/paravirt-native\/\w+/g, 'threads').replace(/\/\S*\/test\/guests\//g, '')}\n`

describe.skipIf(lacking !== undefined)(`gdb at processes of a stock Linux${lacking === undefined ? '' : `, SKIPPED: ${lacking}`}`, () => {
  test('has them as inferiors with their threads, stops one of two in a function, watches, steps, changes a variable, and sees it exit', PATIENCE, async () => {
    await using shell = await debian!.start()
    const [, second] = await standing(shell, 'fixed first', 'fixed second')
    const release = shell.host.expectInput()
    const { port, close } = await listenGdb(shell.host, shell.domain, { processes: ['fixed'] })
    const out = await gdb(fixed.path!, port, [
      'info inferiors', 'info threads', 'thread apply 1.1 1.2 backtrace', 'print counter > 0',
      // The other process has the same code at the same addresses, and runs: it does not stop.
      'set schedule-multiple on', 'break tick', 'continue', 'backtrace 2', 'ignore 1 5', 'continue', 'print name', 'stepi', 'info symbol $pc', 'delete', 'finish',
      'watch counter', 'continue', 'delete',
      'inferior 2', `file ${fixed.path!}`, 'backtrace -1', 'print counter > 5', 'detach',
      'inferior 1', 'set var stop = 1', 'continue',
      // Of inferiors without a program gdb asks no description.
    ], { before: ['set architecture i386:x86-64'] })
    await expect(masked(out)).toMatchFileSnapshot('../golden/gdb-processes.txt')
    await close()
    release()
    expect(await shell.run(`kill -0 ${second} && echo goes on`)).toBe('goes on')
    expect(shell.host.hypervisor.checkInvariants()).toEqual([])
  })

  test('finds where a program was loaded that may lie anywhere, calls a function of it, and goes back in its past', PATIENCE, async () => {
    await using shell = await debian!.start()
    const { host, domain } = shell
    const run = await recordRun(host)
    const [number] = await standing(shell, 'movable third')
    const { port, close } = await listenGdb(host, domain, { run, processes: [number!] })
    const out = await gdb(movable.path!, port, [
      'break tick', 'continue', 'backtrace 2', 'print name', 'delete', 'print tick(1000, name) > 1000', 'print counter > 1000',
      'watch counter', 'reverse-continue', 'backtrace 1', 'delete', 'reverse-stepi', 'info symbol $pc', 'detach',
    ])
    expect(out).toMatch(/hit Breakpoint 1, tick \(.*name(?:@entry)?=0x[0-9a-f]+ "third"\)[^]*#1 +0x[0-9a-f]+ in worker[^]*\$1 = 0x[0-9a-f]+ "third"\n\$2 = 1\n\$3 = 1\n/)
    // The write that is found is that of the function which gdb called, back in the past.
    const [, old, now] = /Old value = (\d+)\nNew value = (\d+)\n.* in tick \(count=1000/.exec(out) ?? []
    expect(Number(old) - Number(now)).toBe(1000)
    expect(out).toMatch(/tick \+ \d+ in section \.text/)
    expect(out).toContain('detached]')
    await close()
    await run.end()
    expect(await shell.run(`kill -0 ${number} && echo goes on`)).toBe('goes on')
  })

  test('answers whatever the guest says of its tasks: lists that lead in circles or nowhere, stacks and memory that are none, names that are none', PATIENCE, async () => {
    await using shell = await debian!.start()
    const { host, domain } = shell
    const [number] = await standing(shell, 'fixed first', 'fixed second')
    const kernel = view(host, domain)!
    const memory = new VirtualMemory(() => host.hypervisor, domain.id)
    const task = kernel.tasks().find(({ pid }) => pid === number)!.address
    const at = (path: string): bigint => BigInt(kernel.btf.member(kernel.btf.find('task_struct')!, path)!.offset >>> 3)
    const word = (value: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(value).buffer)
    const next = task + at('tasks.next')
    const lies: readonly (readonly [bigint, Uint8Array])[] = [
      [next, word(next)], [next, word(0n)], [next, word(0xffff_ffff_ffff_fff8n)], [next, word(0x1234_5678_9abc_def0n)], [next, word(task + at('comm'))],
      [task + at('mm'), word(0n)], [task + at('mm'), word(0xdead_beef_0000n)], [task + at('mm'), word(task)], [task + at('stack'), word(8n)], [task + at('stack'), word(task)],
      [task + at('signal'), word(0xffff_ffff_ffff_f000n)], [task + at('signal'), word(task)], [task + at('thread.fpu.fpstate'), word(1n)],
      [task + at('pid'), word(0n)], [task + at('pid'), word(0xffff_ffff_ffff_ffffn)], [task + at('tgid'), word(1n)], [task + at('comm'), new TextEncoder().encode('"><&\u0001\u007f')],
      [BigInt(kernel.addressOf('__per_cpu_offset')!), word(0x4141_4141_4141_4141n)],
    ]
    // Nothing runs while it lies.
    const held = await host.hold()
    for (const [address, bytes] of lies) await lie({ shell, memory, address, bytes, number: number! })
    expect(host.hypervisor.checkInvariants()).toEqual([])
    held.release()
  })
})

/** Asks all that a debugger asks while one lie stands in the guest's memory, which is then taken back. */
async function lie({ shell: { host, domain }, memory, address, bytes, number }: {
  readonly shell: LinuxShell; readonly memory: VirtualMemory; readonly address: bigint; readonly bytes: Uint8Array; readonly number: number
}): Promise<void> {
  const before = memory.read(address, bytes.length)
  expect(memory.write(address, bytes)).toBe(true)
  const client = new GdbClient()
  const thread = `p${number.toString(16)}.${number.toString(16)}`
  try {
    const connection = serveGdb(host, domain, client.transport, { processes: 'all' })
    await client.ask('qSupported:multiprocess+')
    for (const request of ['?', 'qfThreadInfo', 'qXfer:threads:read::0,3000', 'qXfer:auxv:read::0,800', `Hg${thread}`, 'g', 'm400000,20', 'm7fff0000,20', 'X400000,1:a', 'P10=0000000000000000', 'Z0,401000,1', `T${thread}`]) {
      expect(`${request} ${await client.ask(request)}`).toMatch(/ ./)
    }
    expect(await client.ask('qXfer:threads:read::0,3000')).toMatch(/^l<\?xml version="1.0"\?><threads>(<thread id="p[0-9a-f]+\.[0-9a-f]+"( core="\d+")? name="([\x20-\x7e]*?)"\/>)*<\/threads>$/)
    connection.close()
    await connection.closed
  } catch (error) {
    // It may be that no process is left to be seen.
    expect(error).toMatchObject({ code: 'NOT_SUPPORTED' })
  } finally {
    domain.pause()
    expect(memory.write(address, before)).toBe(true)
  }
}
