/**
 * Debian's gdb at Debian's stock Linux, of which gdb has nothing but the symbols that the kernel carries in its memory: whole sessions, forwards and backwards, on two
 * vCPUs, beside another domain. Where gdb says who has written something, Linux's own functions are what was called.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { kernelSymbols, linux as view, recordRun } from '../../src/debug/index.ts'
import type { Domain, Host } from '../../src/index.ts'
import { debianGuests, listenGdb } from '../../src/node/index.ts'
import { linux, type LinuxShell } from '../../src/testing/index.ts'
import { buildMini } from '../support/build-mini.ts'
import { gdb, maskedTranscript } from '../support/gdb.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'
import { whyNoProgram } from '../support/programs.ts'

const PATIENCE = { timeout: 300_000 }
const mini = buildMini('pv64', { variables: { STRIP: '', WARNINGS: '-g' } })
const lacking = whyMissing(...LINUX_FILES) ?? whyNoProgram('gdb', '--version') ?? mini.reason
const folder = mkdtempSync(join(tmpdir(), 'paravirt-gdb-'))
const symbols = join(folder, 'symbols.elf')
afterAll(() => rmSync(folder, { recursive: true }))

/** Debian on two vCPUs, booted once. */
const debian = lacking === undefined ? linux({ guests: debianGuests(GUESTS_FOLDER), memory: 128, vcpus: 2 }) : undefined

async function start(): Promise<LinuxShell> {
  const shell = await debian!.start()
  writeFileSync(symbols, kernelSymbols(shell.host, shell.domain)!.toElf())
  return shell
}

/** Types into a console as soon as the debugger lets the domain run. */
function typeOnceItRuns(host: Host, domain: Domain, text: string): void {
  const end = host.events.on('domain-unpaused', ({ domid }) => {
    if (domid !== domain.id) return
    end()
    void domain.console.write(text)
  })
}

describe.skipIf(lacking !== undefined)(`gdb at a stock Linux${lacking === undefined ? '' : `, SKIPPED: ${lacking}`}`, () => {
  test('stops a vCPU of two in a function, steps it, shows who called, watches a variable, and leaves', PATIENCE, async () => {
    await using shell = await start()
    const { host, domain } = shell
    const release = host.expectInput()
    const { port, close } = await listenGdb(host, domain)
    typeOnceItRuns(host, domain, 'taskset 2 mkdir /made; echo 7 > /proc/sys/kernel/panic\r')
    const out = await gdb(symbols, port, [
      'info threads', 'break vfs_mkdir', 'continue', 'info threads', 'backtrace 2', 'stepi', 'stepi', 'info symbol $pc', 'delete',
      'watch *(int *)&panic_timeout', 'continue', 'backtrace 1', 'print *(int *)&panic_timeout', 'delete', 'monitor tasks', 'detach',
    ])
    expect(out).toMatch(/Breakpoint 1, 0x[0-9a-f]+ in vfs_mkdir \(\)/)
    expect(out).toMatch(/Old value = -1\nNew value = 7/)
    expect(out).toContain('[Inferior 1 (process 1) detached]')
    // Where interrupts fall among the steps differs from run to run, with when gdb lets it go on: the transcript is not compared as a whole.
    expect(out).toMatch(/Thread 2 "vCPU 1" hit Breakpoint 1, 0x[0-9a-f]+ in vfs_mkdir \(\)[^]*#1 +0x[0-9a-f]+ in do_mkdirat \(\)[^]*in do_proc_dointvec_conv \(\)[^]*\$1 = 7/)
    expect(out).toMatch(/^ +1 +0 \S +\S+ sh$/m)
    release()
    await close()
    expect(await shell.run('ls -d /made; cat /proc/sys/kernel/panic')).toBe('/made\n7')
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('goes back to the write that corrupted a structure, and over an interrupt', PATIENCE, async () => {
    await using shell = await start()
    const { host, domain } = shell
    const kernel = view(host, domain)!
    const at = BigInt.asUintN(64, BigInt(kernel.addressOf('init_uts_ns')!)) + BigInt(kernel.btf.member(kernel.btf.find('uts_namespace')!, 'name.nodename')!.offset / 8)
    const name = `0x${at.toString(16)}`
    const run = await recordRun(host)
    await shell.run('hostname right; sleep 0.05; hostname corrupt; sleep 0.05; mkdir /behind')
    const { port, close } = await listenGdb(host, domain, { run })
    const out = await gdb(symbols, port, [
      // Who wrote the name that must not be there, and what stood there before.
      'monitor checkpoint end', `printf "now=<%s>\\n", (char *)${name}`, `watch *(long *)${name}`, 'reverse-continue', `printf "before=<%s>\\n", (char *)${name}`, 'backtrace 1', 'delete',
      'break __x64_sys_sethostname', 'reverse-continue', 'backtrace 1', 'reverse-continue', `printf "first=<%s>\\n", (char *)${name}`, 'delete',
      // From the first instruction of an interrupt into what it came upon, forwards into it again, behind its end, and back into its last instruction.
      'break xen_asm_exc_xen_hypervisor_callback', 'continue', 'delete', 'set $entry = $pc', 'set $interrupted = *(unsigned long *)($sp + 16)', 'reverse-stepi', 'printf "outside=%d\\n", $pc != $entry',
      'stepi', 'printf "inside again=%d\\n", $pc == $entry', 'tbreak *$interrupted', 'continue', 'printf "behind it=%d\\n", $pc == $interrupted', 'reverse-stepi', 'info symbol $pc',
      'stepi', 'printf "behind it again=%d\\n", $pc == $interrupted', 'monitor goto end', 'maintenance flush register-cache', `printf "as it was=<%s>\\n", (char *)${name}`, 'detach',
    ])
    expect(out).toContain('now=<corrupt>')
    expect(out).toContain('as it was=<corrupt>')
    for (const said of ['outside', 'inside again', 'behind it', 'behind it again']) expect(out).toContain(`${said}=1`)
    expect(out).toMatch(/Old value = \d+\nNew value = \d+\n0x[0-9a-f]+ in __x64_sys_sethostname \(\)[^]*first=<\(none\)>/)
    await close()
    expect(await shell.run('hostname')).toBe('corrupt')
    await run.end()
  })

  test('has Linux and another kernel in one session, each with its symbols, and leaves one after the other', PATIENCE, async () => {
    await using shell = await start()
    const { host, domain } = shell
    const beside = await host.createDomain({ name: 'beside', memory: 8, kernel: readFileSync(mini.path!) })
    await beside.console.waitFor('mini> ')
    const release = host.expectInput()
    const { port, close } = await listenGdb(host, [domain, beside])
    typeOnceItRuns(host, beside, 'echo beside Linux\n')
    const out = await gdb(symbols, port, [
      'set schedule-multiple on', 'inferior 2', `file ${mini.path!}`, 'inferior 1', 'break run_echo', 'continue', 'backtrace 1', 'printf "rest=<%s>\\n", rest', 'info threads',
      'detach inferiors 1', 'delete', 'detach inferiors 2',
    ])
    expect(out).toContain('rest=<beside Linux>')
    await expect(`${maskedTranscript(out)}\n`).toMatchFileSnapshot('../golden/gdb-linux-domains.txt')
    release()
    await close()
    expect(await shell.run('echo on')).toBe('on')
    await beside.console.waitFor(/^beside Linux$/)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})
