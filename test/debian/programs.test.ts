/**
 * Debian's own programs, linked dynamically as everything in Debian is, print in a guest what they print on the processor
 * underneath: bash, coreutils, Perl and Python with its C extensions. glibc is told to leave AVX and FMA alone on both
 * sides, since last digits of its mathematics depend on them.
 */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { debianRoot, runNatively, whyNoChroot, writeRoot } from '../support/debian-root.ts'
import { GUEST_SETS, whyMissing } from '../support/guests.ts'
import { writeCpio, type CpioEntry } from '../../src/testing/index.ts'
import { LINUX_FILES, SECOND, bootLinux, type LinuxGuest } from '../support/linux.ts'

const PATIENCE = 600_000
const PROGRAMS = fileURLToPath(new URL('../guests/programs', import.meta.url))
const ENVIRONMENT = 'PATH=/usr/bin:/bin LC_ALL=C HOME=/ PERL_HASH_SEED=0 GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F'
const MOUNTS = 'ln -s /proc/self/fd /dev/fd; mkdir -p /dev/shm; mount -t tmpfs shm /dev/shm'
const INTERPRETERS: Readonly<Record<string, string>> = { sh: '/bin/bash', pl: '/usr/bin/perl', py: '/usr/bin/python3.11' }

const missing = whyMissing(...LINUX_FILES, 'programs')
const scripts = readdirSync(PROGRAMS).sort()
const entries = missing === undefined ? debianRoot(GUEST_SETS.programs) : []
const root = mkdtempSync(join(tmpdir(), 'debian-root-'))
if (missing === undefined) {
  const files = scripts.map((name): CpioEntry => ({ kind: 'file', path: name, contents: readFileSync(join(PROGRAMS, name)) }))
  entries.push(...files)
  writeRoot(root, entries)
}
const reason = missing ?? whyNoChroot(root)

/** Debian's files behind BusyBox's, in one initial RAM disk: Linux unpacks one archive after the other. */
const overlay = (): Uint8Array => writeCpio(entries)

describe.skipIf(reason !== undefined)(`Debian's programs${reason ?? ''}`, { timeout: PATIENCE }, () => {
  let linux: LinuxGuest

  beforeAll(async () => {
    linux = await bootLinux({ host: { memory: 1024 }, domain: { memory: 640 }, overlay: overlay() })
    await linux.ready()
    await linux.run(MOUNTS)
  }, PATIENCE)
  afterAll(async () => {
    await linux?.host.shutdown()
    rmSync(root, { recursive: true, force: true })
  })

  test('the loader of the C library finds the level of instructions that the processor has', async () => {
    const text = await linux.run('/lib64/ld-linux-x86-64.so.2 --help')
    expect(text).toMatch(/x86-64-v3 \(supported, searched\)/)
    expect(text).not.toMatch(/x86-64-v4 \(supported/)
    expect(await linux.run('/bin/bash --version')).toMatch(/^GNU bash, version 5/)
  })

  for (const name of scripts) {
    test(`${name} prints what it prints on the processor underneath`, async () => {
      const command = [INTERPRETERS[name.split('.')[1]!]!, `/${name}`]
      const native = runNatively(root, ['/usr/bin/env', '-i', ...ENVIRONMENT.split(' '), ...command])
      expect(native.status).toBe(0)
      const said = await linux.run(`env -i ${ENVIRONMENT} ${command.join(' ')} 2>&1`, { timeout: 3000 * SECOND })
      expect(said.split('\n')).toEqual(native.text.trim().split('\n'))
      expect(said.length).toBeGreaterThan(400)
    }, PATIENCE)
  }
})
