/** Debian's stock Linux, looked at from outside: what is seen is what it tells itself in /proc. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { explainCrash, linux } from '../../src/debug/index.ts'
import { debianGuests, folderCache } from '../../src/node/index.ts'
import { linux as fixture } from '../../src/testing/index.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { LINUX_FILES } from '../support/linux.ts'

const lacking = whyMissing(...LINUX_FILES)
const folder = mkdtempSync(join(tmpdir(), 'paravirt-view-'))

test.skipIf(lacking !== undefined)(`tasks, modules and types of a stock Linux are those of its /proc, and its crash is explained by its console${lacking ?? ''}`, { timeout: 300_000 }, async () => {
  const debian = fixture({ guests: debianGuests(GUESTS_FOLDER), cache: folderCache(folder), memory: 128, modules: ['xen-netfront'] })
  await using shell = await debian.start()
  const { host, domain } = shell
  const told = await shell.run('for p in /proc/[0-9]*; do cat $p/stat; done | sed "s/^\\([0-9]*\\) (\\(.*\\)) \\(.\\) \\([0-9]*\\).*/\\1 \\2 \\4/"')
  const view = linux(host, domain)!
  const own = view.tasks().filter(({ pid }) => pid !== 0).map(({ pid, name, parent }) => `${pid} ${name} ${parent}`)
  // Names of workers grow while they work, what has run the command is gone, and /proc has longer names of kernel threads than their tasks.
  const plain = (lines: readonly string[]): string[] => lines.map((line) => line.trim().replace(/^(\d+) (.{15}).* (\d+)$/, '$1 $2 $3')).filter((line) => !line.includes('kworker') && !/ (cat|sed) /.test(line)).sort()
  const [seen, said] = [plain(own), plain(told.split('\n'))]
  expect(seen.filter((line) => !said.includes(line))).toEqual([])
  expect(seen.length).toBeGreaterThan(20)
  expect(view.banner).toMatch(/^Linux version \d+\.\d+\./)
  expect(view.modules().map(({ name }) => name)).toEqual(['xen_netfront'])
  expect(view.systemCalls().slice(0, 4)).toEqual(['read', 'write', 'open', 'close'])
  expect(view.current().name).toBe('swapper/0')
  expect(view.read('list_head', BigInt(view.addressOf('modules')!))).toEqual({ next: expect.any(BigInt), prev: expect.any(BigInt) })
  expect(view.btf.functions()).toContain('do_exit')

  await domain.console.write('echo c > /proc/sysrq-trigger\r')
  await domain.waitForShutdown()
  const explained = explainCrash(domain.console.text())!
  expect(explained).toMatchObject({ kind: 'panic', message: expect.stringContaining('sysrq triggered crash'), process: { name: 'sh', pid: 1 } })
  expect(explained.calls.map(({ symbol }) => symbol)).toEqual(expect.arrayContaining(['panic', 'sysrq_handle_crash', 'write_sysrq_trigger', 'vfs_write']))
  expect(explained.text).toContain('sysrq_handle_crash')
  rmSync(folder, { recursive: true })
})
