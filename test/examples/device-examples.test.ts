/** The examples about disks, networks and moments, run as a user runs them. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { builtModule } from '../support/bundle.ts'
import { whyNoProgram } from '../support/programs.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Without it, only the capture's bytes are looked at. */
const noTcpdump = whyNoProgram('tcpdump', '--version')

/** Runs an example that has to succeed and say nothing on the error stream; what it printed. */
async function run(name: string, ...words: string[]): Promise<string> {
  const { status, stdout, stderr } = spawnSync(process.execPath, [await builtModule(`examples/${name}.ts`), ...words], { cwd: ROOT, encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return stdout.replaceAll('\r', '')
}

test("own-block-store keeps a guest's disk where nobody can read it, and gives it back", { timeout: 60_000 }, async () => {
  const shown = await run('own-block-store')
  expect(shown).toContain('store: write 512 bytes at 0\nstore: flush\nfirst: I find nothing to read\n')
  expect(shown).toContain('second: I read: Dear diary, I was domain 1.\n')
  const [, file, first] = /^(\S+) begins with ([0-9a-f]{32})$/m.exec(shown)!
  const bytes = readFileSync(file!)
  expect(bytes.subarray(0, 16).toString('hex')).toBe(first)
  expect(bytes.includes('diary')).toBe(false)
  // 512 random bytes hold some 220 different values.
  expect(new Set(bytes.subarray(0, 512)).size).toBeGreaterThan(150)
  expect(bytes.subarray(512).every((byte) => byte === 0)).toBe(true)
  rmSync(join(file!, '..'), { recursive: true })
})

test('two-guests-network lets guests and application talk, and captures it', { timeout: 60_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-example-'))
  const file = join(folder, 'talk.pcapng')
  const shown = await run('two-guests-network', file)
  expect(shown).toContain('alice:\nready\n00:16:3e:00:00:0b says: bob is here\n02:00:00:00:00:01 says: and who else?\n')
  expect(shown).toContain('bob:\nready\n00:16:3e:00:00:0a says: who is there?\n02:00:00:00:00:01 says: and who else?\n')
  const application = shown.slice(shown.indexOf('the application:'))
  expect(application).toContain('00:16:3e:00:00:0a says: who is there?\n')
  expect(application).toContain('00:16:3e:00:00:0a says: alice is here\n')
  expect(application).toContain(`5 frames are in ${file}`)
  if (noTcpdump === undefined) {
    const { stdout } = spawnSync('tcpdump', ['-r', file, '-e', '-A', '-t'], { encoding: 'utf8' })
    expect(stdout.match(/^\S+ \(oui Unknown\) > .*ethertype Unknown \(0x88b5\), length 60/gm)).toHaveLength(5)
    expect(stdout).toMatch(/^bob is here/m)
  } else {
    expect(readFileSync(file).includes('bob is here')).toBe(true)
  }
  rmSync(folder, { recursive: true })
})

test('moments begins each round anew, and goes on from a file', { timeout: 60_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-example-'))
  const shown = await run('moments', join(folder, 'ready.moment'))
  expect(shown).toMatch(/^the first, and of others: nothing\nthe second, and of others: nothing\nthe third, and of others: nothing\n\d+ bytes in .*\nand on it goes\n$/)
  rmSync(folder, { recursive: true })
})

test('testing holds a guest against its failing disk, and repeats with its seed', { timeout: 60_000 }, async () => {
  expect(await run('testing', '7')).toBe('4 writes have failed, and everything is on the disk\n')
  expect(await run('testing', '9')).toMatch(/^\d+ writes have failed, and everything is on the disk\n$/)
})
