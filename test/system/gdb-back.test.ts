/** Debian's gdb backwards, and at several vCPUs and domains: transcripts of whole sessions, in which addresses, times and paths are masked. */
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { recordRun } from '../../src/debug/index.ts'
import { Host, type Domain } from '../../src/index.ts'
import { listenGdb } from '../../src/node/index.ts'
import { buildMini } from '../support/build-mini.ts'
import { gdb, maskedTranscript } from '../support/gdb.ts'
import { whyNoProgram } from '../support/programs.ts'

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

const mini = buildMini('pv64', { variables: { STRIP: '', WARNINGS: '-g' } })
const lacking = whyNoProgram('gdb', '--version') ?? mini.reason

async function boot(): Promise<Host> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16, idle: 'wait', seed: 3, bootTime: new Date(0) })
  hosts.push(host)
  return host
}

async function guest(host: Host, name: string, vcpus = 1): Promise<Domain> {
  const domain = await host.createDomain({ name, memory: 8, vcpus, kernel: readFileSync(mini.path!) })
  await domain.console.waitFor('mini> ')
  return domain
}

describe.skipIf(lacking !== undefined)(`gdb${lacking === undefined ? '' : `, SKIPPED: ${lacking}`}`, () => {
  test('goes back to the write that changed a word, over an interrupt, and on as it was', { timeout: 120_000 }, async () => {
    const host = await boot()
    const domain = await guest(host, 'debugged')
    const run = await recordRun(host)
    await domain.console.write('echo before\n')
    await domain.console.waitFor(/^before$/)
    await domain.console.write('hot 4\n')
    await host.until('it counts', () => domain.console.text().includes('hot 4'))
    const held = await host.hold()
    await held.run(4_000_000)
    const { port } = await listenGdb(host, domain, { run })
    const out = await gdb(mini.path!, port, [
      'monitor checkpoint here',
      // The write that made it what it is, and the one before.
      'set $now = (int)hot_rounds', 'watch hot_rounds', 'reverse-continue', 'printf "one less=%d\\n", $now - (int)hot_rounds',
      'reverse-continue', 'printf "two less=%d\\n", $now - (int)hot_rounds', 'backtrace 1', 'delete',
      // Out of the handler of the timer's interrupt into what it interrupted, one instruction back.
      'break shell_timer', 'reverse-continue', 'delete', 'set $inside = $sp', 'reverse-stepi', 'printf "called from=%d\\n", $sp > $inside',
      // A call that lies behind.
      'break run_echo', 'reverse-continue', 'printf "rest=<%s>\\n", rest', 'reverse-stepi', 'stepi', 'printf "there=%d\\n", $pc == (unsigned long)&run_echo', 'delete',
      // The beginning, and forwards again.
      'reverse-continue', 'monitor goto here', 'maintenance flush register-cache', 'printf "same=%d\\n", (int)hot_rounds == $now',
      'monitor now', 'monitor goto nowhere', 'detach',
    ])
    expect(out).toContain('one less=1')
    expect(out).toContain('two less=2')
    expect(out).toMatch(/Breakpoint \d+, run_echo/)
    expect(out).toContain('rest=<before>')
    expect(out).toContain('there=1')
    expect(out).toMatch(/No more reverse-execution history/)
    expect(out).toContain('same=1')
    await expect(maskedTranscript(out)).toMatchFileSnapshot('../golden/gdb-back.txt')
    held.release()
    await domain.console.write('hot 0\necho and on it goes\n')
    await domain.console.waitFor(/^and on it goes$/)
    expect(host.hypervisor.checkInvariants()).toEqual([])
    await run.end()
  })

  test('changes the past, from which the guest goes on as another', { timeout: 90_000 }, async () => {
    const host = await boot()
    const domain = await guest(host, 'debugged')
    const run = await recordRun(host)
    await domain.console.write('echo first\n')
    await domain.console.waitFor(/^first$/)
    await domain.console.write('echo forgotten\n')
    await domain.console.waitFor(/^forgotten$/)
    const { port } = await listenGdb(host, domain, { run })
    const out = await gdb(mini.path!, port, ['break run_echo', 'reverse-continue', 'reverse-continue', 'printf "rest=<%s>\\n", rest', 'set var rest[0] = \'F\'', 'printf "now=<%s>\\n", rest', 'delete', 'detach'])
    expect(out).toContain('rest=<first>')
    expect(out).toContain('now=<First>')
    await host.domain('debugged').console.waitFor(/^First$/)
    expect(host.domain('debugged').console.text()).not.toContain('forgotten')
    await run.end()
  })

  test('has two vCPUs and two domains, stops both, and leaves one', { timeout: 120_000 }, async () => {
    const host = await boot()
    const [first, second] = [await guest(host, 'first', 2), await guest(host, 'second')]
    const { port } = await listenGdb(host, [first, second])
    const end = host.events.on('domain-unpaused', ({ domid }) => {
      if (domid !== second.id) return
      end()
      void second.console.write('echo to the second\n')
    })
    const out = await gdb(mini.path!, port, [
      'set schedule-multiple on', 'inferior 2', `file ${mini.path!}`, 'inferior 1', 'info inferiors', 'info threads', 'break run_echo', 'continue', 'info threads', 'printf "rest=<%s>\\n", rest',
      'detach inferiors 1', 'monitor domains', 'delete', 'kill inferiors 2',
    ])
    expect(out).toContain('rest=<to the second>')
    await expect(maskedTranscript(out)).toMatchFileSnapshot('../golden/gdb-domains.txt')
    await host.until('the second is gone', () => !second.exists)
    await first.console.write('echo alone\n')
    await first.console.waitFor(/^alone$/)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})
