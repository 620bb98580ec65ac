/** A 32-bit program under 64-bit Linux: compatibility mode with all that the kernel does for it. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../support/guests.ts'
import { LINUX_FILES, bootLinux } from '../support/linux.ts'
import { buildNative } from '../support/native-build.ts'

const OPTIONS = ['-m32', '-static', '-nostdlib', '-ffreestanding', '-fno-pic', '-no-pie', '-fno-stack-protector', '-O2']
const PATIENCE = 300_000
const missing = whyMissing(...LINUX_FILES)
const program = buildNative(fileURLToPath(new URL('../guests/compat.c', import.meta.url)), OPTIONS)

/** What the program says on a real processor. */
const EXPECTED = ['code selector 35', 'fib 6765', 'decimal 71', 'floats 6650', 'thread 33', 'child 12', 'own entry 1', 'bye']

const reason = missing ?? (program.path === undefined ? ` (SKIPPED: ${program.reason})` : undefined)

describe.skipIf(reason !== undefined)(`32-bit programs under Linux${reason ?? ''}`, { timeout: PATIENCE }, () => {
  test('one runs as on a real machine: system calls, thread-local storage, a fault, a child', async () => {
    const linux = await (await bootLinux({ files: { 'bin/compat': readFileSync(program.path!) } })).ready()
    const said = await linux.run('/bin/compat', { status: 7 })
    expect(said.split('\n')).toEqual(EXPECTED)
    await linux.host.shutdown()
  }, PATIENCE)
})
