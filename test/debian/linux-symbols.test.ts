/** Debian's stock Linux under gdb, with the symbols that it carries in its own memory. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { kernelSymbols } from '../../src/debug/index.ts'
import { debianGuests, folderCache, listenGdb } from '../../src/node/index.ts'
import { linux } from '../../src/testing/index.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { gdb } from '../support/gdb.ts'
import { LINUX_FILES } from '../support/linux.ts'
import { whyNoProgram } from '../support/programs.ts'

const lacking = whyMissing(...LINUX_FILES) ?? whyNoProgram('gdb', '--version')

test.skipIf(lacking !== undefined)(`a stock Linux stops in gdb where its own symbols say, which are those of its /proc/kallsyms${lacking ?? ''}`, { timeout: 300_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-symbols-'))
  await using shell = await linux({ guests: debianGuests(GUESTS_FOLDER), cache: folderCache(folder), memory: 128 }).start()
  const { host, domain } = shell
  const table = kernelSymbols(host, domain)!
  const lines = table.functions().map(({ address, name }) => `${BigInt.asUintN(64, BigInt(address)).toString(16)} ${name}\n`).sort()
  const told = await shell.run("grep -i ' [tw] ' /proc/kallsyms | grep -v '\\[' | grep -v '^0000' | sed 's/ . / /' | sort | md5sum")
  expect(told).toContain(createHash('md5').update(lines.join('')).digest('hex'))
  expect(host.symbolAt(domain, table.addressOf('do_exit')! + 3)).toBe('do_exit')

  const file = join(folder, 'symbols.elf')
  writeFileSync(file, table.toElf())
  expect(execFileSync('nm', [file], { encoding: 'utf8', maxBuffer: 1 << 26 })).toMatch(/ T do_exit$/m)
  const release = host.expectInput()
  const { port, close } = await listenGdb(host, domain)
  const end = host.events.on('domain-unpaused', () => {
    end()
    void domain.console.write('mkdir /made\r')
  })
  const out = await gdb(file, port, ['break vfs_mkdir', 'continue', 'backtrace 2', 'info symbol $pc', 'detach'])
  expect(out).toMatch(/Breakpoint 1, 0x[0-9a-f]+ in vfs_mkdir \(\)/)
  expect(out).toMatch(/#0 .* vfs_mkdir \(\)\n#1 .* in \w+ \(\)/)
  expect(out).toContain('vfs_mkdir in section .text')
  release()
  await close()
  expect(await shell.run('ls -d /made')).toBe('/made')
  rmSync(folder, { recursive: true })
})
