/** Debian's afl-fuzz drives a guest by examples/afl: it finds its way to a planted crash, and finds the guest as steady as a program can be. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { guestFile, whyMissing } from '../support/guests.ts'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const lacking = whyMissing('aflFuzz', 'aflPython')

test.skipIf(lacking !== undefined)(`afl-fuzz finds a planted crash in a guest${lacking ?? ''}`, { timeout: 300_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-'))
  try {
    const [seeds, out, server] = [join(folder, 'seeds'), join(folder, 'out'), join(folder, 'forkserver')]
    execFileSync('gcc', ['-O2', '-Wall', '-Werror', '-o', server, here('../../examples/afl/forkserver.c')])
    mkdirSync(seeds)
    // Two of the four letters: the other two it has to find, each by a sum that it tries on every byte.
    writeFileSync(join(seeds, 'one'), 'FUxx')
    const { status, stdout, stderr } = spawnSync(guestFile('aflFuzz')!, [
      '-D', '-i', seeds, '-o', out, '-t', '60000', '-s', '1', '-E', '20000', '--', server, process.execPath, '--import', 'tsx', here('../support/afl-planted.ts'),
    ], {
      encoding: 'utf8', timeout: 240_000, cwd: here('../..'),
      env: {
        ...process.env, LD_LIBRARY_PATH: guestFile('aflPython'), AFL_NO_UI: '1', AFL_NO_AFFINITY: '1', AFL_SKIP_CPUFREQ: '1', AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES: '1',
        AFL_BENCH_UNTIL_CRASH: '1', AFL_FORKSRV_INIT_TMOUT: '120000',
      },
    })
    const figures = (() => {
      try { return readFileSync(join(out, 'default', 'fuzzer_stats'), 'utf8') } catch { return `${stdout}${stderr}` }
    })()
    expect(figures, `${status}`).toMatch(/^saved_crashes +: 1$/m)
    // The same input took the same edges, however often.
    expect(figures).toMatch(/^stability +: 100\.00%$/m)
    expect(Number(/^corpus_found +: (\d+)$/m.exec(figures)?.[1])).toBeGreaterThan(0)
    const crashes = readdirSync(join(out, 'default', 'crashes')).filter((name) => name.startsWith('id:'))
    expect(crashes.map((name) => readFileSync(join(out, 'default', 'crashes', name), 'latin1').slice(0, 4))).toEqual(['FUZZ'])
  } finally {
    rmSync(folder, { recursive: true })
  }
})
