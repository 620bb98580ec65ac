/** The two commands of the README, run as a user runs them. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { builtModule } from '../support/bundle.ts'
import { whyMissing } from '../support/guests.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TSX = join(dirname(createRequire(import.meta.url).resolve('tsx/package.json')), 'dist/cli.mjs')

const FROM_SOURCE = [TSX, 'examples/start.ts']

/** Runs examples/start.ts, built ahead where nothing else is said, and collects what it prints. */
async function start(words: readonly string[], { input = '', program }: { readonly input?: string; readonly program?: readonly string[] } = {}): Promise<{ status: number; out: string; err: string }> {
  const command = program ?? [await builtModule('examples/start.ts')]
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [...command, ...words],
      { cwd: ROOT, timeout: 90_000 },
      (error, out, err) => {
        resolve({ status: error === null ? 0 : Number(error.code ?? -1), out, err })
      },
    )
    child.stdin?.end(input)
  })
}

describe('npm start', () => {
  test('runs the main job from the host boot to the power-off', { timeout: 100_000 }, async () => {
    const { status, out, err } = await start([], { program: FROM_SOURCE })
    const lines = out.replaceAll('\r', '').split('\n')
    const tables = lines
      .filter((line) => /^(Domain-0|fc4) /.test(line))
      .map((line) => line.split(/\s+/).slice(0, 5).join(' '))
    expect(tables).toEqual([
      'Domain-0 0 768 1 -b----', 'Domain-0 0 512 1 -b----', 'fc4 1 64 1 -b----', 'Domain-0 0 512 1 -b----',
    ])
    expect(out).toContain('Name                                        ID   Mem VCPUs\tState\tTime(s)\n')
    expect(out).toContain('command line: root=/dev/sda1 ro 4')
    expect(out).toContain('domain 1, name: fc4')
    expect(out).toContain('mini: asked to poweroff')
    expect(err).toMatch(/warning: disk image \/u\/fc4\.img cannot be opened: ENOENT: no such file or directory, [^:]*: an empty disk stands in for it/)
    expect(status).toBe(0)
  })

  test('FILE --until PATTERN ends when the console has shown the pattern', { timeout: 100_000 }, async () => {
    const { status, out } = await start(['examples/xen/fc4', '--until', 'tick 2 at'], { input: 'ticks 2\r' })
    expect(out).toContain('tick 1 at')
    expect(status).toBe(0)
  })

  test('--grub FILE boots the host by that file, a grub.cfg here', { timeout: 100_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-'))
    try {
      const grub = join(folder, 'grub.cfg')
      writeFileSync(grub, 'menuentry "Xen" {\n multiboot2 /xen.gz placeholder dom0_mem=300M\n module2 /vmlinuz\n}\n')
      const { status, out } = await start(['--grub', grub])
      // The figure comes from this file alone.
      expect(out).toMatch(/^Domain-0 +0 +300 /m)
      expect(status).toBe(0)
      const { status: failed, err } = await start(['--grub', join(folder, 'nosuch')])
      expect(err).toMatch(/^error: .*nosuch/m)
      expect(failed).toBe(1)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('FILE ends when the domain does, with the typed input reaching it', { timeout: 100_000 }, async () => {
    const { status, out, err } = await start(['examples/xen/fc4'], { input: 'echo typed\rpoweroff\r' })
    expect(out).toContain('\ntyped')
    expect(err).toContain('domain fc4 ended: poweroff')
    expect(status).toBe(0)
  })

  test.each([
    ['a file that is not there', ['nosuch']],
    ['a wrong argument', ['--unti', 'x']],
  ])(
    'with %s says so and fails',
    async (_name, words) => {
      const { status, err } = await start(words)
      expect(err).toMatch(/^error: /m)
      expect(status).toBe(1)
    },
    60_000,
  )

  const missing = whyMissing('grub64')
  test.skipIf(missing !== undefined)(`boots Debian's GRUB${missing ?? ''}`, { timeout: 100_000 }, async () => {
    const { status, out } = await start(['examples/xen/grub', '--until', 'grub> '])
    expect(out).toContain('Welcome to GRUB!')
    expect(status).toBe(0)
  })
})
