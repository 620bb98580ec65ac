/**
 * Debugging inside Debian's Linux as a PV guest: the trap flag, ptrace's single step, breakpoints in the debug registers and
 * alignment checks stop a process exactly where they stop it on the real processor under a real kernel, because the
 * very same program runs there and prints the same.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { Host } from '../../src/index.ts'
import { whyMissing } from '../support/guests.ts'
import { LINUX_FILES, bootLinuxHost, createLinux } from '../support/linux.ts'
import { buildNative } from '../support/native-build.ts'

const probe = buildNative(join(import.meta.dirname, '..', 'guests', 'debug-probe.c'), ['-O1', '-mno-red-zone', '-static'])
const missing = whyMissing(...LINUX_FILES) ?? probe.reason

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

describe.skipIf(missing !== undefined)(`debugging inside Linux${missing ?? ''}`, () => {
  test('stops where the real processor stops', { timeout: 600_000 }, async () => {
    const native = execFileSync(probe.path!, { encoding: 'utf8' }).trim()
    const host = await bootLinuxHost()
    hosts.push(host)
    const guest = await (await createLinux(host, { files: { probe: readFileSync(probe.path!) } })).ready()
    await guest.run('cp /probe /tmp/probe; chmod 755 /tmp/probe', {})
    expect((await guest.run('/tmp/probe')).split('\n')).toEqual(native.split('\n'))
    expect(native.split('\n').map((line) => line.split(':')[0])).toEqual(
      ['trap flag', 'breakpoints', 'to the place', 'steps', 'alignment'])
  })
})
